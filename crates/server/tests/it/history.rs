//! The past of users: who sees whose, what it says of writers, and that it goes with its user.

use graph::Profile;
use presence::{Timestamp, UserKey};
use serde_json::{Value, json};
use store::{History, HistoryEntry};

use crate::world::{APP, TENANTS, World, name_of, user_of};

fn path(user: presence::UserId) -> String {
    format!("/_presenced/v1/users/{user}/presence/history")
}

async fn kept(world: &World, user: UserKey) -> Vec<HistoryEntry> {
    world.history.read(user, Timestamp::MIN, Timestamp::MAX, 100).await.unwrap().entries
}

async fn set(world: &World, token: &str, user: presence::UserId, activity: &str) {
    let body = json!({ "sessionId": APP.to_string(), "availability": "Busy", "activity": activity });
    let path = format!("/v1.0/users/{user}/presence/setPresence");
    assert_eq!(world.send(token, "POST", &path, Some(&body.to_string())).await.status, 200);
}

#[tokio::test]
async fn users_see_their_own_past_applications_everybodys_and_no_other_tenants() {
    let world = World::start(Profile::Graph, &[(0, 1), (1, 0)]).await;
    let tenant = TENANTS[0];
    let (ana, bob) = (user_of(tenant, 1), user_of(tenant, 2));
    let writer = world.application(tenant, &["Presence.ReadWrite.All"]);
    set(&world, &writer, ana, "InACall").await;
    let own = world.delegated(tenant, ana, &["Presence.Read"]);
    let answer = world.send(&own, "GET", &path(ana), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["writes"][0]["application"], APP.to_string());
    let many = world.delegated(tenant, bob, &["Presence.Read.All"]);
    assert_eq!(world.send(&many, "GET", &path(bob), None).await.status, 200);
    let refused = [
        (&many, ana, 403, "may see how Ana is shown, and not how she was"),
        (&world.delegated(tenant, bob, &["Presence.Read"]), ana, 403, "may see nobody else"),
        (&world.application(tenant, &["User.Read.All"]), ana, 403, "may read no presence"),
        (&writer, user_of(TENANTS[1], 1), 404, "is of another tenant, which both trust"),
        (&world.application(TENANTS[1], &["Presence.Read.All"]), ana, 404, "is of another tenant"),
    ];
    for (token, user, status, why) in refused {
        let answer = world.send(token, "GET", &path(user), None).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        let past = format!("/_presenced/v1/users/{user}/presence/explanation?at=2020-01-01T00:00:00Z");
        assert_ne!(world.send(token, "GET", &past, None).await.status, 200, "{why}");
    }
    let reader = world.application(tenant, &["Presence.Read.All"]);
    assert_eq!(world.send(&reader, "GET", &path(ana), None).await.status, 200);
    assert_eq!(world.send("nonsense", "GET", &path(ana), None).await.status, 401);
    assert_eq!(world.send(&reader, "DELETE", &path(ana), None).await.status, 405);
    for query in ["when=now", "at=yesterday", "from=2030-01-01T00:00:00Z", "at=2999-01-01T00:00:00Z"] {
        let answer = world.send(&reader, "GET", &format!("{}?{query}", path(ana)), None).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn every_write_is_accounted_for_with_who_wrote_by_which_application() {
    let world = World::start(Profile::Graph, &[]).await;
    let tenant = TENANTS[0];
    let ana = user_of(tenant, 1);
    let own = world.delegated(tenant, ana, &["Presence.ReadWrite"]);
    set(&world, &world.application(tenant, &["Presence.ReadWrite.All"]), ana, "InACall").await;
    let user = format!("/v1.0/users/{ana}/presence");
    let writes = [
        (
            "POST",
            "/v1.0/me/presence/setUserPreferredPresence".to_owned(),
            json!({ "availability": "Away", "activity": "Away" }),
        ),
        ("POST", "/v1.0/me/presence/clearUserPreferredPresence".to_owned(), json!({})),
        (
            "POST",
            format!("{user}/setStatusMessage"),
            json!({ "statusMessage": { "message": { "content": "Here" } } }),
        ),
        ("PUT", format!("/_presenced/v1/users/{ana}/outOfOffice"), json!({ "message": "Away" })),
        ("POST", format!("{user}/clearPresence"), json!({ "sessionId": APP.to_string() })),
        // Refused: nothing was written.
        ("POST", format!("{user}/clearPresence"), json!({ "sessionId": APP.to_string() })),
    ];
    for (method, path, body) in writes {
        world.send(&own, method, &path, Some(&body.to_string())).await;
    }
    let told: Value = world.send(&own, "GET", &path(ana), None).await.json();
    let writes = told["writes"].as_array().unwrap();
    let actions: Vec<&str> = writes.iter().map(|write| write["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "setPresence",
            "setUserPreferredPresence",
            "clearUserPreferredPresence",
            "setStatusMessage",
            "setOutOfOffice",
            "clearPresence"
        ]
    );
    assert_eq!((&writes[0]["user"], &writes[0]["applicationName"]), (&Value::Null, &json!("Test")));
    for write in &writes[1..] {
        assert_eq!(write["user"], ana.to_string(), "{write}");
        assert_eq!(write["userName"], name_of(ana));
    }
    assert_eq!((&writes[1]["availability"], &writes[2]["activity"]), (&json!("Away"), &json!("InACall")));
    assert!(!told.to_string().contains("Here"), "what somebody said is no part of it");
}

#[tokio::test]
async fn a_past_goes_with_its_user_by_scim_by_the_admin_api_and_with_the_tenant() {
    let world = World::start(Profile::Graph, &[]).await;
    let tenant = TENANTS[0];
    let admin = world.application(tenant, &["Presenced.Admin", "Presence.ReadWrite.All"]);
    for (number, way) in [(0x51, "admin"), (0x52, "scim")] {
        let id = user_of(tenant, number);
        let user = UserKey { tenant, user: id };
        let users = json!([{ "id": id.to_string(), "userPrincipalName": name_of(id) }]).to_string();
        let all = "/_presenced/v1/admin/users";
        assert_eq!(world.send(&admin, "POST", all, Some(&users)).await.status, 200);
        set(&world, &admin, id, "InACall").await;
        assert_eq!(kept(&world, user).await.len(), 1);
        let one = match way {
            "admin" => format!("{all}/{id}"),
            _ => format!("/_presenced/v1/scim/v2/Users/{id}"),
        };
        assert_eq!(world.send(&admin, "DELETE", &one, None).await.status, 204);
        assert_eq!(kept(&world, user).await, [], "{way}");
        // Who comes back comes back without a past.
        assert_eq!(world.send(&admin, "POST", all, Some(&users)).await.status, 200);
        let told = world.send(&admin, "GET", &path(id), None).await.json();
        assert_eq!(told["writes"], json!([]));
    }
    let (id, user) = (TENANTS[0].as_u128() + 0x70, user_of(TENANTS[0], 0x71));
    let id = presence::TenantId::from_u128(id);
    let made = json!({ "id": id.to_string(), "name": "Gone" }).to_string();
    assert_eq!(world.send(&admin, "POST", "/_presenced/v1/admin/tenants", Some(&made)).await.status, 201);
    let users = json!([{ "id": user.to_string(), "userPrincipalName": "a@gone.example" }]).to_string();
    let within = format!("/_presenced/v1/admin/tenants/{id}");
    assert_eq!(world.send(&admin, "POST", &format!("{within}/users"), Some(&users)).await.status, 200);
    let key = UserKey { tenant: id, user };
    let entry = HistoryEntry {
        user: key,
        author: store::Author::default(),
        action: store::Action::SetPresence,
        version: store::Version(1),
        presence: presence::UserPresence::default(),
    };
    world.history.append(entry).await.unwrap();
    assert_eq!(world.send(&admin, "DELETE", &within, None).await.status, 204);
    assert_eq!(kept(&world, key).await, []);
}
