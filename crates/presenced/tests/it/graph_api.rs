//! The API as it is documented, through the real router: addresses, shapes, headers, permissions, the order of checks,
//! presence over time, batches, the schema, the directory, and the emulator's own resources.

use std::collections::HashSet;
use std::io::{Read, Write};

use engine::Clock;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use graph::{Access, Method, OPERATIONS, Permission};
use identity::{Application, Issuer, IssuerConfig, SigningKey};
use serde_json::{Value, json};

use crate::support::{APP, Answer, Caller, JSON, MONDAY, Server, USER_A, USER_B, name_of, shared};

const OTHER_ODATA_TYPE: &str = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;\
                                charset=utf-8";
const UNKNOWN: &str = "00000000-0000-4000-9000-000000000001";

/// Every action with a body that is right; `None` where none is needed.
fn actions() -> Vec<(&'static str, Option<Value>)> {
    let location = json!({ "workLocationType": "office", "placeId": "hq" });
    vec![
        (
            "setPresence",
            Some(
                json!({ "sessionId": APP, "availability": "Busy", "activity": "InACall", "expirationDuration": "PT1H" }),
            ),
        ),
        ("clearPresence", Some(json!({ "sessionId": APP }))),
        ("setUserPreferredPresence", Some(json!({ "availability": "Busy", "activity": "Busy" }))),
        ("clearUserPreferredPresence", None),
        ("setStatusMessage", Some(json!({ "statusMessage": { "message": { "content": "here" } } }))),
        ("setManualLocation", Some(location.clone())),
        ("setAutomaticLocation", Some(location)),
        ("clearLocation", None),
        ("clearAutomaticLocation", None),
    ]
}

#[track_caller]
fn assert_empty_200(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), None, "{what}");
    assert_eq!(answer.header("odata-version"), None, "{what}");
    assert_eq!(answer.header("content-length"), Some("0"), "{what}");
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) -> String {
    let (found, found_code, message) = answer.error();
    assert_eq!((found, found_code.as_str()), (status, code), "{answer:?}");
    message
}

fn act(caller: &Caller<'_>, path: &str, body: Option<&Value>) -> Answer {
    match body {
        Some(body) => caller.post(path, body),
        None => caller.send("POST", path, &[], b""),
    }
}

/// Does something to one's own presence that must succeed.
#[track_caller]
fn mine(me: &Caller<'_>, action: &str, body: &Value) {
    assert_empty_200(&me.post(&format!("/v1.0/me/presence/{action}"), body), action);
}

fn presence(caller: &Caller<'_>, user: &str) -> Value {
    let answer = caller.get(&format!("/v1.0/users/{user}/presence"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn sequence_number(caller: &Caller<'_>, user: &str) -> String {
    let number = presence(caller, user)["sequenceNumber"].as_str().unwrap().to_owned();
    assert_eq!(number.len(), 11, "{number}");
    assert!(number.starts_with('A') && number[1..].bytes().all(|byte| byte.is_ascii_digit()), "{number}");
    number
}

// §2: addresses and actions.

#[test]
fn every_action_works_at_all_three_addresses_below_both_roots_and_answers_200_without_a_body() {
    let server = shared();
    let user = server.new_user();
    let (me, app) = (Caller::user(&server, &user), Caller::application(&server));
    for root in ["/v1.0", "/beta"] {
        for (address, applications_may) in [
            (format!("{root}/me/presence"), false),
            (format!("{root}/users/{user}/presence"), true),
            (format!("{root}/communications/presences/{user}"), true),
        ] {
            for (action, body) in actions() {
                let path = format!("{address}/{action}");
                assert_empty_200(&act(&me, &path, body.as_ref()), &path);
                if applications_may && !action.ends_with("Location") {
                    // The delegated call cleared the session this one would clear.
                    if action == "clearPresence" {
                        assert_eq!(app.set(&user, "Busy", "InACall", "PT1H").status, 200);
                    }
                    assert_empty_200(&act(&app, &path, body.as_ref()), &format!("{path} as an application"));
                }
            }
            let read = me.get(&address).json();
            assert_eq!(read["id"], user.as_str(), "{address}");
            assert_eq!(read["statusMessage"]["message"]["content"], "here", "{address}");
        }
    }
}

#[test]
fn what_one_address_writes_every_other_reads() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let addresses = [
        "/v1.0/me/presence".to_owned(),
        format!("/beta/users/{user}/presence"),
        format!("/v1.0/communications/presences/{user}"),
    ];
    for (writer, (availability, activity)) in
        addresses.iter().zip([("Busy", "InACall"), ("Away", "Away"), ("DoNotDisturb", "Presenting")])
    {
        let body = json!({ "sessionId": APP, "availability": availability, "activity": activity });
        assert_empty_200(&me.post(&format!("{writer}/setPresence"), &body), writer);
        for reader in &addresses {
            let read = me.get(reader).json();
            assert_eq!(
                (&read["availability"], &read["activity"]),
                (&json!(availability), &json!(activity)),
                "{reader}"
            );
        }
    }
}

#[test]
fn clear_actions_take_an_empty_object_and_any_type_as_well_as_nothing() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    for action in ["clearUserPreferredPresence", "clearLocation", "clearAutomaticLocation"] {
        let path = format!("/v1.0/me/presence/{action}");
        assert_empty_200(&me.post(&path, &json!({})), action);
        assert_empty_200(&me.send("POST", &path, &[("Content-Type", "text/plain")], b"{}"), action);
        assert_empty_200(&me.send("POST", &path, &[], b""), action);
    }
}

#[test]
fn the_generated_verbs_that_nobody_saw_working_are_405() {
    let server = shared();
    let app = Caller::application(&server);
    for (method, path, allow) in [
        ("GET", "/v1.0/communications/presences".to_owned(), ""),
        ("POST", "/v1.0/communications/presences".to_owned(), ""),
        ("GET", "/v1.0/communications/presences/$count".to_owned(), ""),
        ("PATCH", format!("/v1.0/users/{USER_A}/presence"), "GET, HEAD"),
        ("DELETE", format!("/v1.0/users/{USER_A}/presence"), "GET, HEAD"),
        ("PATCH", format!("/v1.0/communications/presences/{USER_A}"), "GET, HEAD"),
        ("DELETE", format!("/v1.0/communications/presences/{USER_A}"), "GET, HEAD"),
        ("GET", format!("/v1.0/users/{USER_A}/presence/setPresence"), "POST"),
        ("POST", format!("/v1.0/users/{USER_A}/presence"), "GET, HEAD"),
    ] {
        let answer = app.send(method, &path, &[JSON], b"{}");
        let message = assert_refused(&answer, 405, "Request_BadRequest");
        assert_eq!(message, "Specified HTTP method is not allowed for the request target.");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

// §3, §3.4, §3.5: shape and contexts.

#[test]
fn ones_own_presence_has_every_member_in_the_documented_shape() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let context = |root: &str, rest: &str| format!("{}/{root}/$metadata#{rest}", server.url());
    let read = me.get("/v1.0/me/presence").json();
    let number = sequence_number(&me, &user);
    assert_eq!(
        read,
        json!({
            "@odata.context": context("v1.0", &format!("users('{user}')/presence/$entity")),
            "id": user, "availability": "Offline", "activity": "Offline",
            "outOfOfficeSettings": { "message": null, "isOutOfOffice": false },
            "sequenceNumber": number, "statusMessage": null,
            "workLocation": { "workLocationType": "unspecified", "source": "none", "placeId": null },
        })
    );
    assert_eq!(me.set(&user, "busy", "inacall", "PT1H").status, 200);
    let expiry = json!({ "dateTime": "2030-01-07T17:30:00", "timeZone": "Europe/Berlin" });
    let message =
        json!({ "message": { "content": "Back at three", "contentType": "text" }, "expiryDateTime": expiry });
    mine(&me, "setStatusMessage", &json!({ "statusMessage": message }));
    mine(&me, "setManualLocation", &json!({ "workLocationType": "Office", "placeId": "7d6c5b4a" }));
    let read = me.get("/beta/me/presence").json();
    assert_eq!(
        read,
        json!({
            "@odata.context": context("beta", &format!("users('{user}')/presence/$entity")),
            "id": user, "availability": "Busy", "activity": "InACall",
            "outOfOfficeSettings": { "message": null, "isOutOfOffice": false },
            "sequenceNumber": sequence_number(&me, &user),
            "statusMessage": {
                "message": { "content": "Back at three", "contentType": "text" },
                "publishedDateTime": "2030-01-07T08:00:00.0000000Z",
                "expiryDateTime": { "dateTime": "2030-01-07T16:30:00.0000000", "timeZone": "UTC" },
            },
            "workLocation": { "workLocationType": "office", "source": "manual", "placeId": "7d6c5b4a" },
        })
    );
}

#[test]
fn each_response_has_its_own_context() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    for root in ["v1.0", "beta"] {
        let base = format!("{}/{root}/$metadata#", server.url());
        for (path, context) in [
            ("me/presence".to_owned(), format!("users('{user}')/presence/$entity")),
            (format!("users/{}/presence", user.to_uppercase()), format!("users('{user}')/presence/$entity")),
            (format!("users/{}/presence", name_of(&user)), format!("users('{user}')/presence/$entity")),
            (format!("communications/presences/{user}"), "communications/presences/$entity".to_owned()),
            (
                "me/presence?$select=availability,activity".to_owned(),
                format!("users('{user}')/presence(availability,activity)/$entity"),
            ),
            (
                format!("communications/presences/{user}?$select=id"),
                "communications/presences(id)/$entity".to_owned(),
            ),
            ("me".to_owned(), "users/$entity".to_owned()),
            ("users?$top=1".to_owned(), "users".to_owned()),
            ("me?$select=id,displayName".to_owned(), "users(id,displayName)/$entity".to_owned()),
        ] {
            let answer = me.get(&format!("/{root}/{path}"));
            assert_eq!(answer.json()["@odata.context"], format!("{base}{context}"), "{path}");
        }
        let many = me
            .post(&format!("/{root}/communications/getPresencesByUserId"), &json!({ "ids": [user] }))
            .json();
        assert_eq!(many["@odata.context"], format!("{base}Collection(microsoft.graph.presence)"));
        let path = format!("/{root}/communications/getPresencesByUserId?$select=activity");
        let many = me.post(&path, &json!({ "ids": [user] })).json();
        assert_eq!(many["@odata.context"], format!("{base}Collection(microsoft.graph.presence)(activity)"));
        assert_eq!(many["value"], json!([{ "activity": "Offline" }]));
    }
}

// §4, §5: reads.

#[test]
fn of_an_unknown_id_the_presence_is_unknown_and_its_status_message_null() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    for path in
        [format!("/v1.0/users/{UNKNOWN}/presence"), format!("/v1.0/communications/presences/{UNKNOWN}")]
    {
        let read = me.get(&path).json();
        assert_eq!(read["id"], UNKNOWN);
        assert_eq!(
            (&read["availability"], &read["activity"]),
            (&json!("PresenceUnknown"), &json!("PresenceUnknown"))
        );
        assert_eq!(read["statusMessage"], Value::Null);
        assert!(read.as_object().unwrap().contains_key("statusMessage"));
    }
}

