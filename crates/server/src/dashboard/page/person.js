// One person: how they are shown, why, and what is ahead. A time line for the eye, and the same as a list.

import { avatar, drawAvatar, duration, field, h, mark, pairWords, say, theirs, time, words } from './dom.js';
import { history } from './history.js';
import { lanes, nameOf, outlook } from './outlook.js';
import { table, timeline } from './timeline.js';

/** How often to ask again: a session that is hidden comes and goes without a change of what is shown. In milliseconds. */
const REFRESH = 10_000;
/** How long to wait for more changes before asking, in milliseconds. */
const SETTLE = 60;

export function person(people, id) {
  const name = h('bdi');
  const heading = h('h1', { tabindex: '-1' }, name);
  const shown = h('p', { class: 'shown', 'aria-live': 'polite' });
  const detail = h('p', { class: 'says detail' });
  const face = avatar({ name: '', availability: 'PresenceUnknown' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const body = h('div');
  const past = history(id);
  // The server's now, as last heard: the clock of an emulator is another one than the browser's.
  let latest = null;
  const at = h('input', { type: 'datetime-local', step: '1', change: () => refresh() });
  const now = h('button', { type: 'button', click: () => { at.value = ''; refresh(); } }, 'Now');
  const root = h('div', { class: 'person' },
    h('p', { class: 'back' }, h('a', { href: '#/' }, 'All people')),
    h('div', { class: 'headline' }, face, h('div', { class: 'text' }, heading, shown, detail),
      h('div', { class: 'tools' }, field('Explain the instant', at), now)),
    problem, body, past.root);
  const view = { root, title: 'Person', shown: refresh, close };

  let timer = null;
  let isAsking = false;
  let isAskedAgain = false;
  const stopListening = people.listen((changed) => {
    if (!changed) sayName();
    if (!changed || changed.id === id) soon();
  });
  const interval = setInterval(() => { if (!document.hidden) refresh(); }, REFRESH);
  sayName();

  function sayName() {
    const known = people.byId.get(id);
    say(name, known?.name ?? id);
    say(detail, [known?.title, known?.department, known?.upn].filter(Boolean).join(' · '));
    if (known) drawAvatar(face, { ...known, availability: face.availability ?? known.availability });
    view.title = known?.name ?? 'Person';
    if (root.isConnected) document.title = `${view.title} · presenced`;
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(refresh, SETTLE);
  }

  async function refresh() {
    if (isAsking) {
      isAskedAgain = true;
      return;
    }
    isAsking = true;
    try {
      const instant = at.value ? new Date(at.value).toISOString() : null;
      const steps = await outlook(id, instant);
      const instantOf = Date.parse(steps[0].at);
      if (!instant) latest = instantOf;
      redraw(steps);
      await past.refresh(instant ? Math.min(instantOf, latest ?? instantOf) : instantOf);
      say(problem, '');
    } catch (error) {
      say(problem, error.message);
    } finally {
      isAsking = false;
      if (isAskedAgain) {
        isAskedAgain = false;
        soon();
      }
    }
  }

  /** Draws anew, and leaves the keyboard and what was scrolled where they are. */
  function redraw(steps) {
    const regions = () => [...body.querySelectorAll('[role=region]')];
    const places = new Map(regions().map((region) => [region.getAttribute('aria-label'), region.scrollLeft]));
    const focused = body.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
    draw(steps);
    for (const region of regions()) {
      const label = region.getAttribute('aria-label');
      region.scrollLeft = places.get(label) ?? 0;
      if (focused === label) region.focus({ preventScroll: true });
    }
  }

  function draw(steps) {
    const [first] = steps;
    const said = pairWords(first);
    face.availability = first.availability;
    drawAvatar(face, { name: people.byId.get(id)?.name ?? '', availability: first.availability });
    if (shown.dataset.said !== said) {
      shown.dataset.said = said;
      shown.replaceChildren(h('strong', {}, said));
    }
    body.replaceChildren(
      h('div', { class: 'answers' },
        h('section', {}, h('h2', {}, 'Why'), why(first)),
        h('section', {}, h('h2', {}, 'What is ahead'), ahead(first))),
      timeline(steps), list(steps),
      h('h2', {}, 'What was asked for'), inputs(first));
  }

  function close() {
    stopListening();
    clearInterval(interval);
    clearTimeout(timer);
  }

  return view;
}

/** The rule that chose, in a sentence. */
function why(explanation) {
  const winner = explanation.sessions.find((session) => session.outcome === 'shown');
  const count = explanation.sessions.length;
  const reason = {
    noSession: () => ['There is no live presence session.'],
    preferredPresence: () => ['The preferred presence, which the user chose, beats all sessions.'],
    strongestSession: () => count === 1
      ? ['The only presence session, of ', theirs(nameOf(winner)), ', says so.']
      : [`Of ${count} presence sessions that of `, theirs(nameOf(winner)), ' is the strongest.'],
  }[explanation.rule] ?? (() => [words(explanation.rule)]);
  return h('p', { class: 'why' }, reason(), explanation.outOfOfficeShown ? ' The out-of-office message is shown, too.' : '');
}

function ahead({ nextChange, at }) {
  if (!nextChange) return h('p', { class: 'next' }, 'Nothing changes by itself.');
  const wait = duration(Date.parse(nextChange.at) - Date.parse(at));
  return h('p', { class: 'next' }, mark(nextChange.availability), ` ${pairWords(nextChange)} at `, time(nextChange.at, at),
    `, in ${wait}, unless somebody writes.`);
}

/** The time line as a table. */
function list(steps) {
  const [first] = steps;
  const rows = lanes(steps)[0].segments.map((segment) => h('tr', {},
    h('td', {}, time(segment.from, first.at)),
    h('td', {}, segment.to ? time(segment.to, first.at) : '—'),
    h('td', {}, mark(segment.pair.availability), ` ${pairWords(segment.pair)}`),
    h('td', {}, words(segment.pair.rule))));
  return table('What will be shown if nobody writes', ['From', 'Until', 'Presence', 'Rule'], rows);
}

function inputs(first) {
  const named = new Map(first.sessions.map((session) => [session.application, nameOf(session)]));
  const sessions = first.sessions.map((session) => h('tr', { class: session.outcome === 'shown' ? 'winner' : null },
    h('th', { scope: 'row', title: session.application }, theirs(nameOf(session))),
    h('td', {}, mark(session.availability), ` ${pairWords(session)}`,
      session.fade === 'fresh' ? '' : h('small', {}, ` set to ${pairWords(session.set)}, faded`)),
    h('td', {}, time(session.setAt, first.at)),
    h('td', {}, session.nextFadeAt ? time(session.nextFadeAt, first.at) : '—'),
    h('td', {}, time(session.expiresAt, first.at)),
    h('td', {}, outcome(session, named))));
  return h('div', {},
    sessions.length > 0
      ? table('Presence sessions', ['Application', 'Presence', 'Set', 'Fades', 'Expires', 'Outcome'], sessions)
      : h('p', {}, 'There is no presence session.'),
    h('dl', {}, others(first)));
}

function outcome(session, named) {
  const by = theirs(named.get(session.beatenBy) ?? session.beatenBy ?? '');
  switch (session.outcome) {
    case 'shown': return 'shown';
    case 'hiddenByPreferredPresence': return 'hidden by the preferred presence';
    case 'outranked': return h('span', {}, 'outranked by ', by);
    case 'setEarlier': return h('span', {}, 'set earlier than ', by);
    default: return words(session.outcome);
  }
}

/** What is not a session: as pairs of terms and descriptions. */
function others({ at, preferredPresence: preferred, outOfOffice: away, statusMessage: message, workLocation: location, sequenceNumber }) {
  const entry = (term, ...description) => [h('dt', {}, term), h('dd', {}, ...description)];
  const list = [];
  list.push(entry('Preferred presence', ...(preferred
    ? [mark(preferred.availability), ` ${pairWords(preferred)}, until `, time(preferred.expiresAt, at),
      preferred.outcome === 'shown' ? '' : '; it waits for a session']
    : ['none'])));
  list.push(entry('Out of office', ...(away
    ? [away.isActive ? 'active' : 'not now', away.startsAt ? [', from ', time(away.startsAt, at)] : '',
      away.endsAt ? [' until ', time(away.endsAt, at)] : '', away.message ? [': ', theirs(away.message)] : ''].flat()
    : ['no'])));
  list.push(entry('Status message', ...(message
    ? [theirs(message.content), message.expiresAt ? [' until ', time(message.expiresAt, at)] : ''].flat() : ['none'])));
  list.push(entry('Work location', location.source === 'none' ? 'not known'
    : h('span', {}, words(location.workLocationType), location.placeId ? [' at ', theirs(location.placeId)] : '', ` (${location.source})`)));
  list.push(entry('Sequence number', sequenceNumber));
  return list;
}
