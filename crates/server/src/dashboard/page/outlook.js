// What is ahead of a person if nobody writes: asked of the server instant by instant. Nothing here knows a rule; each segment
// that is drawn is what an explanation says of the instant at which it begins.

import { OWN, call } from './api.js';

/** Instants that are asked for at most. */
const STEPS_MAX = 24;
/** How far to look when nothing is known to end, in milliseconds. */
const OUTLOOK = 3_600_000;

export const explain = (id, at) => call(
  `${OWN}/users/${encodeURIComponent(id)}/presence/explanation${at ? `?at=${encodeURIComponent(at)}` : ''}`);

/** The explanation now (or at `at`), and at every instant after it at which any of its inputs changes. */
export async function outlook(id, at) {
  const steps = [await explain(id, at)];
  while (steps.length < STEPS_MAX) {
    const next = nextInstant(steps.at(-1));
    if (!next) break;
    steps.push(await explain(id, next));
  }
  return steps;
}

/** The first instant after that of an explanation at which it says something will happen. */
function nextInstant(step) {
  const instants = [step.nextChange?.at, step.preferredPresence?.expiresAt, step.outOfOffice?.startsAt, step.outOfOffice?.endsAt];
  for (const session of step.sessions) instants.push(session.nextFadeAt, session.expiresAt);
  // As texts: all are UTC with seven digits, of which a Date would lose four.
  return instants.filter((instant) => instant && instant > step.at).sort()[0] ?? null;
}

/** The part of the time line to draw: `[from, now, to]` in milliseconds. */
export function span(steps) {
  const [first] = steps;
  const now = Date.parse(first.at);
  const ends = first.sessions.map((session) => Date.parse(session.expiresAt));
  if (ends.length === 0 && first.preferredPresence) ends.push(Date.parse(first.preferredPresence.expiresAt));
  const last = Math.max(now + 60_000, ...(ends.length > 0 ? ends : [now + OUTLOOK]));
  const ahead = (last - now) * 1.1;
  const starts = first.sessions.map((session) => Date.parse(session.setAt));
  // What is past takes a third at most: what is to come is the question.
  const from = Math.max(Math.min(now, ...starts), now - ahead / 2);
  return [from - ahead / 50, now, now + ahead];
}

/**
 * Lanes of the time line, strongest first: `{ key, label, note, segments }`; a segment is
 * `{ from, to, pair, isShown, isPast }`, with `to` `null` where no end is known.
 */
export function lanes(steps) {
  const [first] = steps;
  const list = [{
    key: 'shown', label: 'Shown', note: '',
    segments: runs(steps, (step) => ({ pair: step, isShown: true })),
  }];
  if (first.preferredPresence) {
    list.push({
      key: 'preferred', label: 'Preferred presence', note: '', since: first.preferredPresence.setAt,
      segments: runs(steps, ({ preferredPresence: preferred }) =>
        preferred && { pair: preferred, isShown: preferred.outcome === 'shown' }),
    });
  }
  for (const session of first.sessions) {
    list.push({
      key: session.application, label: nameOf(session), note: 'session', since: session.setAt,
      segments: runs(steps, (step) => {
        const later = step.sessions.find((other) => other.application === session.application);
        return later && { pair: later, isShown: later.outcome === 'shown' };
      }),
    });
  }
  if (first.outOfOffice) {
    list.push({
      key: 'outOfOffice', label: 'Out of office', note: '',
      segments: runs(steps, ({ outOfOffice }) =>
        outOfOffice?.isActive && { pair: { availability: 'Away', activity: 'OutOfOffice' }, isShown: false }),
    });
  }
  return list;
}

/** What people call an application. */
export const nameOf = (input) => input.applicationName ?? `Application ${input.application.slice(0, 8)}`;

/** Joins the steps of which `pick` says the same. */
function runs(steps, pick) {
  const list = [];
  for (const [at, step] of steps.entries()) {
    const [found, before] = [pick(step), list.at(-1)];
    const from = Date.parse(step.at);
    const isGoingOn = before && before.step === at - 1;
    if (isGoingOn && found && sameAs(before, found)) {
      before.step = at;
      continue;
    }
    if (isGoingOn) before.to = from;
    if (found) list.push({ ...found, from, to: null, step: at });
  }
  return list;
}

const sameAs = (a, b) =>
  a.pair.availability === b.pair.availability && a.pair.activity === b.pair.activity && a.isShown === b.isShown;
