"""Carries out the scenarios with the official SDK: msgraph-sdk, signed in by azure-identity."""

import asyncio
import datetime
import json
import os
import urllib.parse

from azure.identity import ClientSecretCredential, DeviceCodeCredential
from kiota_abstractions.api_error import APIError
from kiota_serialization_json.json_serialization_writer import JsonSerializationWriter
from msgraph import GraphServiceClient
from msgraph.generated.communications.get_presences_by_user_id.get_presences_by_user_id_post_request_body import (
    GetPresencesByUserIdPostRequestBody,
)
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.presence import Presence
from msgraph.generated.models.presence_status_message import PresenceStatusMessage
from msgraph.generated.models.subscription import Subscription
from msgraph.generated.models.work_location_type import WorkLocationType
from msgraph.generated.users.item.presence.clear_presence.clear_presence_post_request_body import (
    ClearPresencePostRequestBody,
)
from msgraph.generated.users.item.presence.set_automatic_location.set_automatic_location_post_request_body import (
    SetAutomaticLocationPostRequestBody,
)
from msgraph.generated.users.item.presence.set_manual_location.set_manual_location_post_request_body import (
    SetManualLocationPostRequestBody,
)
from msgraph.generated.users.item.presence.set_presence.set_presence_post_request_body import (
    SetPresencePostRequestBody,
)
from msgraph.generated.users.item.presence.set_status_message.set_status_message_post_request_body import (
    SetStatusMessagePostRequestBody,
)
from msgraph.generated.users.item.presence.set_user_preferred_presence.set_user_preferred_presence_post_request_body import (
    SetUserPreferredPresencePostRequestBody,
)
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem
from msgraph_core.requests.batch_request_builder import BatchRequestBuilder

from scenario_steps import Unsupported, agree, control, received, say, scenarios, without_none

URL = os.environ["PRESENCED_URL"]


def client(credential):
    graph = GraphServiceClient(credential, scopes=["https://graph.microsoft.com/.default"])
    graph.request_adapter.base_url = URL + "/v1.0"
    provider = graph.request_adapter._authentication_provider.access_token_provider
    provider.get_allowed_hosts_validator().set_allowed_hosts([urllib.parse.urlparse(URL).hostname])
    return graph


def clients():
    application = ClientSecretCredential(
        os.environ["AZURE_TENANT_ID"],
        os.environ["AZURE_CLIENT_ID"],
        os.environ["AZURE_CLIENT_SECRET"],
        disable_instance_discovery=True,
    )
    user = DeviceCodeCredential(
        os.environ["AZURE_CLIENT_ID"],
        tenant_id=os.environ["AZURE_TENANT_ID"],
        disable_instance_discovery=True,
        prompt_callback=lambda page, code, _: agree(page, user_code=code),
    )
    return {"app": client(application), "user": client(user)}


def presence(graph, step):
    match step["at"]:
        case "me":
            return graph.me.presence
        case "users":
            return graph.users.by_user_id(step["user"]).presence
        case "communications":
            return graph.communications.presences.by_presence_id(step["user"])


def session(given):
    return {
        "availability": given.get("availability"),
        "activity": given.get("activity"),
        "expiration_duration": given.get("expirationDuration"),
    }


def status_message(given):
    note = given["statusMessage"]
    ends = note.get("expiryDateTime")
    return PresenceStatusMessage(
        message=ItemBody(
            content=note["message"]["content"], content_type=BodyType(note["message"]["contentType"])
        ),
        expiry_date_time=ends and DateTimeTimeZone(date_time=ends["dateTime"], time_zone=ends["timeZone"]),
    )


def location(given):
    return {"work_location_type": WorkLocationType(given["workLocationType"]), "place_id": given.get("placeId")}


# Each action: its request builder, and its typed body.
ACTIONS = {
    "setPresence": lambda p, given: (
        p.set_presence,
        SetPresencePostRequestBody(session_id=given.get("sessionId"), **session(given)),
    ),
    "clearPresence": lambda p, given: (
        p.clear_presence,
        ClearPresencePostRequestBody(session_id=given.get("sessionId")),
    ),
    "setUserPreferredPresence": lambda p, given: (
        p.set_user_preferred_presence,
        SetUserPreferredPresencePostRequestBody(**session(given)),
    ),
    "clearUserPreferredPresence": lambda p, _: (p.clear_user_preferred_presence, None),
    "setStatusMessage": lambda p, given: (
        p.set_status_message,
        SetStatusMessagePostRequestBody(status_message=status_message(given)),
    ),
    "setManualLocation": lambda p, given: (
        p.set_manual_location,
        SetManualLocationPostRequestBody(**location(given)),
    ),
    "setAutomaticLocation": lambda p, given: (
        p.set_automatic_location,
        SetAutomaticLocationPostRequestBody(**location(given)),
    ),
    "clearLocation": lambda p, _: (p.clear_location, None),
    "clearAutomaticLocation": lambda p, _: (p.clear_automatic_location, None),
}


