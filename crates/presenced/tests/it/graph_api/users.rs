//! `/users`, `/users/{user}` and photos: the small directory.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::graph_api::{OTHER_ODATA_TYPE, UNKNOWN, assert_refused};
use crate::support::{Caller, JSON, Server, USER_A, USER_B, shared};

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