#[test]
fn reading_many_answers_once_for_each_in_the_order_asked_unknown_ones_included() {
    let server = shared();
    let (one, two) = (server.new_user(), server.new_user());
    let me = Caller::user(&server, &one);
    assert_eq!(me.set(&one, "Away", "Away", "PT1H").status, 200);
    let ids = json!({ "ids": [two, UNKNOWN, one.to_uppercase(), two.to_uppercase(), UNKNOWN, one] });
    for caller in [&me, &Caller::application(&server)] {
        let answer = caller.post("/v1.0/communications/getPresencesByUserId", &ids);
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(members, ["@odata.context", "value"]);
        let found: Vec<(&str, &str)> = answer["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                assert!(entry.as_object().unwrap().keys().all(|name| !name.starts_with('@')), "{entry}");
                (entry["id"].as_str().unwrap(), entry["availability"].as_str().unwrap())
            })
            .collect();
        assert_eq!(found, [(two.as_str(), "Offline"), (UNKNOWN, "PresenceUnknown"), (one.as_str(), "Away")]);
    }
}

#[test]
fn me_is_nobody_to_an_application() {
    let server = shared();
    let app = Caller::application(&server);
    let text = "/me request is only valid with delegated authentication flow.";
    for path in
        ["/v1.0/me/presence", "/v1.0/me", "/v1.0/me/photo", "/v1.0/users/me-token-to-replace/presence"]
    {
        assert_eq!(assert_refused(&app.get(path), 400, "BadRequest"), text, "{path}");
    }
    for (action, body) in actions() {
        let answer = act(&app, &format!("/v1.0/me/presence/{action}"), body.as_ref());
        assert_eq!(assert_refused(&answer, 400, "BadRequest"), text, "{action}");
    }
}

// §14.1: headers.

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

// §14: metadata levels, $select, query options.

#[test]
fn the_metadata_level_is_that_of_accept_or_format() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    mine(&me, "setStatusMessage", &json!({ "statusMessage": { "message": { "content": "x" } } }));
    let read = |accept: &str, query: &str| {
        let answer = me.send("GET", &format!("/v1.0/me/presence{query}"), &[("Accept", accept)], b"");
        assert_eq!(answer.status, 200, "{accept}");
        (answer.header("content-type").unwrap().to_owned(), answer.json())
    };
    for accept in ["*/*", "application/json", "application/json;odata.metadata=minimal", "text/html", "x", ""]
    {
        let (content_type, body) = read(accept, "");
        assert_eq!(content_type, OTHER_ODATA_TYPE, "{accept}");
        let control = body.as_object().unwrap().keys().filter(|name| name.contains("@odata")).count();
        assert_eq!(control, 1, "{accept}: {body}");
    }
    for (accept, query) in [
        ("application/json;odata.metadata=none", ""),
        ("*/*", "?$format=application/json;odata.metadata=none"),
    ] {
        let (content_type, body) = read(accept, query);
        assert_eq!(content_type, OTHER_ODATA_TYPE.replace("minimal", "none"));
        assert!(!body.to_string().contains("@odata"), "{body}");
        assert_eq!(body["id"], user.as_str());
    }
    let (content_type, body) = read("application/json;odata.metadata=full", "");
    assert_eq!(content_type, OTHER_ODATA_TYPE.replace("minimal", "full"));
    assert_eq!(body["@odata.type"], "#microsoft.graph.presence");
    assert_eq!(body["@odata.id"], format!("users('{user}')/presence"));
    assert_eq!(body["@odata.editLink"], format!("users('{user}')/presence"));
    assert_eq!(body["workLocation"]["@odata.type"], "#microsoft.graph.userWorkLocation");
    assert_eq!(body["statusMessage"]["message"]["@odata.type"], "#microsoft.graph.itemBody");
}

#[test]
fn select_takes_a_list_a_star_and_an_encoded_name_and_names_what_is_unknown() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let members = |query: &str| {
        let body = me.get(&format!("/v1.0/me/presence?{query}")).json();
        let mut members: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
        members.retain(|name| name != "@odata.context");
        members.sort();
        members
    };
    assert_eq!(members("$select=availability,activity"), ["activity", "availability"]);
    assert_eq!(members("%24select=availability%2Cactivity"), ["activity", "availability"]);
    assert_eq!(members("$select=ID,%20Activity"), ["activity", "id"]);
    assert_eq!(members("$select=workLocation"), ["workLocation"]);
    for query in ["", "$select=*", "$select=", "api-version=1&unknown=2"] {
        assert_eq!(members(query).len(), 7, "{query}");
    }
    let answer = me.get("/v1.0/me/presence?$select=id,xyz");
    let message = assert_refused(&answer, 400, "BadRequest");
    assert_eq!(message, "Could not find a property named 'xyz' on type 'microsoft.graph.presence'.");
}

