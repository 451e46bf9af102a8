"""The document the project was born from, with its ids: the clearPresence snippet in Python, run for real."""

import asyncio

from common import APP_ID, USER_A, advance, clients, pair, transport
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.item.presence.clear_presence.clear_presence_post_request_body import (
    ClearPresencePostRequestBody,
)
from msgraph.generated.users.item.presence.set_presence.set_presence_post_request_body import (
    SetPresencePostRequestBody,
)


async def main():
    assert APP_ID == "22553876-f5ab-4529-bffb-cfe50aa89f87"
    assert USER_A == "fa8bf3dc-eca7-46b7-bad1-db199b62afc3"
    graph_client, _ = clients(transport())
    presence = graph_client.users.by_user_id(USER_A).presence

    await presence.set_presence.post(
        SetPresencePostRequestBody(
            session_id=APP_ID, availability="Available", activity="Available", expiration_duration="PT1H"
        )
    )
    assert pair(await presence.get()) == "Available/Available"
    first = (await presence.get()).sequence_number
    advance("PT5M")
    assert pair(await presence.get()) == "Available/AvailableInactive"
    advance("PT5M")
    faded = await presence.get()
    assert pair(faded) == "Away/Away"
    assert faded.sequence_number > first

    # The snippet, word for word.
    request_body = ClearPresencePostRequestBody(
        session_id="22553876-f5ab-4529-bffb-cfe50aa89f87",
    )
    await graph_client.users.by_user_id(USER_A).presence.clear_presence.post(request_body)
    assert pair(await presence.get()) == "Offline/Offline"

    try:
        await graph_client.users.by_user_id(USER_A).presence.clear_presence.post(request_body)
    except ODataError as error:
        assert error.response_status_code == 404, error
        assert error.error.code == "NotFound", error
        assert error.error.inner_error.request_id, error
    else:
        raise AssertionError("clearing a session that is not there must fail")


asyncio.run(main())
print("clear_presence: passed")
