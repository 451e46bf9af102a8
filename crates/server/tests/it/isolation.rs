//! Three tenants, random operations: what one tenant is answered does not depend on what the others do.

use graph::Profile;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::world::{APP, TENANTS, World, user_of};

/// Histories tried. Each is two servers and some dozens of requests.
const HISTORIES: u32 = 24;

#[derive(Clone, Debug)]
struct Step {
    tenant: usize,
    /// Whose user the operation names: often one of another tenant.
    of: usize,
    user: u128,
    operation: usize,
    as_user: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..3usize, 0..3usize, 1..=4u128, 0..OPERATIONS, any::<bool>())
        .prop_map(|(tenant, of, user, operation, as_user)| Step { tenant, of, user, operation, as_user })
}

const OPERATIONS: usize = 25;

impl Step {
    /// `receiver` takes notifications, and `begin` is where the tenant's log began.
    fn request(&self, receiver: &str, begin: &str) -> (&'static str, String, Option<Value>) {
        let user = user_of(TENANTS[self.of], self.user);
        let v1 = |rest: &str| format!("/v1.0{rest}");
        let of_user = |rest: &str| format!("/v1.0/users/{user}{rest}");
        let own = |rest: &str| format!("/_presenced/v1/{rest}");
        let name = format!("n{}@x.example", self.user);
        match self.operation {
            0 => ("GET", of_user("/presence"), None),
            1 => ("GET", v1(&format!("/communications/presences/{user}")), None),
            2 => {
                let ids: Vec<_> =
                    TENANTS.iter().map(|tenant| user_of(*tenant, self.user).to_string()).collect();
                ("POST", v1("/communications/getPresencesByUserId"), Some(json!({ "ids": ids })))
            }
            3 => (
                "POST",
                of_user("/presence/setPresence"),
                Some(json!({ "sessionId": APP.to_string(), "availability": "Busy", "activity": "InACall" })),
            ),
            4 => ("POST", of_user("/presence/clearPresence"), Some(json!({ "sessionId": APP.to_string() }))),
            5 => (
                "POST",
                of_user("/presence/setUserPreferredPresence"),
                Some(json!({ "availability": "Away", "activity": "Away" })),
            ),
            6 => (
                "POST",
                of_user("/presence/setStatusMessage"),
                Some(json!({ "statusMessage": { "message": { "content": format!("of {}", self.tenant) } } })),
            ),
            7 => ("GET", of_user(""), None),
            8 => ("GET", v1("/users?$top=2"), None),
            9 => ("GET", v1("/users?$filter=startswith(userPrincipalName,'n')"), None),
            10 => ("GET", v1(&format!("/users/{name}")), None),
            11 => (
                "POST",
                v1("/$batch"),
                Some(json!({ "requests": [
                { "id": "1", "method": "GET", "url": format!("/users/{user}/presence") },
                { "id": "2", "method": "GET", "url": "/users" }] })),
            ),
            12 => match self.user % 2 {
                0 => ("GET", own(&format!("users/{user}/presence/explanation")), None),
                _ => ("GET", own(&format!("users/{user}/presence/history")), None),
            },
            // The same ids and names in every tenant: what is taken in one is free in the others.
            13 => (
                "POST",
                own("scim/v2/Users"),
                Some(
                    json!({ "userName": name, "externalId": user_of(TENANTS[0], 0x100 + self.user).to_string() }),
                ),
            ),
            14 => ("GET", own("scim/v2/Users?filter=userName%20sw%20%22n%22"), None),
            15 => ("DELETE", own(&format!("scim/v2/Users/{}", user_of(TENANTS[0], 0x100 + self.user))), None),
            16 => (
                "PATCH",
                own(&format!("scim/v2/Users/{user}")),
                Some(json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{ "op": "replace", "path": "displayName", "value": "changed" }] })),
            ),
            17 => ("GET", own("admin/users"), None),
            18 => (
                "POST",
                own("admin/applications"),
                Some(
                    json!({ "id": user_of(TENANTS[0], 0x200 + self.user).to_string(), "displayName": "App" }),
                ),
            ),
            19 => ("GET", own("admin/applications"), None),
            20 => (
                "DELETE",
                own(&format!("admin/applications/{}", user_of(TENANTS[0], 0x200 + self.user))),
                None,
            ),
            21 => (
                "POST",
                v1("/subscriptions"),
                Some(json!({ "changeType": "updated", "notificationUrl": receiver,
                    "resource": format!("communications/presences/{user}"),
                    "expirationDateTime": "2020-01-01T00:00:00Z" })),
            ),
            22 => ("GET", v1("/subscriptions"), None),
            23 => ("GET", own(&format!("presences/changes?from={begin}")), None),
            _ => ("GET", own(&format!("admin/tenants/{}", TENANTS[self.of])), None),
        }
    }
}

