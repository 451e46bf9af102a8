"""What every Python test shares: a Graph client on presenced, and the emulator's clock.

The client is the official SDK, unmodified. What differs from the cloud is what a user would change: the base URL, and
for HTTPS the certificate authority to trust, which httpx takes from SSL_CERT_FILE.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request

from azure.core.credentials import AccessToken
from msgraph import GraphServiceClient

APP_ID = os.environ["PRESENCED_CLIENT_ID"]
USER_A = os.environ["PRESENCED_USER_A"]
USER_B = os.environ["PRESENCED_USER_B"]
HTTP_URL = os.environ["PRESENCED_HTTP_URL"]
BASE_URLS = {"https": os.environ["PRESENCED_URL"], "http": HTTP_URL}

os.environ["SSL_CERT_FILE"] = os.environ["PRESENCED_CA"]


class ReadyToken:
    """A credential that holds a token it was given."""

    def __init__(self, token):
        self._token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self._token, int(time.time()) + 3600)


def client(base_url, token):
    """The official client, pointed at presenced."""
    graph = GraphServiceClient(ReadyToken(token), scopes=["https://graph.microsoft.com/.default"])
    graph.request_adapter.base_url = base_url + "/v1.0"
    provider = graph.request_adapter._authentication_provider.access_token_provider
    provider.get_allowed_hosts_validator().set_allowed_hosts([urllib.parse.urlparse(base_url).hostname])
    return graph


def clients(base_url):
    """The application's client and user A's own."""
    app = client(base_url, os.environ["PRESENCED_APP_TOKEN"])
    own = client(base_url, os.environ["PRESENCED_USER_A_TOKEN"])
    return app, own


def advance(duration):
    """Moves the emulator's clock; returns its new time."""
    request = urllib.request.Request(
        HTTP_URL + "/_presenced/v1/clock/advance",
        data=json.dumps({"duration": duration}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["time"]


def transport():
    """The transport named on the command line."""
    return BASE_URLS[sys.argv[1]]


def pair(presence):
    return f"{presence.availability}/{presence.activity}"
