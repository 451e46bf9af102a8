// Carries out the scenarios with @microsoft/msgraph-sdk (Kiota), signed in by @azure/identity: the application by its secret,
// the user on a device.
//
// The SDK comes in packages by path. There is none for /communications, and the one for /users has four of the nine presence
// actions: what has no request builder is sent through the SDK's own request adapter, with its own models.

import { ClientSecretCredential, DeviceCodeCredential, type TokenCredential } from "@azure/identity";
import {
  Duration,
  type ErrorMappings,
  HttpMethod,
  type ModelSerializerFunction,
  type Parsable,
  RequestInformation,
} from "@microsoft/kiota-abstractions";
import { AzureIdentityAuthenticationProvider } from "@microsoft/kiota-authentication-azure";
import { createGraphServiceClient, GraphRequestAdapter } from "@microsoft/msgraph-sdk";
import {
  createPresenceFromDiscriminatorValue,
  type Presence,
  type PresenceStatusMessage,
  serializePresenceStatusMessage,
  type Subscription,
  type User,
} from "@microsoft/msgraph-sdk/models/index.js";
import { createODataErrorFromDiscriminatorValue } from "@microsoft/msgraph-sdk/models/oDataErrors/index.js";
import { BatchRequestContent } from "@microsoft/msgraph-sdk-core";
import "@microsoft/msgraph-sdk-subscriptions";
import "@microsoft/msgraph-sdk-users";

import { received } from "./notifications.mjs";
import { agree, carryOutAll, Unsupported } from "./scenario_steps.mjs";

const { env } = process;
const errors: ErrorMappings = { XXX: createODataErrorFromDiscriminatorValue };

function connect(credential: TokenCredential) {
  const hosts = new Set([new URL(env.PRESENCED_URL!).hostname]);
  const authentication = new AzureIdentityAuthenticationProvider(
    credential,
    ["https://graph.microsoft.com/.default"],
    undefined,
    hosts,
  );
  const adapter = new GraphRequestAdapter(authentication);
  adapter.baseUrl = `${env.PRESENCED_URL}/v1.0`;
  return { adapter, graph: createGraphServiceClient(adapter) };
}

const authority = { authorityHost: env.AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true };
const clients = {
  app: connect(
    new ClientSecretCredential(env.AZURE_TENANT_ID!, env.AZURE_CLIENT_ID!, env.AZURE_CLIENT_SECRET!, authority),
  ),
  user: connect(
    new DeviceCodeCredential({
      ...authority,
      tenantId: env.AZURE_TENANT_ID,
      clientId: env.AZURE_CLIENT_ID,
      userPromptCallback: ({ verificationUri, userCode }) => void agree(verificationUri, { user_code: userCode }),
    }),
  ),
};
type Client = (typeof clients)["app"];

function address(step: any) {
  switch (step.at) {
    case "me":
      return "/me/presence";
    case "users":
      return `/users/${step.user}/presence`;
    default:
      return `/communications/presences/${step.user}`;
  }
}

/** The presence's request builder; of a presence below /communications, the same one at another URL. */
function builder({ adapter, graph }: Client, step: any, action = "") {
  const presence = step.at === "me" ? graph.me.presence : graph.users.byUserId(step.user ?? "-").presence;
  const there = action ? (presence as any)[action] : presence;
  return step.at === "communications" ? there.withUrl(`${adapter.baseUrl}${address(step)}${action && `/${action}`}`) : there;
}

function body(given: any) {
  return { ...given, ...(given.expirationDuration && { expirationDuration: Duration.parse(given.expirationDuration) }) };
}

const HAS_BUILDER = ["setPresence", "clearPresence", "setUserPreferredPresence", "clearUserPreferredPresence"];

/** What a step asks for, as the SDK's batch wants it. */
function request(client: Client, step: any): RequestInformation {
  if (step.do === "getPresence") {
    return builder(client, step).toGetRequestInformation();
  }
  const action = builder(client, step, step.do);
  return action.toPostRequestInformation();
}

/** An action of which the SDK has no request builder. */
function unbuilt({ adapter }: Client, path: string, given?: any): RequestInformation {
  const info = new RequestInformation(HttpMethod.POST, `{+baseurl}${path}`, { baseurl: adapter.baseUrl });
  info.headers.tryAdd("Accept", "application/json");
  if (given) {
    const serialize: ModelSerializerFunction<Parsable> = (writer) => {
      for (const [name, value] of Object.entries(given)) {
        if (name === "statusMessage") {
          writer.writeObjectValue<PresenceStatusMessage>(name, value as any, serializePresenceStatusMessage);
        } else if (Array.isArray(value)) {
          writer.writeCollectionOfPrimitiveValues<string>(name, value);
        } else {
          writer.writeStringValue(name, value as string);
        }
      }
    };
    info.setContentFromParsable(adapter, "application/json", given, serialize);
  }
  return info;
}

