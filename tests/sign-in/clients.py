"""The Python libraries, unmodified, sign in at presenced: `clients.py SCENARIO`, under `presenced exec`.

How each is pointed at presenced stands in docs/identity.md; the lines there are what is executed here.
"""

import asyncio
import datetime
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import azure.identity
import azure.identity.aio
import msal
import msgraph
from azure.core.exceptions import ClientAuthenticationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

URL = os.environ["PRESENCED_URL"]
HTTP_URL = os.environ["PRESENCED_HTTP_URL"]
TENANT = os.environ["PRESENCED_TENANT"]
CLIENT = os.environ["PRESENCED_CLIENT_ID"]
SECRET = os.environ["PRESENCED_CLIENT_SECRET"]
USER = os.environ["PRESENCED_USER_A"]
DEFAULT = ["https://graph.microsoft.com/.default"]


def lines(client, **names):
    """Executes the lines of a row of the document; returns the names they leave."""
    with open(os.environ["IDENTITY_PAGE"]) as page:
        row = next(line for line in page if line.startswith(f"| {client} | Python |"))
    code = "\n".join(re.findall(r"`([^`]+)`", row))
    names = {**globals(), **names}
    exec(code, names)
    return names


def presence(token, user=None):
    """What the API answers to a token."""
    path = f"/v1.0/users/{user}/presence" if user else "/v1.0/me/presence"
    request = urllib.request.Request(HTTP_URL + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def token_of(result):
    assert "access_token" in result, result
    return result["access_token"]


def browse(url, *code):
    """Signs Ana in with a browser, in the background."""
    driver = [os.environ["SIGN_IN_NODE"], os.environ["SIGN_IN_DRIVER"], os.environ["SIGN_IN_BROWSER"], url, *code]
    return subprocess.Popen(driver)


def certificate():
    """A key with a certificate of its own, registered for a new application: client id, PEM of both, thumbprint."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "robot")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    body = {"displayName": "Robot", "roles": ["Presence.ReadWrite.All"], "certificates": [pem]}
    request = urllib.request.Request(
        HTTP_URL + "/_presenced/v1/admin/applications",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {os.environ['PRESENCED_APP_TOKEN']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        client = json.load(response)["id"]
    return client, private, pem, made.fingerprint(hashes.SHA1()).hex()


def secret():
    client = lines("MSAL, secret")["client"]
    first = client.acquire_token_for_client(DEFAULT)
    assert presence(token_of(first), USER)["id"] == USER
    assert client.acquire_token_for_client(DEFAULT)["token_source"] == "cache"
    oidc = lines("MSAL, any OpenID Connect issuer")["client"]
    assert presence(token_of(oidc.acquire_token_for_client(DEFAULT)), USER)["id"] == USER
    wrong = lines("MSAL, secret", SECRET="wrong")["client"].acquire_token_for_client(DEFAULT)
    assert wrong["error"] == "invalid_client" and wrong["error_codes"] == [7000215], wrong


def assertion():
    robot, key, pem, thumbprint = certificate()
    client = lines("MSAL, certificate", CLIENT=robot, KEY=key, THUMBPRINT=thumbprint)["client"]
    assert presence(token_of(client.acquire_token_for_client(DEFAULT)), USER)["id"] == USER
    # The same assertion again: MSAL keeps it.
    again = client.acquire_token_for_client(["https://localhost/.default"])
    assert again["token_source"] == "identity_provider", again
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    forged = lines("MSAL, certificate", CLIENT=robot, KEY=other.decode(), THUMBPRINT=thumbprint)["client"]
    assert forged.acquire_token_for_client(DEFAULT)["error_codes"] == [700027]
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(key + pem)
        file.flush()
        credential = lines("azure-identity, certificate", CLIENT=robot, CERTIFICATE_FILE=file.name)["credential"]
        assert presence(credential.get_token(*DEFAULT).token, USER)["id"] == USER


class Receiver(http.server.BaseHTTPRequestHandler):
    """Where the browser is sent back to."""

    def do_GET(self):
        self.server.answer = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<link rel=icon href='data:,'><p>You are signed in")

    def log_message(self, *_):
        pass


def code():
    client = lines("MSAL, users")["client"]
    receiver = http.server.HTTPServer(("localhost", 0), Receiver)
    redirect = f"http://localhost:{receiver.server_port}"
    scopes = ["Presence.ReadWrite", "https://graph.microsoft.com/User.Read"]
    flow = client.initiate_auth_code_flow(scopes, redirect_uri=redirect)
    thread = threading.Thread(target=receiver.handle_request)
    thread.start()
    browser = browse(flow["auth_uri"])
    thread.join(60)
    assert browser.wait(60) == 0
    result = client.acquire_token_by_auth_code_flow(flow, receiver.answer)
    assert presence(token_of(result))["id"] == USER
    assert result["id_token_claims"]["preferred_username"] == "ana.fuentes@presenced.example", result
    account = client.get_accounts()[0]
    assert account["home_account_id"] == f"{USER}.{TENANT}", account
    silent = client.acquire_token_silent(scopes, account=account)
    assert silent["token_source"] == "cache", silent
    renewed = client.acquire_token_silent(scopes, account=account, force_refresh=True)
    assert renewed["token_source"] == "identity_provider", renewed
    assert presence(token_of(renewed))["id"] == USER
    # The code was redeemed: it is worth nothing now.
    replayed = client.acquire_token_by_authorization_code(
        receiver.answer["code"], scopes, redirect_uri=redirect, data={"code_verifier": flow["code_verifier"]}
    )
    assert replayed["error_codes"] == [54005], replayed


def device():
    client = lines("MSAL, users")["client"]
    flow = client.initiate_device_flow(["Presence.Read"])
    assert "user_code" in flow, flow
    browser = browse(flow["verification_uri"], flow["user_code"])
    result = client.acquire_token_by_device_flow(flow)
    assert browser.wait(60) == 0
    assert presence(token_of(result))["id"] == USER
    assert client.acquire_token_silent(["Presence.Read"], client.get_accounts()[0])["token_source"] == "cache"

    def prompt(uri, user_code, _):
        browse(uri, user_code)

    credential = lines("azure-identity, device code", PROMPT=prompt)["credential"]
    assert presence(credential.get_token("https://graph.microsoft.com/Presence.Read").token)["id"] == USER


def graph_sdk():
    async def read(credential):
        graph = lines("Graph SDK", credential=credential)["graph"]
        return (await graph.users.by_user_id(USER).presence.get()).id

    assert asyncio.run(read(lines("azure-identity, secret")["credential"])) == USER
    assert asyncio.run(read(lines("azure-identity, environment")["credential"])) == USER

    async def asynchronous():
        credential = lines("azure-identity, asynchronous")["credential"]
        async with credential:
            return await read(credential)

    assert asyncio.run(asynchronous()) == USER
    try:
        lines("azure-identity, secret", SECRET="wrong")["credential"].get_token(*DEFAULT)
    except ClientAuthenticationError as error:
        assert "AADSTS7000215" in str(error), error
    else:
        raise AssertionError("a wrong secret must be refused")


globals()[sys.argv[1]]()
print(f"{sys.argv[1]}: passed")
