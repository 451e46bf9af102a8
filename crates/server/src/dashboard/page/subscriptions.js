// Who is told of changes, and whether it arrives. An administrator sees all of the tenant, anybody else those of the
// application they signed in with.

import { GRAPH, OWN, Refusal, call, session, settings } from './api.js';
import { h, say, theirs, time } from './dom.js';
import { table } from './timeline.js';
import { emulatorToken } from './sign-in.js';

/** How often to ask again, in milliseconds. */
const REFRESH = 5000;
/** Subscriptions whose deliveries are asked for at once. */
const LOOKED_AT = 50;

export function subscriptions() {
  const summary = h('p', { role: 'status', class: 'summary' });
  const body = h('div');
  const details = h('div');
  const root = h('div', { class: 'person' }, h('h1', { tabindex: '-1' }, 'Subscriptions'), summary, body, details);
  let drawn = '';
  let opened = null;

  async function refresh() {
    try {
      const list = await read();
      const text = JSON.stringify(list);
      if (text !== drawn) {
        drawn = text;
        draw(list);
      }
      if (opened) await open(opened);
    } catch (error) {
      say(summary, error.message);
    }
  }

  function draw({ isAll, value }) {
    const whose = isAll ? 'of the tenant' : 'of this application';
    say(summary, value.length === 0 ? `There is no subscription ${whose}.` : `${value.length} ${value.length === 1 ? 'subscription' : 'subscriptions'} ${whose}`);
    if (value.length === 0) {
      body.replaceChildren();
      return;
    }
    const focused = document.activeElement?.dataset?.id;
    body.replaceChildren(table('Subscriptions', ['Endpoint', 'Users', 'Expires', 'Outstanding', 'Health', ''], value.map((item) => h('tr', {},
      h('td', {}, theirs(item.notificationUrl), h('small', {}, ` ${item.applicationId ?? ''}`)),
      h('td', {}, item.users === undefined ? theirs(item.resource ?? '') : String(item.users)),
      h('td', {}, time(item.expirationDateTime)),
      h('td', {}, item.outstanding ?? '—'),
      h('td', { class: item.health.isBad ? 'problem' : null }, item.health.text),
      h('td', {}, isAll ? h('button', { type: 'button', 'data-id': item.id, click: () => open(item.id) }, 'Deliveries',
        h('span', { class: 'hidden' }, ` to ${item.notificationUrl}`)) : '')))));
    if (focused) body.querySelector(`[data-id="${focused}"]`)?.focus();
  }

  async function open(id) {
    opened = id;
    const { subscription, value } = await deliveries(id);
    const rows = value.map((attempt) => h('tr', {},
      h('td', {}, time(attempt.triedAt)), h('td', {}, String(attempt.items)), h('td', {}, String(attempt.attempt)),
      h('td', { class: attempt.outcome === 'delivered' ? null : 'problem' }, `${attempt.status ?? ''} ${attempt.outcome}`.trim()),
      h('td', {}, `${attempt.milliseconds} ms`),
      h('td', {}, attempt.nextTry ? time(attempt.nextTry) : '—')));
    details.replaceChildren(
      h('h2', {}, 'Deliveries to ', theirs(subscription.notificationUrl)),
      rows.length === 0 ? h('p', {}, 'Nothing was delivered yet, or it is forgotten.')
        : table('Attempts, newest first', ['Tried', 'Items', 'Attempt', 'Outcome', 'Took', 'Next try'], rows));
  }

  const interval = setInterval(() => { if (!document.hidden) refresh(); }, REFRESH);
  return { root, title: 'Subscriptions', shown: refresh, close: () => clearInterval(interval) };
}

/** In an emulator anybody administers; elsewhere whoever's token says so. */
export const adminToken = async () => (settings.emulator ? emulatorToken(null) : session.token);

async function deliveries(id) {
  return call(`${OWN}/admin/subscriptions/${id}/deliveries`, { token: await adminToken() });
}

async function read() {
  try {
    const { value } = await call(`${OWN}/admin/subscriptions`, { token: await adminToken() });
    const looked = value.slice(0, LOOKED_AT).map(async (item) => ({ ...item, health: health((await deliveries(item.id)).value) }));
    const rest = value.slice(LOOKED_AT).map((item) => ({ ...item, health: health([]) }));
    return { isAll: true, value: [...await Promise.all(looked), ...rest] };
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 403) throw error;
    const { value } = await call(`${GRAPH}/subscriptions`);
    return { isAll: false, value: value.map((item) => ({ ...item, health: { text: 'for administrators', isBad: false } })) };
  }
}

/** What the attempts that are remembered say, newest first. */
function health(attempts) {
  if (attempts.length === 0) return { text: 'nothing delivered yet', isBad: false };
  const failed = attempts.findIndex((attempt) => attempt.outcome === 'delivered');
  if (failed === 0) return { text: `delivered in ${attempts[0].milliseconds} ms`, isBad: false };
  const count = failed < 0 ? attempts.length : failed;
  return { text: `${count} ${count === 1 ? 'attempt' : 'attempts'} failed: ${attempts[0].outcome}`, isBad: true };
}
