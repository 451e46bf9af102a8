// The nodes that share a store: who works on what, and whether they keep up. For administrators.

import { OWN, Refusal, call } from './api.js';
import { duration, h, say, theirs, time } from './dom.js';
import { adminToken } from './subscriptions.js';
import { table } from './timeline.js';

/** How often to ask again, in milliseconds. A node tells of itself once a second. */
const REFRESH = 2000;
/** A node that has not read everything for as long as this is late, in milliseconds. */
const LATE = 2000;

export function nodes() {
  const summary = h('p', { role: 'status', class: 'summary' });
  const body = h('div');
  const root = h('div', { class: 'person' }, h('h1', { tabindex: '-1' }, 'Nodes'), summary, body);
  // A start is told as a time that has passed, rounded: the first that was told stays.
  const started = new Map();
  let drawn = '';

  async function refresh() {
    try {
      draw(await call(`${OWN}/admin/nodes`, { token: await adminToken() }));
    } catch (error) {
      const isForOthers = error instanceof Refusal && error.status === 403;
      say(summary, isForOthers ? 'The nodes are for administrators of this server.' : error.message);
      if (isForOthers) body.replaceChildren();
    }
  }

  function draw({ value, buckets, losses }) {
    const living = value.filter((node) => node.lives);
    const worked = living.reduce((sum, node) => sum + node.buckets, 0);
    const parts = [
      `${living.length} ${living.length === 1 ? 'node lives' : 'nodes live'}`,
      living.length < value.length ? `${value.length - living.length} silent` : null,
      `${worked} of ${buckets} buckets are worked on`,
      losses > 0 ? `the store went back ${losses} times` : null,
    ];
    say(summary, parts.filter(Boolean).join(', '));
    const rows = value.map((node) => {
      if (node.startedAt && !started.has(node.id)) started.set(node.id, node.startedAt);
      const lag = node.lives ? node.logLagMilliseconds : null;
      return {
        node,
        lag: lag === null ? '—' : lag < LATE ? 'up to date' : `${duration(lag)} behind`,
        isLate: lag !== null && lag >= LATE,
        state: node.lives ? 'lives' : 'silent',
      };
    });
    // When a silent one was last heard of is told as a time that has passed, too.
    const text = JSON.stringify(rows.map(({ node: { lastHeardOf, startedAt, logLagMilliseconds, ...rest }, ...shown }) => [rest, shown]));
    if (text === drawn) return;
    drawn = text;
    body.replaceChildren(table('Nodes', ['Node', 'State', 'Since', 'Build', 'Buckets', 'Log', 'Last change read'], rows.map(({ node, lag, isLate, state }) => h('tr', {},
      h('th', { scope: 'row' }, theirs(node.name || node.id), h('small', {}, node.isThis ? ' answers you' : ` ${node.id}`)),
      h('td', { class: node.lives ? null : 'problem' }, state, node.lives ? '' : [' since ', time(node.lastHeardOf, Date.now())]),
      h('td', {}, started.has(node.id) ? time(started.get(node.id), Date.now()) : '—'),
      h('td', {}, theirs(node.version)),
      h('td', {}, String(node.buckets)),
      h('td', { class: isLate ? 'problem' : null }, lag),
      h('td', {}, node.logReadUpTo ? time(node.logReadUpTo, Date.now()) : '—')))));
  }

  const interval = setInterval(() => { if (!document.hidden) refresh(); }, REFRESH);
  return { root, title: 'Nodes', shown: refresh, close: () => clearInterval(interval) };
}
