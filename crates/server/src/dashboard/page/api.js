// Asks the server, as whoever signed in. The token lives in this tab alone and ends with it.

const KEY = 'presenced.session';

/** What the server said no to. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {}

/**
 * Who is signed in: `{ token, name, way, user?, app?, renewal? }`; `way` is `emulator`, `issuer` or `token`. `null`: nobody.
 */
export let session = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');

/** What the server told before anybody signed in. */
export let settings = { emulator: false, nodes: false, signIn: [], version: '' };

export async function loadSettings() {
  settings = await (await send('settings.json', {})).json();
}

export function keepSession(next) {
  session = next;
  if (next) sessionStorage.setItem(KEY, JSON.stringify(next));
  else sessionStorage.removeItem(KEY);
}

let renew = async () => false;

/** `renewal` gets a new token for the session, or says that it cannot. */
export function renewWith(renewal) {
  let running = null;
  renew = () => {
    running ??= renewal().finally(() => { running = null; });
    return running;
  };
}

/** Gets a new token where that is possible; many who ask at once cause one request. */
export const renewToken = () => renew();

async function send(path, init) {
  try {
    return await fetch(path, { cache: 'no-store', credentials: 'omit', ...init });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Unreachable('The server does not answer.');
  }
}

/** A request with the token, and once more with a new one where the first is not accepted any more. */
export async function ask(path, { method = 'GET', body, token, headers = {}, signal } = {}) {
  const attempt = () => send(path, {
    method,
    signal,
    headers: {
      ...headers,
      ...(token ?? session?.token ? { Authorization: `Bearer ${token ?? session.token}` } : {}),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  let response = await attempt();
  if (response.status === 401 && !token && await renew()) response = await attempt();
  if (!response.ok) throw await refusal(response);
  return response;
}

/** The JSON of an answer; `null` for one without a body. */
export async function call(path, options) {
  const text = await (await ask(path, options)).text();
  return text ? JSON.parse(text) : null;
}

async function refusal(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error;
  const code = typeof error === 'string' ? error : error?.code;
  const message = (typeof error === 'object' ? error?.message : body?.error_description) ?? response.statusText;
  return new Refusal(response.status, code ?? String(response.status), message || `Status ${response.status}`);
}

/** All pages of a list of Graph, given to `take` one by one. */
export async function pages(path, take, options) {
  let next = path;
  while (next) {
    const page = await call(next, options);
    take(page.value);
    const link = page['@odata.nextLink'];
    // By its path: behind a proxy the server may know itself by another name than the page does.
    next = link ? new URL(link).pathname + new URL(link).search : null;
  }
}

/** Our own resources, and Graph's. */
export const OWN = '/_presenced/v1';
export const GRAPH = '/v1.0';