#[test]
fn other_query_options_are_400_on_one_presence_and_on_actions() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let before = presence(&me, &user);
    for option in [
        "$expand=x",
        "$filter=id%20eq%20'x'",
        "$top=1",
        "$skip=1",
        "$orderby=id",
        "$search=x",
        "$count=true",
        "%24top=1",
    ] {
        for path in ["/v1.0/me/presence".to_owned(), format!("/v1.0/communications/presences/{user}")] {
            assert_refused(&me.get(&format!("{path}?{option}")), 400, "BadRequest");
        }
        let path = format!("/v1.0/communications/getPresencesByUserId?{option}");
        assert_refused(&me.post(&path, &json!({ "ids": [user] })), 400, "BadRequest");
        for (action, body) in actions().into_iter().filter(|(action, _)| *action != "clearPresence") {
            let answer = act(&me, &format!("/v1.0/me/presence/{action}?{option}"), body.as_ref());
            assert_refused(&answer, 400, "BadRequest");
        }
    }
    assert_eq!(presence(&me, &user), before);
    for path in ["/v1.0/me/presence?%FF", "/v1.0/me/presence?$select=%FF"] {
        assert_refused(&me.get(path), 400, "BadRequest");
    }
    for (action, body) in actions() {
        assert_empty_200(
            &act(&me, &format!("/v1.0/me/presence/{action}?api-version=1"), body.as_ref()),
            action,
        );
    }
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
fn durations_are_taken_in_every_equal_spelling_and_at_both_ends_of_the_range() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    for duration in [
        "PT5M",
        "PT300S",
        "PT4H",
        "PT240M",
        "PT14400S",
        "P0DT4H",
        "PT3H59M59.9999999S",
        "PT1H",
        "pt1h",
        "1:00:00",
        "0:05:00",
    ] {
        assert_empty_200(&me.set(&user, "Away", "Away", duration), duration);
    }
    for duration in ["PT1S", "PT8H", "P1D", "P365D", "1 day, 0:00:00"] {
        let body = json!({ "availability": "Away", "activity": "Away", "expirationDuration": duration });
        mine(&me, "setUserPreferredPresence", &body);
    }
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

// §12, §13.3: permissions and the order of checks.

/// Tokens with whatever permissions a test wants, signed with the key of a server that keeps its own in a folder.
struct Mint {
    issuer: Issuer,
}

impl Mint {
    fn of(server: &Server, folder: &std::path::Path) -> Self {
        let key = SigningKey::load_or_generate(&folder.join("keys")).unwrap();
        let https = server.banner.lines().find_map(|line| line.trim().strip_prefix("HTTPS ")).unwrap();
        let https = https.split_whitespace().next().unwrap().trim_end_matches("/v1.0");
        let tenant = server.banner.lines().find_map(|line| line.trim().strip_prefix("tenant ")).unwrap();
        Self { issuer: Issuer::new(IssuerConfig::new(tenant.trim().parse().unwrap(), https, key)) }
    }

    fn token(&self, user: Option<&str>, permissions: &[&str]) -> String {
        self.token_of(APP, user, permissions)
    }

    fn token_of(&self, app: &str, user: Option<&str>, permissions: &[&str]) -> String {
        let now = engine::SystemClock::new(None).now();
        let app = Application {
            id: app.parse().unwrap(),
            display_name: "Test".to_owned(),
            service_principal: uuid::Uuid::from_u128(1),
            secrets: Vec::new(),
            certificates: Vec::new(),
            redirects: identity::Redirects::default(),
            roles: permissions.iter().map(ToString::to_string).collect(),
            scopes: Vec::new(),
        };
        let token = match user {
            None => self.issuer.mint_application(&app, now, 3_600),
            Some(user) => {
                let user = identity::User {
                    id: user.parse().unwrap(),
                    user_principal_name: "x".to_owned(),
                    display_name: "x".to_owned(),
                };
                self.issuer.mint_delegated(&user, &app, permissions, now, 3_600)
            }
        };
        token.unwrap()
    }
}

/// Which single permissions open an operation: delegated on oneself, delegated on another (`None`: no permission does
/// that, 401), and application. Source: §12.1, §12.2, identity D.
type Openers = (&'static [&'static str], Option<&'static [&'static str]>, &'static [&'static str]);

fn openers(operation: &str) -> Openers {
    const READ: &[&str] = &["Presence.Read", "Presence.Read.All", "Presence.ReadWrite"];
    const READ_OTHER: &[&str] = &["Presence.Read.All"];
    const READ_APP: &[&str] = &["Presence.Read.All", "Presence.ReadWrite.All"];
    const USERS: &[&str] = &["User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];
    const ME: &[&str] = &["User.Read", "User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];
    match operation {
        "getPresence" => (READ, Some(READ_OTHER), READ_APP),
        "getPresencesByUserId" => (READ_OTHER, Some(READ_OTHER), READ_APP),
        "setPresence"
        | "clearPresence"
        | "setUserPreferredPresence"
        | "clearUserPreferredPresence"
        | "setStatusMessage" => (&["Presence.ReadWrite"], None, &["Presence.ReadWrite.All"]),
        "setManualLocation" | "setAutomaticLocation" | "clearLocation" | "clearAutomaticLocation" => {
            (&["Presence.ReadWrite"], None, &[])
        }
        "getUser" | "getPhoto" | "getPhotoContent" => (ME, Some(USERS), USERS),
        "listUsers" => (USERS, Some(USERS), USERS),
        other => panic!("{other} is not in the matrix"),
    }
}

#[test]
fn each_permission_alone_opens_exactly_the_operations_of_the_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let mint = Mint::of(&server, folder.path());
    let bodies = actions();
    let in_an_hour = (engine::SystemClock::new(None).now() + jiff::SignedDuration::from_mins(50)).to_string();
    let call = |caller: &Caller<'_>, row: &graph::Row, path: &str, user: &str| {
        let path = format!("/v1.0{}", path.replace("{user}", user).replace("{size}", "48x48"));
        let body = match row.name {
            "getPresencesByUserId" => Some(json!({ "ids": [user] })),
            name => bodies.iter().find(|(action, _)| *action == name).and_then(|(_, body)| body.clone()),
        };
        match row.method {
            Method::Get => caller.get(&path),
            _ => act(caller, &path, body.as_ref()),
        }
    };
    let is_open = |answer: &Answer| match answer.status {
        200 => true,
        404 => ["NotFound", "ImageNotFound"].contains(&answer.error().1.as_str()),
        _ => false,
    };
    for permission in Permission::ALL.map(|permission| Some(permission.as_str())).into_iter().chain([None]) {
        let permissions: Vec<&str> = permission.into_iter().collect();
        let delegated = Caller::with_token(&server, &mint.token(Some(USER_A), &permissions));
        let app = Caller::with_token(&server, &mint.token(None, &permissions));
        let is_of_a_user =
            |row: &&graph::Row| matches!(row.access, Access::Presence(_) | Access::Directory(_));
        for row in OPERATIONS.iter().filter(is_of_a_user) {
            let (own, other, application) = openers(row.name);
            let has = |list: &[&str]| permission.is_some_and(|permission| list.contains(&permission));
            let refused = |answer: &Answer, what: &str| {
                let (status, code, message) = answer.error();
                let expected = match row.paths[0].contains("presence") || row.name == "getPresencesByUserId" {
                    true => (403, "Forbidden", ""),
                    false => (
                        403,
                        "Authorization_RequestDenied",
                        "Insufficient privileges to complete the operation.",
                    ),
                };
                assert_eq!((status, code.as_str(), message.as_str()), expected, "{what}");
            };
            for path in row.paths {
                let what = format!("{} at {path} with {permission:?}", row.name);
                let answer = call(&delegated, row, path, USER_A);
                if has(own) {
                    assert!(is_open(&answer), "own: {what}: {answer:?}");
                } else {
                    refused(&answer, &format!("own: {what}"));
                }
                if path.contains("{user}") {
                    let answer = call(&delegated, row, path, USER_B);
                    match other {
                        Some(list) if has(list) => assert!(is_open(&answer), "other: {what}: {answer:?}"),
                        None if has(own) => {
                            let (status, code, message) = answer.error();
                            assert_eq!((status, code.as_str()), (401, "Unauthorized"), "other: {what}");
                            let start = "Cannot set the presence of another user. Authenticated user: ";
                            assert_eq!(message, format!("{start}{USER_A}"));
                        }
                        _ => refused(&answer, &format!("other: {what}")),
                    }
                }
                let answer = call(&app, row, path, USER_B);
                if path.starts_with("/me") {
                    assert_eq!(answer.error().0, 400, "application: {what}");
                } else if has(application) {
                    assert!(is_open(&answer), "application: {what}: {answer:?}");
                } else {
                    refused(&answer, &format!("application: {what}"));
                }
            }
        }
        for (caller, openers) in [
            (&delegated, &["Presence.Read.All"][..]),
            (&app, &["Presence.Read.All", "Presence.ReadWrite.All"]),
        ] {
            // A receiver that nobody is: the permission is asked for before it is called.
            let body = json!({
                "changeType": "updated",
                "resource": format!("/communications/presences/{USER_A}"),
                "notificationUrl": "http://127.0.0.1:1/",
                "expirationDateTime": in_an_hour,
            });
            let answer = caller.post("/v1.0/subscriptions", &body);
            let is_open = permission.is_some_and(|permission| openers.contains(&permission));
            assert_eq!(answer.status, if is_open { 400 } else { 403 }, "{permission:?}: {answer:?}");
            // Of those of others, nothing is told to anybody.
            let nowhere = format!("/v1.0/subscriptions/{APP}");
            let renewal = json!({ "expirationDateTime": in_an_hour }).to_string();
            assert_eq!(caller.send("PATCH", &nowhere, &[JSON], renewal.as_bytes()).status, 404);
            assert_eq!(caller.send("POST", &format!("{nowhere}/reauthorize"), &[], b"").status, 404);
            assert_eq!(caller.send("DELETE", &nowhere, &[], b"").status, 404);
            assert_eq!(caller.get("/v1.0/subscriptions").status, 200, "one's own list");
            assert_eq!(caller.get(&nowhere).status, 404);
            assert_eq!(caller.get("/v1.0/$metadata").status, 200);
            let batch = json!({ "requests": [{ "id": "1", "method": "GET", "url": "/xyz" }] });
            assert_eq!(caller.post("/v1.0/$batch", &batch).status, 200, "{permission:?}");
        }
    }
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

// §6, §7, §8, §9, §11: presence over time.

#[test]
fn a_session_fades_and_expires_as_the_clock_moves() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    assert_eq!(me.set(USER_A, "Available", "Available", "PT1H").status, 200);
    assert_eq!(me.set(USER_A, "Available", "Available", "PT1H").status, 200, "again is a refresh");
    for (step, pair) in [
        ("PT4M59S", "Available/Available"),
        ("PT1S", "Available/AvailableInactive"),
        ("PT4M59S", "Available/AvailableInactive"),
        ("PT1S", "Away/Away"),
        ("PT49M59S", "Away/Away"),
        ("PT1S", "Offline/Offline"),
    ] {
        server.advance(step);
        assert_eq!(me.pair(USER_A), pair, "after another {step}");
    }
    assert_refused(&me.clear(USER_A), 404, "NotFound");
    // Only Available fades, and five minutes is the life of a session that names none.
    for (availability, activity) in
        [("Busy", "InACall"), ("Away", "Away"), ("DoNotDisturb", "Presenting"), ("Busy", "InAConferenceCall")]
    {
        let body = json!({ "sessionId": APP, "availability": availability, "activity": activity, "expirationDuration": "PT4H" });
        mine(&me, "setPresence", &body);
        server.advance("PT3H59M59S");
        assert_eq!(me.pair(USER_A), format!("{availability}/{activity}"));
        server.advance("PT1S");
        assert_eq!(me.pair(USER_A), "Offline/Offline");
    }
    mine(
        &me,
        "setPresence",
        &json!({ "sessionId": APP, "availability": "Available", "activity": "Available" }),
    );
    server.advance("PT5M");
    assert_eq!(me.pair(USER_A), "Offline/Offline");
}

