"""Subscriptions made, renewed and deleted by the official SDK; basic, rich and lifecycle notifications received."""

import asyncio
import datetime
import json
import os
import socket
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../sdk/python"))

from common import APP_ID, HTTP_URL, USER_A, USER_B, advance, client  # noqa: E402
from msgraph.generated.models.o_data_errors.o_data_error import ODataError  # noqa: E402
from msgraph.generated.models.subscription import Subscription  # noqa: E402
from receiver import EncryptionKey, Receiver, validate  # noqa: E402

BASE = os.environ["PRESENCED_URL"]
TENANT = os.environ["PRESENCED_TENANT"]


def now():
    with urllib.request.urlopen(HTTP_URL + "/_presenced/v1/clock") as response:
        return datetime.datetime.fromisoformat(json.load(response)["time"].replace("Z", "+00:00"))


def set_presence(user, availability, activity):
    request = urllib.request.Request(
        f"{HTTP_URL}/v1.0/users/{user}/presence/setPresence",
        data=json.dumps(
            {"sessionId": APP_ID, "availability": availability, "activity": activity, "expirationDuration": "PT4H"}
        ).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["PRESENCED_APP_TOKEN"]},
    )
    urllib.request.urlopen(request).close()


async def refused(call, status, message):
    try:
        await call
    except ODataError as error:
        assert error.response_status_code == status, error
        assert message in error.error.message, error
    else:
        raise AssertionError(f"expected {status} {message}")


async def main():
    graph = client(BASE, os.environ["PRESENCED_USER_A_TOKEN"])
    receiver, key = Receiver.for_presenced(), EncryptionKey("cert-1")

    # Rich, for two users at once.
    ids = f"'{USER_A}','{USER_B}'"
    created = await graph.subscriptions.post(
        Subscription(
            change_type="updated",
            resource=f"/communications/presences?$filter=id in ({ids})",
            notification_url=receiver.url + "?route=a%20b",
            lifecycle_notification_url=receiver.url,
            client_state="secret",
            include_resource_data=True,
            encryption_certificate=key.base64,
            encryption_certificate_id=key.id,
            expiration_date_time=now() + datetime.timedelta(minutes=60),
        )
    )
    assert created.application_id == APP_ID and created.creator_id == USER_A, created
    assert (await graph.subscriptions.by_subscription_id(created.id).get()).id == created.id
    assert [each.id for each in (await graph.subscriptions.get()).value] == [created.id]

    # The quota of the documentation: one presence subscription for a user and an application.
    second = Subscription(
        change_type="updated",
        resource=f"/communications/presences/{USER_B}",
        notification_url=receiver.url,
        expiration_date_time=now() + datetime.timedelta(minutes=60),
    )
    await refused(graph.subscriptions.post(second), 409, "A subscripton already exists.")

    set_presence(USER_A, "Busy", "InACall")
    set_presence(USER_B, "Available", "Available")
    items = receiver.wait_for(2)
    seen, keys = {}, set()
    for item in items:
        assert item["subscriptionId"] == created.id and item["clientState"] == "secret", item
        assert item["tenantId"] == item["organizationId"] == TENANT, item
        assert item["changeType"] == "updated" and "availability" not in json.dumps(item), item
        resource, symmetric = key.decrypt(item["encryptedContent"])
        assert item["resource"] == f"communications/presences/{resource['id']}", item
        assert item["resourceData"]["@odata.id"] == f"users/{resource['id']}/presence", item
        seen[resource["id"]] = (resource["availability"], resource["activity"])
        keys.add(symmetric)
    assert seen == {USER_A: ("Busy", "InACall"), USER_B: ("Available", "Available")}, seen
    assert len(keys) == 2, "each item has a key of its own"
    validate(receiver.validation_tokens, BASE, TENANT, APP_ID)
    assert receiver.validation_tokens

    # Renewed with a new certificate: what follows is for the new key.
    new_key = EncryptionKey("cert-2")
    patch = Subscription(
        expiration_date_time=now() + datetime.timedelta(minutes=50),
        encryption_certificate=new_key.base64,
        encryption_certificate_id=new_key.id,
    )
    renewed = await graph.subscriptions.by_subscription_id(created.id).patch(patch)
    assert renewed.id == created.id and renewed.expiration_date_time < created.expiration_date_time, renewed
    set_presence(USER_A, "DoNotDisturb", "Presenting")
    resource, _ = new_key.decrypt(receiver.wait_for(3)[2]["encryptedContent"])
    assert (resource["availability"], resource["activity"]) == ("DoNotDisturb", "Presenting"), resource

    # Fades are told, too, and what a subscription is told of its own end.
    advance("PT5M")
    resource, _ = new_key.decrypt(receiver.wait_for(4)[3]["encryptedContent"])
    assert (resource["id"], resource["activity"]) == (USER_B, "AvailableInactive"), resource
    await graph.subscriptions.by_subscription_id(created.id).reauthorize.post()
    advance("PT31M")
    lifecycle = receiver.wait_for(1, "lifecycle")[0]
    assert lifecycle["lifecycleEvent"] == "reauthorizationRequired", lifecycle
    assert lifecycle["subscriptionId"] == created.id and "changeType" not in lifecycle, lifecycle

    await graph.subscriptions.by_subscription_id(created.id).delete()
    await refused(graph.subscriptions.by_subscription_id(created.id).get(), 404, "The object was not found.")

    # An endpoint that does not answer the handshake: nothing is stored.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        second.notification_url = f"https://localhost:{nobody.getsockname()[1]}/notify"
    await refused(graph.subscriptions.post(second), 400, "Subscription validation request failed.")
    assert (await graph.subscriptions.get()).value == []


asyncio.run(main())
print("subscriptions: passed")
