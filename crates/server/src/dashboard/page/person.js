// One person: how they are shown, why, and what is ahead. A time line for the eye, and the same as a list.

import { clockTime, duration, field, h, kindOf, mark, pairWords, say, theirs, time, words } from './dom.js';
import { lanes, nameOf, outlook, span } from './outlook.js';

/** How often to ask again: a session that is hidden comes and goes without a change of what is shown. In milliseconds. */
const REFRESH = 10_000;
/** How long to wait for more changes before asking, in milliseconds. */
const SETTLE = 60;

export function person(people, id) {
  const name = h('bdi');
  const heading = h('h1', { tabindex: '-1' }, name);
  const shown = h('p', { class: 'shown', 'aria-live': 'polite' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const body = h('div');
  const at = h('input', { type: 'datetime-local', step: '1', change: () => refresh() });
  const now = h('button', { type: 'button', click: () => { at.value = ''; refresh(); } }, 'Now');
  const root = h('div', { class: 'person' },
    h('p', {}, h('a', { href: '#/' }, 'All people')),
    heading, shown, problem,
    h('div', { class: 'tools' }, field('Explain the instant', at), now),
    body);
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
      draw(await outlook(id, instant));
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

  function draw(steps) {
    const [first] = steps;
    const said = pairWords(first);
    if (shown.dataset.said !== said) {
      shown.dataset.said = said;
      shown.replaceChildren(mark(first.availability), h('strong', {}, said));
    }
    body.replaceChildren(
      h('h2', {}, 'Why'), why(first),
      h('h2', {}, 'What is ahead'), ahead(first), timeline(steps), list(steps),
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

/** Bars over time: a lane for what is shown, for the preferred presence, and for each session. */
function timeline(steps) {
  const [from, now, to] = span(steps);
  const percent = (instant) => Math.min(100, Math.max(0, ((instant - from) / (to - from)) * 100));
  const place = (element, start, end) => {
    element.style.insetInlineStart = `${percent(start)}%`;
    element.style.width = `${Math.max(0, percent(end) - percent(start))}%`;
    return element;
  };
  const rows = lanes(steps).map((lane) => {
    const bars = lane.segments.filter((segment) => segment.from < to).map((segment) => {
      const until = segment.to ? `until ${clockTime(segment.to, now)}` : 'with no end in sight';
      const label = pairWords(segment.pair);
      const kinds = `bar ${kindOf(segment.pair.availability)} ${segment.isShown ? 'wins' : 'loses'} ${(segment.to ?? Infinity) > to ? 'on' : ''}`;
      return place(h('div', { class: kinds, title: `${label}, ${until}` }, h('span', {}, label)), segment.from, segment.to ?? to);
    });
    // How a session looked before now is history; that it was there is not.
    if (lane.since) bars.unshift(place(h('div', { class: 'bar past', title: `since ${clockTime(lane.since, now)}` }), Date.parse(lane.since), now));
    return h('div', { class: `lane ${lane.key === 'shown' ? 'first' : ''}` },
      h('div', { class: 'lane-name' }, theirs(lane.label), lane.note ? h('small', {}, ` ${lane.note}`) : ''),
      h('div', { class: 'track' }, bars));
  });
  const line = h('div', { class: 'now', title: 'this instant' });
  line.style.insetInlineStart = `${percent(now)}%`;
  const ticks = ticksBetween(from, to).map((instant) => {
    const tick = h('span', { class: 'tick' }, clockTime(instant, now).replace(/:00$/, ''));
    tick.style.insetInlineStart = `${percent(instant)}%`;
    return tick;
  });
  return h('div', { class: 'timeline', role: 'img', 'aria-label': 'Time line; the same is in the list below.' },
    rows, h('div', { class: 'lane axis' }, h('div', { class: 'lane-name' }), h('div', { class: 'track' }, ticks, line)));
}

/** Round instants, four to eight of them. */
function ticksBetween(from, to) {
  const MINUTE = 60_000;
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10_080, 43_200].map((minutes) => minutes * MINUTE);
  const size = sizes.find((size) => (to - from) / size <= 6) ?? sizes.at(-1);
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const list = [];
  for (let at = Math.ceil((from - offset) / size) * size + offset; at < to; at += size) list.push(at);
  return list;
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

/** A table that scrolls by itself on a narrow screen, and can be scrolled with the keyboard. */
export function table(caption, columns, rows) {
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, columns.map((column) => h('th', { scope: 'col' }, column)))),
      h('tbody', {}, rows)));
}
