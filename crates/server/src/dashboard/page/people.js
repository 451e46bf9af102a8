// Everybody there is, how they are shown, and who wants to know of it.

import { GRAPH, Refusal, call, pages } from './api.js';
import { Feed } from './feed.js';

/** How often the list of users is read again, in milliseconds: who joined or left is no change of a presence. */
const RELIST_INTERVAL = 300_000;
const USER = '$select=id,displayName,userPrincipalName,department,jobTitle';

const COLLATOR = new Intl.Collator(undefined, { sensitivity: 'base', numeric: true });

/** Letters without case and marks, so that a search for `andre` finds André. */
export const fold = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();

export class People {
  /** By id: `{ id, name, upn, department, title, availability, activity, number, since, version, key }`. */
  byId = new Map();
  /** Ids in the order of names. */
  order = [];
  state = 'connecting';
  /** Whether all that is seen is oneself, for want of a permission. */
  onlyMe = false;
  #listeners = new Set();
  #unnamed = new Set();
  #unseen = new Set();
  #feed = null;
  #relist = null;

  /** Calls `listener(person | null)` at each change; `null`: many may have changed, or the state. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start() {
    this.#follow(null);
    this.#readUsers();
    this.#relist = setInterval(() => this.#readUsers(), RELIST_INTERVAL);
  }

  stop() {
    this.#feed?.stop();
    clearInterval(this.#relist);
    this.#listeners.clear();
  }

  #follow(ids) {
    this.#feed = new Feed({
      snapshot: (presences, isFirst, isLast) => this.#snapshot(presences, isFirst, isLast),
      change: (change) => this.#change(change),
      state: (state) => {
        const returned = state === 'live' && this.state === 'lost';
        this.state = state;
        if (returned) this.#readUsers();
        this.#tell(null);
      },
      refused: (refusal) => this.#refused(refusal, ids),
    });
    this.#feed.run(ids);
  }

  /** Without the permission to read everybody's presence one still sees one's own. */
  async #refused(refusal, ids) {
    try {
      if (refusal.status !== 403 || ids) throw refusal;
      const me = await call(`${GRAPH}/me/presence`);
      this.onlyMe = true;
      this.#follow([me.id]);
      this.#nameOne(me.id, 'me');
    } catch (error) {
      this.state = 'refused';
      this.refusal = error;
      this.#tell(null);
    }
  }

  /** A part of a snapshot. Whoever is in none of its parts is gone. */
  #snapshot(presences, isFirst, isLast) {
    if (isFirst) this.#unseen = new Set(this.byId.keys());
    for (const presence of presences) {
      const person = this.#person(presence.id);
      this.#unseen.delete(presence.id);
      this.#show(person, presence, presence.sequenceNumber, null);
    }
    if (isLast) for (const id of this.#unseen) this.byId.delete(id);
    this.#sort();
    this.#tell(null);
  }

  #change(change) {
    const person = this.#person(change.id);
    if (person.number && change.sequenceNumber <= person.number) return;
    this.#show(person, change, change.sequenceNumber, change.at);
    if (person.isNew) {
      person.isNew = false;
      this.#sort();
      this.#nameOne(change.id, change.id);
      this.#tell(null);
    } else {
      this.#tell(person);
    }
  }

  #show(person, pair, number, since) {
    person.availability = pair.availability;
    person.activity = pair.activity;
    person.number = number ?? person.number;
    person.since = since ?? person.since;
    person.version += 1;
  }

  #person(id) {
    let person = this.byId.get(id);
    if (!person) {
      person = {
        id, name: id, upn: '', department: '', title: '', availability: 'PresenceUnknown', activity: 'PresenceUnknown',
        number: null, since: null, version: 0, key: id, isNew: true,
      };
      this.byId.set(id, person);
    }
    return person;
  }

  #name(user) {
    const person = this.#person(user.id);
    person.name = user.displayName || user.userPrincipalName || user.id;
    person.upn = user.userPrincipalName ?? '';
    person.department = user.department ?? '';
    person.title = user.jobTitle ?? '';
    person.key = fold(`${person.name}\n${person.upn}\n${person.department}\n${person.title}`);
    person.version += 1;
    person.isNew = false;
  }

  async #readUsers() {
    if (this.onlyMe) return;
    const seen = new Set();
    try {
      await pages(`${GRAPH}/users?${USER}&$top=999`, (users) => {
        for (const user of users) {
          seen.add(user.id);
          this.#name(user);
        }
        this.#sort();
        this.#tell(null);
      });
      for (const [id, person] of this.byId) if (!seen.has(id) && person.upn) this.byId.delete(id);
      this.#sort();
      this.#tell(null);
    } catch (error) {
      // Presence without names is still presence: whoever may not list users sees ids.
      if (!(error instanceof Refusal) && this.state === 'live') console.warn(error.message);
    }
  }

  async #nameOne(id, key) {
    if (this.#unnamed.has(id)) return;
    this.#unnamed.add(id);
    const path = key === 'me' ? `${GRAPH}/me` : `${GRAPH}/users/${encodeURIComponent(key)}`;
    try {
      this.#name(await call(`${path}?${USER}`));
      this.#sort();
      this.#tell(null);
    } catch { /* The id stands for the name. */ } finally {
      this.#unnamed.delete(id);
    }
  }

  #sort() {
    const people = [...this.byId.values()];
    people.sort((a, b) => COLLATOR.compare(a.name, b.name) || (a.id < b.id ? -1 : 1));
    this.order = people;
  }

  #tell(person) {
    for (const listener of this.#listeners) listener(person);
  }
}
