// The board: everybody, as they are shown now. Only the cards that can be seen exist as elements, and however many changes
// come, there is one pass over the people and one over the cards in each frame.

import { settings } from './api.js';
import { clockTools } from './dev.js';
import { KINDS, avatar, clockTime, drawAvatar, field, h, kindOf, mark, pairWords, say, select, words } from './dom.js';
import { fold } from './people.js';

/** Narrowest card, in `rem`. */
const CARD_WIDTH = 17;
/** Rows drawn beyond each edge of the window, so that scrolling meets cards that are there. */
const OVERSCAN = 4;
/** How long a card shows that it has just changed, in milliseconds. */
const FLASH = 1200;

/** How the board was last looked at: coming back from a person finds it so. */
const view = { search: '', kinds: new Set(), group: 'none' };

export function board(people) {
  const counts = new Map(KINDS.map((kind) => [kind, h('span', { class: 'count' })]));
  const chips = KINDS.map((kind) => h('button', {
    type: 'button', class: 'chip', 'data-kind': kind, 'aria-pressed': String(view.kinds.has(kind)),
    click: (event) => toggle(kind, event.currentTarget),
  }, mark(kind), ` ${words(kind)} `, counts.get(kind)));
  const search = h('input', {
    type: 'search', id: 'search', autocomplete: 'off', spellcheck: 'false', value: view.search,
    input: () => { view.search = search.value; changed(); },
  });
  const group = select([['none', 'Nothing'], ['availability', 'Availability'], ['department', 'Department']], {
    change: () => { view.group = group.value; changed(); },
  });
  group.value = view.group;
  // The chips say the same in numbers.
  const shares = new Map(KINDS.map((kind) => [kind, h('span', { class: `share ${kind}` })]));
  // In an emulator: move the clock and watch the board fade.
  const clock = settings.emulator ? clockTools() : null;
  const clockFold = clock && h('details', { class: 'clock-fold', toggle: () => { if (clockFold.open) clock.refresh(); changed(); } },
    h('summary', {}, 'Clock'), clock.root);
  const summary = h('p', { class: 'summary', id: 'summary', role: 'status' });
  const list = h('div', { class: 'cards', role: 'list', 'aria-label': 'People', 'aria-describedby': 'keys', keydown: onKey, focusin: onFocus });
  const probe = h('div', { class: 'probe', 'aria-hidden': 'true' }, h('div', { class: 'card' }), h('h2', { class: 'group' }, 'x'));
  const root = h('div', { class: 'board' },
    h('h1', { tabindex: '-1' }, 'People'),
    h('div', { class: 'tools', role: 'search' },
      field('Search', search), field('Group by', group),
      h('div', { class: 'chips', role: 'group', 'aria-label': 'Show only' }, chips)),
    clockFold,
    h('div', { class: 'shares', 'aria-hidden': 'true' }, [...shares.values()]),
    summary,
    h('p', { id: 'keys', class: 'hidden' }, 'Arrow keys move between people, Enter opens one.'),
    list, probe);

  let rows = [];
  let shown = [];
  let isStale = true;
  let recount = true;
  let frame = 0;
  let columns = 1;
  let size = { card: 72, head: 40, gap: 8 };
  // Where the keyboard is in the list: the one stop among its cards.
  let current = null;
  let isChosen = false;
  const cards = new Map();

  const stopListening = people.listen((person) => {
    // One person's change moves nobody unless people stand by availability or are left out by it.
    if (!person || view.group === 'availability' || view.kinds.size > 0) isStale = true;
    recount = true;
    draw();
  });
  const resize = new ResizeObserver(() => { measure(); isStale = true; draw(); });
  resize.observe(root);
  const onScroll = () => draw();
  addEventListener('scroll', onScroll, { passive: true });

  function toggle(kind, chip) {
    if (!view.kinds.delete(kind)) view.kinds.add(kind);
    chip.setAttribute('aria-pressed', String(view.kinds.has(kind)));
    changed();
  }

  function changed() {
    isStale = true;
    draw();
  }

  function draw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; if (root.isConnected) paint(); });
  }

  function measure() {
    const [card, head] = probe.children;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    size = { card: card.offsetHeight || 72, head: head.offsetHeight || 40, gap: rem / 2 };
    const width = list.clientWidth;
    columns = Math.max(1, Math.floor((width + size.gap) / (CARD_WIDTH * rem + size.gap)));
    list.style.setProperty('--card-width', `${(width - (columns - 1) * size.gap) / columns}px`);
  }

  /** Who is to be seen, in rows of the width there is. */
  function arrange() {
    const needle = fold(view.search.trim());
    const wanted = people.order.filter((person) =>
      (view.kinds.size === 0 || view.kinds.has(kindOf(person.availability))) && (!needle || person.key.includes(needle)));
    const groups = view.group === 'none' ? [['', wanted]] : grouped(wanted);
    rows = [];
    shown = [];
    let top = 0;
    for (const [label, members] of groups) {
      if (label) {
        rows.push({ top, height: size.head + size.gap, label: `${label} (${members.length})`, people: [] });
        top += size.head + size.gap;
      }
      for (let at = 0; at < members.length; at += columns) {
        const row = members.slice(at, at + columns);
        rows.push({ top, height: size.card + size.gap, label: null, people: row, first: shown.length });
        shown.push(...row);
        top += size.card + size.gap;
      }
    }
    list.style.height = `${top}px`;
    if (!isChosen || !shown.some((person) => person.id === current)) current = shown[0]?.id ?? null;
  }

  function grouped(wanted) {
    const byAvailability = view.group === 'availability';
    const groups = new Map(byAvailability ? KINDS.map((kind) => [kind, []]) : []);
    for (const person of wanted) {
      const key = byAvailability ? kindOf(person.availability) : person.department;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(person);
    }
    const list = [...groups].filter(([, members]) => members.length > 0);
    if (!byAvailability) list.sort(([a], [b]) => (a === '') - (b === '') || a.localeCompare(b));
    return list.map(([key, members]) => [byAvailability ? words(key) : key || 'No department', members]);
  }

  function paint() {
    if (isStale) {
      isStale = false;
      arrange();
      recount = true;
    }
    if (recount) {
      recount = false;
      count();
    }
    const top = list.getBoundingClientRect().top;
    const reach = OVERSCAN * (size.card + size.gap);
    const [from, to] = [-top - reach, innerHeight - top + reach];
    const wanted = [];
    for (let at = firstRow(from); at < rows.length && rows[at].top < to; at += 1) {
      const row = rows[at];
      if (row.label) wanted.push(placed(heading(row), 0, row.top));
      row.people.forEach((person, column) =>
        wanted.push(placed(card(person, row.first + column), column, row.top)));
    }
    put(wanted);
    // Who is scrolled out of sight cannot be the stop.
    const drawn = wanted.filter((element) => element.link);
    if (drawn.length > 0 && !drawn.some((element) => element.link.tabIndex === 0)) {
      const top = drawn.find((element) => element.getBoundingClientRect().top > 0) ?? drawn[0];
      top.link.tabIndex = 0;
    }
  }

  /** The first row that reaches below `from`. */
  function firstRow(from) {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].top + rows[middle].height < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function placed(element, column, top) {
    const place = `${column}/${top}`;
    if (element.place !== place) {
      element.place = place;
      element.style.transform =
        `translate(calc(${column} * (var(--card-width) + ${size.gap}px)), ${top}px)`;
    }
    return element;
  }

  function heading(row) {
    const key = `#${row.label.replace(/ \(\d+\)$/, '')}`;
    let element = cards.get(key);
    if (!element) {
      element = h('div', { role: 'listitem', class: 'place wide' }, h('h2', { class: 'group' }));
      cards.set(key, element);
    }
    say(element.firstChild, row.label);
    return element;
  }

  function card(person, index) {
    let element = cards.get(person.id);
    if (!element) {
      const name = h('bdi', { class: 'name' });
      const says = h('span', { class: 'says' });
      const face = avatar(person);
      const link = h('a', { class: 'card', href: `#/person/${encodeURIComponent(person.id)}`, 'data-id': person.id },
        face, h('span', { class: 'text' }, name, says));
      element = h('div', { role: 'listitem', class: 'place' }, link);
      Object.assign(element, { link, face, name, says, version: -1, seen: null });
      cards.set(person.id, element);
    }
    const { link, face, name, says } = element;
    if (element.version !== person.version) {
      // The first that is heard of somebody is no change.
      if (element.seen && element.seen !== person.number) flash(element);
      element.version = person.version;
      element.seen = person.number;
      say(name, person.name);
      link.title = [person.name, person.title, person.department, person.upn].filter(Boolean).join('\n');
      drawAvatar(face, person);
      say(says, pairWords(person) + (person.since ? ` · ${clockTime(person.since)}` : ''));
    }
    element.setAttribute('aria-posinset', String(index + 1));
    element.setAttribute('aria-setsize', String(shown.length));
    link.tabIndex = person.id === current ? 0 : -1;
    element.index = index;
    return element;
  }

  function flash(element) {
    element.link.classList.add('flash');
    clearTimeout(element.flash);
    element.flash = setTimeout(() => element.link.classList.remove('flash'), FLASH);
  }

  /** Puts the elements there in this order, moving as few as can be: one that is moved loses the focus. */
  function put(wanted) {
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const keep = new Set(wanted);
    for (const [key, element] of cards) {
      if (!keep.has(element) && !(focused && element.contains(focused))) {
        element.remove();
        cards.delete(key);
      }
    }
    let at = list.firstChild;
    for (const element of wanted) {
      if (element === at) at = at.nextSibling;
      else list.insertBefore(element, at);
    }
    if (focused && document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
  }

  function count() {
    const numbers = new Map(KINDS.map((kind) => [kind, 0]));
    for (const person of people.order) {
      const kind = kindOf(person.availability);
      numbers.set(kind, numbers.get(kind) + 1);
    }
    for (const [kind, number] of numbers) {
      say(counts.get(kind), String(number));
      shares.get(kind).style.flexGrow = String(number);
    }
    chips.forEach((chip, at) => { chip.hidden = KINDS[at] === 'PresenceUnknown' && numbers.get(KINDS[at]) === 0; });
    say(summary, summarise());
  }

  function summarise() {
    if (people.state === 'refused') return `Presence cannot be shown: ${people.refusal.message}`;
    if (people.order.length === 0) return people.state === 'live' ? 'There is nobody here.' : 'Loading…';
    if (people.onlyMe) return 'Without the permission Presence.Read.All you see yourself alone.';
    if (shown.length === people.order.length) return `${shown.length} people`;
    return `${shown.length} of ${people.order.length} people`;
  }

  function onFocus(event) {
    const id = event.target.dataset.id;
    if (!id) return;
    isChosen = true;
    if (id === current) return;
    for (const element of cards.values()) if (element.link) element.link.tabIndex = -1;
    current = id;
    event.target.tabIndex = 0;
  }

  function onKey(event) {
    const index = shown.findIndex((person) => person.id === current);
    const page = Math.max(1, Math.floor(innerHeight / (size.card + size.gap)) - 1) * columns;
    const isRightToLeft = getComputedStyle(list).direction === 'rtl';
    const ahead = isRightToLeft ? -1 : 1;
    const to = {
      ArrowRight: index + ahead, ArrowLeft: index - ahead, ArrowDown: index + columns, ArrowUp: index - columns,
      Home: 0, End: shown.length - 1, PageDown: Math.min(index + page, shown.length - 1), PageUp: Math.max(index - page, 0),
    }[event.key];
    if (to === undefined || index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const person = shown[to];
    if (!person) return;
    const row = rows.find((row) => row.people.includes(person));
    const top = list.getBoundingClientRect().top + row.top;
    const room = 120;
    if (top < room) scrollBy({ top: top - room });
    else if (top + size.card > innerHeight - 16) scrollBy({ top: top + size.card - innerHeight + 16 });
    isStale = true;
    current = person.id;
    paint();
    cards.get(person.id)?.link.focus({ preventScroll: true });
  }

  return {
    root,
    title: 'People',
    shown: () => { measure(); changed(); },
    close: () => {
      stopListening();
      clock?.close();
      resize.disconnect();
      removeEventListener('scroll', onScroll);
      cancelAnimationFrame(frame);
    },
  };
}
