// The emulator's panel: its clock, what any application could set, and what clients asked.

import { GRAPH, OWN, ask, call } from './api.js';
import { clockTime, duration, field, h, mark, pairWords, say, select, theirs, time, words } from './dom.js';
import { fold } from './people.js';
import { inTable, table } from './timeline.js';
import { emulatorToken } from './sign-in.js';

/** How often to ask for the clock and the journal, in milliseconds. */
const REFRESH = 2000;
/** Rows of the journal, and of the changes beside the clock. */
const [JOURNAL_ROWS, CHANGE_ROWS] = [100, 12];
/** People offered while somebody types. */
const OFFERED = 50;

/** What an application may set (setPresence), and a user may prefer (setUserPreferredPresence). */
const SESSION_PAIRS = ['Available/Available', 'Busy/InACall', 'Busy/InAConferenceCall', 'Away/Away', 'DoNotDisturb/Presenting'];
const PREFERRED_PAIRS = [
  'Available/Available', 'Busy/Busy', 'DoNotDisturb/DoNotDisturb', 'BeRightBack/BeRightBack', 'Away/Away', 'Offline/OffWork',
];

export function dev(people) {
  const parts = [clock(people), setter(people), journal()];
  const root = h('div', { class: 'person' }, h('h1', { tabindex: '-1' }, 'Emulator'), parts.map((part) => part.root));
  const refresh = () => { if (!document.hidden) parts.forEach((part) => part.refresh?.()); };
  const interval = setInterval(refresh, REFRESH);
  return {
    root, title: 'Emulator', shown: refresh,
    close: () => {
      clearInterval(interval);
      parts.forEach((part) => part.close?.());
    },
  };
}

/** Runs something that somebody asked for, and says what came of it. */
function attempt(message, work) {
  return async (event) => {
    event?.preventDefault();
    try {
      say(message, (await work(event)) ?? '');
      message.className = 'said';
    } catch (error) {
      say(message, error.message);
      message.className = 'problem';
    }
  };
}

function clock(people) {
  const tools = clockTools();
  const changes = h('ol', { class: 'changes', 'aria-label': 'Latest changes' });
  const root = h('section', { class: 'halves' },
    h('div', {}, h('h2', {}, 'Clock'), tools.root),
    h('div', {}, h('h2', {}, 'Latest changes'), changes, h('p', { class: 'says empty' }, 'Move the clock, or set a presence below.')));
  const stopListening = people.listen((person) => {
    if (!person) return;
    changes.prepend(h('li', {}, time(person.since), ' ', mark(person.availability), ' ',
      h('a', { href: `#/person/${encodeURIComponent(person.id)}` }, theirs(person.name)), ` ${pairWords(person)}`));
    while (changes.children.length > CHANGE_ROWS) changes.lastChild.remove();
  });
  return {
    root,
    refresh: tools.refresh,
    close: () => {
      stopListening();
      tools.close();
    },
  };
}