#[test]
fn an_application_and_a_user_of_the_same_application_write_the_same_session() {
    let server = shared();
    let user = server.new_user();
    let (me, app) = (Caller::user(&server, &user), Caller::application(&server));
    assert_eq!(me.set(&user, "Busy", "InACall", "PT1H").status, 200);
    assert_eq!(app.set(&user, "Away", "Away", "PT1H").status, 200);
    assert_eq!(me.pair(&user), "Away/Away");
    assert_eq!(app.clear(&user).status, 200);
    assert_eq!(me.pair(&user), "Offline/Offline");
    let message = assert_refused(&me.clear(&user), 404, "NotFound");
    assert_eq!(message, "Presence session not found.");
}

#[test]
fn applications_have_sessions_and_signals_of_their_own_and_the_strongest_is_shown() {
    const PHONE: &str = "00000000-0000-4000-b000-000000000001";
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    server.freeze_at(MONDAY);
    let mint = Mint::of(&server, folder.path());
    let desk = Caller::user(&server, USER_A);
    let phone = Caller::with_token(&server, &mint.token_of(PHONE, Some(USER_A), &["Presence.ReadWrite"]));
    let set = |caller: &Caller<'_>, app: &str, availability: &str, activity: &str| {
        let session = json!({ "sessionId": app, "availability": availability, "activity": activity,
            "expirationDuration": "PT4H" });
        mine(caller, "setPresence", &session);
    };
    set(&desk, APP, "Away", "Away");
    for (availability, activity, shown) in [
        ("Away", "Away", "Away/Away"),
        ("Available", "Available", "Available/Available"),
        ("Busy", "InAConferenceCall", "Busy/InAConferenceCall"),
        ("DoNotDisturb", "Presenting", "DoNotDisturb/Presenting"),
    ] {
        set(&phone, PHONE, availability, activity);
        assert_eq!(desk.pair(USER_A), shown);
    }
    // Of equal strength the last one written gives the activity.
    set(&phone, PHONE, "Busy", "InAConferenceCall");
    set(&desk, APP, "Busy", "InACall");
    assert_eq!(desk.pair(USER_A), "Busy/InACall");
    // A faded session ranks by what it has faded to.
    set(&phone, PHONE, "Available", "Available");
    set(&desk, APP, "Away", "Away");
    server.advance("PT5M");
    assert_eq!(desk.pair(USER_A), "Available/AvailableInactive");
    server.advance("PT5M");
    assert_eq!(desk.pair(USER_A), "Away/Away");
    // Nobody writes or clears the session of another application.
    let theirs = json!({ "sessionId": PHONE });
    assert_refused(&desk.post("/v1.0/me/presence/clearPresence", &theirs), 400, "InvalidArgument");
    assert_eq!(desk.clear(USER_A).status, 200);
    assert_refused(&desk.clear(USER_A), 404, "NotFound");
    set(&phone, PHONE, "Busy", "InACall");
    assert_eq!(desk.pair(USER_A), "Busy/InACall");
    mine(&phone, "clearPresence", &theirs);
    assert_eq!(desk.pair(USER_A), "Offline/Offline");
    // One automatic signal for each: the most precise is shown, and of equal ones the newest; one call clears all.
    let place = || presence(&desk, USER_A)["workLocation"]["placeId"].clone();
    mine(&desk, "setAutomaticLocation", &json!({ "workLocationType": "office", "placeId": "hq" }));
    mine(&phone, "setAutomaticLocation", &json!({ "workLocationType": "remote" }));
    assert_eq!(place(), "hq");
    server.advance("PT1S");
    mine(&phone, "setAutomaticLocation", &json!({ "workLocationType": "remote", "placeId": "home" }));
    assert_eq!(place(), "home");
    mine(&desk, "clearAutomaticLocation", &json!({}));
    assert_eq!(presence(&desk, USER_A)["workLocation"]["source"], "none");
}

