import os

import requests

PRESENCE = f"{os.environ['PRESENCED_URL']}/v1.0/users/{os.environ['PRESENCED_USER_A']}/presence"
HEADERS = {"Authorization": f"Bearer {os.environ['PRESENCED_APP_TOKEN']}"}


def test_a_call_makes_the_user_busy():
    call = {"sessionId": os.environ["PRESENCED_CLIENT_ID"], "availability": "Busy", "activity": "InACall"}
    requests.post(f"{PRESENCE}/setPresence", json=call, headers=HEADERS).raise_for_status()
    assert requests.get(PRESENCE, headers=HEADERS).json()["activity"] == "InACall"
