"""A working day in virtual time: what a receiver is told equals what a model says, exactly.

The model is written from the documentation, not from the server: Available turns idle after 5 minutes and Away after 10,
every other pair stays as it was set, a session ends at its expiry, of several sessions the strongest is shown.
"""

import datetime
import json
import os
import random
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../sdk/python"))

from common import APP_ID, HTTP_URL, USER_A, USER_B, advance  # noqa: E402
from receiver import EncryptionKey, Receiver, validate  # noqa: E402

BASE = os.environ["PRESENCED_URL"]
TENANT = os.environ["PRESENCED_TENANT"]
USERS = (USER_A, USER_B)
PAIRS = [
    ("Available", "Available"),
    ("Busy", "InACall"),
    ("Busy", "InAConferenceCall"),
    ("Away", "Away"),
    ("DoNotDisturb", "Presenting"),
]
RANK = {"DoNotDisturb": 4, "Busy": 3, "Available": 2, "Away": 1}
STEP = 60  # The model looks once a virtual minute; every action and every end of anything falls on one.


class Model:
    """One user's sessions, and what they show."""

    def __init__(self):
        self.sessions = {}

    def shown(self, now):
        best = None
        for (availability, activity), since, until in self.sessions.values():
            if now >= until:
                continue
            age = now - since
            if availability == "Available":
                if age >= 600:
                    availability, activity = "Away", "Away"
                elif age >= 300:
                    activity = "AvailableInactive"
            # Of equals the later written wins, and what is not idle beats what is.
            key = (RANK[availability], activity != "AvailableInactive", since)
            if best is None or key > best[0]:
                best = (key, (availability, activity))
        return best[1] if best else ("Offline", "Offline")


def call(method, path, body=None, user=None):
    token = os.environ["PRESENCED_USER_A_TOKEN" if user else "PRESENCED_APP_TOKEN"]
    request = urllib.request.Request(
        f"{HTTP_URL}/v1.0/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer " + token},
    )
    with urllib.request.urlopen(request) as response:
        text = response.read()
        return json.loads(text) if text else None


def clock(action, body):
    request = urllib.request.Request(
        f"{HTTP_URL}/_presenced/v1/clock/{action}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def expiry(now, minutes):
    return (now + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def main():
    seed = int(os.environ.get("SEED", "20260112"))
    print(f"seed {seed}")
    dice = random.Random(seed)
    start = datetime.datetime(2030, 1, 7, 8, tzinfo=datetime.timezone.utc)
    clock("freeze", {})
    clock("set", {"time": start.strftime("%Y-%m-%dT%H:%M:%SZ")})

    receiver, key = Receiver.for_presenced(), EncryptionKey("day")
    ids = ",".join(f"'{user}'" for user in USERS)
    subscription = call(
        "POST",
        "subscriptions",
        {
            "changeType": "updated",
            "resource": f"communications/presences?$filter=id in ({ids})",
            "notificationUrl": receiver.url,
            "includeResourceData": True,
            "encryptionCertificate": key.base64,
            "encryptionCertificateId": key.id,
            "expirationDateTime": expiry(start, 60),
        },
        user=True,
    )

    models = {user: Model() for user in USERS}
    shown = {user: ("Offline", "Offline") for user in USERS}
    expected = {user: [] for user in USERS}
    for minute in range(10 * 60):
        now = minute * STEP
        if minute and minute % 45 == 0:
            at = start + datetime.timedelta(seconds=now)
            call("PATCH", f"subscriptions/{subscription['id']}", {"expirationDateTime": expiry(at, 60)}, user=True)
        for user, model in models.items():
            look(user, model, shown, expected, now)
            if dice.random() < 0.08:
                pair, lifetime = dice.choice(PAIRS), dice.choice([5, 7, 15, 60, 240])
                body = {"sessionId": APP_ID, "expirationDuration": f"PT{lifetime}M"}
                body |= {"availability": pair[0], "activity": pair[1]}
                call("POST", f"users/{user}/presence/setPresence", body)
                model.sessions[APP_ID] = (pair, now, now + lifetime * 60)
            elif dice.random() < 0.01 and any(now < until for _, _, until in model.sessions.values()):
                call("POST", f"users/{user}/presence/clearPresence", {"sessionId": APP_ID})
                model.sessions.clear()
            look(user, model, shown, expected, now)
        advance("PT1M")
    total = sum(map(len, expected.values()))
    items = receiver.wait_for(total)
    told = {user: [] for user in USERS}
    once = set()
    for item in items:
        assert item["subscriptionId"] == subscription["id"], item
        if item.get("id") in once:
            continue
        once.add(item.get("id"))
        resource, _ = key.decrypt(item["encryptedContent"])
        told[resource["id"]].append((resource["availability"], resource["activity"]))
    for user in USERS:
        assert told[user] == expected[user], difference(told[user], expected[user])
    validate(set(receiver.validation_tokens), BASE, TENANT, APP_ID)
    print(f"{total} changes in {len(receiver.bodies)} requests, as the model says")


def look(user, model, shown, expected, now):
    pair = model.shown(now)
    if pair != shown[user]:
        shown[user] = pair
        expected[user].append(pair)


def difference(told, expected):
    place = next((i for i, (a, b) in enumerate(zip(told, expected)) if a != b), min(len(told), len(expected)))
    return f"from change {place}: told {told[place:place + 3]}, expected {expected[place:place + 3]}"


main()
print("working day: passed")