function onTheWire(seen: Presence) {
  const { id, availability, activity, sequenceNumber, outOfOfficeSettings, statusMessage, workLocation } = seen;
  return {
    id,
    availability,
    activity,
    sequenceNumber,
    outOfOfficeSettings: outOfOfficeSettings && {
      isOutOfOffice: outOfOfficeSettings.isOutOfOffice,
      message: outOfOfficeSettings.message,
    },
    // The SDK makes an empty object of null.
    statusMessage: statusMessage?.message?.content && {
      message: { content: statusMessage.message?.content, contentType: statusMessage.message?.contentType },
      publishedDateTime: statusMessage.publishedDateTime?.toISOString(),
      expiryDateTime: statusMessage.expiryDateTime && {
        dateTime: statusMessage.expiryDateTime.dateTime,
        timeZone: statusMessage.expiryDateTime.timeZone,
      },
    },
    workLocation: workLocation && {
      source: workLocation.source,
      workLocationType: workLocation.workLocationType,
      placeId: workLocation.placeId,
    },
  };
}

const userOnTheWire = (user?: User) => ({ id: user?.id, userPrincipalName: user?.userPrincipalName });

async function seedSnippet({ graph: graphClient }: Client) {
  const requestBody = {
    sessionId: "22553876-f5ab-4529-bffb-cfe50aa89f87",
  };
  await graphClient.users.byUserId("fa8bf3dc-eca7-46b7-bad1-db199b62afc3").presence.clearPresence.post(requestBody);
}

async function batch(client: Client, steps: any[], readsBodies: boolean) {
  if (steps.some((step) => step.with)) {
    throw new Unsupported("the preview's batches lose the bodies of their requests");
  }
  if (readsBodies) {
    throw new Unsupported("the preview's batches lose the bodies of their answers");
  }
  const content = new BatchRequestContent(client.adapter, errors);
  for (const step of steps) {
    const item = content.addBatchRequest(request(client, step), step.id);
    item.dependsOn = step.dependsOn;
  }
  const answer = await content.postAsync();
  const result: any = {};
  for (const { id } of steps) {
    result[id] = { status: answer!.getResponseById(id)!.status };
  }
  return result;
}

/** A collection of presences, for which the SDK has a model of neither name. */
function createAnswer() {
  return (answer: any = {}) => ({
    value: (node: any) => {
      answer.value = node.getCollectionOfObjectValues(createPresenceFromDiscriminatorValue);
    },
  });
}

const subscriptionBody = (given: any): Subscription => ({
  ...given,
  expirationDateTime: new Date(given.expirationDateTime),
});

/** The id of the subscription that was made last. */
let subscribed = "";

async function carryOut(step: any) {
  const client = clients[step.as as "app" | "user"];
  switch (step.do) {
    case "getPresence":
      return onTheWire(await builder(client, step).get());
    case "getPresencesByUserId": {
      const info = unbuilt(client, "/communications/getPresencesByUserId", step.with);
      const answer: any = await client.adapter.send(info, createAnswer as any, errors);
      return answer.value.map(onTheWire);
    }
    case "getUser":
      return userOnTheWire(await (step.at === "me" ? client.graph.me : client.graph.users.byUserId(step.user)).get());
    case "listUsers":
      return (await client.graph.users.get())!.value!.map(userOnTheWire);
    case "createSubscription": {
      const created = await client.graph.subscriptions.post(subscriptionBody(step.with));
      subscribed = created!.id!;
      return created;
    }
    case "listSubscriptions":
      return (await client.graph.subscriptions.get())!.value;
    case "getSubscription":
      return client.graph.subscriptions.bySubscriptionId(subscribed).get();
    case "updateSubscription":
      return client.graph.subscriptions.bySubscriptionId(subscribed).patch(subscriptionBody(step.with));
    case "reauthorizeSubscription":
      return client.graph.subscriptions.bySubscriptionId(subscribed).reauthorize.post();
    case "deleteSubscription":
      return client.graph.subscriptions.bySubscriptionId(subscribed).delete();
    case "receive":
      return received(step);
    case "seedSnippet":
      return seedSnippet(client);
    case "batch":
      return batch(client, step.requests, Boolean(step.reads));
    default:
      if (HAS_BUILDER.includes(step.do)) {
        const action = builder(client, step, step.do);
        await (step.do === "clearUserPreferredPresence" ? action.post() : action.post(body(step.with)));
      } else {
        await client.adapter.sendNoResponseContent(unbuilt(client, `${address(step)}/${step.do}`, step.with), errors);
      }
  }
}

function refusal(error: any) {
  if (error?.responseStatusCode) {
    return {
      status: error.responseStatusCode,
      code: error.errorEscaped?.code,
      message: error.errorEscaped?.message,
      requestId: error.errorEscaped?.innerError?.requestId,
    };
  }
}

await carryOutAll(carryOut, refusal);
