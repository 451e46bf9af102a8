"""Every presence call of the official SDK, once in earnest: results, errors, and 650 people at a time."""

import asyncio
import datetime
import uuid

from common import APP_ID, USER_A, USER_B, advance, clients, pair, transport
from msgraph.generated.communications.get_presences_by_user_id.get_presences_by_user_id_post_request_body import (
    GetPresencesByUserIdPostRequestBody,
)
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.presence_status_message import PresenceStatusMessage
from msgraph.generated.models.work_location_source import WorkLocationSource
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


async def refused(call, status, code, message=None):
    try:
        await call
    except ODataError as error:
        assert error.response_status_code == status, error
        assert error.error.code == code, error
        assert message is None or error.error.message == message, error
    else:
        raise AssertionError(f"expected {status} {code}")


async def sessions(app):
    presence = app.users.by_user_id(USER_A).presence
    for availability, activity in [
        ("Available", "Available"),
        ("Busy", "InACall"),
        ("Busy", "InAConferenceCall"),
        ("Away", "Away"),
        ("DoNotDisturb", "Presenting"),
    ]:
        body = SetPresencePostRequestBody(session_id=APP_ID, availability=availability, activity=activity)
        # The SDK sends a timedelta as Python prints it; presenced takes that, too.
        body.expiration_duration = datetime.timedelta(hours=1)
        await presence.set_presence.post(body)
        assert pair(await presence.get()) == f"{availability}/{activity}"
        assert pair(await app.communications.presences.by_presence_id(USER_A).get()) == f"{availability}/{activity}"

    unsupported = SetPresencePostRequestBody(session_id=APP_ID, availability="Busy", activity="Busy")
    await refused(presence.set_presence.post(unsupported), 400, "InvalidArgument")
    short = SetPresencePostRequestBody(
        session_id=APP_ID, availability="Away", activity="Away", expiration_duration="PT1M"
    )
    out_of_range = "The provided [ExpirationDuration] is out of range."
    await refused(presence.set_presence.post(short), 400, "InvalidArgument", out_of_range)
    missing = "[SessionId]: The SessionId field is required."
    await refused(presence.clear_presence.post(ClearPresencePostRequestBody()), 400, "InvalidArgument", missing)
    assert pair(await presence.get()) == "DoNotDisturb/Presenting", "a refused call changes nothing"
    await presence.clear_presence.post(ClearPresencePostRequestBody(session_id=APP_ID))


async def preferred(app):
    presence = app.users.by_user_id(USER_A).presence
    away = SetUserPreferredPresencePostRequestBody(
        availability="Offline", activity="OffWork", expiration_duration="PT8H"
    )
    await presence.set_user_preferred_presence.post(away)
    assert pair(await presence.get()) == "Offline/Offline", "a preferred presence sleeps without a session"
    await presence.set_presence.post(
        SetPresencePostRequestBody(
            session_id=APP_ID, availability="Busy", activity="InACall", expiration_duration="PT1H"
        )
    )
    assert pair(await presence.get()) == "Offline/OffWork"
    await presence.clear_user_preferred_presence.post()
    assert pair(await presence.get()) == "Busy/InACall"
    await presence.clear_user_preferred_presence.post()
    await presence.clear_presence.post(ClearPresencePostRequestBody(session_id=APP_ID))


async def status_message(app, own):
    now = datetime.datetime.fromisoformat(advance("PT0S").replace("Z", "+00:00"))
    # Written in Seattle's time zone by its Windows name, read back in UTC.
    ends = now + datetime.timedelta(hours=30)
    body = SetStatusMessagePostRequestBody(
        status_message=PresenceStatusMessage(
            message=ItemBody(content="Back on Monday", content_type=BodyType.Text),
            expiry_date_time=DateTimeTimeZone(
                date_time=(ends - datetime.timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%S.%f"),
                time_zone="Alaskan Standard Time",
            ),
        )
    )
    await app.users.by_user_id(USER_A).presence.set_status_message.post(body)
    mine = (await own.me.presence.get()).status_message
    assert mine.message.content == "Back on Monday"
    assert mine.published_date_time is not None
    assert mine.expiry_date_time.time_zone == "UTC"
    theirs = (await app.users.by_user_id(USER_A).presence.get()).status_message
    assert theirs.message.content == "Back on Monday"
    assert theirs.published_date_time is None and theirs.expiry_date_time is None
    advance("P2D")
    assert (await own.me.presence.get()).status_message is None


async def location(app, own):
    presence = own.me.presence
    await presence.set_automatic_location.post(
        SetAutomaticLocationPostRequestBody(work_location_type=WorkLocationType.Office, place_id="building-7")
    )
    seen = (await presence.get()).work_location
    assert seen.source == WorkLocationSource.Automatic and seen.place_id == "building-7"
    await presence.set_manual_location.post(
        SetManualLocationPostRequestBody(work_location_type=WorkLocationType.Remote)
    )
    seen = (await presence.get()).work_location
    assert seen.source == WorkLocationSource.Manual and seen.work_location_type == WorkLocationType.Remote
    await presence.clear_automatic_location.post()
    assert (await presence.get()).work_location.source == WorkLocationSource.Manual
    await presence.clear_location.post()
    assert (await presence.get()).work_location.source == WorkLocationSource.None_
    for_another = SetManualLocationPostRequestBody(work_location_type=WorkLocationType.Remote)
    by_id = app.users.by_user_id(USER_A).presence
    await refused(by_id.set_manual_location.post(for_another), 403, "Forbidden")


async def many(app):
    ids = [USER_A, USER_B] + [str(uuid.uuid4()) for _ in range(648)]
    await app.users.by_user_id(USER_B).presence.set_presence.post(
        SetPresencePostRequestBody(
            session_id=APP_ID, availability="Busy", activity="InACall", expiration_duration="PT5M"
        )
    )
    body = GetPresencesByUserIdPostRequestBody(ids=ids)
    found = (await app.communications.get_presences_by_user_id.post(body)).value
    assert [presence.id for presence in found] == ids
    assert pair(found[0]) == "Offline/Offline"
    assert pair(found[1]) == "Busy/InACall"
    assert {pair(presence) for presence in found[2:]} == {"PresenceUnknown/PresenceUnknown"}
    one_more = GetPresencesByUserIdPostRequestBody(ids=ids + [str(uuid.uuid4())])
    await refused(app.communications.get_presences_by_user_id.post(one_more), 400, "InvalidArgument")


async def permissions(app, own):
    await refused(app.me.presence.get(), 400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    body = SetPresencePostRequestBody(session_id=APP_ID, availability="Away", activity="Away")
    await refused(own.users.by_user_id(USER_B).presence.set_presence.post(body), 401, "Unauthorized")
    assert (await own.users.by_user_id(USER_B).presence.get()).id == USER_B
    await refused(app.users.by_user_id(str(uuid.uuid4())).presence.set_presence.post(body), 404, "NotFound")


async def directory(app, own):
    me = await own.me.get()
    assert me.id == USER_A and me.user_principal_name
    assert (await app.users.by_user_id(me.user_principal_name).get()).id == USER_A
    users = (await app.users.get()).value
    assert {USER_A, USER_B} <= {user.id for user in users}


async def main():
    app, own = clients(transport())
    await sessions(app)
    await preferred(app)
    await status_message(app, own)
    await location(app, own)
    await many(app)
    await permissions(app, own)
    await directory(app, own)


asyncio.run(main())
print("presence_calls: passed")
