//! `/$batch` (§16).

use serde_json::{Value, json};

use crate::graph_api::{OTHER_ODATA_TYPE, assert_refused};
use crate::support::{APP, Caller, JSON, USER_B, shared};

pub(super) fn batch(caller: &Caller<'_>, root: &str, requests: &Value) -> Vec<Value> {
    let answer = caller.post(&format!("{root}/$batch"), &json!({ "requests": requests }));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.json()["responses"].as_array().unwrap().clone()
}

pub(super) fn part<'r>(responses: &'r [Value], id: &str) -> &'r Value {
    responses.iter().find(|response| response["id"] == id).unwrap()
}

#[test]
fn a_batch_answers_each_part_as_by_itself_and_leaves_empty_bodies_out() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let typed = json!({ "Content-Type": "application/json" });
    let session = json!({ "sessionId": APP, "availability": "Away", "activity": "Away" });
    let responses = batch(
        &me,
        "/beta",
        &json!([
            { "id": "set", "method": "POST", "url": "/me/presence/setPresence", "headers": typed, "body": session },
            { "id": "get", "method": "get", "url": "me/presence?$select=id" },
            { "id": "many", "method": "POST", "url": "/communications/getPresencesByUserId", "headers": typed, "body": { "ids": [user] } },
            { "id": "bad", "method": "POST", "url": "/me/presence/setPresence", "headers": typed, "body": {} },
            { "id": "gone", "method": "GET", "url": "/users/nobody/presence" },
            { "id": "me", "method": "GET", "url": "/users/me-token-to-replace" },
        ]),
    );
    assert_eq!(responses.len(), 6);
    let set = part(&responses, "set");
    assert_eq!(set["status"], 200);
    assert!(!set.as_object().unwrap().contains_key("body"), "{set}");
    let get = part(&responses, "get");
    assert_eq!(get["body"]["id"], user.as_str());
    assert_eq!(
        get["body"]["@odata.context"],
        format!("{}/beta/$metadata#users('{user}')/presence(id)/$entity", server.url())
    );
    let header = |part: &Value, name: &str| {
        let headers = part["headers"].as_object().unwrap();
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str().unwrap().to_owned())
    };
    assert_eq!(header(get, "content-type").as_deref(), Some(OTHER_ODATA_TYPE));
    assert_eq!(header(get, "odata-version").as_deref(), Some("4.0"));
    assert_eq!(header(get, "cache-control").as_deref(), Some("no-cache"));
    assert_eq!(part(&responses, "many")["body"]["value"][0]["availability"], "Away");
    let bad = part(&responses, "bad");
    assert_eq!((&bad["status"], &bad["body"]["error"]["code"]), (&json!(400), &json!("InvalidArgument")));
    assert!(bad["body"]["error"]["innerError"]["request-id"].is_string());
    assert_eq!(part(&responses, "gone")["status"], 404);
    assert_eq!(part(&responses, "me")["body"]["id"], user.as_str());
}

#[test]
fn a_failed_part_of_a_chain_fails_all_that_depend_on_it() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let typed = json!({ "Content-Type": "application/json" });
    let away = json!({ "sessionId": APP, "availability": "Away", "activity": "Away" });
    let chain = |first: Value| {
        json!([
            first,
            { "id": "2", "method": "POST", "url": "/me/presence/setPresence", "headers": typed, "body": away, "dependsOn": ["1"] },
            { "id": "3", "method": "GET", "url": "/me/presence", "dependsOn": ["2"] },
        ])
    };
    let responses = batch(
        &me,
        "/v1.0",
        &chain(json!({ "id": "1", "method": "POST", "url": "/me/presence/clearPresence",
        "headers": typed, "body": { "sessionId": APP } })),
    );
    let found: Vec<_> = responses
        .iter()
        .map(|part| (part["status"].clone(), part["body"]["error"]["code"].clone()))
        .collect();
    let failed = (json!(424), json!("FailedDependency"));
    assert_eq!(found, [(json!(404), json!("NotFound")), failed.clone(), failed]);
    assert_eq!(me.pair(&user), "Offline/Offline", "what was not to run did not run");
    let responses = batch(&me, "/v1.0", &chain(json!({ "id": "1", "method": "GET", "url": "/me/presence" })));
    assert_eq!(part(&responses, "1")["body"]["availability"], "Offline");
    assert_eq!(part(&responses, "3")["body"]["availability"], "Away", "in order");
}

#[test]
fn a_batch_of_twenty_is_allowed_and_needs_a_token_for_all() {
    let server = shared();
    let app = Caller::application(&server);
    let url = format!("/users/{USER_B}/presence");
    let requests: Vec<Value> =
        (0..20).map(|id| json!({ "id": id.to_string(), "method": "GET", "url": url })).collect();
    let responses = batch(&app, "/v1.0", &json!(requests));
    assert_eq!(responses.iter().filter(|part| part["status"] == 200).count(), 20);
    let body = json!({ "requests": requests }).to_string();
    let answer = server.send("POST", "/v1.0/$batch", &[JSON], body.as_bytes());
    assert_refused(&answer, 401, "InvalidAuthenticationToken");
}