/** The emulator's clock, with what moves it. */
export function clockTools() {
  const shown = h('output', { class: 'clock', id: 'clock' });
  const state = h('span', { class: 'says' });
  const message = h('p', { role: 'status', class: 'said' });
  const slider = h('input', { type: 'range', min: '1', max: '240', value: '5', input: sayAmount });
  const amount = h('button', { type: 'button', class: 'primary', click: attempt(message, () => advance(slider.value * 60)) });
  const freeze = h('button', { type: 'button', click: attempt(message, toggle) });
  let known = null;
  const button = (label, seconds) =>
    h('button', { type: 'button', click: attempt(message, () => advance(seconds)) }, label);
  const root = h('div', { class: 'clock-tools', role: 'group', 'aria-label': 'Clock' },
    h('p', { class: 'clock-line' }, shown, state),
    h('div', { class: 'tools' },
      button('+1 min', 60), button('+5 min', 300), button('+1 h', 3600), button('+1 day', 86_400), freeze),
    h('div', { class: 'tools' }, field('Minutes to move', slider), amount),
    message);
  const ticking = setInterval(draw, 250);
  sayAmount();

  function sayAmount() {
    const text = duration(slider.value * 60_000);
    say(amount, `Move by ${text}`);
    slider.setAttribute('aria-valuetext', text);
  }

  function take(reply) {
    known = { at: Date.parse(reply.time), asked: performance.now(), frozen: reply.frozen, ahead: reply.aheadSeconds };
    draw();
  }

  function draw() {
    if (!known) return;
    const at = known.at + (known.frozen ? 0 : performance.now() - known.asked);
    say(shown, `${new Date(at).toLocaleDateString(undefined, { dateStyle: 'full' })}, ${clockTime(at)}`);
    const ahead = known.ahead === 0 ? 'as on this machine' : `${duration(known.ahead * 1000)} ${known.ahead > 0 ? 'ahead of' : 'behind'} this machine`;
    say(state, `${known.frozen ? 'stands still, ' : ''}${ahead}`);
    say(freeze, known.frozen ? 'Let it run' : 'Stop it');
  }

  async function advance(seconds) {
    take(await call(`${OWN}/clock/advance`, { method: 'POST', body: { duration: `PT${seconds}S` } }));
    return `Moved by ${duration(seconds * 1000)}.`;
  }

  async function toggle() {
    take(await call(`${OWN}/clock/${known?.frozen ? 'resume' : 'freeze'}`, { method: 'POST', body: {} }));
    return known.frozen ? 'The clock stands still.' : 'The clock runs.';
  }

  return {
    root,
    refresh: () => call(`${OWN}/clock`).then(take).catch(() => {}),
    close: () => clearInterval(ticking),
  };
}

/** Sets presence as any application of the emulator. */
function setter(people) {
  const message = h('p', { role: 'status', class: 'said' });
  const application = select([], { required: true });
  const newName = h('input', { maxlength: '256', autocomplete: 'off' });
  const offered = h('datalist', { id: 'offered' });
  const who = h('input', { list: 'offered', required: true, autocomplete: 'off', spellcheck: 'false', input: offer });
  const what = select([['session', 'A presence session'], ['preferred', 'The preferred presence']], { change: choosePairs });
  const pair = select([]);
  const lifetime = select([['PT5M', '5 minutes'], ['PT30M', '30 minutes'], ['PT1H', '1 hour'], ['PT4H', '4 hours']]);
  lifetime.value = 'PT1H';
  const root = h('section', {}, h('h2', {}, 'Set presence as an application'),
    h('form', { class: 'wide', submit: attempt(message, set) },
      field('Application', application), field('Person', who), offered,
      field('What', what), field('Presence', pair), field('For', lifetime),
      h('div', { class: 'buttons' },
        h('button', { type: 'submit', class: 'primary' }, 'Set'),
        h('button', { type: 'button', click: attempt(message, clear) }, 'Clear'))),
    message,
    h('form', { class: 'wide', submit: attempt(message, add) },
      field('Another application', newName), h('button', { type: 'submit' }, 'Add')));
  choosePairs();
  readApplications().catch((error) => say(message, error.message));

  function choosePairs() {
    const pairs = what.value === 'session' ? SESSION_PAIRS : PREFERRED_PAIRS;
    pair.replaceChildren(...pairs.map((text) => {
      const [availability, activity] = text.split('/');
      return h('option', { value: text }, pairWords({ availability, activity }));
    }));
  }

  function offer() {
    const needle = fold(who.value);
    const found = people.order.filter((person) => person.key.includes(needle)).slice(0, OFFERED);
    offered.replaceChildren(...found.map((person) => h('option', { value: person.upn || person.id }, person.name)));
  }

  async function readApplications(chosen) {
    const { value } = await call(`${OWN}/admin/applications`, { token: await emulatorToken(null) });
    application.replaceChildren(...value.map(({ id, displayName }) => h('option', { value: id }, displayName || id)));
    if (chosen) application.value = chosen;
  }

  async function add() {
    const made = await call(`${OWN}/admin/applications`, {
      method: 'POST', token: await emulatorToken(null),
      body: { displayName: newName.value, roles: ['Presence.ReadWrite.All', 'User.Read.All'] },
    });
    newName.value = '';
    await readApplications(made.id);
    return 'Added.';
  }

  async function write(action, body) {
    const token = await emulatorToken(null, application.value);
    const path = `${GRAPH}/users/${encodeURIComponent(who.value.trim())}/presence/${action}`;
    const response = await ask(path, { method: 'POST', body, token });
    return outcome(response.headers.get('presenced-outcome'));
  }

  function set() {
    const [availability, activity] = pair.value.split('/');
    const body = { availability, activity, expirationDuration: lifetime.value };
    return what.value === 'session'
      ? write('setPresence', { sessionId: application.value, ...body })
      : write('setUserPreferredPresence', body);
  }

  function clear() {
    return what.value === 'session'
      ? write('clearPresence', { sessionId: application.value })
      : write('clearUserPreferredPresence', {});
  }

  return { root };
}