#[test]
fn sequence_numbers_grow_with_every_visible_change_and_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    let mut last = sequence_number(&me, USER_A);
    assert_eq!(sequence_number(&me, USER_A), last, "a read changes nothing");
    let mut grows = |what: &str| {
        let next = sequence_number(&me, USER_A);
        assert!(next > last, "{what}: {next} after {last}");
        last = next;
    };
    assert_eq!(me.set(USER_A, "Available", "Available", "PT1H").status, 200);
    grows("a session");
    server.advance("PT5M");
    grows("a fade");
    server.advance("PT5M");
    grows("another fade");
    mine(&me, "setStatusMessage", &json!({ "statusMessage": { "message": { "content": "x" } } }));
    grows("a status message");
    mine(&me, "setManualLocation", &json!({ "workLocationType": "remote" }));
    grows("a location");
    mine(&me, "setUserPreferredPresence", &json!({ "availability": "Busy", "activity": "Busy" }));
    grows("a preference");
    server.advance("PT50M");
    grows("an expiry");
    let other = sequence_number(&me, USER_B);
    server.advance("PT1M");
    assert_eq!((sequence_number(&me, USER_A), sequence_number(&me, USER_B)), (last.clone(), other));
    server.kill();
    let server = Server::dev_in(folder.path());
    let me = Caller::user(&server, USER_A);
    assert_eq!(sequence_number(&me, USER_A), last, "after a restart");
    assert_eq!(me.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    assert!(sequence_number(&me, USER_A) > last);
}

#[test]
fn a_preferred_presence_sleeps_without_a_session_and_lasts_as_long_as_documented() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    mine(&me, "setUserPreferredPresence", &json!({ "availability": "Offline", "activity": "OffWork" }));
    assert_eq!(me.pair(USER_A), "Offline/Offline", "asleep");
    assert_eq!(me.set(USER_A, "DoNotDisturb", "Presenting", "PT4H").status, 200);
    assert_eq!(me.pair(USER_A), "Offline/OffWork", "awake");
    assert_eq!(me.clear(USER_A).status, 200);
    assert_eq!(me.pair(USER_A), "Offline/Offline", "asleep again, not forgotten");
    assert_eq!(me.set(USER_A, "Available", "Available", "PT4H").status, 200);
    assert_eq!(me.pair(USER_A), "Offline/OffWork");
    mine(&me, "clearUserPreferredPresence", &json!({}));
    mine(&me, "clearUserPreferredPresence", &json!({}));
    assert_eq!(me.pair(USER_A), "Available/Available");
    for (availability, activity, days) in [
        ("Busy", "Busy", 1),
        ("DoNotDisturb", "DoNotDisturb", 1),
        ("Available", "Available", 7),
        ("BeRightBack", "BeRightBack", 7),
        ("Away", "Away", 7),
        ("Offline", "OffWork", 7),
    ] {
        mine(&me, "setUserPreferredPresence", &json!({ "availability": availability, "activity": activity }));
        let session = |pair: &str| {
            assert_eq!(me.set(USER_A, "DoNotDisturb", "Presenting", "PT5M").status, 200);
            assert_eq!(me.pair(USER_A), pair);
        };
        server.advance(&format!("P{}DT23H59M59S", days - 1));
        session(&format!("{availability}/{activity}"));
        server.advance("PT1S");
        session("DoNotDisturb/Presenting");
    }
    let body = json!({ "availability": "Away", "activity": "Away", "expirationDuration": "PT8M" });
    mine(&me, "setUserPreferredPresence", &body);
    assert_eq!(me.set(USER_A, "Busy", "InACall", "PT1H").status, 200);
    server.advance("PT7M59S");
    assert_eq!(me.pair(USER_A), "Away/Away");
    server.advance("PT1S");
    assert_eq!(me.pair(USER_A), "Busy/InACall");
}

#[test]
fn a_status_message_is_seen_by_all_and_its_times_by_its_owner_until_it_ends() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    let others = [Caller::user(&server, USER_B), Caller::application(&server)];
    let expiry = json!({ "dateTime": "2030-01-07T01:00:00.1234567", "timeZone": "Pacific Standard Time" });
    let message = json!({ "content": "At the \"dentist\" \u{1F9B7}", "contentType": "text" });
    let body = json!({ "statusMessage": { "message": message, "expiryDateTime": expiry,
        "publishedDateTime": "1999-01-01T00:00:00Z" } });
    mine(&me, "setStatusMessage", &body);
    for path in [
        "/v1.0/me/presence",
        &format!("/v1.0/users/{USER_A}/presence"),
        &format!("/beta/communications/presences/{USER_A}"),
    ] {
        assert_eq!(
            me.get(path).json()["statusMessage"],
            json!({ "message": message, "publishedDateTime": "2030-01-07T08:00:00.0000000Z",
                "expiryDateTime": { "dateTime": "2030-01-07T09:00:00.1234567", "timeZone": "UTC" } })
        );
    }
    let many = json!({ "ids": [USER_A] });
    for other in &others {
        let seen = json!({ "message": message });
        assert_eq!(presence(other, USER_A)["statusMessage"], seen);
        let answer = other.post("/v1.0/communications/getPresencesByUserId", &many).json();
        assert_eq!(answer["value"][0]["statusMessage"], seen);
    }
    let own = me.post("/v1.0/communications/getPresencesByUserId", &many).json();
    assert!(own["value"][0]["statusMessage"]["publishedDateTime"].is_string(), "{own}");
    assert_eq!(me.pair(USER_A), "Offline/Offline", "no session is needed");
    server.advance("PT1H");
    assert!(presence(&me, USER_A)["statusMessage"].is_object());
    server.advance("PT1S");
    assert_eq!(presence(&me, USER_A)["statusMessage"], Value::Null);
    // Without an end it stays; set by an application it is the user's all the same.
    let answer = others[1].post(
        &format!("/v1.0/users/{USER_A}/presence/setStatusMessage"),
        &json!({ "statusMessage": { "message": { "content": "x".repeat(280) }, "expiryDateTime": null } }),
    );
    assert_empty_200(&answer, "an application");
    server.advance("P3650D");
    let read = presence(&me, USER_A)["statusMessage"].clone();
    assert_eq!(read["message"]["content"], "x".repeat(280));
    assert!(!read.as_object().unwrap().contains_key("expiryDateTime"), "{read}");
    for nothing in [
        json!({ "statusMessage": { "message": { "content": "" } } }),
        json!({ "statusMessage": null }),
        json!({ "statusMessage": { "message": null } }),
    ] {
        mine(&me, "setStatusMessage", &json!({ "statusMessage": { "message": { "content": "again" } } }));
        assert!(presence(&me, USER_A)["statusMessage"].is_object());
        mine(&me, "setStatusMessage", &nothing);
        assert_eq!(presence(&me, USER_A)["statusMessage"], Value::Null, "{nothing}");
    }
}

// §10: work location.

#[test]
fn a_manual_location_beats_an_automatic_one_which_beats_the_scheduled_one() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let user = server.new_user_in("Europe/Berlin");
    let (me, app) = (Caller::user(&server, &user), Caller::application(&server));
    let seen = |kind: &str, source: &str, place: Option<&str>| {
        let expected = json!({ "workLocationType": kind, "source": source, "placeId": place });
        assert_eq!(presence(&app, &user)["workLocation"], expected);
    };
    let put = |value: Value| {
        let path = format!("/_presenced/v1/users/{user}/scheduledLocations");
        let body = json!({ "value": value }).to_string();
        let length = body.len().to_string();
        let answer = me.send("PUT", &path, &[JSON, ("Content-Length", &length)], body.as_bytes());
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    };
    let at = |time: &str| json!({ "dateTime": format!("2030-01-07T{time}"), "timeZone": "Europe/Berlin" });
    seen("unspecified", "none", None);
    put(json!([
        { "workLocationType": "office", "placeId": "hq", "startDateTime": at("08:00:00"), "endDateTime": at("12:00:00") },
        { "workLocationType": "timeOff", "startDateTime": at("12:00:00"), "endDateTime": at("17:00:00") },
    ]));
    seen("office", "scheduled", Some("hq"));
    mine(&me, "setAutomaticLocation", &json!({ "workLocationType": "remote", "placeId": "home" }));
    seen("remote", "automatic", Some("home"));
    mine(&me, "setManualLocation", &json!({ "workLocationType": "office" }));
    seen("office", "manual", None);
    mine(&me, "setAutomaticLocation", &json!({ "workLocationType": "timeOff", "placeId": "beach" }));
    seen("office", "manual", None);
    mine(&me, "clearAutomaticLocation", &json!({}));
    seen("office", "manual", None);
    mine(&me, "setAutomaticLocation", &json!({ "workLocationType": "remote" }));
    mine(&me, "clearLocation", &json!({}));
    seen("office", "scheduled", Some("hq"));
    mine(&me, "setAutomaticLocation", &json!({ "workLocationType": "remote" }));
    seen("remote", "automatic", None);
    mine(&me, "clearAutomaticLocation", &json!({}));
    // 9:00 in Berlin; at noon the next segment begins.
    server.advance("PT2H59M59S");
    seen("office", "scheduled", Some("hq"));
    server.advance("PT1S");
    seen("timeOff", "scheduled", None);
    mine(&me, "setManualLocation", &json!({ "workLocationType": "remote" }));
    // Midnight in Berlin is 23:00 in UTC.
    server.advance("PT11H59M59S");
    seen("remote", "manual", None);
    server.advance("PT1S");
    seen("unspecified", "none", None);
    put(json!([]));
    let answer = me.send("DELETE", &format!("/_presenced/v1/users/{user}/scheduledLocations"), &[], b"");
    assert_eq!(answer.status, 204);
    seen("unspecified", "none", None);
}

