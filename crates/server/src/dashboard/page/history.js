// What was shown of a person, as a strip, with how long each state took and who wrote. Only where the server keeps a history.

import { OWN, Refusal, call } from './api.js';
import { clockTime, duration, field, h, kindOf, mark, pairWords, say, select, theirs, time, words } from './dom.js';
import { table, ticksBetween } from './timeline.js';

/** Writes that are listed at most, the newest. */
const WRITES_MAX = 50;
/** Narrowest part of the strip that is drawn by itself, of the whole. */
const SLIVER = 1 / 1000;
const HOUR = 3_600_000;
const PERIODS = [[1, 'The last hour'], [12, 'The last 12 hours'], [24, 'The last 24 hours'], [168, 'The last 7 days']];

/** How it was last looked at. */
const view = { hours: 24 };

export function history(id) {
  const period = select(PERIODS, { change: () => { view.hours = Number(period.value); refresh(asked); } });
  period.value = String(view.hours);
  const message = h('p', { class: 'says', role: 'status' });
  const body = h('div');
  const tools = h('div', { class: 'tools' }, field('Period', period));
  const root = h('section', { 'aria-label': 'History' }, h('h2', {}, 'History'), tools, message, body);
  let drawn = '';
  let asked = null;

  /** Reads it again, up to `to` (milliseconds): the server's own now, which may be far from the browser's. */
  async function refresh(to) {
    if (to === null) return;
    asked = to;
    const query = new URLSearchParams({
      from: new Date(to - view.hours * HOUR).toISOString(), to: new Date(to).toISOString(),
    });
    try {
      const past = await call(`${OWN}/users/${encodeURIComponent(id)}/presence/history?${query}`);
      const text = JSON.stringify(past);
      if (text !== drawn) {
        drawn = text;
        draw(past);
      }
    } catch (error) {
      if (!(error instanceof Refusal) || (error.status !== 403 && error.status !== 404)) throw error;
      drawn = '';
      tools.hidden = true;
      body.replaceChildren();
      say(message, error.status === 404 ? 'No history is kept on this server.' : 'You may not see the history of others.');
    }
  }

  function draw(past) {
    tools.hidden = false;
    say(message, note(past));
    if (past.shown.length === 0) {
      body.replaceChildren();
      return;
    }
    body.replaceChildren(strip(past), totals(past), writes(past));
  }

  return { root, refresh };
}

function note(past) {
  if (!past.knownFrom) return 'Nothing is known of this time.';
  if (past.isPartial) return `There is too much for one answer: what follows begins ${clockTime(past.knownFrom, past.to)}.`;
  return past.knownFrom > past.from ? `Known since ${clockTime(past.knownFrom, past.to)}.` : '';
}

function strip(past) {
  const [from, to] = [Date.parse(past.from), Date.parse(past.to)];
  const share = (instant) => (Date.parse(instant) - from) / (to - from);
  const parts = [];
  for (const stretch of past.shown) {
    const [start, end] = [share(stretch.from), share(stretch.to)];
    const last = parts.at(-1);
    // What is too narrow to be seen widens what it follows: thousands of slivers would be drawn for nothing.
    if (last && end - start < SLIVER && end - last.start < SLIVER) {
      last.end = end;
      continue;
    }
    parts.push({ stretch, start, end });
  }
  const bars = parts.map(({ stretch, start, end }) => {
    const label = `${pairWords(stretch)}, ${clockTime(stretch.from, past.to)} to ${clockTime(stretch.to, past.to)}`;
    const bar = h('div', { class: `bar ${kindOf(stretch.availability)} ${/(Inactive|Idle)$/.test(stretch.activity) ? 'inactive' : ''}`, title: label }, h('span', {}, pairWords(stretch)));
    bar.style.insetInlineStart = `${start * 100}%`;
    bar.style.width = `${Math.max(end - start, SLIVER) * 100}%`;
    return bar;
  });
  const ticks = ticksBetween(from, to).map((instant) => {
    const tick = h('span', { class: 'tick' }, clockTime(instant, to).replace(/:00$/, ''));
    tick.style.insetInlineStart = `${((instant - from) / (to - from)) * 100}%`;
    return tick;
  });
  return h('div', { class: 'timeline strip', role: 'img', 'aria-label': 'What was shown; the tables below say the same.' },
    h('div', { class: 'track unknown' }, bars), h('div', { class: 'track axis' }, ticks));
}

function totals(past) {
  const all = past.totals.reduce((sum, total) => sum + total.seconds, 0);
  return table('Time in each state', ['Presence', 'Time', 'Share'], past.totals.map((total) => h('tr', {},
    h('td', {}, mark(total.availability), ` ${pairWords(total)}`),
    h('td', {}, duration(total.seconds * 1000)),
    h('td', {}, share(total.seconds / all)))));
}

function share(part) {
  return new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 }).format(part);
}

function writes(past) {
  const latest = past.writes.slice(-WRITES_MAX).reverse();
  if (latest.length === 0) return h('p', { class: 'says' }, 'Nobody wrote in this time.');
  const caption = latest.length < past.writes.length ? `Who wrote, the latest ${latest.length} of ${past.writes.length}` : 'Who wrote';
  return table(caption, ['When', 'What', 'Application', 'For', 'Shown then'], latest.map((write) => h('tr', {},
    h('td', {}, time(write.at, past.to)),
    h('td', {}, words(write.action)),
    h('td', { title: write.application }, write.applicationName || write.application
      ? theirs(write.applicationName ?? `Application ${write.application.slice(0, 8)}`) : 'not known'),
    h('td', {}, write.user ? theirs(write.userName ?? write.user) : 'itself'),
    h('td', {}, mark(write.availability), ` ${pairWords(write)}`))));
}