/** `hidden;by=session;until="…"` in words. */
function outcome(header) {
  if (!header) return 'Done.';
  const [word, ...parameters] = header.split(';');
  const { by, until } = Object.fromEntries(parameters.map((text) => {
    const [name, value] = text.split('=');
    return [name, value.replaceAll('"', '')];
  }));
  if (word === 'visible') return 'Done, and visible.';
  const why = by ? ` by ${words(by).toLowerCase()}` : '';
  return `Done, but ${word}${why}${until ? ` until ${clockTime(until)}` : ''}.`;
}

/** What clients asked of Graph, newest first. */
function journal() {
  const columns = ['At', 'Request', 'Answer', 'Took'];
  const rows = h('tbody', { role: 'rowgroup' });
  const problemsOnly = h('input', { type: 'checkbox', change: filter });
  const root = h('section', { class: 'journal' }, h('h2', {}, 'Requests'),
    h('label', { class: 'check' }, problemsOnly, ' only those that were refused'),
    table('What clients asked of Graph', columns, []));
  root.querySelector('tbody').replaceWith(rows);
  let next = 0;

  async function refresh() {
    const page = await call(`${OWN}/requests?from=${next}`).catch(() => null);
    if (!page) return;
    // A server that was started again counts from the beginning.
    if (page.next < next) {
      next = 0;
      rows.replaceChildren();
      return;
    }
    next = page.next;
    for (const entry of page.value.slice(-JOURNAL_ROWS)) rows.prepend(row(entry));
    while (rows.children.length > JOURNAL_ROWS) rows.lastChild.remove();
    filter();
  }

  function filter() {
    for (const element of rows.children) element.hidden = problemsOnly.checked && element.dataset.ok === 'yes';
  }

  function row(entry) {
    const bodies = [['Sent', entry.requestBody], ['Answered', entry.responseBody]].filter(([, text]) => text);
    return inTable(h('tr', { 'data-ok': entry.status < 400 ? 'yes' : 'no' },
      h('td', {}, time(entry.at)),
      h('td', {}, h('details', {},
        h('summary', {}, h('b', {}, entry.method), ' ', theirs(entry.path)),
        h('p', { class: 'says' }, `request-id ${entry.requestId}${entry.application ? `, application ${entry.application}` : ''}`),
        bodies.map(([label, text]) => [h('p', { class: 'says' }, label), h('pre', {}, pretty(text))]))),
      h('td', { class: entry.status < 400 ? null : 'problem' }, String(entry.status), entry.outcome ? ` ${entry.outcome.split(';')[0]}` : ''),
      h('td', {}, `${entry.milliseconds} ms`)), columns);
  }

  return { root, refresh };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