// §11.4: out of office.

#[test]
fn out_of_office_shows_where_the_table_says_so_and_only_while_it_lasts() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    let app = Caller::application(&server);
    let path = format!("/_presenced/v1/users/{USER_A}/outOfOffice");
    let put = |caller: &Caller<'_>, body: &Value| {
        let body = body.to_string();
        caller.send("PUT", &path, &[JSON, ("Content-Length", &body.len().to_string())], body.as_bytes())
    };
    let window = json!({ "message": "Back in May", "startDateTime": { "dateTime": "2030-01-07T09:00:00" },
        "endDateTime": { "dateTime": "2030-01-07T18:00:00", "timeZone": "Romance Standard Time" } });
    assert_eq!(put(&me, &window).status, 204);
    let settings = || presence(&app, USER_A)["outOfOfficeSettings"].clone();
    let here = json!({ "message": null, "isOutOfOffice": false });
    let away = json!({ "message": "Back in May", "isOutOfOffice": true });
    assert_eq!(settings(), here, "not yet");
    server.advance("PT1H");
    assert_eq!(settings(), away);
    assert_eq!(me.pair(USER_A), "Offline/OutOfOffice");
    for (availability, activity, shown) in [
        ("Available", "Available", "Available/OutOfOffice"),
        ("Busy", "InACall", "Busy/InACall"),
        ("DoNotDisturb", "Presenting", "DoNotDisturb/Presenting"),
        ("Away", "Away", "Away/Away"),
    ] {
        assert_eq!(me.set(USER_A, availability, activity, "PT4H").status, 200);
        assert_eq!(me.pair(USER_A), shown);
        assert_eq!(settings(), away);
    }
    server.advance("PT7H59M59S");
    assert_eq!(settings(), away, "18:00 in Romance time is 17:00 in UTC");
    server.advance("PT1S");
    assert_eq!(settings(), here);
    assert_eq!(put(&app, &json!({})).status, 204, "no ends: from now on, until further notice");
    assert_eq!(settings(), json!({ "message": null, "isOutOfOffice": true }));
    assert_eq!(me.send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(settings(), here);
    let other = Caller::user(&server, USER_B);
    assert_refused(&put(&other, &window), 401, "Unauthorized");
    assert_eq!(settings(), here);
}

#[test]
fn an_explanation_names_every_input_the_rule_and_what_lost_to_what() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let path = format!("/_presenced/v1/users/{user}/presence/explanation");
    let nothing = me.get(&path).json();
    assert_eq!((&nothing["rule"], &nothing["sessions"]), (&json!("noSession"), &json!([])));
    assert_eq!(me.set(&user, "Available", "Available", "PT1H").status, 200);
    mine(
        &me,
        "setUserPreferredPresence",
        &json!({ "availability": "BeRightBack", "activity": "BeRightBack" }),
    );
    mine(&me, "setStatusMessage", &json!({ "statusMessage": { "message": { "content": "x" } } }));
    let answer = me.get(&path);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let explained = answer.json();
    assert_eq!(explained["id"], user.as_str());
    assert_eq!(explained["rule"], "preferredPresence");
    assert_eq!(explained["availability"], "BeRightBack");
    assert_eq!(explained["at"], "2030-01-07T08:00:00.0000000Z");
    assert_eq!(explained["sequenceNumber"].as_str(), Some(sequence_number(&me, &user).as_str()));
    let session = &explained["sessions"][0];
    assert_eq!(session["application"], APP);
    assert_eq!(session["outcome"], "hiddenByPreferredPresence");
    assert_eq!(session["nextFadeAt"], "2030-01-07T08:05:00.0000000Z");
    assert_eq!(session["expiresAt"], "2030-01-07T09:00:00.0000000Z");
    assert_eq!(explained["preferredPresence"]["expiresAt"], "2030-01-14T08:00:00.0000000Z");
    assert_eq!(explained["statusMessage"]["content"], "x");
    assert_eq!(explained["nextChange"]["availability"], "Offline");
    assert_eq!(explained["nextChange"]["at"], "2030-01-07T09:00:00.0000000Z");
    // By whatever key, for whoever may read the presence; the times of the message are the owner's, as in a read.
    let by_name = format!("/_presenced/v1/users/{}/presence/explanation", name_of(&user));
    assert_eq!(me.get(&by_name).json(), explained);
    let app = Caller::application(&server);
    let theirs = app.get(&by_name).json();
    assert_eq!(theirs["sessions"], explained["sessions"]);
    let message = json!({ "content": "x", "publishedAt": null, "expiresAt": null });
    assert_eq!(theirs["statusMessage"], message);
    assert_refused(
        &app.get(&format!("/_presenced/v1/users/{UNKNOWN}/presence/explanation")),
        404,
        "NotFound",
    );
    assert_refused(&server.send("GET", &path, &[], b""), 401, "InvalidAuthenticationToken");
}

#[test]
fn an_explanation_is_given_for_instants_to_come_and_back_to_the_last_change_and_refused_before() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    assert_eq!(me.set(&user, "Available", "Available", "PT1H").status, 200);
    let path = |at: &str| format!("/_presenced/v1/users/{user}/presence/explanation?at={at}");
    let now = me.get(&path(MONDAY)).json();
    assert_eq!((&now["activity"], &now["sessions"][0]["age"]), (&json!("Available"), &json!("PT0S")));
    assert!(now["sessions"][0]["applicationName"].is_string(), "{now}");
    let later = me.get(&path("2030-01-07T08:07:00Z")).json();
    assert_eq!(later["at"], "2030-01-07T08:07:00.0000000Z");
    assert_eq!(
        (&later["activity"], &later["sessions"][0]["age"]),
        (&json!("AvailableInactive"), &json!("PT7M"))
    );
    let zoned = me.get(&path("2030-01-07T10:10:00%2B02:00")).json();
    assert_eq!((&zoned["activity"], &zoned["nextChange"]["activity"]), (&json!("Away"), &json!("Offline")));
    let past = me.get(&path("2030-01-07T07:59:59Z"));
    assert_refused(&past, 400, "InvalidArgument");
    assert!(past.text().contains("2030-01-07T08:00:00.0000000Z"), "{}", past.text());
    for at in ["yesterday", "2030-13-01T00:00:00Z", "", "2030-01-07T08:00:00"] {
        assert_refused(&me.get(&path(at)), 400, "InvalidArgument");
    }
    assert_refused(&me.get(&path(MONDAY).replace("at=", "when=")), 400, "InvalidArgument");
}

