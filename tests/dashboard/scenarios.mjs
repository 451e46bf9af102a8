// What people do at the dashboard. Run as `node scenarios.mjs NAME BINARY CHROMIUM [FOLDER]`; pictures go to FOLDER.

import { join } from 'node:path';
import {
  ANA, BRUNO, Server, accessibilityProblems, card, equal, launch, ok, open, says, signIn,
} from './harness.mjs';

const FIRST_LOAD_BYTES_MAX = 150 * 1024;

const scenarios = {
  async live_board({ server, browser }) {
    await server.freeze();
    const page = await open(browser);
    await signIn(page, server);
    await says(card(page, ANA), 'Ana Fuentes');
    await says(card(page, ANA), 'Offline');
    await server.set(ANA, 'Busy', 'InACall');
    await says(card(page, ANA), 'Busy, in a call');
    await server.set(BRUNO, 'Available', 'Available');
    await says(card(page, BRUNO), 'Available');
    await server.advance('PT5M');
    await says(card(page, BRUNO), 'Available, available inactive');
    // The search is without marks and case; a filter counts what it shows.
    await page.getByLabel('Search').fill('FÚENTES');
    await says(page.locator('.summary'), '1 of 4 people');
    await page.getByLabel('Search').fill('');
    await page.getByRole('button', { name: /^Busy/ }).click();
    await says(page.locator('.summary'), '1 of 4 people');
    await server.set(BRUNO, 'Busy', 'InAConferenceCall');
    await says(page.locator('.summary'), '2 of 4 people');
    equal(await accessibilityProblems(page), [], 'axe-core');
    return page;
  },

  async first_load({ server, browser }) {
    const page = await open(browser);
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    let [bytes, plain] = [0, 0];
    session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
    session.on('Network.dataReceived', ({ dataLength }) => { plain += dataLength; });
    await signIn(page, server);
    await says(card(page, ANA), 'Ana Fuentes');
    console.log(`first load: ${bytes} bytes on the wire, ${plain} uncompressed, with sign-in and four people`);
    ok(plain > 10_000 && plain < FIRST_LOAD_BYTES_MAX, `${plain} bytes`);
    return page;
  },

  async restart({ server, browser }) {
    const page = await open(browser);
    await signIn(page, server);
    await says(card(page, ANA), 'Offline');
    await server.set(ANA, 'Busy', 'InACall');
    await says(card(page, ANA), 'Busy, in a call');
    await server.kill();
    await says(page.locator('#link'), 'The server does not answer');
    await server.start();
    await server.set(ANA, 'DoNotDisturb', 'Presenting');
    await says(card(page, ANA), 'Do not disturb, presenting');
    equal(await page.locator('#link').textContent(), '', 'the warning is gone');
    return page;
  },
};

const [name, binary, chromium, folder] = process.argv.slice(2);
const server = await new Server(binary).start();
const browser = await launch(chromium);
try {
  const picture = async (page, file) => { if (folder) await page.screenshot({ path: join(folder, `${file}.png`) }); };
  const page = await scenarios[name]({ server, browser, picture });
  equal(page.problems, [], 'problems in the page');
} finally {
  await browser.close();
  await server.close();
}
