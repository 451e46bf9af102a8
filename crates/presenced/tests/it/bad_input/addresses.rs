//! Ids, paths, verbs and tokens that lead nowhere.

use std::collections::BTreeMap;

use graph::{BodyRule, Method, NO_OPERATION_PATHS, OPERATIONS};

use crate::bad_input::{Untouched, WRONG_METHOD, actions, assert_error, assert_refused};
use crate::support::{APP, Caller, JSON, USER_A, shared};

#[test]
fn an_id_that_is_neither_a_guid_nor_a_name_is_not_found() {
    let server = shared();
    let app = Caller::application(&server);
    let long = "x".repeat(8_000);
    for id in [
        "nobody",
        "nobody@presenced.example",
        "fa8bf3dceca746b7bad1db199b62afc3",
        "%7Bfa8bf3dc-eca7-46b7-bad1-db199b62afc3%7D",
        "fa8bf3dc-eca7-46b7-bad1-db199b62afcg",
        "1",
        "%00",
        "%2F",
        "..%2F..%2Fetc%2Fpasswd",
        "%F0%9F%98%80",
        "'",
        "('x')",
        "me",
        "*",
        "%25",
        long.as_str(),
    ] {
        let read = app.get(&format!("/v1.0/users/{id}/presence"));
        assert_refused(&read, 404, "NotFound", &format!("{id:.60}"));
        let read = app.get(&format!("/v1.0/communications/presences/{id}"));
        assert_refused(&read, 404, "NotFound", &format!("{id:.60}"));
        for (action, body) in actions().into_iter().filter(|(action, _)| !action.ends_with("Location")) {
            let answer = app.post(&format!("/v1.0/users/{id}/presence/{action}"), &body);
            assert_refused(&answer, 404, "NotFound", &format!("{action} of {id:.60}"));
        }
        let user = app.get(&format!("/v1.0/users/{id}"));
        assert_refused(&user, 404, "Request_ResourceNotFound", &format!("{id:.60}"));
    }
    // A GUID nobody has can be read, and not written.
    let unknown = "00000000-0000-4000-9000-000000000001";
    let answer = app.set(unknown, "Busy", "InACall", "PT1H");
    assert_refused(&answer, 404, "NotFound", "a write to nobody");
    assert_eq!(app.pair(unknown), "PresenceUnknown/PresenceUnknown");
}

#[test]
fn a_path_that_leads_nowhere_names_its_segment_before_anybody_asks_for_a_token() {
    let server = shared();
    let app = Caller::application(&server);
    let user = format!("/v1.0/users/{USER_A}");
    let segment = |name: &str| format!("Resource not found for the segment '{name}'.");
    let table = [
        ("/v1.0/xyz".to_owned(), segment("xyz")),
        ("/beta/xyz/presence".to_owned(), segment("xyz")),
        ("/v1.0/me/xyz".to_owned(), segment("xyz")),
        ("/v1.0/me/presences".to_owned(), segment("presences")),
        ("/v1.0/me/presence/setPresents".to_owned(), segment("setPresents")),
        ("/v1.0/me/presence/setPresence/now".to_owned(), segment("now")),
        ("/v1.0/me/presence/microsoft.graph.setPresents".to_owned(), segment("microsoft.graph.setPresents")),
        ("/v1.0/me/presence/../presence".to_owned(), segment("..")),
        (format!("{user}/presences"), segment("presences")),
        ("/v1.0/me//presence".to_owned(), segment("")),
        ("/v1.0/me/presence//".to_owned(), segment("")),
        ("/v1.0/users//presence".to_owned(), segment("")),
        ("/v1.0/communications".to_owned(), segment("communications")),
        ("/v1.0/communications/calls".to_owned(), segment("calls")),
        ("/v1.0/%78yz%2F".to_owned(), segment("xyz/")),
        ("/v1.0/%3Cscript%3E".to_owned(), segment("<script>")),
        ("/v2.0/me/presence".to_owned(), "Invalid version: v2.0".to_owned()),
        ("/v1/me/presence".to_owned(), "Invalid version: v1".to_owned()),
        ("/me/presence".to_owned(), "Invalid version: me".to_owned()),
        ("//v1.0/me/presence".to_owned(), "Invalid version: ".to_owned()),
        ("/".to_owned(), "Invalid version: ".to_owned()),
    ];
    for (path, message) in &table {
        assert_error(&app.get(path), 400, "BadRequest", message, path);
        assert_error(&server.send("GET", path, &[], b""), 400, "BadRequest", message, path);
        assert_error(&server.send("DELETE", path, &[], b""), 400, "BadRequest", message, path);
    }
    for path in ["/v1.0/%FF", "/v1.0/users/%C0%80/presence", "/%FF/me", "/v1.0/users('%FF')/presence"] {
        assert_refused(&app.get(path), 400, "BadRequest", path);
    }
    let endless = format!("/v1.0{}", "/x".repeat(10_000));
    assert_error(&app.get(&endless), 400, "BadRequest", &segment("x"), "ten thousand segments");
}

