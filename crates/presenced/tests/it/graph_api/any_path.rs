//! What holds wherever a request goes: spellings of URLs and bodies, headers, compression, the order of checks (§13.3, §14).

use std::collections::HashSet;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::graph_api::permissions::Mint;
use crate::graph_api::{OTHER_ODATA_TYPE, UNKNOWN, assert_empty_200, assert_refused, mine};
use crate::support::{APP, Caller, JSON, Server, USER_A, USER_B, name_of, shared};

#[test]
fn response_headers_are_the_documented_ones() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let read = me.get("/v1.0/me/presence");
    assert_eq!(read.header("content-type"), Some(OTHER_ODATA_TYPE));
    assert_eq!(read.header("odata-version"), Some("4.0"));
    assert_eq!(read.header("cache-control"), Some("no-cache"));
    assert_eq!(read.header("vary"), Some("Accept-Encoding"));
    assert!(read.header("date").is_some());
    assert_eq!(read.header("strict-transport-security"), None, "not without TLS");
    let diagnostic: Value = serde_json::from_str(read.header("x-ms-ags-diagnostic").unwrap()).unwrap();
    for member in ["DataCenter", "Slice", "Ring", "ScaleUnit", "RoleInstance"] {
        assert!(diagnostic["ServerInfo"][member].is_string(), "{diagnostic}");
    }
    let names: HashSet<String> = read.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names.len(), read.headers.len(), "none twice");
    let expected = [
        "content-type",
        "content-length",
        "cache-control",
        "vary",
        "x-ms-ags-diagnostic",
        "request-id",
        "client-request-id",
        "odata-version",
        "date",
        "connection",
    ];
    for name in &names {
        assert!(expected.contains(&name.as_str()), "{name}");
    }
    // Every answer has its ids, errors and empty ones included.
    let mut ids = HashSet::new();
    for path in ["/v1.0/me/presence", "/v1.0/me/presence", "/v1.0/xyz", "/v1.0/$metadata"] {
        let answer = me.get(path);
        let id = answer.header("request-id").unwrap().to_owned();
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{id}");
        assert_eq!(answer.header("client-request-id"), Some(id.as_str()));
        assert!(ids.insert(id));
        let answer = me.send("GET", path, &[("client-request-id", "mine-1")], b"");
        assert_eq!(answer.header("client-request-id"), Some("mine-1"));
        assert_ne!(answer.header("request-id"), Some("mine-1"));
    }
    let error = me.send("GET", "/v1.0/xyz", &[("Client-Request-Id", "mine-2")], b"");
    assert_eq!(error.json()["error"]["innerError"]["client-request-id"], "mine-2");
    assert_eq!(error.header("odata-version"), None);
}

#[test]
fn a_401_says_where_to_sign_in_and_asks_for_no_claims() {
    let server = shared();
    let answer = server.send("GET", "/v1.0/me/presence", &[], b"");
    assert_eq!(assert_refused(&answer, 401, "InvalidAuthenticationToken"), "Access token is empty.");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=\"\", authorization_uri=\""), "{challenge}");
    assert!(!challenge.contains("claims"), "{challenge}");
}

#[test]
fn every_spelling_of_a_url_means_the_same() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let name = name_of(&user);
    let reads = [
        format!("/v1.0/users('{user}')/presence"),
        format!("/v1.0/users({user})/presence"),
        format!("/v1.0/users(%27{user}%27)/presence"),
        format!("/v1.0/users%28%27{user}%27%29/presence"),
        format!("/v1.0/users/{}/presence", user.to_uppercase()),
        format!("/v1.0/users/{user}/presence/"),
        format!("/V1.0/USERS/{user}/PRESENCE"),
        format!("/v1.0/%75sers/{user}/pr%65sence"),
        format!("/v1.0/users/{name}/presence"),
        format!("/v1.0/users/{}/presence", name.to_uppercase()),
        format!("/v1.0/users/{}/presence", name.replace('@', "%40")),
        format!("/v1.0/users('{name}')/presence"),
        "/v1.0/users/me-token-to-replace/presence".to_owned(),
        "/v1.0/Me/Presence/".to_owned(),
        format!("/v1.0/communications/presences/{user}"),
        format!("/v1.0/communications/presences('{user}')"),
        format!("/v1.0/Communications/Presences/{user}/"),
    ];
    for path in &reads {
        let answer = me.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.json()["id"], user.as_str(), "{path}");
    }
    let body =
        json!({ "sessionId": APP.to_uppercase(), "availability": "BUSY", "activity": "inAConferenceCall" });
    for name in [
        "setPresence",
        "SETPRESENCE",
        "setpresence/",
        "microsoft.graph.setPresence",
        "graph.setPresence",
        "Microsoft.Graph.SetPresence",
        "%73etPresence",
    ] {
        for address in ["/v1.0/me/presence".to_owned(), format!("/beta/users('{user}')/presence")] {
            assert_empty_200(&me.post(&format!("{address}/{name}"), &body), name);
        }
    }
    assert_eq!(me.pair(&user), "Busy/InAConferenceCall");
    let ids = json!({ "ids": [user] });
    for path in ["getPresencesByUserId", "microsoft.graph.getPresencesByUserId", "GETPRESENCESBYUSERID/"] {
        assert_eq!(me.post(&format!("/v1.0/communications/{path}"), &ids).status, 200, "{path}");
    }
}

