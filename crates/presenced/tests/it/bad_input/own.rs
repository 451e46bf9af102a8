//! Bad input to the resources of our own.

use serde_json::json;

use crate::bad_input::{UNREADABLE, Untouched, WRONG_METHOD, assert_error, assert_refused};
use crate::support::{Caller, JSON};

#[test]
fn our_own_resources_refuse_bad_input_in_the_same_words() {
    let user = Untouched::new();
    let me = user.me();
    let own = |resource: &str| format!("/_presenced/v1/users/{}/{resource}", user.id);
    for resource in ["outOfOffice", "scheduledLocations"] {
        for body in [&b"{"[..], b"[]", b"\xFF", b"null", b"1"] {
            let answer =
                me.send("PUT", &own(resource), &[JSON, ("Content-Length", &body.len().to_string())], body);
            assert_error(&answer, 400, "BadRequest", UNREADABLE, resource);
        }
        assert_error(&me.get(&own(resource)), 405, "Request_BadRequest", WRONG_METHOD, resource);
        let answer = user.server.send("DELETE", &own(resource), &[], b"");
        assert_refused(&answer, 401, "InvalidAuthenticationToken", resource);
    }
    for path in
        ["/_presenced", "/_presenced/v1", "/_presenced/v1/xyz", "/_presenced/v2/clock", "/_presencedx"]
    {
        assert_refused(&me.get(path), 400, "BadRequest", path);
    }
    let clock = |action: &str, body: &str| {
        user.server.send("POST", &format!("/_presenced/v1/clock/{action}"), &[JSON], body.as_bytes())
    };
    for duration in ["-PT1S", "P99999999D", "-P99999999999999999999D", "P99999999999999999999D", "x", ""] {
        let answer = clock("advance", &json!({ "duration": duration }).to_string());
        assert_eq!(answer.error().0, 400, "{duration}");
    }
    for time in ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "x", ""] {
        assert_eq!(clock("set", &json!({ "time": time }).to_string()).error().0, 400, "{time}");
    }
    for (action, body) in
        [("advance", "{}"), ("set", "{}"), ("advance", "{"), ("jump", "{}"), ("set", r#"{"time":1}"#)]
    {
        assert_eq!(clock(action, body).error().0, 400, "{action} {body}");
    }
    let users = |content_type: &str, body: &[u8]| {
        user.server.send("POST", "/_presenced/v1/users", &[("Content-Type", content_type)], body)
    };
    for (content_type, body) in [
        ("text/plain", &b"id\n"[..]),
        ("text/csv", b"id,userPrincipalName\nnobody,x@x.example\n"),
        ("text/csv", b"id,userPrincipalName\n\xFF,x\n"),
        ("text/csv", b"userPrincipalName\nx@x.example\n"),
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001"}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":" "}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":"x","timeZone":"Mars"}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":"ANA.FUENTES@presenced.example"}]"#),
    ] {
        let answer = users(content_type, body);
        assert_eq!(answer.error().0, 400, "{}: {answer:?}", String::from_utf8_lossy(body));
    }
    let app = Caller::application(&user.server);
    assert_eq!(app.pair("00000000-0000-4000-9000-000000000001"), "PresenceUnknown/PresenceUnknown");
    user.assert_untouched();
}
