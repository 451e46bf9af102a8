// A server, a browser, and what a scenario needs of both.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const APP = '22553876-f5ab-4529-bffb-cfe50aa89f87';
export const ANA = 'fa8bf3dc-eca7-46b7-bad1-db199b62afc3';
export const BRUNO = '66825e03-7ef5-42da-9069-724602c31f6b';
const DASHBOARD = '9b0e5c1d-3f6a-4f53-8d0c-5e8f2a7b6c11';
const SECRET = 'a-secret-of-the-test';
export const MONDAY = '2030-01-07T08:00:00Z';

/** `presenced dev` in a folder of its own, which outlives a restart. */
export class Server {
  constructor(binary) {
    this.binary = binary;
    this.folder = mkdtempSync(join(tmpdir(), 'presenced-dashboard-'));
    this.port = 0;
  }

  async start() {
    const address = `127.0.0.1:${this.port}`;
    const child = spawn(this.binary, ['dev', '--http', address, '--https', '127.0.0.1:0', '--log', 'warn', '--data-dir', this.folder],
      { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /^ {2}HTTP .*:(\d+)\/v1\.0/.exec(line)?.[1];
      if (port) this.port = Number(port);
      if (line.includes('/clearPresence')) break;
    }
    if (child.exitCode !== null) throw new Error(`presenced ended with ${child.exitCode}`);
    this.url = `http://127.0.0.1:${this.port}`;
    this.page = `${this.url}/_presenced/dashboard/`;
    this.token = await (await fetch(`${this.url}/_presenced/v1/token`)).text();
    return this;
  }

  async kill() {
    const ended = new Promise((done) => { this.child.once('exit', done); });
    this.child.kill('SIGKILL');
    await ended;
  }

  async close() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async post(path, body, token = this.token) {
    const response = await fetch(this.url + path, {
      method: 'POST', body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  }

  set(user, availability, activity, expirationDuration = 'PT1H') {
    return this.post(`/v1.0/users/${user}/presence/setPresence`, { sessionId: APP, availability, activity, expirationDuration });
  }

  /** Another application, by this name. */
  async application(displayName) {
    const made = await (await this.post('/_presenced/v1/admin/applications', {
      displayName, roles: ['Presence.ReadWrite.All', 'User.Read.All'],
    })).json();
    const answer = await fetch(`${this.url}/common/oauth2/v2.0/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'client_credentials', client_id: made.id, client_secret: made.clientSecret, scope: 'https://graph.microsoft.com/.default',
      }),
    });
    const { access_token: token } = await answer.json();
    const set = (user, availability, activity, expirationDuration = 'PT1H') =>
      this.post(`/v1.0/users/${user}/presence/setPresence`, { sessionId: made.id, availability, activity, expirationDuration }, token);
    return { id: made.id, set };
  }

  /** The token of a user for whom the application may do this alone. */
  async delegatedToken(user, scopes) {
    return (await fetch(`${this.url}/_presenced/v1/token?${new URLSearchParams({ user, scope: scopes.join(' ') })}`)).text();
  }

  /** Stops the clock, so that nothing fades unless a scenario says so. */
  async freeze() {
    await this.post('/_presenced/v1/clock/freeze', {});
    await this.post('/_presenced/v1/clock/set', { time: MONDAY });
  }

  advance(duration) {
    return this.post('/_presenced/v1/clock/advance', { duration });
  }

  users(users) {
    return this.post('/_presenced/v1/users', users);
  }
}

/** A `redis-server` on a free port, that keeps nothing. */
export class Engine {
  async start() {
    this.port = await freePort();
    this.child = spawn('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--save', ''], { stdio: 'ignore' });
    await once(this.child, 'spawn');
    return this;
  }

  async close() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  return port;
}

/**
 * `presenced serve` with an embedded issuer at which users sign in, and a history; or a node by this name over an engine, of
 * whose application the administrator's token is.
 */
export class Serving {
  constructor(binary, engine, name) {
    this.binary = binary;
    this.engine = engine;
    this.name = name;
    this.folder = mkdtempSync(join(tmpdir(), 'presenced-serving-'));
  }

  async start() {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.page = `${this.url}/_presenced/dashboard/`;
    const shared = this.engine ? `store = "redis://127.0.0.1:${this.engine.port}"
redis = { node = "${this.name}", accept_loss = "all", buckets = 16 }` : '';
    const config = join(this.folder, 'presenced.toml');
    writeFileSync(config, `
data_dir = "data"
${shared}
public_url = "${this.url}"
listen = { http = ["127.0.0.1:${port}"] }
issuer = { embedded = true, passwordless_sign_in = "loopback" }
history = { enabled = ${!this.engine} }
[[tenant]]
id = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
name = "Example"
dashboard = { client_id = "${DASHBOARD}" }
[[tenant.application]]
id = "${DASHBOARD}"
name = "Dashboard"
is_public_client = true
spa_redirect_uris = ["${this.page}"]
scopes = ["User.Read", "User.ReadBasic.All", "Presence.Read", "Presence.Read.All"]
[[tenant.application]]
id = "${APP}"
name = "Desk"
secret_sha256 = "${createHash('sha256').update(SECRET).digest('hex')}"
roles = ["Presence.ReadWrite.All"${this.engine ? ', "Presence.Read.All", "User.ReadBasic.All", "Presenced.Admin"' : ''}]
[[tenant.user]]
id = "${ANA}"
userPrincipalName = "ana@example.org"
displayName = "Ana Fuentes"
[[tenant.user]]
id = "${BRUNO}"
userPrincipalName = "bruno@example.org"
displayName = "Bruno Keller"
`);
    this.child = spawn(this.binary, ['serve', '--config', config, '--log', 'info'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    for await (const line of createInterface({ input: this.child.stderr })) {
      said += `${line}\n`;
      if (line.includes('"ready"')) break;
    }
    if (!said.includes('"ready"')) throw new Error(`presenced ended: ${said}`);
    this.child.stderr.resume();
    const answer = await fetch(`${this.url}/84bd8158-6d4d-4958-8b9f-9d6445542f95/oauth2/v2.0/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', client_id: APP, client_secret: SECRET, scope: 'https://graph.microsoft.com/.default' }),
    });
    this.token = (await answer.json()).access_token;
    return this;
  }

  async set(user, availability, activity) {
    const response = await fetch(`${this.url}/v1.0/users/${user}/presence/setPresence`, {
      method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${this.token}` },
      body: JSON.stringify({ sessionId: APP, availability, activity, expirationDuration: 'PT1H' }),
    });
    if (!response.ok) throw new Error(`setPresence: ${response.status} ${await response.text()}`);
  }

  async kill() {
    if (this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await ended;
  }

  async close() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A page in a browser that reports whatever goes wrong in it. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 }, locale: 'en-GB', timezoneId: 'UTC',
    // A colour on its way to another is none that contrast is measured of.
    reducedMotion: 'reduce', ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => {
    // A server that is away is told in the console, too, by the browser itself.
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) page.problems.push(message.text());
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.hostname !== '127.0.0.1') page.problems.push(`a request to ${url.origin}`);
  });
  return page;
}

export const launch = (executablePath) => chromium.launch({
  executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking'],
});

/** Signs in as the application, or as somebody by the name shown. */
export async function signIn(page, server, name, hash = '') {
  await page.goto(server.page + hash);
  if (name) await page.getByRole('combobox', { name: 'Who' }).selectOption({ label: name });
  await page.getByRole('button', { name: name ? 'Sign in' : 'See everybody' }).click();
}

/** The card of a person. */
export const card = (page, id) => page.locator(`a.card[data-id="${id}"]`);

/** Waits until an element has a text. */
export async function says(locator, text) {
  try {
    await locator.filter({ hasText: text }).first().waitFor();
  } catch {
    const found = await locator.allTextContents().catch(() => []);
    throw new Error(`expected ${text}, found ${JSON.stringify(found).slice(0, 2000)}`);
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe-core finds that is serious or worse. It runs outside the page's policy, as an extension would. */
export async function accessibilityProblems(page) {
  await page.evaluate(axe);
  const results = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return results.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`);
}

export function equal(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${b}, got ${a}`);
}

export function ok(condition, what) {
  if (!condition) throw new Error(what);
}
