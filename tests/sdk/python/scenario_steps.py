"""What both Python runners share: the file of scenarios, the emulator's own resources, and the lines they print."""

import json
import os
import sys
import urllib.request


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


def say(scenario, step, **outcome):
    print(json.dumps({"scenario": scenario, "step": step, **outcome}), flush=True)


def without_none(value):
    """Leaves out what is not there, as the wire does."""
    if isinstance(value, dict):
        return {key: without_none(member) for key, member in value.items() if member is not None}
    return value
