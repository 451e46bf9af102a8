//! Administration over HTTP: applications, tenants, users, and who may do it.

use graph::Profile;
use identity::SecretDigest;
use serde_json::{Value, json};
use server::directory::{Directory, kept_applications, with_kept};

use crate::world::{APP, TENANTS, World, user_of};

const ADMIN: &str = "/_presenced/v1/admin";
const NEW_APP: &str = "00000000-0000-0000-0000-0000000000aa";

#[tokio::test]
async fn an_application_is_added_with_a_secret_that_is_shown_once_and_rotated_with_overlap() {
    let world = World::start(Profile::Graph, &[]).await;
    let admin = world.application(TENANTS[0], &["Presenced.Admin"]);
    let new = json!({ "id": NEW_APP, "displayName": "New", "roles": ["Presence.Read.All"] }).to_string();
    let added = world.send(&admin, "POST", &format!("{ADMIN}/applications"), Some(&new)).await;
    assert_eq!(added.status, 201, "{added:?}");
    let first = added.json()["clientSecret"].as_str().unwrap().to_owned();
    assert!(first.len() >= 40);
    let again = world.send(&admin, "POST", &format!("{ADMIN}/applications"), Some(&new)).await;
    assert_eq!(again.status, 409);

    let one = format!("{ADMIN}/applications/{NEW_APP}");
    let rotated = world.send(&admin, "POST", &format!("{one}/secrets"), Some(r#"{"overlap":"PT1H"}"#)).await;
    let second = rotated.json()["clientSecret"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let shown = world.send(&admin, "GET", &one, None).await;
    assert!(!shown.body.contains(&first) && !shown.body.contains(&second), "{shown:?}");
    let secrets = shown.json()["secrets"].clone();
    assert!(secrets[0]["expiresAt"].is_string() && secrets[1]["expiresAt"].is_null(), "{secrets}");

    let kept = kept_applications(world.store.as_ref()).await.unwrap();
    let [(tenant, id, kept)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((*tenant, id.to_string().as_str()), (TENANTS[0], NEW_APP));
    let application = kept.to_application(*id);
    for secret in [&first, &second] {
        assert!(application.secrets.iter().any(|known| known.digest.matches(secret)));
    }
    assert!(!format!("{kept:?}").contains(&format!("{:?}", SecretDigest::of(&first).to_bytes())));

    for (status, body) in [
        (400, r#"{"displayName":"X","roles":["Presence.Everything"]}"#),
        (400, r#"{"displayName":"X","role":[]}"#),
        (400, r#"{"roles":[]}"#),
        (400, r#"{"displayName":7}"#),
        (400, "{"),
        (400, "[]"),
        (400, ""),
    ] {
        assert_eq!(
            world.send(&admin, "POST", &format!("{ADMIN}/applications"), Some(body)).await.status,
            status,
            "{body}"
        );
    }
    for overlap in ["never", "-PT1H", "P3650D", ""] {
        let body = json!({ "overlap": overlap }).to_string();
        assert_eq!(
            world.send(&admin, "POST", &format!("{one}/secrets"), Some(&body)).await.status,
            400,
            "{overlap}"
        );
    }
    let mut last = 201;
    for _ in 0..20 {
        last = world.send(&admin, "POST", &format!("{one}/secrets"), Some("{}")).await.status;
    }
    assert_eq!(last, 409, "secrets are bounded");
    assert_eq!(world.send(&admin, "DELETE", &one, None).await.status, 204);
    assert_eq!(world.send(&admin, "GET", &one, None).await.status, 404);
    let declared = format!("{ADMIN}/applications/{APP}");
    assert_eq!(
        world.send(&admin, "DELETE", &declared, None).await.status,
        409,
        "declared applications are read-only"
    );
    assert_eq!(world.send(&admin, "POST", &format!("{declared}/secrets"), Some("{}")).await.status, 409);
}

#[tokio::test]
async fn an_application_keeps_its_certificates_and_addresses_and_wrong_ones_are_refused() {
    let world = World::start(Profile::Graph, &[]).await;
    let admin = world.application(TENANTS[0], &["Presenced.Admin"]);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let new = json!({ "id": NEW_APP, "displayName": "Desk", "scopes": ["Presence.Read"], "certificates": [pem],
        "redirectUris": ["http://localhost"], "spaRedirectUris": ["https://board.example/"], "isPublicClient": true });
    let path = format!("{ADMIN}/applications");
    let added = world.send(&admin, "POST", &path, Some(&new.to_string())).await;
    assert_eq!(added.status, 201, "{added:?}");
    let shown = world.send(&admin, "GET", &format!("{path}/{NEW_APP}"), None).await.json();
    assert_eq!(shown["redirectUris"], json!(["http://localhost"]));
    assert_eq!(shown["spaRedirectUris"], json!(["https://board.example/"]));
    assert_eq!(shown["isPublicClient"], true);
    assert_eq!(shown["certificates"][0]["sha256"].as_str().map(str::len), Some(64), "{shown}");
    // What the store keeps makes the same application again.
    let kept = kept_applications(world.store.as_ref()).await.unwrap();
    let again = kept[0].2.to_application(kept[0].1);
    assert_eq!((again.certificates.len(), again.redirects.is_public_client), (1, true));
    assert!(again.has_page_at("https://board.example") && !again.has_page_at("http://localhost"));

    let elliptic = rcgen::KeyPair::generate().unwrap();
    let elliptic = rcgen::CertificateParams::default().self_signed(&elliptic).unwrap().pem();
    for wrong in [
        json!({ "redirectUris": ["http://board.example/"] }),
        json!({ "spaRedirectUris": ["javascript:alert(1)"] }),
        json!({ "redirectUris": vec!["http://localhost"; 257] }),
        json!({ "certificates": ["no certificate"] }),
        json!({ "certificates": [elliptic] }),
        json!({ "certificates": vec![&pem; 11] }),
        json!({ "isPublicClient": "yes" }),
    ] {
        let mut body = wrong.clone();
        body["displayName"] = "X".into();
        let answer = world.send(&admin, "POST", &path, Some(&body.to_string())).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn users_are_imported_listed_and_removed() {
    let world = World::start(Profile::Graph, &[]).await;
    let admin = world.application(TENANTS[0], &["Presenced.Admin"]);
    let users = format!("{ADMIN}/users");
    let csv = "id,userPrincipalName\n1f0d0e3c-5b7a-4a53-9a0e-6a1f2b3c4d5e,new@x.example\n";
    let imported = world.send_as(&admin, "POST", &users, "text/csv", csv.as_bytes()).await;
    assert_eq!(imported.json(), json!({ "imported": 1 }));
    let listed = world.send(&admin, "GET", &users, None).await.json();
    assert_eq!((listed["value"].as_array().unwrap().len(), &listed["next"]), (4, &Value::Null));
    let declared =
        json!([{ "id": user_of(TENANTS[0], 1).to_string(), "userPrincipalName": "x@x.example" }]).to_string();
    assert_eq!(world.send(&admin, "POST", &users, Some(&declared)).await.status, 409);
    assert_eq!(world.send(&admin, "DELETE", &format!("{users}/new%40x.example"), None).await.status, 204);
    assert_eq!(world.send(&admin, "DELETE", &format!("{users}/new@x.example"), None).await.status, 404);
}

#[tokio::test]
async fn subscriptions_end_with_the_application_or_the_user_that_may_no_longer_have_them() {
    let world = World::start(Profile::Graph, &[]).await;
    let admin = world.application(TENANTS[0], &["Presenced.Admin"]);
    let kept = async || world.store.documents(store::DocumentKind::Subscription).await.unwrap().len();
    let subscribe = async |token: &str| {
        let resource = format!("communications/presences/{}", user_of(TENANTS[0], 1));
        let body = json!({ "changeType": "updated", "resource": resource, "notificationUrl": world.receiver,
            "lifecycleNotificationUrl": world.receiver, "expirationDateTime": "2020-01-01T00:00:00Z" });
        let created = world.send(token, "POST", "/v1.0/subscriptions", Some(&body.to_string())).await;
        assert_eq!(created.status, 201, "{created:?}");
    };
    let others = world.delegated(TENANTS[0], user_of(TENANTS[0], 2), &["Presence.Read.All"]);
    subscribe(&others).await;

    let app = json!({ "displayName": "Board", "roles": ["Presence.Read.All"] }).to_string();
    let added = world.send(&admin, "POST", &format!("{ADMIN}/applications"), Some(&app)).await.json();
    let id = added["id"].as_str().unwrap();
    subscribe(&world.another_application(TENANTS[0], id.parse().unwrap(), &["Presence.Read.All"])).await;
    assert_eq!(kept().await, 2);
    let path = format!("{ADMIN}/applications/{id}");
    assert_eq!(world.send(&admin, "DELETE", &path, None).await.status, 204);
    assert_eq!(kept().await, 1, "nobody else's");
    // It is told, once somebody delivers: that is kept.
    assert_eq!(world.store.documents(store::DocumentKind::LifecycleEvent).await.unwrap().len(), 1);

    let user = "1f0d0e3c-5b7a-4a53-9a0e-6a1f2b3c4d5e";
    let person = |enabled: bool| {
        json!([{ "id": user, "userPrincipalName": "new@x.example", "accountEnabled": enabled }]).to_string()
    };
    let users = format!("{ADMIN}/users");
    assert_eq!(world.send(&admin, "POST", &users, Some(&person(true))).await.status, 200);
    subscribe(&world.delegated(TENANTS[0], user.parse().unwrap(), &["Presence.Read.All"])).await;
    assert_eq!(world.send(&admin, "POST", &users, Some(&person(true))).await.status, 200);
    assert_eq!(kept().await, 2, "who is only renewed keeps it");
    assert_eq!(world.send(&admin, "POST", &users, Some(&person(false))).await.status, 200);
    assert_eq!(kept().await, 1);
}

#[tokio::test]
async fn the_host_tenant_manages_tenants_and_nobody_else_learns_of_any() {
    let world = World::start(Profile::Graph, &[]).await;
    let host = world.application(TENANTS[0], &["Presenced.Admin"]);
    let tenants = format!("{ADMIN}/tenants");
    let new = json!({ "id": "00000000-0000-0000-0000-00000000d000", "name": "D", "domains": ["d.example"] })
        .to_string();
    assert_eq!(world.send(&host, "POST", &tenants, Some(&new)).await.status, 201);
    assert_eq!(world.send(&host, "POST", &tenants, Some(&new)).await.status, 409);
    let one = format!("{tenants}/00000000-0000-0000-0000-00000000d000");
    let app = json!({ "displayName": "First", "roles": ["Presenced.Admin"] }).to_string();
    assert_eq!(world.send(&host, "POST", &format!("{one}/applications"), Some(&app)).await.status, 201);
    let user = json!([{ "id": "00000000-0000-0000-0000-00000000d001", "userPrincipalName": "d@d.example" }])
        .to_string();
    assert_eq!(world.send(&host, "POST", &format!("{one}/users"), Some(&user)).await.status, 200);
    let changed =
        world.send(&host, "PATCH", &one, Some(r#"{"requestsPer30Seconds":5,"name":"E"}"#)).await.json();
    assert_eq!(
        (&changed["name"], &changed["requestsPer30Seconds"], &changed["users"]),
        (&json!("E"), &json!(5), &json!(1))
    );
    let restarted = with_kept(Directory::default(), world.store.as_ref()).await.unwrap();
    let (_, kept) = restarted.tenants().next().unwrap();
    assert_eq!((kept.name.as_str(), kept.users().len(), kept.applications.len()), ("E", 1, 1));
    for (status, body) in [
        (400, r#"{"domains":["not a domain"]}"#),
        (400, r#"{"requestsPer30Seconds":0}"#),
        (400, r#"{"trusts":["x"]}"#),
        (400, r#"{"id":"00000000-0000-0000-0000-00000000d002"}"#),
        (400, r#"{"nome":"x"}"#),
    ] {
        assert_eq!(world.send(&host, "PATCH", &one, Some(body)).await.status, status, "{body}");
    }
    let declared = format!("{tenants}/{}", TENANTS[1]);
    assert_eq!(
        world.send(&host, "DELETE", &declared, None).await.status,
        409,
        "declared tenants are read-only"
    );

    // The same words for a tenant that is there and for one that is not.
    let guest = world.application(TENANTS[1], &["Presenced.Admin"]);
    for path in [
        &tenants,
        &one,
        &format!("{tenants}/{}", TENANTS[1]),
        &format!("{tenants}/nobody"),
        &format!("{one}/users"),
    ] {
        assert_eq!((path, world.send(&guest, "GET", path, None).await.status), (path, 403));
    }
    assert_eq!(world.send(&host, "DELETE", &one, None).await.status, 204);
    assert_eq!(world.send(&host, "GET", &one, None).await.status, 404);
    assert_eq!(with_kept(Directory::default(), world.store.as_ref()).await.unwrap().tenants().len(), 0);
}

#[tokio::test]
async fn only_the_role_opens_administration() {
    let world = World::start(Profile::Graph, &[]).await;
    let all = ["Presenced.Provisioning", "Presence.ReadWrite.All", "Directory.Read.All", "Presenced.Admin.X"];
    let user = user_of(TENANTS[0], 1);
    for token in
        [world.application(TENANTS[0], &all), world.delegated(TENANTS[0], user, &["Presenced.Admin"])]
    {
        for path in ["applications", "users", "tenants", "nothing"] {
            assert_eq!(
                world.send(&token, "GET", &format!("{ADMIN}/{path}"), None).await.status,
                403,
                "{path}"
            );
        }
    }
    assert_eq!(world.send("", "GET", &format!("{ADMIN}/users"), None).await.status, 401);
}

#[tokio::test]
async fn presence_is_seen_across_tenants_only_where_both_trust() {
    for (trusts, sees) in
        [(&[][..], false), (&[(0, 1)], false), (&[(1, 0)], false), (&[(0, 1), (1, 0)], true)]
    {
        let world = World::start(Profile::Graph, trusts).await;
        let other = user_of(TENANTS[1], 1);
        let writer = world.application(TENANTS[1], &["Presence.ReadWrite.All"]);
        let set = json!({ "sessionId": APP.to_string(), "availability": "Busy", "activity": "InACall" })
            .to_string();
        let path = format!("/v1.0/users/{other}/presence");
        assert_eq!(world.send(&writer, "POST", &format!("{path}/setPresence"), Some(&set)).await.status, 200);
        let reader = world.application(TENANTS[0], &["Presence.ReadWrite.All", "User.Read.All"]);
        let many = json!({ "ids": [other.to_string()] }).to_string();
        for answer in [
            world.send(&reader, "GET", &path, None).await,
            world.send(&reader, "GET", &format!("/v1.0/communications/presences/{other}"), None).await,
            world.send(&reader, "POST", "/v1.0/communications/getPresencesByUserId", Some(&many)).await,
        ] {
            assert_eq!((answer.status, answer.body.contains("InACall")), (200, sees), "{trusts:?}");
            assert_eq!(answer.body.contains("PresenceUnknown"), !sees, "{trusts:?}");
        }
        assert_eq!(world.send(&reader, "POST", &format!("{path}/setPresence"), Some(&set)).await.status, 404);
        assert_eq!(world.send(&reader, "GET", &format!("/v1.0/users/{other}"), None).await.status, 404);
        let third = world.application(TENANTS[2], &["Presence.Read.All"]);
        assert!(world.send(&third, "GET", &path, None).await.body.contains("PresenceUnknown"));
    }
}
