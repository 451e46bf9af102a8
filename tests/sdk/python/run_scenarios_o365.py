"""Carries out the scenarios with O365, signed in by its own use of MSAL: the application by its secret, the user by a code.

O365 wraps four presence calls and subscriptions; they are used where a step is one of them. Everything else goes through the account's own
connection, as its documentation says for what it does not wrap.
"""

import datetime
import os

from msal import ConfidentialClientApplication
from O365 import Account, MSGraphProtocol
from O365.teams import Activity, Availability, PreferredActivity, PreferredAvailability
from O365.utils.token import MemoryTokenBackend
from requests.exceptions import HTTPError

from scenario_steps import agree, control, received, say, scenarios, without_none

URL = os.environ["PRESENCED_URL"]
APP = (os.environ["PRESENCED_CLIENT_ID"], os.environ["PRESENCED_CLIENT_SECRET"])
TENANT = os.environ["PRESENCED_TENANT"]


class Protocol(MSGraphProtocol):
    """Graph at another address."""

    _protocol_url = URL + "/"


def account(flow):
    """One that asks presenced. Without the last lines, MSAL would ask Microsoft whether it knows this authority."""
    account = Account(
        APP,
        protocol=Protocol(),
        auth_flow_type=flow,
        tenant_id=TENANT,
        token_backend=MemoryTokenBackend(),
        requests_delay=0,
    )
    connection = account.con
    connection._msal_client = ConfidentialClientApplication(
        APP[0],
        client_credential=APP[1],
        authority=f"{URL}/{TENANT}",
        token_cache=connection.token_backend,
        instance_discovery=False,
    )
    return account


def application():
    signed_in = account("credentials")
    assert signed_in.authenticate(requested_scopes=["https://graph.microsoft.com/.default"])
    return signed_in


def user():
    """A code from the page where the user agrees, redeemed."""
    signed_in = account("authorization")
    scopes = ["https://graph.microsoft.com/Presence.ReadWrite", "https://graph.microsoft.com/Presence.Read.All"]
    scopes += ["https://graph.microsoft.com/User.Read"]
    assert signed_in.authenticate(
        requested_scopes=scopes, redirect_uri="http://localhost/signed-in", handle_consent=agree
    )
    return signed_in


def address(step):
    match step["at"]:
        case "me":
            return "/me/presence"
        case "users":
            return f"/users/{step['user']}/presence"
        case "communications":
            return f"/communications/presences/{step['user']}"


def url(path):
    return f"{URL}/v1.0{path}"


def seed_snippet(signed_in):
    signed_in.con.post(
        url("/users/fa8bf3dc-eca7-46b7-bad1-db199b62afc3/presence/clearPresence"),
        data={"sessionId": "22553876-f5ab-4529-bffb-cfe50aa89f87"},
    )


def batch(signed_in, steps):
    """O365 has no batch of its own."""
    requests = []
    for step in steps:
        reads = step["do"] == "getPresence"
        request = {
            "id": step["id"],
            "method": "GET" if reads else "POST",
            "url": address(step) + ("" if reads else "/" + step["do"]),
        }
        if "with" in step:
            request |= {"headers": {"Content-Type": "application/json"}, "body": step["with"]}
        if "dependsOn" in step:
            request["dependsOn"] = step["dependsOn"]
        requests.append(request)
    answer = signed_in.con.post(url("/$batch"), data={"requests": requests}).json()
    return {part["id"]: {"status": part["status"], "body": part.get("body")} for part in answer["responses"]}


def by_its_own_call(signed_in, step):
    """Whether O365 wraps the call, which then was made."""
    teams, given = signed_in.teams(), step.get("with", {})
    match step["do"], step.get("at"):
        # The expiration is lost on the way (O365 2.1 misspells it): a step that needs another is made by hand.
        case "setPresence", "me" if "expirationDuration" not in given:
            teams.set_my_presence(
                given["sessionId"], Availability(given["availability"]), Activity(given["activity"]), None
            )
        case "setUserPreferredPresence", "me" if "expirationDuration" not in given:
            teams.set_my_user_preferred_presence(
                PreferredAvailability(given["availability"]), PreferredActivity(given["activity"]), None
            )
        case _:
            return False
    return True


def read(signed_in, step):
    """The whole presence, and O365's own view of it, which must agree."""
    seen = signed_in.con.get(url(address(step))).json()
    own = None
    if step["at"] == "me":
        own = signed_in.teams().get_my_presence()
    elif step["at"] == "users":
        own = signed_in.teams().get_user_presence(step["user"])
    if own is not None:
        assert (own.object_id, own.availability, own.activity) == (
            seen["id"],
            seen["availability"],
            seen["activity"],
        )
    return without_none(seen)


class Subscribed:
    """The subscription that was made last."""

    id = ""


def subscribe(subscriptions, given):
    created = subscriptions.create_subscription(
        given["notificationUrl"],
        given["resource"],
        given["changeType"],
        expiration_datetime=datetime.datetime.fromisoformat(given["expirationDateTime"]),
        client_state=given.get("clientState"),
        include_resource_data=given.get("includeResourceData"),
        encryption_certificate=given.get("encryptionCertificate"),
        encryption_certificate_id=given.get("encryptionCertificateId"),
    )
    Subscribed.id = created["id"]
    return created


def carry_out(signed_in, step):
    match step["do"]:
        case "receive":
            return received(step)
        case "createSubscription":
            return subscribe(signed_in.subscriptions(), step["with"])
        case "listSubscriptions":
            return list(signed_in.subscriptions().list_subscriptions())
        case "getSubscription":
            return signed_in.subscriptions().get_subscription(Subscribed.id)
        case "updateSubscription":
            ends = datetime.datetime.fromisoformat(step["with"]["expirationDateTime"])
            return signed_in.subscriptions().renew_subscription(Subscribed.id, expiration_datetime=ends)
        case "reauthorizeSubscription":
            signed_in.con.post(url(f"/subscriptions/{Subscribed.id}/reauthorize"))
            return None
        case "deleteSubscription":
            signed_in.subscriptions().delete_subscription(Subscribed.id)
            return None
        case "getPresence":
            return read(signed_in, step)
        case "getPresencesByUserId":
            answer = signed_in.con.post(url("/communications/getPresencesByUserId"), data=step["with"])
            return answer.json()["value"]
        case "getUser":
            path = "/me" if step["at"] == "me" else f"/users/{step['user']}"
            return signed_in.con.get(url(path)).json()
        case "listUsers":
            return [
                {"id": one.object_id, "userPrincipalName": one.user_principal_name}
                for one in signed_in.directory().get_users()
            ]
        case "seedSnippet":
            return seed_snippet(signed_in)
        case "batch":
            return batch(signed_in, step["requests"])
        case action:
            if not by_its_own_call(signed_in, step):
                signed_in.con.post(url(f"{address(step)}/{action}"), data=step.get("with", {}))
            return None


def refusal(response):
    said = response.json()["error"]
    return {
        "status": response.status_code,
        "code": said["code"],
        "message": said["message"],
        "requestId": said["innerError"]["request-id"],
    }


accounts = {"app": application(), "user": user()}
for index, scenario in enumerate(scenarios()):
    for number, step in enumerate(scenario["steps"]):
        if "control" in step:
            control(step)
            continue
        try:
            say(index, number, result=carry_out(accounts[step["as"]], step))
        except HTTPError as error:
            if error.response.status_code == 429:
                # urllib3 repeats only what is sure to do the same twice.
                say(index, number, unsupported="its retries leave POST out")
                break
            say(index, number, error=refusal(error.response))
