//! `P`: one presence at its three addresses, its shape and contexts, and its actions (§2 to §4, §14).

mod location;
mod preferred;
mod sessions;
mod status_message;

use serde_json::{Value, json};

use crate::graph_api::{
    OTHER_ODATA_TYPE, UNKNOWN, act, actions, assert_empty_200, assert_refused, mine, presence,
    sequence_number,
};
use crate::support::{APP, Caller, JSON, USER_A, name_of, shared};

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