#[test]
fn every_write_says_whether_it_is_seen_and_if_not_what_is_and_until_when() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let outcome = |answer: &Answer| answer.header("presenced-outcome").map(str::to_owned).unwrap_or_default();
    assert_eq!(outcome(&me.set(&user, "Available", "Available", "PT1H")), "visible");
    let path = |action: &str| format!("/v1.0/me/presence/{action}");
    let busy = json!({ "availability": "Busy", "activity": "Busy", "expirationDuration": "PT30M" });
    assert_eq!(outcome(&me.post(&path("setUserPreferredPresence"), &busy)), "visible");
    let hidden = "by=preferredPresence;until=\"2030-01-07T08:30:00.0000000Z\"";
    assert_eq!(outcome(&me.set(&user, "Away", "Away", "PT1H")), format!("hidden;{hidden}"));
    assert_eq!(outcome(&me.clear(&user)), "visible", "the preference sleeps without a session");
    let clear = json!([{ "id": "1", "method": "POST", "url": "/me/presence/clearUserPreferredPresence",
        "headers": { "Content-Type": "application/json" }, "body": {} }]);
    let answers = batch(&me, "/v1.0", &clear);
    assert_eq!(answers[0]["headers"]["Presenced-Outcome"], "unchanged;by=noSession", "{answers:?}");
    let window = json!({ "startDateTime": { "dateTime": "2030-01-07T09:00:00", "timeZone": "UTC" } });
    let own = format!("/_presenced/v1/users/{user}/outOfOffice");
    let answer = me.send("PUT", &own, &[JSON], window.to_string().as_bytes());
    assert_eq!(outcome(&answer), "hidden;by=inOffice;until=\"2030-01-07T09:00:00.0000000Z\"");
    let refused = me.clear(&user);
    assert_eq!((refused.status, refused.header("presenced-outcome")), (404, None));
}

// §16: batches.

fn batch(caller: &Caller<'_>, root: &str, requests: &Value) -> Vec<Value> {
    let answer = caller.post(&format!("{root}/$batch"), &json!({ "requests": requests }));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.json()["responses"].as_array().unwrap().clone()
}

fn part<'r>(responses: &'r [Value], id: &str) -> &'r Value {
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

// §17: the schema.

#[test]
fn the_schema_needs_no_token_and_describes_every_action() {
    let server = shared();
    for root in ["/v1.0", "/beta"] {
        let answer = server.send("GET", &format!("{root}/$metadata"), &[], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/xml")));
        let text = answer.text();
        assert!(text.contains("Version=\"4.0\"") && text.contains("Namespace=\"microsoft.graph\""));
        for name in ["getPresencesByUserId"].into_iter().chain(actions().into_iter().map(|(name, _)| name)) {
            assert!(text.contains(&format!("<Action Name=\"{name}\" IsBound=\"true\"")), "{name}");
        }
        for member in [
            "sequenceNumber",
            "outOfOfficeSettings",
            "workLocation",
            "statusMessage",
            "Org.OData.Core.V1.Computed",
        ] {
            assert!(text.contains(member), "{member}");
        }
    }
    assert_eq!(server.send("GET", "/v1.0/%24metadata", &[], b"").status, 200);
    let answer = server.send("POST", "/v1.0/$metadata", &[], b"");
    assert_refused(&answer, 405, "Request_BadRequest");
}

// The directory (identity D).

#[test]
fn the_directory_is_paged_by_links_to_the_end() {
    let server = Server::dev();
    let app = Caller::application(&server);
    let users: Vec<Value> = (0..250)
        .map(|n| json!({ "id": format!("00000000-0000-4000-a000-{n:012}"), "userPrincipalName": format!("p{n}@presenced.example"),
            "displayName": format!("Person {:03}", 249 - n), "department": if n % 2 == 0 { "Even" } else { "Odd" } }))
        .collect();
    let answer = server.send("POST", "/_presenced/v1/users", &[JSON], json!(users).to_string().as_bytes());
    assert_eq!(answer.json(), json!({ "imported": 250 }));
    let follow = |first: &str| {
        let (mut found, mut pages, mut path) = (Vec::new(), 0, first.to_owned());
        loop {
            let page = app.get(&path).json();
            found.extend(
                page["value"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()),
            );
            pages += 1;
            assert!(pages <= 300, "{path}");
            let Some(next) = page["@odata.nextLink"].as_str() else { return (pages, found) };
            path = next.strip_prefix(&server.url()).unwrap().to_owned();
        }
    };
    let distinct = |found: &[String]| found.iter().collect::<HashSet<_>>().len();
    let (pages, found) = follow("/v1.0/users");
    assert_eq!((pages, found.len(), distinct(&found)), (3, 254, 254));
    let (pages, found) = follow("/beta/users?$top=60&$select=id");
    assert_eq!((pages, found.len(), distinct(&found)), (5, 254, 254));
    let (pages, found) = follow("/v1.0/users?$top=999");
    assert_eq!((pages, found.len()), (1, 254));
    let (pages, found) = follow(
        "/v1.0/users?$filter=startswith(displayName,'Person%200')%20and%20department%20eq%20'odd'&$top=7",
    );
    assert_eq!((pages, found.len(), distinct(&found)), (8, 50, 50));
    let (_, found) =
        follow("/v1.0/users?$filter=startsWith(displayName,'Person')&$orderby=displayName%20desc&$top=100");
    assert_eq!((found.len(), found[0].as_str()), (250, "00000000-0000-4000-a000-000000000000"));
    for (query, code) in [
        ("$top=0", "Request_UnsupportedQuery"),
        ("$top=1000", "Request_UnsupportedQuery"),
        ("$skip=1", "Request_UnsupportedQuery"),
        ("$search=%22displayName:x%22", "Request_UnsupportedQuery"),
        ("$filter=displayName", "BadRequest"),
        ("$skiptoken=x", "BadRequest"),
        ("$expand=manager", "BadRequest"),
    ] {
        assert_refused(&app.get(&format!("/v1.0/users?{query}")), 400, code);
    }
    let eventual = [("ConsistencyLevel", "eventual")];
    let counted = app
        .send("GET", "/v1.0/users?$count=true&$top=1&$search=%22displayName:Person%22", &eventual, b"")
        .json();
    assert_eq!(counted["@odata.count"], 250);
}

#[test]
fn a_user_is_found_by_id_and_name_and_answers_with_the_default_or_the_selected_members() {
    let server = shared();
    let me = Caller::user(&server, USER_A);
    let expected = json!({
        "@odata.context": format!("{}/v1.0/$metadata#users/$entity", server.url()),
        "businessPhones": [], "displayName": "Ana Fuentes", "givenName": "Ana", "jobTitle": null,
        "mail": "ana.fuentes@presenced.example", "mobilePhone": null, "officeLocation": null,
        "preferredLanguage": null, "surname": "Fuentes", "userPrincipalName": "ana.fuentes@presenced.example",
        "id": USER_A,
    });
    for key in [
        "me".to_owned(),
        format!("users/{USER_A}"),
        "users/ANA.fuentes@presenced.example".to_owned(),
        format!("users('{USER_A}')"),
    ] {
        let answer = me.get(&format!("/v1.0/{key}"));
        assert_eq!(answer.header("content-type"), Some(OTHER_ODATA_TYPE));
        assert_eq!(answer.json(), expected, "{key}");
    }
    let selected = me.get("/v1.0/me?$select=id,createdDateTime,accountEnabled");
    assert_eq!(
        selected.json(),
        json!({ "@odata.context": format!("{}/v1.0/$metadata#users(id,createdDateTime,accountEnabled)/$entity", server.url()),
            "id": USER_A, "accountEnabled": true }),
        "a property that is not kept is left out"
    );
    for path in ["/v1.0/me?$select=xyz", "/v1.0/users?$select=xyz"] {
        let message = assert_refused(&me.get(path), 400, "BadRequest");
        let expected = "Parsing OData Select and Expand failed: Could not find a property named 'xyz' on type 'microsoft.graph.user'.";
        assert_eq!(message, expected);
    }
    let one = me
        .get("/v1.0/users?$filter=userPrincipalName%20eq%20'bruno.keller@presenced.example'&$select=id")
        .json();
    assert_eq!(one["value"], json!([{ "id": USER_B }]));
    for key in [UNKNOWN, "nobody@presenced.example"] {
        let message = assert_refused(&me.get(&format!("/v1.0/users/{key}")), 404, "Request_ResourceNotFound");
        let expected = "does not exist or one of its queried reference-property objects are not present.";
        assert_eq!(message, format!("Resource '{key}' {expected}"));
    }
}

#[test]
fn nobody_has_a_photo() {
    let server = shared();
    let me = Caller::user(&server, USER_A);
    for path in [
        "me/photo",
        "me/photo/$value",
        "me/photos/48x48",
        "me/photos/240X240/$value",
        &format!("users/{USER_B}/photo/$value"),
    ] {
        let message = assert_refused(&me.get(&format!("/v1.0/{path}")), 404, "ImageNotFound");
        assert_eq!(
            message,
            "Exception of type 'Microsoft.Fast.Profile.Core.Exception.ImageNotFoundException' was thrown."
        );
    }
    assert_refused(&me.get(&format!("/v1.0/users/{UNKNOWN}/photo")), 404, "Request_ResourceNotFound");
    assert_refused(&me.get("/v1.0/me/photos/47x47"), 400, "BadRequest");
}

// Our own resources.

#[test]
fn users_are_imported_from_csv_and_json_serve_at_once_and_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let import = |server: &Server, content_type: &str, body: &str| {
        server.send("POST", "/_presenced/v1/users", &[("Content-Type", content_type)], body.as_bytes())
    };
    let (ada, bob) = ("3c1f0d0e-0000-4a53-9a0e-000000000001", "3c1f0d0e-0000-4a53-9a0e-000000000002");
    let csv = format!(
        "\u{feff}id,userPrincipalName,displayName,businessPhones,accountEnabled,timeZone\r\n\
         {ada},ada@presenced.example,\"Lovelace, Ada\",+44 1; +44 2,,Europe/London\r\n"
    );
    assert_eq!(import(&server, "text/csv; charset=utf-8", &csv).json(), json!({ "imported": 1 }));
    let page = json!({ "@odata.context": "x", "value": [{ "id": bob, "userPrincipalName": "bob@presenced.example", "mail": null }] });
    assert_eq!(import(&server, "application/json", &page.to_string()).json(), json!({ "imported": 1 }));
    let app = Caller::application(&server);
    let user = app.get("/v1.0/users/ada@presenced.example").json();
    assert_eq!(
        (&user["displayName"], &user["businessPhones"]),
        (&json!("Lovelace, Ada"), &json!(["+44 1", "+44 2"]))
    );
    assert_eq!(app.set(ada, "Busy", "InACall", "PT1H").status, 200);
    let me = Caller::user(&server, bob);
    assert_eq!(me.get("/v1.0/me/presence").json()["availability"], "Offline");
    // The same id again replaces; a name of somebody else is refused and nothing of the file is taken.
    let renamed = json!([{ "id": bob, "userPrincipalName": "robert@presenced.example" }]);
    assert_eq!(import(&server, "application/json", &renamed.to_string()).status, 200);
    assert_eq!(app.get("/v1.0/users/bob@presenced.example").status, 404);
    let clash = json!([
        { "id": UNKNOWN, "userPrincipalName": "new@presenced.example" },
        { "id": "3c1f0d0e-0000-4a53-9a0e-000000000003", "userPrincipalName": "ADA@presenced.example" },
    ]);
    assert_refused(&import(&server, "application/json", &clash.to_string()), 400, "InvalidArgument");
    assert_eq!(app.get(&format!("/v1.0/users/{UNKNOWN}")).status, 404);
    // A disabled user's tokens are worth nothing any more.
    let disabled =
        json!([{ "id": bob, "userPrincipalName": "robert@presenced.example", "accountEnabled": false }]);
    assert_eq!(import(&server, "application/json", &disabled.to_string()).status, 200);
    assert_refused(&me.get("/v1.0/me/presence"), 401, "Authorization_IdentityNotFound");
    server.kill();
    let server = Server::dev_in(folder.path());
    let app = Caller::application(&server);
    assert_eq!(app.get("/v1.0/users/ada@presenced.example").json()["id"], ada);
    assert_eq!(
        app.get("/v1.0/users?$filter=accountEnabled%20eq%20false&$select=id").json()["value"],
        json!([{ "id": bob }])
    );
}

