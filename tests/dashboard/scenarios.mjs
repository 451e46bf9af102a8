// What people do at the dashboard. Run as `node scenarios.mjs NAME BINARY CHROMIUM [FOLDER]`; pictures go to FOLDER.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import {
  ANA, APP, BRUNO, Engine, Server, Serving, accessibilityProblems, card, equal, launch, ok, open, says, signIn,
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
    await says(card(page, BRUNO), 'Available, inactive');
    // The search is without marks and case; a filter counts what it shows.
    await page.getByLabel('Search').fill('FÚENTES');
    await says(page.locator('.summary'), '1 of 4 people');
    await page.getByLabel('Search').fill('');
    await page.getByRole('button', { name: /^Busy/ }).click();
    await says(page.locator('.summary'), '1 of 4 people');
    await server.set(BRUNO, 'Busy', 'InAConferenceCall');
    await says(page.locator('.summary'), '2 of 4 people');
    equal(await accessibilityProblems(page), [], 'axe-core');
    await page.emulateMedia({ colorScheme: 'dark' });
    equal(await accessibilityProblems(page), [], 'axe-core, in the dark');
    return page;
  },

  async python_change({ server, browser }) {
    await server.freeze();
    const page = await open(browser);
    await signIn(page, server);
    await says(card(page, BRUNO), 'Offline');
    const python = async (...what) => {
      const child = spawn(process.env.PRESENCED_PYTHON, ['set_presence.py', BRUNO, ...what], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, PRESENCED_HTTP_URL: server.url, PRESENCED_APP_TOKEN: server.token, PRESENCED_CLIENT_ID: APP },
      });
      const [status] = await once(child, 'exit');
      equal(status, 0, 'the Python SDK');
    };
    await python('Available', 'Available');
    await says(card(page, BRUNO), 'Available');
    // The clock is moved beside the board, and the board fades; the person's page says why.
    await page.locator('summary', { hasText: 'Clock' }).click();
    await says(page.locator('#clock'), '08:00:00');
    await page.getByLabel('Minutes to move').press('ArrowRight');
    await page.getByRole('button', { name: 'Move by 6 min' }).click();
    await says(page.locator('.said').first(), 'Moved by 6 min.');
    await says(page.locator('#clock'), '08:06:00');
    await says(card(page, BRUNO), 'Available, inactive');
    await card(page, BRUNO).click();
    await says(page.locator('.why'), 'The only presence session, of Demo application, says so.');
    await says(page.locator('.next'), 'Away at 08:10:00, in 4 min, unless somebody writes.');
    await python('Busy', 'InACall');
    await says(page.locator('.shown'), 'Busy, in a call');
    return page;
  },

  async person_history({ server, browser }) {
    await server.freeze();
    const desk = await server.application('Desk phone <b>&');
    await server.set(ANA, 'Available', 'Available', 'PT30M');
    await server.advance('PT20M');
    await desk.set(ANA, 'Busy', 'InACall', 'PT5M');
    await server.advance('PT40M');
    const page = await open(browser);
    await signIn(page, server, null, `#/person/${ANA}`);
    await page.getByLabel('Period').selectOption({ label: 'The last hour' });
    const parts = page.locator('.strip .bar');
    await says(parts.first(), 'Available');
    equal(await parts.allTextContents(), ['Available', 'Available, inactive', 'Away', 'Busy, in a call', 'Away', 'Offline'], 'the strip');
    const totals = await page.getByRole('table', { name: 'Time in each state' }).locator('tbody tr').allTextContents();
    equal(totals.map((row) => row.trim()), [
      ' Offline30 min50%', ' Away15 min25%', ' Available5 min8.3%', ' Available, inactive5 min8.3%', ' Busy, in a call5 min8.3%',
    ].map((row) => row.trim()), 'time in each state');
    const writes = await page.getByRole('table', { name: 'Who wrote' }).locator('tbody tr').allTextContents();
    equal(writes.length, 2, `two writes: ${writes}`);
    ok(writes[0].includes('Desk phone <b>&') && writes[0].includes('Set presence'), writes[0]);
    equal(await accessibilityProblems(page), [], 'axe-core');
    await page.emulateMedia({ colorScheme: 'dark' });
    equal(await accessibilityProblems(page), [], 'axe-core, in the dark');
    // An instant that has passed is explained as it was.
    await page.getByLabel('Explain the instant').fill('2030-01-07T08:22:00');
    await says(page.locator('.shown'), 'Busy, in a call');
    await says(page.locator('.why'), 'Of 2 presence sessions that of Desk phone <b>& is the strongest.');
    await page.getByRole('button', { name: 'Now' }).click();
    await says(page.locator('.shown'), 'Offline');
    // A write shows in the strip of the open page.
    await server.set(ANA, 'DoNotDisturb', 'Presenting');
    await says(page.getByRole('table', { name: 'Who wrote' }).locator('tbody tr').first(), 'Do not disturb');
    await page.setViewportSize({ width: 360, height: 640 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 360, `nothing sticks out on a telephone: ${width}`);
    return page;
  },

  async stream_cut({ server, browser }) {
    // A network between page and server that can be pulled out.
    const sockets = new Set();
    let isOut = false;
    const network = createServer((near) => {
      if (isOut) { near.destroy(); return; }
      const far = connect(server.port, '127.0.0.1');
      for (const [a, b] of [[near, far], [far, near]]) {
        sockets.add(a);
        a.on('error', () => {}).on('close', () => { sockets.delete(a); b.destroy(); });
        a.pipe(b);
      }
    });
    network.listen(0, '127.0.0.1');
    await once(network, 'listening');
    try {
      const page = await open(browser);
      const streams = [];
      page.on('request', (request) => { if (request.url().includes('/presences/stream')) streams.push(request.url()); });
      await page.goto(`http://127.0.0.1:${network.address().port}/_presenced/dashboard/`);
      await page.getByRole('button', { name: 'See everybody' }).click();
      await says(card(page, ANA), 'Offline');
      await server.set(ANA, 'Busy', 'InACall');
      await says(card(page, ANA), 'Busy, in a call');
      isOut = true;
      for (const socket of sockets) socket.destroy();
      await says(page.locator('#link'), 'The server does not answer');
      await server.set(ANA, 'DoNotDisturb', 'Presenting');
      await server.set(BRUNO, 'Busy', 'InAConferenceCall');
      await says(card(page, ANA), 'Busy, in a call');
      isOut = false;
      await says(card(page, ANA), 'Do not disturb, presenting');
      await says(card(page, BRUNO), 'Busy, in a conference call');
      equal(await page.locator('#link').textContent(), '', 'the warning is gone');
      ok(!streams[0].includes('from=') && streams.at(-1).includes('from='), `it goes on where it was cut: ${streams.at(-1)}`);
      return page;
    } finally {
      network.close();
      for (const socket of sockets) socket.destroy();
    }
  },

  async issuer_sign_in({ browser, binary }) {
    const server = await new Serving(binary).start();
    try {
      await server.set(ANA, 'Busy', 'InACall');
      const page = await open(browser);
      await page.goto(server.page);
      await page.getByRole('button', { name: 'Sign in to Example' }).click();
      // The issuer's own page, on which one chooses who one is.
      await page.getByRole('radio', { name: 'Bruno Keller' }).check();
      await page.getByRole('button', { name: 'Sign in and agree' }).click();
      await says(page.locator('.me'), 'Bruno Keller');
      await says(card(page, ANA), 'Busy, in a call');
      ok(!page.url().includes('code='), `the code does not stay in the address: ${page.url()}`);
      await server.set(ANA, 'DoNotDisturb', 'Presenting');
      await says(card(page, ANA), 'Do not disturb, presenting');
      equal(await page.getByRole('link', { name: 'Emulator' }).count(), 0, 'no clock to move on a server');
      // Users see their own history, and no other's.
      await card(page, ANA).click();
      await says(page.locator('section[aria-label=History]'), 'You may not see the history of others.');
      await page.goto(`${server.page}#/person/${BRUNO}`);
      await page.locator('section[aria-label=History] .strip').waitFor();
      await page.reload();
      await says(page.locator('.me'), 'Bruno Keller');
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('button', { name: 'Sign in to Example' }).waitFor();
      return page;
    } finally {
      await server.close();
    }
  },

  async several_nodes({ server, browser, binary, picture }) {
    const alone = await open(browser);
    await signIn(alone, server);
    await says(card(alone, ANA), 'Offline');
    equal(await alone.getByRole('link', { name: 'Nodes' }).count(), 0, 'a server that is alone has no nodes');
    equal(alone.problems, [], 'problems in the page');
    await alone.context().close();
    const engine = await new Engine().start();
    const nodes = [];
    try {
      for (const name of ['one', 'two <b>&']) nodes.push(await new Serving(binary, engine, name).start());
      const page = await open(browser);
      await page.goto(nodes[0].page);
      await page.locator('summary', { hasText: 'Use an access token' }).click();
      await page.getByLabel('Access token').fill(nodes[0].token);
      await page.getByRole('button', { name: 'Use this token' }).click();
      await says(card(page, ANA), 'Offline');
      // By keyboard alone.
      await page.getByRole('link', { name: 'Nodes' }).focus();
      await page.keyboard.press('Enter');
      await says(page.getByRole('heading', { level: 1 }), 'Nodes');
      await says(page.locator('.summary'), '2 nodes live, 16 of 16 buckets are worked on');
      const row = (name) => page.getByRole('row').filter({ has: page.getByRole('rowheader', { name }) });
      await says(row('one'), 'answers you');
      for (const name of ['one', 'two <b>&']) {
        await says(row(name), 'lives');
        await says(row(name), 'up to date');
        ok(/\d\d:\d\d:\d\d/.test(await row(name).locator('td').nth(1).textContent()), 'since when');
      }
      await nodes[1].set(ANA, 'Busy', 'InACall');
      await page.waitForFunction(() => [...document.querySelectorAll('tbody tr')].every((row) => /\d\d:\d\d/.test(row.lastChild.textContent)));
      equal(await accessibilityProblems(page), [], 'axe-core');
      await page.emulateMedia({ colorScheme: 'dark' });
      equal(await accessibilityProblems(page), [], 'axe-core, in the dark');
      await picture(page, 'dashboard-nodes');
      await nodes[1].kill();
      await says(row('two <b>&'), 'silent since');
      await says(page.locator('.summary'), '1 node lives, 1 silent, 16 of 16 buckets are worked on');
      equal(await accessibilityProblems(page), [], 'axe-core, with a node that is gone');
      await page.setViewportSize({ width: 360, height: 640 });
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      ok(width <= 360, `nothing sticks out on a telephone: ${width}`);
      // Whoever is no administrator is told so, and sees none of it.
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('button', { name: 'Sign in to Example' }).click();
      await page.getByRole('radio', { name: 'Bruno Keller' }).check();
      await page.getByRole('button', { name: 'Sign in and agree' }).click();
      await page.getByRole('link', { name: 'Nodes' }).click();
      await says(page.locator('.summary'), 'The nodes are for administrators of this server.');
      equal(await page.getByRole('table').count(), 0, 'no node is shown');
      return page;
    } finally {
      for (const node of nodes) await node.close();
      await engine.close();
    }
  },

  async person_page({ server, browser, picture }) {
    await server.freeze();
    const desk = await server.application('Desk phone <b>&');
    await server.set(ANA, 'Available', 'Available');
    await desk.set(ANA, 'Busy', 'InACall', 'PT30M');
    const page = await open(browser);
    await signIn(page, server);
    await card(page, ANA).click();
    await says(page.locator('h1'), 'Ana Fuentes');
    await says(page.locator('.shown'), 'Busy, in a call');
    await says(page.locator('.why'), 'Of 2 presence sessions that of Desk phone <b>& is the strongest.');
    await says(page.locator('.next'), 'Away at 08:30:00, in 30 min, unless somebody writes.');
    const rows = await page.getByRole('table', { name: 'What will be shown' }).locator('tbody tr').allTextContents();
    equal(rows.length, 3, `busy, away, offline: ${rows}`);
    const bars = await page.locator('.timeline .lane').nth(2).locator('.bar').allTextContents();
    ok(bars.length >= 1, 'bars of a session');
    const demo = page.locator('.timeline .lane', { hasText: 'Demo application' });
    const texts = (await demo.locator('.bar').allTextContents()).filter(Boolean);
    equal(texts, ['Available', 'Available, inactive', 'Away', 'Away'], 'the fades of a session that loses and then wins');
    equal(await demo.locator('.bar.wins').count(), 1, 'the last of them is shown');
    // A change arrives on the open page, and the virtual clock moves it on.
    await server.post(`/v1.0/users/${ANA}/presence/setUserPreferredPresence`, { availability: 'DoNotDisturb', activity: 'DoNotDisturb', expirationDuration: 'PT1H' });
    await says(page.locator('.shown'), 'Do not disturb');
    await says(page.locator('.why'), 'The preferred presence');
    equal(await accessibilityProblems(page), [], 'axe-core');
    await server.advance('PT2H');
    await says(page.locator('.shown'), 'Offline');
    await says(page.locator('.next'), 'Nothing changes by itself.');
    await page.setViewportSize({ width: 360, height: 640 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 360, `nothing sticks out on a telephone: ${width}`);
    return page;
  },

  async many_people({ server, browser, picture }) {
    const COUNT = 5000;
    const idOf = (n) => `00000000-0000-4000-9000-${String(n).padStart(12, '0')}`;
    const departments = ['Sales', 'Support', 'Engineering', 'Kitchen', ''];
    const users = Array.from({ length: COUNT }, (_, n) => ({
      id: idOf(n), userPrincipalName: `p${n}@presenced.example`, displayName: `Person ${n}`, department: departments[n % 5] || undefined,
    }));
    await server.users(users);
    const page = await open(browser);
    await signIn(page, server);
    await says(page.locator('.summary'), `${COUNT + 4} people`);
    await says(card(page, ANA), 'Offline');
    const cards = await page.locator('a.card').count();
    ok(cards < 200, `only what is seen has elements: ${cards}`);

    // From the write to the picture: both ends are measured in the page, whose clock is one.
    const latency = await page.evaluate(async ({ id, app, token }) => {
      const says = document.querySelector(`a.card[data-id="${id}"] .says`);
      const times = [];
      for (let round = 0; round < 60; round += 1) {
        const activity = round % 2 ? 'InACall' : 'InAConferenceCall';
        const seen = new Promise((done) => {
          const observer = new MutationObserver(() => { observer.disconnect(); requestAnimationFrame(() => done(performance.now())); });
          observer.observe(says, { childList: true, characterData: true, subtree: true });
        });
        const started = performance.now();
        await fetch(`/v1.0/users/${id}/presence/setPresence`, {
          method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
          body: JSON.stringify({ sessionId: app, availability: 'Busy', activity, expirationDuration: 'PT1H' }),
        });
        times.push(await seen - started);
      }
      return times.sort((a, b) => a - b);
    }, { id: ANA, app: APP, token: server.token });
    console.log(`from write to board, ${COUNT} people: median ${latency[30].toFixed(1)} ms, 95 % ${latency[57].toFixed(1)} ms`);

    // 200 changes a second for five seconds, all over the board, grouped so that each one moves a card.
    await page.getByLabel('Group by').selectOption('availability');
    await page.evaluate(() => {
      globalThis.frames_ = [];
      let last = performance.now();
      const tick = (now) => { globalThis.frames_.push(now - last); last = now; requestAnimationFrame(tick); };
      requestAnimationFrame(tick);
    });
    const started = performance.now();
    let written = 0;
    const SECONDS = 5;
    await Promise.all(Array.from({ length: 8 }, async (_, worker) => {
      for (let n = worker; n < 200 * SECONDS; n += 8) {
        const due = started + n * 5 - performance.now();
        if (due > 0) await new Promise((done) => setTimeout(done, due));
        await server.set(idOf((n * 7) % COUNT), n % 3 ? 'Busy' : 'Available', n % 3 ? 'InACall' : 'Available');
        written += 1;
      }
    }));
    const took = (performance.now() - started) / 1000;
    await says(page.getByRole('button', { name: /^Busy/ }), '667');
    const frames = (await page.evaluate(() => globalThis.frames_)).sort((a, b) => a - b);
    const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))].toFixed(0);
    console.log(`${(written / took).toFixed(0)} changes a second: frame median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(1)} ms`);
    ok(Number(at(0.5)) < 100, 'the board moves while it changes');
    return page;
  },

  async screens({ server, browser, picture }) {
    await server.freeze();
    const first = ['Ada', 'Noah', 'Mia', 'Liam', 'Zoë', 'Omar', 'Yuki', 'Ivan', 'Lea', 'Sam', 'Priya', 'Chen', 'Fatima', 'Diego', 'Ingrid', 'Kofi'];
    const last = ['Okafor', 'Nguyen', 'Schmidt', 'García', 'Ivanova', 'Tanaka', 'Olsen', 'Rossi', 'Haddad', 'Mensah', 'Lefèvre'];
    const departments = ['Support', 'Engineering', 'Sales', 'Finance', 'Legal'];
    const pairs = ['Available/Available', 'Busy/InACall', 'Available/Available', 'DoNotDisturb/Presenting', 'Busy/InAConferenceCall', 'Away/Away', ''];
    const users = Array.from({ length: 60 }, (_, n) => ({
      id: `00000000-0000-4000-b000-${String(n).padStart(12, '0')}`, userPrincipalName: `p${n}@presenced.example`,
      displayName: `${first[n % 16]} ${last[(n * 7) % 11]}`, department: departments[(n * 7) % 5],
    }));
    await server.users(users);
    const [desk, soft] = [await server.application('Desk phone'), await server.application('Softphone')];
    await server.set(ANA, 'Available', 'Available', 'PT1H');
    await server.advance('PT12M');
    await desk.set(ANA, 'Busy', 'InACall', 'PT15M');
    await server.advance('PT20M');
    await server.set(ANA, 'Available', 'Available', 'PT1H');
    await soft.set(ANA, 'Away', 'Away', 'PT2H');
    await server.advance('PT8M');
    await server.post(`/v1.0/users/${ANA}/presence/setUserPreferredPresence`, { availability: 'DoNotDisturb', activity: 'DoNotDisturb', expirationDuration: 'PT15M' });
    await server.advance('PT2M');
    for (const [n, { id }] of users.entries()) {
      const [availability, activity] = pairs[(n * 5) % 7].split('/');
      if (availability) await server.set(id, availability, activity);
    }
    const screens = [
      ['', { width: 1280, height: 800 }, 'light'], ['-dark', { width: 1280, height: 800 }, 'dark'],
      ['-phone', { width: 390, height: 844 }, 'light'], ['-wall', { width: 3840, height: 2160 }, 'dark'],
    ];
    let page;
    for (const [name, viewport, colorScheme] of screens) {
      page = await open(browser, { viewport, colorScheme });
      await signIn(page, server);
      await says(page.locator('.summary'), '64 people');
      await page.getByLabel('Group by').selectOption('department');
      await says(page.locator('h2.group').first(), 'Engineering (12)');
      for (const what of ['board', 'person']) {
        if (what === 'person') {
          await page.goto(`${server.page}#/person/${ANA}`);
          await page.getByLabel('Period').selectOption({ label: 'The last hour' });
          await says(page.locator('.strip .bar').first(), 'Offline');
          await says(page.locator('.why'), 'The preferred presence');
        }
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        ok(width <= viewport.width, `${what}${name}: ${width} pixels wide`);
        equal(await accessibilityProblems(page), [], `axe-core on ${what}${name}`);
        await picture(page, `dashboard-${what}${name}`, what === 'person');
      }
      equal(page.problems, [], 'problems in the page');
    }
    return page;
  },

  async odd_names({ server, browser }) {
    const long = 'L'.repeat(200);
    const names = [
      '<script>globalThis.owned = 1</script>', '"><img src=x onerror="globalThis.owned=1">', '\u202Eevil\u202C', 'عمر الخطيب', 'שרה לוי',
      '👩🏽‍🚀 Zoë 🏳️‍🌈', 'Ａｎｄｒé  Ñ', long, '__proto__', '&lt;b&gt;', "O'Brien \\ \"quoted\"",
    ];
    await server.users(names.map((displayName, n) => ({
      id: `00000000-0000-4000-a000-${String(n).padStart(12, '0')}`, userPrincipalName: `odd${n}@presenced.example`, displayName,
      department: displayName.slice(0, 60),
    })));
    const page = await open(browser);
    await signIn(page, server);
    await says(page.locator('.summary'), `${names.length + 4} people`);
    await page.getByLabel('Group by').selectOption('department');
    for (const name of names) {
      await page.getByLabel('Search').fill(name);
      const found = page.locator('a.card .name').filter({ hasText: name.trim().replace(/\s+/g, ' ') }).first();
      await found.waitFor();
      equal(await found.textContent(), name, 'as it was written');
    }
    await page.getByLabel('Search').fill(long);
    const found = page.locator('a.card').filter({ hasText: long.trim() });
    await found.waitFor();
    const box = await found.boundingBox();
    ok(box.height < 100 && box.x + box.width <= 1280, `a long name stays in its card: ${JSON.stringify(box)}`);
    await page.locator('a.card').first().click();
    await says(page.locator('h1'), long);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 1280, `and on its page: ${width}`);
    equal(await page.evaluate(() => [typeof globalThis.owned, document.querySelectorAll('main script, main img').length]), ['undefined', 0], 'nothing ran');
    return page;
  },

  async keyboard({ server, browser }) {
    await server.freeze();
    await server.set(BRUNO, 'Busy', 'InACall');
    const page = await open(browser);
    await page.goto(server.page);
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim().slice(0, 40));
    const tabTo = async (text) => {
      for (let presses = 0; presses < 40; presses += 1) {
        await page.keyboard.press('Tab');
        if ((await focused()).includes(text)) return;
      }
      throw new Error(`the keyboard does not reach ${text}`);
    };
    await page.getByRole('button', { name: 'See everybody' }).waitFor();
    await page.keyboard.press('Tab');
    equal(await focused(), 'Skip to content', 'the first stop');
    await tabTo('See everybody');
    await page.keyboard.press('Enter');
    await says(card(page, BRUNO), 'Busy');
    await tabTo('Ana Fuentes');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    equal(outline, 'solid', 'where one is can be seen');
    await page.keyboard.press('ArrowRight');
    ok((await focused()).includes('Bruno Keller'), 'arrows move between people');
    await page.keyboard.press('End');
    ok((await focused()).includes('Dana Levi'), 'End is the last');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    // A change must not take the place away.
    await server.set(BRUNO, 'DoNotDisturb', 'Presenting');
    await says(card(page, BRUNO), 'Do not disturb');
    ok((await focused()).includes('Bruno Keller'), 'the focus stays through a change');
    await page.keyboard.press('Enter');
    await says(page.locator('h1'), 'Bruno Keller');
    equal(await focused(), 'Bruno Keller', 'a new page begins at its heading');
    await tabTo('What will be shown if nobody writes');
    await tabTo('All people');
    await page.keyboard.press('Enter');
    await says(page.locator('h1'), 'People');
    return page;
  },

  async few_permissions({ server, browser }) {
    // The application of a foreign visitor: a user's token with the least that shows anything.
    const page = await open(browser);
    const lesser = await server.delegatedToken(ANA, ['Presence.Read', 'User.Read']);
    await server.set(ANA, 'Busy', 'InACall');
    await page.goto(server.page);
    await page.getByText('Use an access token').click();
    await page.getByLabel('Access token').fill(lesser);
    await page.getByRole('button', { name: 'Use this token' }).click();
    await says(card(page, ANA), 'Ana Fuentes');
    await says(card(page, ANA), 'Busy, in a call');
    equal(await page.locator('a.card').count(), 1, 'oneself alone');
    await says(page.locator('.summary'), 'Without the permission Presence.Read.All you see yourself alone.');
    await server.set(ANA, 'Busy', 'InAConferenceCall');
    await says(card(page, ANA), 'conference');
    // Somebody else's page says what is missing.
    await page.goto(`${server.page}#/person/${BRUNO}`);
    await page.locator('.problem').filter({ hasText: /./ }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('Use an access token').click();
    await page.getByLabel('Access token').fill('nonsense');
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByRole('alert').filter({ hasText: /./ }).waitFor();
    return page;
  },

  async emulator_panel({ server, browser, picture }) {
    await server.freeze();
    const page = await open(browser);
    await signIn(page, server, null, '#/emulator');
    await says(page.locator('#clock'), '08:00:00');
    await says(page.getByRole('combobox', { name: 'Application', exact: true }), 'Demo application');
    await page.getByLabel('Another application').fill('Desk <i>phone</i>');
    await page.getByRole('button', { name: 'Add' }).click();
    await says(page.getByRole('combobox', { name: 'Application', exact: true }), 'Desk <i>phone</i>');
    await page.getByLabel('Person').fill('bruno.keller@presenced.example');
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await says(page.locator('.said'), 'Done, and visible.');
    await says(page.locator('.changes li').first(), 'Bruno Keller Available');
    await says(page.locator('tbody tr').first(), '/v1.0/users/bruno.keller%40presenced.example/presence/setPresence');
    await page.getByRole('button', { name: '+5 min' }).click();
    await says(page.locator('#clock'), '08:05:00');
    await says(page.locator('.changes li').first(), 'inactive');
    await page.getByLabel('Minutes to move').press('Home');
    for (let minutes = 1; minutes < 6; minutes += 1) await page.keyboard.press('ArrowRight');
    await page.getByRole('button', { name: 'Move by 6 min' }).click();
    await says(page.locator('#clock'), '08:11:00');
    await says(page.locator('.changes li').first(), 'Bruno Keller Away');
    // A preference hides what a session says, and the panel tells so.
    await page.getByRole('combobox', { name: 'What', exact: true }).selectOption('preferred');
    await page.getByRole('combobox', { name: 'Presence', exact: true }).selectOption('DoNotDisturb/DoNotDisturb');
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await says(page.locator('.changes li').first(), 'Do not disturb');
    await page.getByRole('combobox', { name: 'What', exact: true }).selectOption('session');
    await page.getByRole('combobox', { name: 'Presence', exact: true }).selectOption('Busy/InACall');
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await says(page.locator('.said'), 'Done, but hidden by preferred presence until');
    await page.getByLabel('Person').fill('nobody');
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await page.locator('p.problem').filter({ hasText: /./ }).waitFor();
    await page.getByLabel('only those that were refused').check();
    await says(page.locator('tbody tr:visible').first(), '/v1.0/users/nobody/');
    await page.locator('tbody tr:visible summary').first().click();
    await says(page.locator('tbody pre:visible').first(), 'sessionId');
    equal(await accessibilityProblems(page), [], 'axe-core');
    await page.getByRole('button', { name: 'Let it run' }).click();
    await says(page.getByRole('button'), 'Stop it');
    await picture(page, 'dashboard-emulator');
    return page;
  },

  async subscription_health({ server, browser }) {
    const { createServer } = await import('node:http');
    let isBroken = false;
    const receiver = createServer((request, response) => {
      const token = new URL(request.url, 'http://localhost').searchParams.get('validationToken');
      request.resume();
      response.writeHead(isBroken ? 503 : token ? 200 : 202, { 'Content-Type': 'text/plain' }).end(token ?? '');
    });
    await new Promise((done) => { receiver.listen(0, '127.0.0.1', done); });
    try {
      const page = await open(browser);
      await signIn(page, server, null, '#/subscriptions');
      await says(page.locator('.summary'), 'There is no subscription of the tenant.');
      await server.post('/v1.0/subscriptions', {
        changeType: 'updated', resource: `/communications/presences?$filter=id in ('${ANA}')`, clientState: 'secret-state',
        notificationUrl: `http://127.0.0.1:${receiver.address().port}/hook?key=secret-key`,
        expirationDateTime: new Date(Date.now() + 1_800_000).toISOString(),
      });
      await server.set(ANA, 'Busy', 'InACall');
      await says(page.locator('tbody tr'), 'delivered in');
      isBroken = true;
      await server.set(ANA, 'DoNotDisturb', 'Presenting');
      await says(page.locator('td.problem'), 'failed');
      await page.getByRole('button', { name: /^Deliveries/ }).click();
      await says(page.getByRole('table', { name: 'Attempts' }), '503');
      ok(!(await page.content()).includes('secret-'), 'no secret of a subscriber is shown');
      equal(await accessibilityProblems(page), [], 'axe-core');
      return page;
    } finally {
      receiver.close();
      receiver.closeAllConnections();
    }
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
  const picture = async (page, file, fullPage = false) => {
    if (folder) await page.screenshot({ path: join(folder, `${file}.png`), fullPage });
  };
  const page = await scenarios[name]({ server, browser, picture, binary }).catch(async (error) => {
    await picture(browser.contexts()[0]?.pages()[0], 'failed').catch(() => {});
    throw error;
  });
  equal(page.problems, [], 'problems in the page');
} finally {
  await browser.close();
  await server.close();
}