/// A path of the table of operations with its places filled.
fn filled(template: &str, user: &str) -> String {
    template.replace("{user}", user).replace("{size}", "48x48").replace("{subscription}", APP)
}

#[test]
fn a_wrong_verb_is_405_and_says_which_are_allowed() {
    let user = Untouched::new();
    let me = user.me();
    let verbs = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"];
    let mut table: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in OPERATIONS {
        for path in row.paths {
            let allowed = table.entry(path).or_default();
            allowed.push(row.method.as_str());
            allowed.extend((row.method == Method::Get).then_some("HEAD"));
        }
    }
    table.extend(NO_OPERATION_PATHS.iter().map(|path| (*path, Vec::new())));
    for (path, allowed) in table {
        let path = format!("/v1.0{}", filled(path, &user.id));
        for verb in verbs.into_iter().filter(|verb| !allowed.contains(verb)) {
            let answer = me.send(verb, &path, &[JSON], b"{}");
            assert_error(&answer, 405, "Request_BadRequest", WRONG_METHOD, &format!("{verb} {path}"));
            assert_eq!(answer.header("allow"), Some(allowed.join(", ").as_str()), "{verb} {path}");
        }
    }
    user.assert_untouched();
}

#[test]
fn no_token_or_a_bad_one_is_401_to_every_operation_however_bad_the_rest_is() {
    let user = Untouched::new();
    let token = user.server.token(Some(&user.id));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let bearer = |token: &str| format!("Bearer {token}");
    let table = [
        (None, Some("Access token is empty.")),
        (Some(String::new()), Some("Access token is empty.")),
        (Some("Bearer".to_owned()), Some("Access token is empty.")),
        (Some("Bearer ".to_owned()), Some("Access token is empty.")),
        (Some("Basic dXNlcjpwYXNz".to_owned()), None),
        (Some(token.clone()), None),
        (Some(bearer("x")), None),
        (Some(bearer("a.b.c")), None),
        (Some(bearer("..")), None),
        (Some(bearer(message)), None),
        (Some(bearer(&format!("{message}."))), None),
        (Some(bearer(&format!("{message}.{}", signature.chars().rev().collect::<String>()))), None),
        (Some(bearer(&format!("{head}.{}.{signature}", payload.replacen('e', "f", 1)))), None),
        // {"alg":"none"}
        (Some(bearer(&format!("eyJhbGciOiJub25lIn0.{payload}."))), None),
        (Some(bearer(&"x".repeat(64 * 1024))), None),
        (Some(bearer(&format!("{token}{}", "x".repeat(64 * 1024)))), None),
        (Some("Bearer \u{e4}".to_owned()), None),
    ];
    let path_of = |template: &str| format!("/v1.0{}", filled(template, &user.id));
    for (authorization, message) in &table {
        for row in OPERATIONS.iter().filter(|row| row.name != "metadata") {
            let path = path_of(row.paths[0]);
            let mut headers = vec![("Content-Type", "text/plain")];
            headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            let body: &[u8] = if row.body == BodyRule::Required { b"{" } else { b"" };
            let answer = user.server.send(row.method.as_str(), &path, &headers, body);
            let what = format!("{} with {:.80?}", row.name, authorization);
            assert_refused(&answer, 401, "InvalidAuthenticationToken", &what);
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm=\"\""), "{what}");
            if let Some(message) = message {
                assert_eq!(answer.error().2, *message, "{what}");
            }
        }
    }
    user.assert_untouched();
}