#[test]
fn the_clock_advances_freezes_resumes_and_is_set_forward_only() {
    let server = Server::dev();
    let clock = |action: &str, body: &Value| {
        server.send("POST", &format!("/_presenced/v1/clock/{action}"), &[JSON], body.to_string().as_bytes())
    };
    let now = || server.send("GET", "/_presenced/v1/clock", &[], b"").json();
    assert_eq!((&now()["frozen"], &now()["aheadSeconds"]), (&json!(false), &json!(0)));
    let answer = clock("advance", &json!({ "duration": "P1DT1H" })).json();
    assert_eq!((&answer["frozen"], &answer["aheadSeconds"]), (&json!(false), &json!(25 * 3_600)));
    assert_eq!(clock("freeze", &json!({})).json()["frozen"], true);
    let time = now()["time"].clone();
    assert_eq!(now()["time"], time, "frozen");
    assert_eq!(clock("set", &json!({ "time": MONDAY })).json()["time"], "2030-01-07T08:00:00.0000000Z");
    assert_eq!(
        clock("advance", &json!({ "duration": "PT0.5S" })).json()["time"],
        "2030-01-07T08:00:00.5000000Z"
    );
    assert_eq!(clock("advance", &json!({ "duration": "PT0S" })).status, 200);
    for (action, body) in [
        ("set", json!({ "time": MONDAY })),
        ("set", json!({ "time": "1970-01-01T00:00:00Z" })),
        ("advance", json!({ "duration": "-PT1S" })),
    ] {
        assert_refused(&clock(action, &body), 400, "InvalidArgument");
    }
    assert_eq!(now()["time"], "2030-01-07T08:00:00.5000000Z", "what is refused moves nothing");
    let resumed = clock("resume", &json!({})).json();
    assert_eq!(resumed["frozen"], false);
    assert!(resumed["time"].as_str().unwrap() >= "2030-01-07T08:00:00.5", "{resumed}");
    assert_refused(&clock("jump", &json!({})), 400, "BadRequest");
    assert_refused(&server.send("GET", "/_presenced/v1/clock/advance", &[], b""), 405, "Request_BadRequest");
    assert_refused(&server.send("POST", "/_presenced/v1/clock", &[JSON], b"{}"), 405, "Request_BadRequest");
    // A token lives by the machine's time, whatever the clock says.
    let me = Caller::user(&server, USER_A);
    assert_eq!(clock("advance", &json!({ "duration": "P365D" })).status, 200);
    assert_eq!(me.get("/v1.0/me/presence").status, 200);
}

#[test]
fn only_requests_that_mean_this_machine_reach_the_emulators_own_resources() {
    let server = shared();
    let host = server.http;
    let send = |line: &str, headers: &str| {
        server.send_raw(format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes())
    };
    for (line, headers) in [
        ("GET /_presenced/v1/clock".to_owned(), format!("Host: {host}\r\n")),
        (
            "GET /_presenced/v1/clock".to_owned(),
            "Host: localhost:1\r\nOrigin: http://localhost:3000\r\n".to_owned(),
        ),
        ("GET /_presenced/v1/token".to_owned(), "Host: [::1]\r\nOrigin: https://127.0.0.1\r\n".to_owned()),
        (format!("GET http://{host}/_presenced/v1/clock"), "Host: evil.example\r\n".to_owned()),
    ] {
        assert_eq!(send(&line, &headers).status, 200, "{line} {headers}");
    }
    let before = send("GET /_presenced/v1/clock", &format!("Host: {host}\r\n")).json();
    let advance = "POST /_presenced/v1/clock/advance";
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        "Host: localhost.evil.example\r\n".to_owned(),
        format!("Host: {host}\r\nOrigin: https://evil.example\r\n"),
        format!("Host: {host}\r\nOrigin: null\r\n"),
        format!("Host: {host}\r\nOrigin: http://localhost@evil.example\r\n"),
        String::new(),
    ] {
        for line in
            ["GET /_presenced/v1/clock", "GET /_presenced/v1/token", advance, "POST /_presenced/v1/users"]
        {
            assert_refused(&send(line, &headers), 403, "Forbidden");
        }
    }
    let line = "GET http://evil.example/_presenced/v1/token";
    assert_refused(&send(line, &format!("Host: {host}\r\n")), 403, "Forbidden");
    assert_eq!(send("GET /_presenced/v1/clock", &format!("Host: {host}\r\n")).json()["time"], before["time"]);
}
