// The shell: who is signed in, which page is open, and whether the server is there.

import { keepSession, loadSettings, session, settings } from './api.js';
import { board } from './board.js';
import { dev } from './dev.js';
import { h, say, theirs } from './dom.js';
import { nodes } from './nodes.js';
import { People } from './people.js';
import { person } from './person.js';
import { comeBack, signInPage } from './sign-in.js';
import { subscriptions } from './subscriptions.js';

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const who = document.getElementById('who');
const link = document.getElementById('link');

const PAGES = [
  { hash: '#/', label: 'People', open: (app) => board(app.people) },
  { hash: '#/person/', below: true, hidden: true, open: (app, id) => person(app.people, id) },
  { hash: '#/subscriptions', label: 'Subscriptions', open: () => subscriptions() },
  { hash: '#/nodes', label: 'Nodes', nodes: true, open: () => nodes() },
  { hash: '#/emulator', label: 'Emulator', dev: true, open: (app) => dev(app.people) },
];

/** How often to try again while the server is not there at all, in milliseconds. */
const RETRY = 1000;

const app = { people: null };
let page = null;

async function start() {
  document.getElementById('skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  addEventListener('hashchange', route);
  for (;;) {
    try {
      await loadSettings();
      break;
    } catch (error) {
      say(link, `${error.message} Trying again…`);
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
  say(link, '');
  let problem = null;
  try {
    await comeBack();
  } catch (error) {
    problem = error.message;
  }
  if (session) enter();
  else show(signInPage(enter, problem));
}

function enter() {
  app.people = new People();
  app.people.listen((person) => { if (!person) tellState(); });
  app.people.start();
  who.replaceChildren(
    h('span', { class: 'me' }, theirs(session.name)),
    h('button', { type: 'button', click: leave }, 'Sign out'));
  const isThere = (page) => !page.hidden && (!page.dev || settings.emulator) && (!page.nodes || settings.nodes);
  nav.replaceChildren(...PAGES.filter(isThere).map((page) => h('a', { href: page.hash }, page.label)));
  nav.hidden = false;
  route();
}

function leave(problem) {
  app.people?.stop();
  keepSession(null);
  who.replaceChildren();
  nav.hidden = true;
  document.body.classList.remove('lost');
  say(link, '');
  show(signInPage(enter, typeof problem === 'string' ? problem : null));
}

/** Says that the server is gone, and that it is back. */
function tellState() {
  const { state, refusal } = app.people;
  if (state === 'refused' && refusal?.status === 401) {
    leave('Your sign-in has ended. Please sign in again.');
    return;
  }
  document.body.classList.toggle('lost', state === 'lost');
  say(link, state === 'lost' ? 'The server does not answer. What you see is what was known last; trying again…' : '');
}

function route() {
  if (!session) return;
  const hash = location.hash || '#/';
  const found = PAGES.find((page) => page.hash === hash || (page.below && hash.startsWith(page.hash))) ?? PAGES[0];
  for (const anchor of nav.children) {
    if (anchor.getAttribute('href') === found.hash) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
  show(found.open(app, decodeURIComponent(hash.slice(found.hash.length))));
}

function show(next) {
  const isFirst = page === null;
  page?.close();
  page = next;
  main.replaceChildren(next.root);
  document.title = `${next.title} · presenced`;
  next.shown?.();
  scrollTo(0, 0);
  // Whoever hears the page is told that it is another one; the first is announced by the browser.
  if (!isFirst) main.querySelector('h1')?.focus({ preventScroll: true });
}

start();
