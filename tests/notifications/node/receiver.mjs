// Subscriptions with the JavaScript Graph client; rich notifications taken by an HTTPS server of Node, their tokens
// validated by jsonwebtoken and jwks-rsa, their content decrypted by node:crypto.

import assert from "node:assert/strict";
import fs from "node:fs";
import https from "node:https";
import { execFileSync } from "node:child_process";
import os from "node:os";
import path from "node:path";

import { Client } from "@microsoft/microsoft-graph-client";
import jwt from "jsonwebtoken";
import jwks from "jwks-rsa";

import { decrypt } from "./notifications.mjs";

const env = process.env;
const [base, http, tenant, app] = [env.PRESENCED_URL, env.PRESENCED_HTTP_URL, env.PRESENCED_TENANT, env.PRESENCED_CLIENT_ID];
const [userA, userB] = [env.PRESENCED_USER_A, env.PRESENCED_USER_B];
const publisher = "0bf30f3b-4a52-48df-9a82-234910c4a086";

// A self-signed certificate, as the documentation's samples make one.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "receiver-"));
const [keyFile, certificateFile] = [path.join(folder, "key.pem"), path.join(folder, "certificate.pem")];
execFileSync("openssl", [
  "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=receiver",
  "-keyout", keyFile, "-out", certificateFile,
], { stdio: "ignore" });
const privateKey = fs.readFileSync(keyFile);
const certificate = fs.readFileSync(certificateFile, "utf8").replace(/-----[A-Z ]+-----|\s/g, "");
fs.rmSync(folder, { recursive: true });

const items = [];
const tokens = new Set();
let grown = () => {};
const server = https.createServer(
  { cert: fs.readFileSync(env.PRESENCED_RECEIVER_CERTIFICATE), key: fs.readFileSync(env.PRESENCED_RECEIVER_KEY) },
  async (request, response) => {
    const token = new URL(request.url, "https://receiver").searchParams.get("validationToken");
    if (token !== null) {
      response.writeHead(200, { "Content-Type": "text/plain" }).end(token);
      return;
    }
    let text = "";
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    items.push(...body.value);
    for (const each of body.validationTokens ?? []) tokens.add(each);
    response.writeHead(202).end();
    grown();
  },
);
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const receiverUrl = `https://localhost:${server.address().port}/notify`;

async function arrived(count) {
  const deadline = setTimeout(() => { throw new Error(`${items.length} of ${count} notifications came`); }, 60_000);
  while (items.length < count) await new Promise((more) => { grown = more; });
  clearTimeout(deadline);
}

const keys = jwks({ jwksUri: `${base}/common/discovery/v2.0/keys` });
function validate(token) {
  return new Promise((resolve, reject) => {
    const key = (header, done) => keys.getSigningKey(header.kid, (error, found) => done(error, found?.getPublicKey()));
    const options = { audience: app, issuer: `${base}/${tenant}/v2.0`, algorithms: ["RS256"] };
    jwt.verify(token, key, options, (error, claims) => (error ? reject(error) : resolve(claims)));
  });
}

function client(token) {
  return Client.init({ baseUrl: base, customHosts: new Set(["localhost"]), authProvider: (done) => done(null, token) });
}

const own = client(env.PRESENCED_USER_A_TOKEN);
const application = client(env.PRESENCED_APP_TOKEN);
const now = new Date((await (await fetch(`${http}/_presenced/v1/clock`)).json()).time);
const inMinutes = (minutes) => new Date(now.getTime() + minutes * 60_000).toISOString();

const subscription = await own.api("/subscriptions").post({
  changeType: "updated",
  resource: `communications/presences?$filter=id in ('${userA}','${userB}')`,
  notificationUrl: receiverUrl,
  clientState: "from node",
  includeResourceData: true,
  encryptionCertificate: certificate,
  encryptionCertificateId: "node",
  expirationDateTime: inMinutes(60),
});
const set = (user, availability, activity) =>
  application.api(`/users/${user}/presence/setPresence`).post({ sessionId: app, availability, activity, expirationDuration: "PT1H" });
await set(userA, "Busy", "InACall");
await set(userB, "DoNotDisturb", "Presenting");
await arrived(2);

const seen = items.map((item) => {
  assert.equal(item.clientState, "from node");
  const resource = decrypt(item.encryptedContent, privateKey);
  return [resource.id, resource.availability, resource.activity];
});
assert.deepEqual(seen.sort(), [[userA, "Busy", "InACall"], [userB, "DoNotDisturb", "Presenting"]].sort());
assert.ok(tokens.size > 0);
for (const token of tokens) {
  const claims = await validate(token);
  assert.equal(claims.appid, publisher);
  assert.equal(claims.azp, publisher);
  assert.equal(claims.tid, tenant);
}

const renewed = await own.api(`/subscriptions/${subscription.id}`).patch({ expirationDateTime: inMinutes(50) });
assert.equal(new Date(renewed.expirationDateTime).toISOString(), inMinutes(50));
await own.api(`/subscriptions/${subscription.id}`).delete();
await assert.rejects(own.api(`/subscriptions/${subscription.id}`).get(), { statusCode: 404 });
server.close();
server.closeAllConnections();
console.log("node receiver: passed");
