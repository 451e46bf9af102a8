// Carries out the scenarios with @pnp/graph, signed in by its MSAL behavior.
//
// PnP has the five actions of sessions, preferred presence and status message. The location actions, and presences below
// /communications, are its queryables at another path.

import { graphfi } from "@pnp/graph";
import "@pnp/graph/batching.js";
import "@pnp/graph/cloud-communications/index.js";
import { GraphQueryable, graphPost } from "@pnp/graph";
import "@pnp/graph/users/index.js";
import { GraphDefault } from "@pnp/nodejs";
import { body, InjectHeaders } from "@pnp/queryable";
import { Presence } from "@pnp/graph/cloud-communications/index.js";

import { carryOutAll, Unsupported } from "./scenario_steps.mjs";

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

// The root stays empty: with an address there, batches would go beside the version root.
const clients = {
  app: graphfi().using(GraphDefault({ baseUrl, msal: application })),
  user: graphfi().using(
    GraphDefault({ baseUrl }),
    InjectHeaders({ Authorization: `Bearer ${env.PRESENCED_USER_A_TOKEN}` }),
  ),
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
