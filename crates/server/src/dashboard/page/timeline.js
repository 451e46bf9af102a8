// Bars over time, and tables that say the same.

import { clockTime, h, kindOf, pairWords, theirs } from './dom.js';
import { lanes, span } from './outlook.js';

/** Bars over time: a lane for what is shown, for the preferred presence, and for each session. */
export function timeline(steps) {
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
    rows, h('div', { class: 'lane axis' }, h('div', { class: 'lane-name' }), h('div', { class: 'track' }, ticks, line)),
    h('p', { class: 'legend' }, [['wins', 'what is shown'], ['loses', 'beaten by something stronger'], ['past', 'since it was set']]
      .map(([kind, text]) => h('span', {}, h('span', { class: `key ${kind}` }), text))));
}

/** Round instants, four to eight of them. */
export function ticksBetween(from, to) {
  const MINUTE = 60_000;
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10_080, 43_200].map((minutes) => minutes * MINUTE);
  const size = sizes.find((size) => (to - from) / size <= 6) ?? sizes.at(-1);
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const list = [];
  for (let at = Math.ceil((from - offset) / size) * size + offset; at < to; at += size) list.push(at);
  return list;
}

/** A row as a table of these columns wants it. */
export function inTable(row, columns) {
  row.setAttribute('role', 'row');
  [...row.children].forEach((cell, at) => {
    cell.dataset.column = columns[at];
    cell.setAttribute('role', cell.tagName === 'TH' ? 'rowheader' : 'cell');
  });
  return row;
}

/**
 * A table that scrolls by itself where it is too wide, also with the keyboard. On a narrow screen each row stands as a list of
 * its cells, with the columns' names: then it takes roles to stay a table for those who hear it.
 */
export function table(caption, columns, rows) {
  rows.forEach((row) => inTable(row, columns));
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', { role: 'table' }, h('caption', {}, caption),
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((column) => h('th', { scope: 'col', role: 'columnheader' }, column)))),
      h('tbody', { role: 'rowgroup' }, rows)));
}
