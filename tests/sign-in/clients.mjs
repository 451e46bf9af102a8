// The JavaScript libraries, unmodified, sign in at presenced: `node clients.mjs SCENARIO`, under `presenced exec`.
//
// How each is pointed at presenced stands in docs/identity.md; the lines there are what is executed here.

import * as identity from '@azure/identity';
import * as msal from '@azure/msal-node';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { agree, launch, watch } from './drive.mjs';

const { env } = process;
const known = {
  URL: env.PRESENCED_URL, TENANT: env.PRESENCED_TENANT, CLIENT: env.PRESENCED_CLIENT_ID, SECRET: env.PRESENCED_CLIENT_SECRET,
  msal, identity,
};
const scopes = ['https://graph.microsoft.com/.default'];

/** The lines of a row of the document. */
function lines(client) {
  const row = readFileSync(env.IDENTITY_PAGE, 'utf8').split('\n').find((line) => line.startsWith(`| ${client} | JavaScript |`));
  return [...row.matchAll(/`([^`]+)`/g)].map((found) => found[1]).join('\n');
}

/** Executes them; returns what they assign to `name`. */
function run(client, name) {
  return new Function(...Object.keys(known), `let ${name}; ${lines(client)}; return ${name};`)(...Object.values(known));
}

function equal(found, expected) {
  if (found !== expected) throw new Error(`expected ${expected}, found ${found}`);
}

async function presence(token, path = `/users/${env.PRESENCED_USER_A}/presence`) {
  const answer = await fetch(`${env.PRESENCED_URL}/v1.0${path}`, { headers: { Authorization: `Bearer ${token}` } });
  equal(answer.status, 200);
  return (await answer.json()).id;
}

const scenarios = {
  async secret() {
    const client = run('MSAL Node, secret', 'client');
    const result = await client.acquireTokenByClientCredential({ scopes });
    equal(await presence(result.accessToken), env.PRESENCED_USER_A);
    equal((await client.acquireTokenByClientCredential({ scopes })).fromCache, true);
    const credential = run('azure-identity', 'credential');
    equal(await presence((await credential.getToken(scopes)).token), env.PRESENCED_USER_A);
  },

  async device() {
    const client = run('MSAL Node, users', 'client');
    const result = await client.acquireTokenByDeviceCode({
      scopes: ['Presence.Read'],
      deviceCodeCallback({ verificationUri, userCode }) {
        spawn(process.execPath, ['drive.mjs', env.SIGN_IN_BROWSER, verificationUri, userCode], { stdio: 'inherit' });
      },
    });
    equal(await presence(result.accessToken, '/me/presence'), env.PRESENCED_USER_A);
    equal(result.account.homeAccountId, `${env.PRESENCED_USER_A}.${env.PRESENCED_TENANT}`);
    const silent = { scopes: ['Presence.Read'], account: result.account };
    equal((await client.acquireTokenSilent(silent)).fromCache, true);
    const renewed = await client.acquireTokenSilent({ ...silent, forceRefresh: true });
    equal(renewed.fromCache, false);
    equal(await presence(renewed.accessToken, '/me/presence'), env.PRESENCED_USER_A);
  },

  /** A page of another origin signs in with @azure/msal-browser, calls the API, renews, and signs out. */
  async page() {
    const script = readFileSync('node_modules/@azure/msal-browser/lib/msal-browser.min.js');
    const server = createServer((request, response) => {
      const isScript = request.url === '/msal.js';
      response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
      response.end(isScript ? script : PAGE);
    });
    await new Promise((ready) => server.listen(0, 'localhost', ready));
    const back = `http://localhost:${server.address().port}/`;
    const browser = await launch(env.SIGN_IN_BROWSER, env.PRESENCED_URL);
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(30_000);
      const problems = watch(page);
      await page.goto(back);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await agree(page);
      try {
        await page.getByText('done').waitFor();
      } catch {
        throw new Error(`${await page.innerText('body')} ${problems.join('\n')}`);
      }
      equal(await page.locator('#id').innerText(), env.PRESENCED_USER_A);
      equal(await page.locator('#renewed').innerText(), env.PRESENCED_USER_A);
      equal(await page.locator('#name').innerText(), 'ana.fuentes@presenced.example');
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL(`${back}?*`);
      equal(problems.join('\n'), '');
    } finally {
      await browser.close();
      server.close();
    }
  },
};

const PAGE = `<!doctype html><link rel="icon" href="data:,"><title>page</title><button id="in">Sign in</button>
<button id="out">Sign out</button><p id="id"></p><p id="renewed"></p><p id="name"></p><p id="state"></p>
<script src="/msal.js"></script><script type="module">
const URL = ${JSON.stringify(known.URL)}, TENANT = ${JSON.stringify(known.TENANT)}, CLIENT = ${JSON.stringify(known.CLIENT)};
const BACK = location.origin + '/';
const show = (id, text) => { document.getElementById(id).textContent = text; };
const scopes = ['Presence.ReadWrite'];
let client;
async function me(token) {
  const answer = await fetch(URL + '/v1.0/me/presence', { headers: { Authorization: 'Bearer ' + token } });
  return (await answer.json()).id;
}
try {
  ${lines('MSAL Browser')};
  const result = await client.handleRedirectPromise();
  document.getElementById('in').onclick = () => client.loginRedirect({ scopes }).catch((error) => show('state', error));
  document.getElementById('out').onclick = () => client.logoutRedirect({ postLogoutRedirectUri: BACK, state: 's' });
  if (result) {
    show('id', await me(result.accessToken));
    show('name', result.account.username);
    const renewed = await client.acquireTokenSilent({ scopes, account: result.account, forceRefresh: true });
    show('renewed', await me(renewed.accessToken));
    show('state', 'done');
  }
} catch (error) { show('state', String(error) + (error.stack ?? '')); }
</script>`;

const scenario = process.argv[2];
await scenarios[scenario]();
console.log(`${scenario}: passed`);
