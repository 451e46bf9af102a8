//! Batches that are malformed, as a whole and in a part.

use serde_json::{Value, json};

use crate::bad_input::{EMPTY, UNREADABLE, Untouched, assert_error, assert_refused, with};
use crate::support::APP;

#[test]
fn a_batch_that_is_malformed_as_a_whole_is_400_and_runs_none_of_its_parts() {
    let user = Untouched::new();
    let me = user.me();
    let clear = |id: &str| json!({ "id": id, "method": "POST", "url": "/me/presence/clearLocation" });
    let without = |member: &str| with(&clear("1"), member, None);
    let wrong = |member: &str, value: Value| with(&clear("1"), member, Some(value));
    let many: Vec<Value> = (0..21).map(|id| clear(&id.to_string())).collect();
    for requests in [
        json!([]),
        json!(null),
        json!(1),
        json!({}),
        json!([1]),
        json!([null]),
        json!(many),
        json!([clear("1"), clear("1")]),
        json!([clear("a"), clear("A")]),
        json!([without("id")]),
        json!([without("method")]),
        json!([without("url")]),
        json!([wrong("id", json!(1))]),
        json!([wrong("id", json!(""))]),
        json!([wrong("method", json!(1))]),
        json!([wrong("url", json!({}))]),
        json!([wrong("headers", json!([]))]),
        json!([wrong("headers", json!({ "x": 1 }))]),
        json!([wrong("dependsOn", json!("1"))]),
        json!([wrong("dependsOn", json!([1]))]),
        json!([wrong("dependsOn", json!(["1"]))]),
        json!([wrong("dependsOn", json!(["2"])), clear("2")]),
        json!([clear("1"), clear("2"), with(&clear("3"), "dependsOn", Some(json!(["1"])))]),
        json!([wrong("url", json!("https://graph.microsoft.com/v1.0/me"))]),
        json!([wrong("url", json!("//x/me"))]),
    ] {
        let answer = me.post("/v1.0/$batch", &json!({ "requests": requests }));
        assert_refused(&answer, 400, "BadRequest", &requests.to_string());
    }
    for (body, message) in [(&b"{"[..], UNREADABLE), (b"[]", UNREADABLE), (b"\xFF", UNREADABLE), (b"", EMPTY)]
    {
        assert_error(&me.post_bytes("/v1.0/$batch", body), 400, "BadRequest", message, "batch");
    }
    let deep =
        ["{\"requests\":".to_owned(), "[".repeat(100_000), "]".repeat(100_000), "}".to_owned()].concat();
    assert_refused(&me.post_bytes("/v1.0/$batch", deep.as_bytes()), 400, "BadRequest", "a deep batch");
    user.assert_untouched();
}

#[test]
fn a_bad_part_of_a_batch_is_refused_in_its_place_as_it_would_have_been_by_itself() {
    let user = Untouched::new();
    let me = user.me();
    let part = |id: &str, method: &str, url: &str, headers: Value, body: Value| json!({ "id": id, "method": method, "url": url, "headers": headers, "body": body });
    let typed = || json!({ "Content-Type": "application/json" });
    let set = "/me/presence/setPresence";
    let requests = json!([
        part("1", "GET", "/xyz", json!({}), json!(null)),
        part("2", "PATCH", "/me/presence", json!({}), json!(null)),
        part("3", "POST", set, typed(), json!({})),
        part("4", "POST", set, json!({}), json!({ "sessionId": APP })),
        part("5", "POST", set, typed(), json!("text")),
        part("6", "POST", set, typed(), json!(null)),
        part("7", "POST", "/$batch", typed(), json!({ "requests": [] })),
        part("8", "GET", "/$metadata", json!({}), json!(null)),
        part("9", "GET", "/users/%FF/presence", json!({}), json!(null)),
        part("10", "GET", "/me/presence?$expand=x", json!({}), json!(null)),
        part("11", "GET", "/me/presence", json!({ "bad name\r\n": "x", "x": "a\r\nb" }), json!(null)),
        part("12", "POST", set, json!({ "Content-Type": "text/plain" }), json!("*")),
        part("13", "GET", "../_presenced/v1/clock", json!({}), json!(null)),
    ]);
    let answer = me.post("/v1.0/$batch", &json!({ "requests": requests }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let found = |id: &str| {
        let part = answer["responses"].as_array().unwrap().iter().find(|part| part["id"] == id).unwrap();
        let code = part["body"]["error"]["code"].as_str().unwrap_or_default().to_owned();
        (part["status"].as_u64().unwrap(), code)
    };
    for (id, status, code) in [
        ("1", 400, "BadRequest"),
        ("2", 405, "Request_BadRequest"),
        ("3", 400, "InvalidArgument"),
        ("4", 400, "BadRequest"),
        ("5", 400, "BadRequest"),
        ("6", 400, "BadRequest"),
        ("7", 400, "BadRequest"),
        ("8", 400, "BadRequest"),
        ("9", 400, "BadRequest"),
        ("10", 400, "BadRequest"),
        ("11", 200, ""),
        ("12", 400, "BadRequest"),
        ("13", 400, "BadRequest"),
    ] {
        assert_eq!(found(id), (status, code.to_owned()), "part {id}: {answer}");
    }
    user.assert_untouched();
}