def on_the_wire(model):
    """A typed model in the shape of the wire."""
    writer = JsonSerializationWriter()
    writer.write_object_value(None, model)
    members = json.loads(writer.get_serialized_content())
    # A member that only the service writes is read, and never written.
    if isinstance(model, Presence):
        members["sequenceNumber"] = model.sequence_number
    return without_none(members)


async def seed_snippet(graph_client):
    # Code snippets are only available for the latest version. Current version is 1.x
    from msgraph import GraphServiceClient
    from msgraph.generated.users.item.presence.clear_presence.clear_presence_post_request_body import ClearPresencePostRequestBody
    # To initialize your graph_client, see https://learn.microsoft.com/en-us/graph/sdks/create-client?from=snippets&tabs=python
    request_body = ClearPresencePostRequestBody(
    	session_id = "22553876-f5ab-4529-bffb-cfe50aa89f87",
    )

    await graph_client.users.by_user_id('fa8bf3dc-eca7-46b7-bad1-db199b62afc3').presence.clear_presence.post(request_body)


async def batch(graph, steps, reads_bodies):
    """The SDK's own batch: requests made by the same builders, sent together."""
    if any("dependsOn" in step for step in steps):
        raise Unsupported("msgraph-core 1.5 calls dependsOn depends_on")
    if reads_bodies:
        raise Unsupported("msgraph-core 1.5 drops bodies that are objects from the answers of a batch")
    content = BatchRequestContent()
    for step in steps:
        at = presence(graph, step)
        if step["do"] == "getPresence":
            request = at.to_get_request_information()
        else:
            builder, body = ACTIONS[step["do"]](at, step.get("with", {}))
            request = builder.to_post_request_information(*[body] if body else [])
        # The item takes the address for one relative to the version root.
        request.path_parameters["baseurl"] = graph.request_adapter.base_url
        item = BatchRequestItem(request, step["id"])
        item.url = item.url.removeprefix(graph.request_adapter.base_url)
        content.add_request(step["id"], item)
    answer = await BatchRequestBuilder(graph.request_adapter).post(content)
    result = {}
    for step in steps:
        item = answer.get_response_by_id(step["id"])
        result[step["id"]] = {"status": item.status}
    return result


def subscription(given):
    ends = datetime.datetime.fromisoformat(given["expirationDateTime"])
    return Subscription(
        change_type=given.get("changeType"),
        resource=given.get("resource"),
        notification_url=given.get("notificationUrl"),
        client_state=given.get("clientState"),
        expiration_date_time=ends,
        include_resource_data=given.get("includeResourceData"),
        encryption_certificate=given.get("encryptionCertificate"),
        encryption_certificate_id=given.get("encryptionCertificateId"),
    )


class Subscribed:
    """The subscription that was made last."""

    id = ""


async def carry_out(graph, step):
    match step["do"]:
        case "getPresence":
            return on_the_wire(await presence(graph, step).get())
        case "getPresencesByUserId":
            body = GetPresencesByUserIdPostRequestBody(ids=step["with"]["ids"])
            answer = await graph.communications.get_presences_by_user_id.post(body)
            return [on_the_wire(one) for one in answer.value]
        case "getUser":
            user = graph.me if step["at"] == "me" else graph.users.by_user_id(step["user"])
            return on_the_wire(await user.get())
        case "listUsers":
            return [on_the_wire(user) for user in (await graph.users.get()).value]
        case "createSubscription":
            created = await graph.subscriptions.post(subscription(step["with"]))
            Subscribed.id = created.id
            return on_the_wire(created)
        case "listSubscriptions":
            return [on_the_wire(one) for one in (await graph.subscriptions.get()).value]
        case "getSubscription":
            return on_the_wire(await graph.subscriptions.by_subscription_id(Subscribed.id).get())
        case "updateSubscription":
            own = graph.subscriptions.by_subscription_id(Subscribed.id)
            return on_the_wire(await own.patch(subscription(step["with"])))
        case "reauthorizeSubscription":
            return await graph.subscriptions.by_subscription_id(Subscribed.id).reauthorize.post()
        case "deleteSubscription":
            return await graph.subscriptions.by_subscription_id(Subscribed.id).delete()
        case "receive":
            return received(step)
        case "seedSnippet":
            return await seed_snippet(graph)
        case "batch":
            return await batch(graph, step["requests"], "reads" in step)
        case action:
            builder, body = ACTIONS[action](presence(graph, step), step.get("with", {}))
            return await (builder.post(body) if body else builder.post())


async def main():
    graphs = clients()
    for index, scenario in enumerate(scenarios()):
        for number, step in enumerate(scenario["steps"]):
            if "control" in step:
                control(step)
                continue
            try:
                result = await carry_out(graphs[step["as"]], step)
                say(index, number, result=result)
            except Unsupported as reason:
                say(index, number, unsupported=str(reason))
                break
            except APIError as error:
                said = error.error
                say(
                    index,
                    number,
                    error={
                        "status": error.response_status_code,
                        "code": said.code,
                        "message": said.message,
                        "requestId": said.inner_error.request_id,
                    },
                )


asyncio.run(main())
