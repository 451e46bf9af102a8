"""Sets a user's presence with the official SDK: `set_presence.py USER AVAILABILITY ACTIVITY`."""

import asyncio
import os
import sys
import time
import urllib.parse

from azure.core.credentials import AccessToken
from msgraph import GraphServiceClient
from msgraph.generated.users.item.presence.set_presence.set_presence_post_request_body import (
    SetPresencePostRequestBody,
)


class ReadyToken:
    """A credential that holds a token it was given."""

    def get_token(self, *scopes, **options):
        return AccessToken(os.environ["PRESENCED_APP_TOKEN"], int(time.time()) + 3600)


async def main(user, availability, activity):
    url = os.environ["PRESENCED_HTTP_URL"]
    graph = GraphServiceClient(ReadyToken(), scopes=["https://graph.microsoft.com/.default"])
    graph.request_adapter.base_url = url + "/v1.0"
    provider = graph.request_adapter._authentication_provider.access_token_provider
    provider.get_allowed_hosts_validator().set_allowed_hosts([urllib.parse.urlparse(url).hostname])
    await graph.users.by_user_id(user).presence.set_presence.post(
        SetPresencePostRequestBody(
            session_id=os.environ["PRESENCED_CLIENT_ID"],
            availability=availability,
            activity=activity,
            expiration_duration="PT1H",
        )
    )


asyncio.run(main(*sys.argv[1:]))
