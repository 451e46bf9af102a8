//! SCIM as identity providers speak it, and as nobody should.

use graph::Profile;
use presence::UserKey;
use serde_json::{Value, json};

use crate::world::{Answer, TENANTS, World, user_of};

const USERS: &str = "/_presenced/v1/scim/v2/Users";
const EXTERNAL: &str = "1f0d0e3c-5b7a-4a53-9a0e-6a1f2b3c4d5e";

async fn world() -> (World, String) {
    let world = World::start(Profile::Graph, &[]).await;
    let token =
        world.application(TENANTS[0], &["Presenced.Provisioning", "Presence.ReadWrite.All", "User.Read.All"]);
    (world, token)
}

#[track_caller]
fn scim_error(answer: &Answer) -> (u16, String) {
    assert!(answer.head.contains("content-type: application/scim+json"), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]), "{answer:?}");
    assert_eq!(body["status"], answer.status.to_string(), "{answer:?}");
    (answer.status, body["scimType"].as_str().unwrap_or_default().to_owned())
}

fn patch(operations: Value) -> String {
    json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations })
        .to_string()
}

fn ada() -> String {
    json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "Ada@X.example", "externalId": EXTERNAL,
        "displayName": "Ada", "active": true, "emails": [{ "value": "ada@x.example", "type": "work", "primary": true }],
        "roles": [], "password": "ignored" }).to_string()
}

