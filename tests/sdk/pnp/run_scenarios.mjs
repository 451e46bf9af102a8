// Carries out the scenarios with @pnp/graph: the application signed in by PnP's MSAL behavior, the user on a device by MSAL
// for Node.
//
// PnP has the five actions of sessions, preferred presence and status message. The location actions, and presences below
// /communications, are its queryables at another path.

import { PublicClientApplication } from "@azure/msal-node";
import { graphfi } from "@pnp/graph";
import "@pnp/graph/batching.js";
import "@pnp/graph/cloud-communications/index.js";
import { GraphQueryable, graphPost } from "@pnp/graph";
import "@pnp/graph/subscriptions/index.js";
import "@pnp/graph/users/index.js";
import { GraphDefault } from "@pnp/nodejs";
import { body } from "@pnp/queryable";
import { Presence } from "@pnp/graph/cloud-communications/index.js";

import { received } from "./notifications.mjs";
import { agree, carryOutAll, Unsupported } from "./scenario_steps.mjs";

const { env } = process;
const baseUrl = `${env.PRESENCED_URL}/v1.0`;

const application = {
  config: {
    auth: {
      clientId: env.PRESENCED_CLIENT_ID,
      clientSecret: env.PRESENCED_CLIENT_SECRET,
      authority: `${env.PRESENCED_URL}/${env.PRESENCED_TENANT}`,
      knownAuthorities: [new URL(env.PRESENCED_URL).host],
    },
  },
  scopes: ["https://graph.microsoft.com/.default"],
};

/** The user's tokens, as a behavior: MSAL's cache answers after the first, for which the user enters the device's code. */
async function signIn() {
  const { clientSecret, ...auth } = application.config.auth;
  const msal = new PublicClientApplication({ auth });
  const { account } = await msal.acquireTokenByDeviceCode({
    scopes: application.scopes,
    deviceCodeCallback: ({ verificationUri, userCode }) => agree(verificationUri, { user_code: userCode }),
  });
  return (instance) => {
    instance.on.auth.replace(async (url, init) => {
      const { accessToken } = await msal.acquireTokenSilent({ scopes: application.scopes, account });
      init.headers = { ...init.headers, Authorization: `Bearer ${accessToken}` };
      return [url, init];
    });
    return instance;
  };
}

// The root stays empty: with an address there, batches would go beside the version root.
const clients = {
  app: graphfi().using(GraphDefault({ baseUrl, msal: application })),
  user: graphfi().using(GraphDefault({ baseUrl }), await signIn()),
};

function presence(graph, step) {
  switch (step.at) {
    case "me":
      return graph.me.presence;
    case "users":
      return graph.users.getById(step.user).presence;
    case "communications":
      return Presence(graph.communications, `presences/${step.user}`);
  }
}

/** A typed call for each action that PnP has. */
function act(graph, step) {
  const at = presence(graph, step);
  const given = step.with ?? {};
  switch (step.do) {
    case "setPresence":
      return at.setPresence(given);
    case "clearPresence":
      return at.clearPresence(given.sessionId);
    case "setUserPreferredPresence":
      return at.setPreferredPresence(given);
    case "clearUserPreferredPresence":
      return at.clearPreferredPresence();
    case "setStatusMessage":
      return at.setStatusMessage(given.statusMessage);
    default:
      return graphPost(GraphQueryable(at, step.do), ...(step.with ? [body(given)] : []));
  }
}

async function seedSnippet(graph) {
  await graph.users.getById("fa8bf3dc-eca7-46b7-bad1-db199b62afc3").presence.clearPresence("22553876-f5ab-4529-bffb-cfe50aa89f87");
}

/** PnP's own batch: the same calls, made on a batched root. */
async function batch(graph, steps) {
  if (steps.some((step) => step.dependsOn)) {
    throw new Unsupported("PnP's batches have no dependencies");
  }
  const [batched, execute] = graph.batched();
  const result = {};
  const pending = steps.map(async (step) => {
    try {
      const seen = step.do === "getPresence" ? await presence(batched, step)() : await act(batched, step);
      result[step.id] = { status: 200, body: seen };
    } catch (error) {
      const said = await refusal(error);
      result[step.id] = { status: said.status, body: { error: said } };
    }
  });
  await execute();
  await Promise.all(pending);
  return result;
}

/** The id of the subscription that was made last. */
let subscribed;

async function carryOut(step) {
  const graph = clients[step.as];
  switch (step.do) {
    case "getPresence":
      return presence(graph, step)();
    case "getPresencesByUserId":
      return graph.communications.getPresencesByUserId(step.with.ids);
    case "getUser":
      return step.at === "me" ? graph.me() : graph.users.getById(step.user)();
    case "listUsers":
      return graph.users();
    case "createSubscription": {
      const { changeType, notificationUrl, resource, expirationDateTime, ...more } = step.with;
      const { data } = await graph.subscriptions.add(changeType, notificationUrl, resource, expirationDateTime, more);
      subscribed = data.id;
      return data;
    }
    case "listSubscriptions":
      return graph.subscriptions();
    case "getSubscription":
      return graph.subscriptions.getById(subscribed)();
    case "updateSubscription":
      return graph.subscriptions.getById(subscribed).update(step.with);
    case "reauthorizeSubscription":
      await graphPost(GraphQueryable(graph.subscriptions.getById(subscribed), "reauthorize"));
      return;
    case "deleteSubscription":
      await graph.subscriptions.getById(subscribed).delete();
      return;
    case "receive":
      return received(step);
    case "seedSnippet":
      return seedSnippet(graph);
    case "batch":
      return batch(graph, step.requests);
    default:
      await act(graph, step);
  }
}

async function refusal(error) {
  if (error?.isHttpRequestError) {
    const said = (await error.response.json()).error;
    return {
      status: error.status,
      code: said.code,
      message: said.message,
      requestId: said.innerError["request-id"],
    };
  }
}

await carryOutAll(carryOut, refusal);
