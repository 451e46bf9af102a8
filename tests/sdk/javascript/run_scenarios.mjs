// Carries out the scenarios with @microsoft/microsoft-graph-client, signed in by MSAL for Node: the application by its
// secret, the user by a code with PKCE.
//
// The client is path based: its idiom is `api(path)` and the verbs.

import { ConfidentialClientApplication, CryptoProvider } from "@azure/msal-node";
import { BatchRequestContent, BatchResponseContent, Client, GraphError } from "@microsoft/microsoft-graph-client";

import { received } from "./notifications.mjs";
import { agree, carryOutAll } from "./scenario_steps.mjs";

const { env } = process;

const msal = new ConfidentialClientApplication({
  auth: {
    clientId: env.PRESENCED_CLIENT_ID,
    clientSecret: env.PRESENCED_CLIENT_SECRET,
    authority: `${env.PRESENCED_URL}/${env.PRESENCED_TENANT}`,
    knownAuthorities: [new URL(env.PRESENCED_URL).host],
  },
});

async function applicationToken() {
  const result = await msal.acquireTokenByClientCredential({ scopes: ["https://graph.microsoft.com/.default"] });
  return result.accessToken;
}

/** Signs user A in through the page where she agrees; from then on MSAL's cache answers. */
async function signIn() {
  const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
  const asked = { scopes: ["https://graph.microsoft.com/.default"], redirectUri: "http://localhost/signed-in" };
  const page = await msal.getAuthCodeUrl({ ...asked, codeChallenge: challenge, codeChallengeMethod: "S256" });
  const code = new URL(await agree(page)).searchParams.get("code");
  const { account } = await msal.acquireTokenByCode({ ...asked, code, codeVerifier: verifier });
  return async () => (await msal.acquireTokenSilent({ scopes: asked.scopes, account })).accessToken;
}

function graphClient(getAccessToken) {
  return Client.initWithMiddleware({
    baseUrl: `${env.PRESENCED_URL}/`,
    customHosts: new Set([new URL(env.PRESENCED_URL).hostname]),
    authProvider: { getAccessToken },
  });
}

const clients = {
  app: graphClient(applicationToken),
  user: graphClient(await signIn()),
};

function address(step) {
  switch (step.at) {
    case "me":
      return "/me/presence";
    case "users":
      return `/users/${step.user}/presence`;
    case "communications":
      return `/communications/presences/${step.user}`;
  }
}

async function seedSnippet(client) {
  const requestBody = {
    sessionId: "22553876-f5ab-4529-bffb-cfe50aa89f87",
  };
  await client.api("/users/fa8bf3dc-eca7-46b7-bad1-db199b62afc3/presence/clearPresence").post(requestBody);
}

/** The client's own batch: fetch's requests, in steps. */
async function batch(client, steps) {
  const requests = steps.map((step) => {
    const reads = step.do === "getPresence";
    const url = `${env.PRESENCED_URL}${address(step)}${reads ? "" : `/${step.do}`}`;
    const headers = step.with ? { "Content-Type": "application/json" } : {};
    const body = step.with && JSON.stringify(step.with);
    return { id: step.id, dependsOn: step.dependsOn, request: new Request(url, { method: reads ? "GET" : "POST", headers, body }) };
  });
  const content = await new BatchRequestContent(requests).getContent();
  const answer = new BatchResponseContent(await client.api("/$batch").post(content));
  const result = {};
  for (const [id, response] of answer.getResponses()) {
    const text = await response.text();
    result[id] = { status: response.status, ...(text && { body: JSON.parse(text) }) };
  }
  return result;
}

/** The subscription that was made last. */
let subscription;

async function carryOut(step) {
  const client = clients[step.as];
  switch (step.do) {
    case "getPresence":
      return client.api(address(step)).get();
    case "getPresencesByUserId":
      return (await client.api("/communications/getPresencesByUserId").post(step.with)).value;
    case "getUser":
      return client.api(step.at === "me" ? "/me" : `/users/${step.user}`).get();
    case "listUsers":
      return (await client.api("/users").get()).value;
    case "createSubscription": {
      const created = await client.api("/subscriptions").post(step.with);
      subscription = `/subscriptions/${created.id}`;
      return created;
    }
    case "listSubscriptions":
      return (await client.api("/subscriptions").get()).value;
    case "getSubscription":
      return client.api(subscription).get();
    case "updateSubscription":
      return client.api(subscription).patch(step.with);
    case "reauthorizeSubscription":
      await client.api(`${subscription}/reauthorize`).post();
      return;
    case "deleteSubscription":
      await client.api(subscription).delete();
      return;
    case "receive":
      return received(step);
    case "seedSnippet":
      return seedSnippet(client);
    case "batch":
      return batch(client, step.requests);
    default: {
      const request = client.api(`${address(step)}/${step.do}`);
      await (step.with ? request.post(step.with) : request.post());
    }
  }
}

function refusal(error) {
  if (error instanceof GraphError) {
    return { status: error.statusCode, code: error.code, message: error.message, requestId: error.requestId };
  }
}

await carryOutAll(carryOut, refusal);