#[tokio::test]
async fn a_user_is_created_found_changed_and_deleted_with_presence_and_sessions() {
    let (world, token) = world().await;
    let created = world.send(&token, "POST", USERS, Some(&ada())).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id, EXTERNAL, "an external id that is a GUID becomes the object id");
    assert!(created.head.contains(&format!("location: https://presence.test{USERS}/{id}")), "{created:?}");

    for filter in [
        "userName%20eq%20%22ADA%40x.example%22",
        "externalId%20eq%20%22EXT%22%20or%20id%20eq%20%22ID%22",
        "userName%20sw%20%22ada%22%20and%20active%20eq%20true",
    ] {
        let filter = filter.replace("EXT", EXTERNAL).replace("ID", &id);
        let found = world.send(&token, "GET", &format!("{USERS}?filter={filter}"), None).await.json();
        assert_eq!(
            (found["totalResults"].as_u64(), &found["Resources"][0]["id"]),
            (Some(1), &json!(id)),
            "{filter}"
        );
    }
    let graph = world.send(&token, "GET", "/v1.0/users/ada@x.example", None).await;
    assert_eq!(graph.json()["mail"], "ada@x.example");

    let changed = patch(json!([{ "op": "Replace", "path": "active", "value": "False" },
        { "op": "Add", "path": "name.givenName", "value": "Ada" }, { "op": "Replace", "value": { "title": "Countess" } }]));
    let changed = world.send(&token, "PATCH", &format!("{USERS}/{id}"), Some(&changed)).await;
    assert_eq!(
        (changed.status, &changed.json()["active"], &changed.json()["title"]),
        (200, &json!(false), &json!("Countess"))
    );
    let put =
        world.send(&token, "PUT", &format!("{USERS}/{id}"), Some(r#"{"userName":"eva@x.example"}"#)).await;
    assert_eq!(
        (put.status, put.json().get("title")),
        (200, None),
        "what a replacement does not name is gone"
    );

    let set = r#"{"statusMessage":{"message":{"content":"Secret plans"}}}"#;
    let presence = format!("/v1.0/users/{id}/presence");
    assert_eq!(
        world.send(&token, "POST", &format!("{presence}/setStatusMessage"), Some(set)).await.status,
        200
    );
    let own = world.delegated(TENANTS[0], id.parse().unwrap(), &["Presence.Read.All"]);
    let watch = json!({ "changeType": "updated", "resource": format!("communications/presences/{id}"),
        "notificationUrl": world.receiver, "expirationDateTime": "2020-01-01T00:00:00Z" });
    let watching = world.send(&own, "POST", "/v1.0/subscriptions", Some(&watch.to_string())).await;
    assert_eq!(watching.status, 201, "{watching:?}");
    let kept = async |kind| world.store.documents(kind).await.unwrap().len();
    assert_eq!(kept(store::DocumentKind::Subscription).await, 1);
    let key = UserKey { tenant: TENANTS[0], user: id.parse().unwrap() };
    assert!(world.store.load(&[key]).await.unwrap()[0].presence.status_message.is_some());
    assert_eq!(world.send(&token, "DELETE", &format!("{USERS}/{id}"), None).await.status, 204);
    assert!(world.store.load(&[key]).await.unwrap()[0].presence.status_message.is_none());
    assert_eq!(kept(store::DocumentKind::Subscription).await, 0, "what they subscribed to ends with them");
    assert!(world.send(&token, "GET", &presence, None).await.body.contains("PresenceUnknown"));
    assert_eq!(scim_error(&world.send(&token, "GET", &format!("{USERS}/{id}"), None).await).0, 404);
    assert_eq!(world.send(&token, "POST", USERS, Some(&ada())).await.status, 201, "and may come back");
    let back = world.send(&token, "GET", &presence, None).await.json();
    assert_eq!(back["statusMessage"], Value::Null);
}

#[tokio::test]
async fn names_and_external_ids_are_unique_and_declared_users_are_read_only() {
    let (world, token) = world().await;
    assert_eq!(world.send(&token, "POST", USERS, Some(&ada())).await.status, 201);
    let same_name = r#"{"userName":"ADA@X.EXAMPLE"}"#;
    let taken = (409, "uniqueness".to_owned());
    assert_eq!(scim_error(&world.send(&token, "POST", USERS, Some(same_name)).await), taken);
    let same_external = json!({ "userName": "b@x.example", "externalId": EXTERNAL }).to_string();
    assert_eq!(scim_error(&world.send(&token, "POST", USERS, Some(&same_external)).await), taken);
    let declared = format!("{USERS}/{}", user_of(TENANTS[0], 1));
    for (method, body) in [("DELETE", None), ("PUT", Some(r#"{"userName":"x@x.example"}"#))] {
        assert_eq!(
            scim_error(&world.send(&token, method, &declared, body).await),
            (409, "mutability".to_owned())
        );
    }
}

#[tokio::test]
async fn lists_are_paged_and_show_what_was_asked_for() {
    let (world, token) = world().await;
    let page = async |query: &str| world.send(&token, "GET", &format!("{USERS}?{query}"), None).await.json();
    let all = page("").await;
    assert_eq!((all["totalResults"].as_u64(), all["itemsPerPage"].as_u64()), (Some(3), Some(3)));
    let second = page("startIndex=2&count=1").await;
    assert_eq!(second["Resources"].as_array().unwrap().len(), 1);
    assert_eq!(second["Resources"][0]["id"], all["Resources"][1]["id"]);
    assert_eq!(page("count=0").await["Resources"], json!([]));
    assert_eq!(page("count=-5&startIndex=-1").await["startIndex"], 1);
    assert_eq!(page("startIndex=9223372036854775807").await["Resources"], json!([]));
    let names = page("attributes=userName").await["Resources"][0].as_object().unwrap().len();
    assert_eq!(names, 3, "schemas, id and userName");
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_scims_words_and_never_breaks_anything() {
    let (world, token) = world().await;
    let declared = format!("{USERS}/{}", user_of(TENANTS[0], 1));
    let deep = "[".repeat(100_000);
    for (method, path, body, status, scim_type) in [
        ("POST", USERS, "{", 400, "invalidSyntax"),
        ("POST", USERS, &*deep, 400, "invalidSyntax"),
        ("POST", USERS, "[]", 400, "invalidSyntax"),
        ("POST", USERS, "{}", 400, "invalidValue"),
        ("POST", USERS, r#"{"userName":7}"#, 400, "invalidValue"),
        ("POST", USERS, r#"{"userName":"a@x","active":"perhaps"}"#, 400, "invalidValue"),
        ("POST", USERS, r#"{"userName":"a@x","timezone":"Atlantis"}"#, 400, "invalidValue"),
        ("PATCH", &declared, r#"{"Operations":[]}"#, 400, "invalidSyntax"),
        ("GET", &*format!("{USERS}?filter=userName%20eq"), "", 400, "invalidFilter"),
        (
            "GET",
            &*format!("{USERS}?filter=userName%20eq%20%22a%22%29%20or%20%28id%20pr"),
            "",
            400,
            "invalidFilter",
        ),
        ("GET", &*format!("{USERS}?count=many"), "", 400, "invalidValue"),
        ("GET", &*format!("{USERS}/nobody"), "", 404, ""),
        ("GET", "/_presenced/v1/scim/v2/Groups", "", 404, ""),
        ("PUT", USERS, "{}", 405, ""),
    ] {
        let answer = world.send(&token, method, path, Some(body)).await;
        assert_eq!(
            scim_error(&answer),
            (status, scim_type.to_owned()),
            "{method} {path} {}",
            &body[..body.len().min(80)]
        );
    }
    let huge = vec![b' '; 5 * 1024 * 1024];
    let answer = world.send_as(&token, "POST", USERS, "application/scim+json", &huge).await;
    assert_eq!(scim_error(&answer).0, 413);
    let unlabelled = world.send_as(&token, "POST", USERS, "text/plain", ada().as_bytes()).await;
    assert_eq!(scim_error(&unlabelled).0, 400);
    let no_role = world.application(TENANTS[0], &["User.Read.All", "Directory.Read.All"]);
    assert_eq!(scim_error(&world.send(&no_role, "GET", USERS, None).await).0, 403);
    let scope =
        world.delegated(TENANTS[0], user_of(TENANTS[0], 1), &["Presenced.Admin", "Presenced.Provisioning"]);
    assert_eq!(scim_error(&world.send(&scope, "GET", USERS, None).await).0, 403, "a scope is no role");
    let none = world.send("", "GET", USERS, None).await;
    assert_eq!(scim_error(&none).0, 401);
    assert!(none.head.contains("www-authenticate: Bearer"), "{none:?}");
}

#[tokio::test]
async fn it_says_what_it_can_do() {
    let (world, token) = world().await;
    let get = async |path: &str| {
        world.send(&token, "GET", &format!("/_presenced/v1/scim/v2/{path}"), None).await.json()
    };
    assert_eq!(get("ServiceProviderConfig").await["patch"]["supported"], true);
    assert_eq!(get("ResourceTypes").await["Resources"][0]["endpoint"], "/Users");
    let schemas = get("Schemas").await;
    assert_eq!(schemas["totalResults"], 2);
    let user = get("Schemas/urn:ietf:params:scim:schemas:core:2.0:User").await;
    assert_eq!(user, schemas["Resources"][0]);
}
