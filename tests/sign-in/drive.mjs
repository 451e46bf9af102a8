// A browser in which somebody signs in: `node drive.mjs BROWSER URL [DEVICE-CODE]`.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:tls';
import { chromium } from 'playwright-core';

/** A browser that believes the server's certificate because this process does: checked against NODE_EXTRA_CA_CERTS. */
export async function launch(executablePath, url) {
  const { hostname, port } = new URL(url);
  const certificate = await new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), servername: hostname }, () => {
      resolve(socket.getPeerX509Certificate());
      socket.end();
    });
    socket.on('error', reject);
  });
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' });
  const pin = createHash('sha256').update(key).digest('base64');
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking',
      `--ignore-certificate-errors-spki-list=${pin}`,
    ],
  });
}

/** Chooses Ana and agrees; with the keyboard's means: roles and names. */
export async function agree(page) {
  await page.getByRole('radio', { name: 'Ana Fuentes' }).check();
  await page.getByRole('button', { name: 'Sign in and agree' }).click();
}

/** Refuses a page that not everybody can use: axe's rules of WCAG 2.2, A and AA. */
export async function accessible(page) {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run({
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  if (violations.length > 0) {
    throw new Error(JSON.stringify(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])));
  }
}

/** What went wrong in a page: nothing may. */
export function watch(page) {
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
  return problems;
}

if (process.argv[1].endsWith('drive.mjs')) {
  const [browserPath, url, code] = process.argv.slice(2);
  const browser = await launch(browserPath, url);
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    const problems = watch(page);
    await page.goto(url);
    await accessible(page);
    if (code) {
      await page.getByLabel('The code your device or program shows').fill(code.toLowerCase());
      await page.getByRole('button', { name: 'Next' }).click();
    }
    await accessible(page);
    await agree(page);
    await page.getByText(/signed in/i).first().waitFor();
    if (problems.length > 0) throw new Error(problems.join('\n'));
    console.log(page.url());
  } finally {
    await browser.close();
  }
}
