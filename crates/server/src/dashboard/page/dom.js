// Elements from code. Text is only ever text: what somebody calls themselves cannot become markup.

/** Makes an element. `attributes` with functions are listeners, `true` is an empty attribute, `false` and `null` none. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets text only where it differs, so that nothing is drawn or read out again for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Text by somebody else, kept from turning the direction of what stands beside it. */
export const theirs = (text) => h('bdi', {}, text);

/** `InAConferenceCall` as people write it. */
export function words(text) {
  if (!text) return '';
  const split = text.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/([A-Z])([A-Z][a-z])/g, '$1 $2');
  return split.charAt(0).toUpperCase() + split.slice(1).toLowerCase();
}

/** What is shown of a pair: the activity where it says more. */
export function pairWords(pair) {
  const { availability, activity } = pair;
  // AvailableInactive is Available, inactive.
  const more = activity?.startsWith(availability) ? activity.slice(availability.length) : activity;
  return more ? `${words(availability)}, ${words(more).toLowerCase()}` : words(availability);
}

/** The kinds of availability that are told apart by colour and shape, in the order of the board. */
export const KINDS = ['Available', 'Busy', 'DoNotDisturb', 'BeRightBack', 'Away', 'Offline', 'PresenceUnknown'];

/** The kind of an availability: the idle ones look like those they are of. */
export function kindOf(availability) {
  const kind = (availability ?? '').replace(/Idle$/, '');
  return KINDS.includes(kind) ? kind : 'PresenceUnknown';
}

/** The mark of an availability. Its words stand beside it. */
export const mark = (availability) => h('span', { class: `mark ${kindOf(availability)}`, 'aria-hidden': 'true' });

const LETTERS = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** The first letters of the first and the last word of a name. */
function initials(name) {
  const words = name.trim().split(/\s+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  const first = (word) => LETTERS.segment(word.replace(/^[^\p{L}\p{N}]+/u, ''))[Symbol.iterator]().next().value?.segment ?? '';
  return ends.map(first).join('').toLocaleUpperCase();
}

/** A person's initials in the colour of their availability, with its mark. Name and words stand beside it. */
export function avatar(person) {
  const element = h('span', { class: 'avatar', 'aria-hidden': 'true' }, h('bdi'), h('span', { class: 'mark' }));
  drawAvatar(element, person);
  return element;
}

export function drawAvatar(element, person) {
  const kind = kindOf(person.availability);
  element.className = `avatar ${kind}`;
  say(element.firstChild, initials(person.name ?? ''));
  element.lastChild.className = `mark ${kind}`;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, {
  weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit',
});
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

/** An instant in the reader's zone: the time alone on the day of `now`. */
export function clockTime(instant, now = instant) {
  const [date, today] = [new Date(instant), new Date(now)];
  return (date.toDateString() === today.toDateString() ? TIME : DAY).format(date);
}

/** An instant with everything that can be said of it, in an element that says it to programs, too. */
export function time(instant, now) {
  return h('time', { datetime: instant, title: FULL.format(new Date(instant)) }, clockTime(instant, now));
}

/** A number of milliseconds as people say it: the two largest units. */
export function duration(milliseconds) {
  let seconds = Math.round(Math.abs(milliseconds) / 1000);
  const parts = [];
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(' ') || '0 s';
}

/** A labelled control. */
export function field(label, control) {
  return h('label', { class: 'field' }, h('span', {}, label), control);
}

/** A choice among options, each `[value, text]`. */
export function select(options, attributes = {}) {
  return h('select', attributes, options.map(([value, text]) => h('option', { value }, text)));
}
