// Signing in: in an emulator by a choice, elsewhere at the issuer by the authorization code grant with PKCE (RFC 7636, RFC
// 9700 section 2.1.1), or with a token that one has already.

import { GRAPH, OWN, ask, call, keepSession, renewWith, session, settings } from './api.js';
import { field, h, select, theirs } from './dom.js';

const PENDING = 'presenced.pending';

/** The page itself, where the issuer sends people back to. */
const redirectUri = () => location.origin + location.pathname;

/** The form. `done` is called once somebody is signed in. */
export function signInPage(done, problem) {
  const alert = h('p', { role: 'alert', class: 'problem' }, problem ?? '');
  const attempt = async (work) => {
    alert.textContent = '';
    try {
      await work();
    } catch (error) {
      alert.textContent = error.message;
    }
  };
  const ways = [];
  if (settings.emulator) ways.push(emulatorForm(attempt, done));
  for (const way of settings.signIn) {
    ways.push(h('section', {},
      h('button', { type: 'button', class: 'primary', click: () => attempt(() => leave(way)) },
        'Sign in', way.name ? [' to ', theirs(way.name)] : '')));
  }
  ways.push(tokenForm(attempt, done, ways.length === 0));
  const root = h('div', { class: 'narrow' },
    h('h1', { tabindex: '-1' }, 'Sign in'), alert, ways);
  return { root, title: 'Sign in', close: () => {} };
}

function emulatorForm(attempt, done) {
  const everything = h('button', {
    type: 'submit', class: 'primary',
  }, 'See everybody');
  const who = select([['', 'the demo application: sees everybody, and administers']], { id: 'who-to-be' });
  pagesOfUsers(who).catch(() => {});
  const form = h('form', {
    submit: (event) => {
      event.preventDefault();
      attempt(async () => {
        await becomeInEmulator(who.value || null, who.selectedOptions[0].textContent);
        done();
      });
    },
  }, h('h2', {}, 'This is an emulator'),
  h('p', {}, 'Nobody has a password here. Look at it as'),
  field('Who', who), everything);
  who.addEventListener('change', () => { everything.textContent = who.value ? 'Sign in' : 'See everybody'; });
  return form;
}

async function pagesOfUsers(who) {
  const token = await emulatorToken(null);
  const page = await call(`${GRAPH}/users?$select=id,displayName,userPrincipalName&$top=100`, { token });
  for (const user of page.value) {
    who.append(h('option', { value: user.id }, user.displayName || user.userPrincipalName));
  }
}

/** A token of the emulator: of its application, or of a user. */
export async function emulatorToken(user, app) {
  const query = new URLSearchParams({ ...(user && { user }), ...(app && { app }) });
  return (await ask(`${OWN}/token?${query}`, { token: 'none' })).text();
}

async function becomeInEmulator(user, name) {
  const token = await emulatorToken(user);
  keepSession({ way: 'emulator', token, user, name: user ? name : 'Demo application' });
}

function tokenForm(attempt, done, isOnly) {
  const input = h('textarea', { rows: 4, required: true, autocomplete: 'off', spellcheck: 'false' });
  const form = h('form', {
    submit: (event) => {
      event.preventDefault();
      attempt(async () => {
        const token = input.value.trim().replace(/^Bearer\s+/i, '');
        await call(`${OWN}/presences/changes`, { token }).catch((error) => {
          // Somebody who sees themselves alone is welcome, too.
          if (error.status !== 403) throw error;
        });
        keepSession({ way: 'token', token, name: nameIn(token) });
        done();
      });
    },
  }, field('Access token', input), h('button', { type: 'submit' }, 'Use this token'));
  if (isOnly) {
    return h('section', {},
      h('p', {}, 'No issuer is configured for the dashboard ([tenant.dashboard]). You can look at it with an access token.'), form);
  }
  return h('details', {}, h('summary', {}, 'Use an access token'), form);
}

function claims(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (char) => char.charCodeAt(0))));
  } catch {
    return {};
  }
}

function nameIn(token) {
  const { name, preferred_username: username, upn, app_displayname: app } = claims(token);
  return name ?? username ?? upn ?? app ?? 'Signed in';
}

/** Goes to the issuer. */
async function leave(way) {
  const configuration = await discover(way.issuer);
  const [verifier, state] = [randomText(), randomText()];
  const challenge = base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)));
  sessionStorage.setItem(PENDING, JSON.stringify({ way, verifier, state, back: location.hash }));
  const url = new URL(configuration.authorization_endpoint);
  const parameters = {
    client_id: way.clientId, response_type: 'code', response_mode: 'query', redirect_uri: redirectUri(),
    scope: way.scope, state, code_challenge: challenge, code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
}

/** Whether the issuer has just sent somebody back; signs them in. */
export async function comeBack() {
  const answer = new URLSearchParams(location.search);
  if (!answer.has('state')) return false;
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? 'null');
  sessionStorage.removeItem(PENDING);
  // The code must not stay in the address or the history.
  history.replaceState(null, '', redirectUri() + (pending?.back ?? ''));
  if (!pending || answer.get('state') !== pending.state) {
    throw new Error('This answer of the issuer belongs to no sign-in of this tab. Please sign in again.');
  }
  if (answer.has('error')) throw new Error(answer.get('error_description') ?? answer.get('error'));
  await redeem(pending.way, {
    grant_type: 'authorization_code', code: answer.get('code') ?? '', redirect_uri: redirectUri(),
    code_verifier: pending.verifier,
  });
  return true;
}

async function redeem(way, grant) {
  const configuration = await discover(way.issuer);
  const response = await fetch(configuration.token_endpoint, {
    method: 'POST', credentials: 'omit', cache: 'no-store',
    body: new URLSearchParams({ client_id: way.clientId, scope: way.scope, ...grant }),
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error_description ?? body.error ?? `The issuer answered ${response.status}.`);
  const name = nameIn(body.id_token ?? body.access_token);
  keepSession({ way: 'issuer', issuer: way, token: body.access_token, renewal: body.refresh_token ?? null, name });
}

async function discover(issuer) {
  const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, { credentials: 'omit' });
  if (!response.ok) throw new Error(`The issuer ${issuer} does not tell its configuration (${response.status}).`);
  return response.json();
}

renewWith(async () => {
  if (!session) return false;
  try {
    if (session.way === 'emulator') {
      keepSession({ ...session, token: await emulatorToken(session.user) });
      return true;
    }
    if (session.way === 'issuer' && session.renewal) {
      await redeem(session.issuer, { grant_type: 'refresh_token', refresh_token: session.renewal });
      return true;
    }
  } catch { /* Whoever cannot renew signs in again. */ }
  return false;
});

const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
const randomText = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