/// Everything `observed` is answered, with the other tenants acting between or not.
async fn history(steps: &[Step], observed: usize, with_others: bool) -> Vec<(u16, String)> {
    // Without a host tenant: the host's administrators are the ones who may see the others.
    let world = World::start_hosted(Profile::Graph, &[], None).await;
    let mut answers = Vec::new();
    let mut begins = Vec::new();
    for tenant in TENANTS {
        let token = world.application(tenant, &["Presence.Read.All"]);
        let page = world.send(&token, "GET", "/_presenced/v1/presences/changes", None).await;
        let page: Value = serde_json::from_str(&page.body).unwrap();
        begins.push(page["next"].as_str().unwrap().to_owned());
    }
    for step in steps.iter().filter(|step| with_others || step.tenant == observed) {
        let tenant = TENANTS[step.tenant];
        let token = match step.as_user {
            true => world.delegated(
                tenant,
                user_of(tenant, 1),
                &["Presence.Read.All", "Presence.ReadWrite", "User.Read.All"],
            ),
            false => {
                world.application(tenant, &["Presenced.Admin", "Presence.ReadWrite.All", "User.Read.All"])
            }
        };
        let (method, path, body) = step.request(&world.receiver, &begins[step.tenant]);
        let body = body.map(|body| body.to_string());
        let answer = world.send(&token, method, &path, body.as_deref()).await;
        assert!(answer.status < 500, "{step:?}: {answer:?}");
        if step.tenant == observed {
            answers.push((answer.status, without_chance(&answer.body)));
        }
    }
    answers
}

/// A body without what is new each time: request ids, dates, generated ids and secrets.
fn without_chance(body: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                if members.contains_key("notificationUrl") {
                    members.remove("id");
                }
                for name in [
                    "innerError",
                    "clientSecret",
                    "keyId",
                    "servicePrincipalId",
                    "createdAt",
                    "headers",
                    "publishedDateTime",
                    "age",
                    "at",
                    "since",
                    "until",
                    "setAt",
                    "expiresAt",
                    "now",
                    // Sealed positions are other texts in another server.
                    "next",
                    "position",
                    "notificationUrl",
                ] {
                    members.remove(name);
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::String(text) if text.starts_with("Subscription Id ") => text.truncate(15),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    strip(&mut value);
    without_instants(&value.to_string())
}

/// Two servers begin at two instants: whatever looks like one says nothing here.
fn without_instants(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive('"') {
        let looks_like = piece.len() > 19
            && piece.as_bytes()[..4].iter().all(u8::is_ascii_digit)
            && piece.as_bytes()[4] == b'-'
            && piece.as_bytes()[10] == b'T';
        out.push_str(if looks_like { "INSTANT\"" } else { piece });
    }
    out
}

#[test]
fn nothing_that_other_tenants_do_can_be_observed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: HISTORIES, ..Config::default() });
    let histories = (prop::collection::vec(step(), 5..60), 0..3usize);
    runner
        .run(&histories, |(steps, observed)| {
            let (alone, among) = runtime.block_on(async {
                (history(&steps, observed, false).await, history(&steps, observed, true).await)
            });
            prop_assert_eq!(alone, among);
            Ok(())
        })
        .unwrap();
}