#[test]
fn bodies_are_read_as_leniently_as_the_original_reads_them() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let path = "/v1.0/me/presence/setPresence";
    for body in [
        format!(r#"{{"SessionId":"{APP}","Availability":"Away","ACTIVITY":"Away"}}"#),
        format!(
            r#"{{"@odata.type":"x","sessionId":"{APP}","availability":"Away","activity":"Away","else":{{"a":[1]}}}}"#
        ),
        format!(r#"{{"availability":"Busy","sessionId":"{APP}","activity":"Away","availability":"Away"}}"#),
        format!("\u{feff}{{\"sessionId\":\"{APP}\",\"availability\":\"Away\",\"activity\":\"Away\"}}\r\n"),
        format!(
            r#"{{"sessionId":"{APP}","availability":"\u0041way","activity":"Away","expirationDuration":null}}"#
        ),
    ] {
        assert_empty_200(&me.post_bytes(path, body.as_bytes()), &body);
        assert_eq!(me.pair(&user), "Away/Away");
        assert_eq!(me.clear(&user).status, 200);
    }
    let body = json!({ "sessionId": APP, "availability": "Away", "activity": "Away" }).to_string();
    for content_type in
        ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;odata.metadata=full"]
    {
        assert_empty_200(
            &me.send("POST", path, &[("Content-Type", content_type)], body.as_bytes()),
            content_type,
        );
    }
    // Some clients send a session id where none belongs.
    let body = json!({ "sessionId": "x", "availability": "Away", "activity": "Away" });
    mine(&me, "setUserPreferredPresence", &body);
}

#[test]
fn gzip_bodies_are_undone_and_long_answers_are_compressed_for_those_who_accept_it() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let body = json!({ "sessionId": APP, "availability": "Away", "activity": "Away" }).to_string();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    for coding in ["gzip", "GZIP", "x-gzip"] {
        let answer = me.send(
            "POST",
            "/v1.0/me/presence/setPresence",
            &[JSON, ("Content-Encoding", coding)],
            &compressed,
        );
        assert_empty_200(&answer, coding);
        assert_eq!(me.pair(&user), "Away/Away");
        assert_eq!(me.clear(&user).status, 200);
    }
    let ids: Vec<String> = (0..650).map(|n| format!("00000000-0000-4000-9000-{n:012}")).collect();
    let ids = json!({ "ids": ids }).to_string();
    let path = "/v1.0/communications/getPresencesByUserId";
    let plain = me.send("POST", path, &[JSON], ids.as_bytes());
    assert_eq!(plain.header("content-encoding"), None);
    let answer = me.send("POST", path, &[JSON, ("Accept-Encoding", "br, gzip")], ids.as_bytes());
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert!(answer.body.len() * 4 < plain.body.len());
    let mut undone = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut undone).unwrap();
    assert_eq!(undone, plain.body);
    let refused = me.send("POST", path, &[JSON, ("Accept-Encoding", "gzip;q=0")], ids.as_bytes());
    assert_eq!(refused.header("content-encoding"), None);
}

