"""What both Python runners share: the file of scenarios, the emulator's own resources, the user who signs in, what was
posted to the receiver, and the lines they print."""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../notifications/python"))

from receiver import decrypt, validate  # noqa: E402

USER = "ana.fuentes@presenced.example"


class Unsupported(Exception):
    """The client cannot express a step."""


def scenarios():
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def control(step):
    """POSTs to a resource of the emulator, which is no part of Graph: plain HTTP."""
    request = urllib.request.Request(
        f"{os.environ['PRESENCED_HTTP_URL']}/_presenced/v1/{step['control']}",
        data=json.dumps(step["body"]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        response.read()


class StayHere(urllib.request.HTTPRedirectHandler):
    """Does not follow a redirect: it leads to a client that waits for it."""

    def redirect_request(self, *_):
        return None


def agree(page, **more):
    """What user A does in a browser: chooses herself on a page of the emulator, and agrees. Where that leads."""
    form = urllib.parse.urlencode({"user": USER, "decision": "agree", **more}).encode()
    try:
        with urllib.request.build_opener(StayHere).open(page, form) as response:
            return response.url
    except urllib.error.HTTPError as redirect:
        return redirect.headers["Location"]


def received(step):
    """The next notification at the receiver. Where a key is given, its tokens are checked and its contents read by the means
    of PyJWT and cryptography: no Python SDK has its own."""
    with urllib.request.urlopen(step["with"]["url"]) as response:
        collection = json.load(response)
    if "key" in step["with"]:
        names = ("PRESENCED_URL", "PRESENCED_TENANT", "PRESENCED_CLIENT_ID")
        assert collection["validationTokens"]
        validate(collection["validationTokens"], *(os.environ[name] for name in names))
        private = load_pem_private_key(step["with"]["key"].encode(), None)
        for item in collection["value"]:
            item["content"], _ = decrypt(private, item["encryptedContent"])
        collection["valid"] = True
    return collection


def say(scenario, step, **outcome):
    print(json.dumps({"scenario": scenario, "step": step, **outcome}), flush=True)


def without_none(value):
    """Leaves out what is not there, as the wire does."""
    if isinstance(value, dict):
        return {key: without_none(member) for key, member in value.items() if member is not None}
    return value