#[test]
fn of_two_wrong_things_the_one_that_is_checked_first_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let mint = Mint::of(&server, folder.path());
    let (app, me) = (Caller::application(&server), Caller::user(&server, USER_A));
    let no_scope = Caller::with_token(&server, &mint.token(Some(USER_A), &["User.Read"]));
    let no_role = Caller::with_token(&server, &mint.token(None, &["Presence.ReadWrite"]));
    let action = |user: &str, action: &str| format!("/v1.0/users/{user}/presence/{action}");
    let session = json!({ "sessionId": APP });
    let required = "[SessionId]: The SessionId field is required.";
    // 1 path, 2 token.
    let message = assert_refused(&server.send("GET", "/v1.0/xyz", &[], b""), 400, "BadRequest");
    assert_eq!(message, "Resource not found for the segment 'xyz'.");
    assert_refused(&server.send("GET", "/v9/me/presence", &[], b""), 400, "BadRequest");
    // 2 token, 3 verb; and before anything about the body.
    let answer = server.send("PATCH", "/v1.0/me/presence", &[], b"");
    assert_refused(&answer, 401, "InvalidAuthenticationToken");
    let answer = server.send("POST", "/v1.0/me/presence/setPresence", &[("Content-Encoding", "br")], b"{");
    assert_refused(&answer, 401, "InvalidAuthenticationToken");
    // 3 verb, 5 `/me` as an application.
    assert_refused(&app.send("PATCH", "/v1.0/me/presence", &[], b""), 405, "Request_BadRequest");
    // 5 `/me` as an application, 6 body.
    let message = assert_refused(&app.post_bytes("/v1.0/me/presence/setPresence", b"{"), 400, "BadRequest");
    assert!(message.starts_with("/me request"), "{message}");
    // 6 body, 7 members: a wrong type here, a missing member there.
    let body = json!({ "availability": "Sleeping", "activity": 1 });
    let message = assert_refused(&me.post(&action(USER_A, "setPresence"), &body), 400, "BadRequest");
    assert!(message.starts_with("Unable to read"), "{message}");
    // 6 body, 8 permission.
    assert_refused(&no_scope.post_bytes(&action(USER_A, "setPresence"), b"{"), 400, "BadRequest");
    assert_refused(&no_role.post_bytes(&action(USER_A, "setPresence"), b""), 400, "BadRequest");
    // 7 members, 8 permission: as seen live.
    for caller in [&no_scope, &no_role] {
        let message = assert_refused(
            &caller.post(&action(USER_A, "clearPresence"), &json!({})),
            400,
            "InvalidArgument",
        );
        assert_eq!(message, required);
    }
    let answer =
        app.post(&action(USER_A, "setManualLocation"), &json!({ "workLocationType": "unspecified" }));
    assert_refused(&answer, 400, "InvalidArgument");
    let answer = app.post(&action(USER_A, "setManualLocation"), &json!({ "workLocationType": "office" }));
    assert_eq!(assert_refused(&answer, 403, "Forbidden"), "");
    let many: Vec<&str> = vec![USER_A; 651];
    let answer = no_scope.post("/v1.0/communications/getPresencesByUserId", &json!({ "ids": many }));
    assert_refused(&answer, 400, "InvalidArgument");
    // 7 members, 9 other user.
    let answer = me.post(&action(USER_B, "clearPresence"), &json!({}));
    assert_eq!(assert_refused(&answer, 400, "InvalidArgument"), required);
    // 8 permission, 9 other user.
    assert_refused(&no_scope.post(&action(USER_B, "clearPresence"), &session), 403, "Forbidden");
    // 8 permission, 10 state: neither a session nor a user.
    assert_refused(&no_scope.post(&action(USER_A, "clearPresence"), &session), 403, "Forbidden");
    assert_refused(&no_role.post(&action(UNKNOWN, "clearPresence"), &session), 403, "Forbidden");
    // 9 other user, 10 state.
    assert_refused(&me.post(&action(USER_B, "clearPresence"), &session), 401, "Unauthorized");
    assert_refused(&me.post(&action(UNKNOWN, "clearPresence"), &session), 401, "Unauthorized");
    // 10 state.
    assert_refused(&me.post(&action(USER_A, "clearPresence"), &session), 404, "NotFound");
    assert_refused(&app.post(&action(UNKNOWN, "clearPresence"), &session), 404, "NotFound");
}
