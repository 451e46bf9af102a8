use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ID: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";

fn now() -> Timestamp {
    "2026-03-02T08:00:00Z".parse().unwrap()
}

fn body() -> Value {
    json!({
        "changeType": "updated",
        "resource": format!("communications/presences/{ID}"),
        "notificationUrl": "https://receiver.example/notify?a=b",
        "expirationDateTime": "2026-03-02T08:50:00Z",
    })
}

fn with(members: Value) -> Value {
    let mut body = body();
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn parse(body: &Value, rules: &Rules) -> Result<CreateSubscription, GraphError> {
    create(Body::json(body.to_string().as_bytes()), now(), rules)
}

fn good(members: Value) -> CreateSubscription {
    parse(&with(members), &Rules::default()).unwrap()
}

#[track_caller]
fn refused(members: Value, code: &str, text: &str) {
    let error = parse(&with(members), &Rules::default()).unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (400, code), "{}", error.message);
    assert!(error.message.contains(text), "{}", error.message);
}

#[test]
fn what_is_required_is_named_in_the_documented_words() {
    for name in ["resource", "changeType", "notificationUrl", "expirationDateTime"] {
        let text = format!("{name} is a required property for subscription creation");
        for absent in [Value::Null, json!("")] {
            refused(json!({ name: absent }), "InvalidRequest", &text);
        }
    }
}

#[test]
fn a_life_is_raised_to_45_minutes_clamped_at_60_and_refused_beyond_the_slack() {
    for (asked, given) in [
        ("2026-03-02T08:10:00Z", "2026-03-02T08:45:00Z"),
        ("2020-01-01T00:00:00Z", "2026-03-02T08:45:00Z"),
        ("2026-03-02T08:50:00.1234567Z", "2026-03-02T08:50:00.1234567Z"),
        ("2026-03-02T09:50:00+01:00", "2026-03-02T08:50:00Z"),
        ("2026-03-02T09:00:00Z", "2026-03-02T09:00:00Z"),
        ("2026-03-02T09:01:00Z", "2026-03-02T09:00:00Z"),
    ] {
        assert_eq!(
            good(json!({ "expirationDateTime": asked })).expires_at,
            given.parse().unwrap(),
            "{asked}"
        );
    }
    let text = "Subscription expiration can only be 60 minutes in the future.";
    refused(json!({ "expirationDateTime": "2026-03-02T09:01:01Z" }), "ExtensionError", text);
    for nonsense in ["tomorrow", "2026-03-02", "2026-03-02T08:50:00", "999999-01-01T00:00:00Z"] {
        refused(json!({ "expirationDateTime": nonsense }), "InvalidRequest", "expirationDateTime");
    }
}

#[test]
fn every_spelling_of_a_resource_names_the_same_users() {
    let other = "00000000-0000-4000-8000-000000000001";
    let mut both: Vec<UserId> = vec![ID.parse().unwrap(), other.parse().unwrap()];
    both.sort();
    for resource in [
        format!("communications/presences?$filter=id in ('{ID}','{other}')"),
        format!("/communications/presences?$filter=id in ('{ID}','{other}')"),
        format!("/Communications/Presences?$Filter=ID IN ( '{ID}' ,  {other} )"),
        format!("communications/presences?$filter=id in ({ID},{other},{ID})"),
        format!("communications/presences?%24filter=id+in+(%27{ID}%27%2C%27{other}%27)"),
        format!("communications/presences?%24filter=id%20in%20(%27{ID}%27,%27{other}%27)"),
    ] {
        let parsed = good(json!({ "resource": resource }));
        assert_eq!((&parsed.users, &parsed.resource), (&both, &resource));
    }
    for resource in [
        format!("communications/presences/{ID}"),
        format!("/communications/presences/{}", ID.to_uppercase()),
        format!("communications/presences('{ID}')"),
    ] {
        assert_eq!(good(json!({ "resource": resource })).users, [ID.parse().unwrap()], "{resource}");
    }
}

#[test]
fn anything_else_is_no_resource() {
    for resource in [
        "users/3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e/presence",
        "me/presence",
        "communications/presences",
        "communications/presences?$filter=id eq '3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e'",
        "communications/presences?$filter=id in ()",
        "communications/presences?$filter=id in ('x')",
        "communications/presences?$filter=idin('3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e')",
        "communications/presences?$filter=id in ('3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e')&$select=id",
        "communications/presences?$select=id",
        "communications/presences/ada@x.example",
        "communications/presences/3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e?$select=id",
        "https://graph.microsoft.com/v1.0/communications/presences/3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e",
        "communications/calls",
    ] {
        refused(json!({ "resource": resource }), "InvalidRequest", "resource");
    }
}

#[test]
fn six_hundred_and_fifty_distinct_users_are_the_most() {
    let list = |count: u32| {
        let ids: Vec<String> = (0..count).map(|n| format!("'00000000-0000-4000-8000-{n:012}'")).collect();
        format!("communications/presences?$filter=id in ({},{})", ids.join(","), ids[0])
    };
    assert_eq!(good(json!({ "resource": list(650) })).users.len(), 650);
    refused(json!({ "resource": list(651) }), "InvalidRequest", "at most 650 users");
    refused(json!({ "resource": list(100_000) }), "InvalidRequest", "at most 650 users");
}

#[test]
fn an_endpoint_is_https_and_in_an_emulator_also_loopback() {
    let loopback = Rules { plain_http_on_loopback: true, ..Rules::default() };
    for url in ["http://localhost:8080/a", "http://127.0.0.1/a", "http://[::1]:9/a?b"] {
        refused(json!({ "notificationUrl": url }), "InvalidRequest", "notificationUrl must be an https URL.");
        assert!(parse(&with(json!({ "notificationUrl": url })), &loopback).is_ok(), "{url}");
    }
    for url in [
        "http://receiver.example/",
        "http://localhost.evil.example/",
        "http://user@evil.example/",
        "http://localhost:x@evil.example/",
        "http://[::1]@evil.example/",
        "ftp://localhost/",
        "https://",
        "https:///path",
        "//receiver.example",
        "https://receiver.example/a b",
        "javascript:alert(1)",
        "EventHub:https://vault.example/secrets/x?tenantId=y",
        "EventGrid:?azuresubscriptionid=x",
        "websockets:x",
    ] {
        for name in ["notificationUrl", "lifecycleNotificationUrl"] {
            let error = parse(&with(json!({ name: url })), &loopback).unwrap_err();
            assert_eq!((error.status, error.code.as_str()), (400, "InvalidRequest"), "{url}");
        }
    }
}

#[test]
fn the_other_members_have_their_rules() {
    refused(json!({ "changeType": "updated,deleted" }), "InvalidRequest", "changeType");
    assert_eq!(good(json!({ "changeType": "Updated" })).change_type, "Updated");
    refused(json!({ "clientState": "x".repeat(129) }), "InvalidRequest", "clientState");
    assert_eq!(good(json!({ "clientState": "ä".repeat(128) })).client_state.unwrap().chars().count(), 128);
    refused(json!({ "includeResourceData": true }), "InvalidRequest", "encryptionCertificate is required");
    let certificate = json!({ "includeResourceData": true, "encryptionCertificate": "MII" });
    refused(certificate, "InvalidRequest", "encryptionCertificateId is required");
    let id = json!({ "includeResourceData": true, "encryptionCertificateId": "one" });
    refused(id, "InvalidRequest", "encryptionCertificate is required");
    refused(json!({ "latestSupportedTlsVersion": "v1_1" }), "InvalidRequest", "latestSupportedTlsVersion");
    assert!(good(json!({ "latestSupportedTlsVersion": "v1_3" })).latest_supported_tls_version.is_some());
    refused(
        json!({ "notificationUrlAppId": "https://elsewhere.example" }),
        "InvalidRequest",
        "notificationUrlAppId",
    );
    refused(json!({ "vapidPublicKey": "x" }), "InvalidRequest", "vapidPublicKey");
    good(
        json!({ "vapidPublicKey": null, "@odata.type": "#microsoft.graph.subscription", "unknown": 1, "id": "x" }),
    );
    refused(json!({ "includeResourceData": "yes" }), "BadRequest", "");
}

#[test]
fn an_update_says_when_it_ends_or_where_it_goes() {
    let parse = |body: Value| update(Body::json(body.to_string().as_bytes()), now(), &Rules::default());
    let update = parse(json!({ "expirationDateTime": "2026-03-02T08:10:00Z" })).unwrap();
    assert_eq!(update.expires_at, Some("2026-03-02T08:45:00Z".parse().unwrap()));
    let text = "Subscription must contain either the 'expirationDateTime' or 'notificationUrl' property and its value.";
    assert_eq!(parse(json!({ "clientState": "x" })).unwrap_err().message, text);
    assert!(parse(json!({ "notificationUrl": "https://receiver.example/new" })).is_ok());
    assert_eq!(parse(json!({ "notificationUrl": "http://receiver.example/" })).unwrap_err().status, 400);
}

fn shown() -> Shown<'static> {
    Shown {
        id: Uuid::from_u128(1),
        resource: "/communications/presences/x",
        change_type: "updated",
        notification_url: "https://receiver.example/notify?a=b",
        lifecycle_notification_url: None,
        client_state: Some("secret"),
        include_resource_data: true,
        encryption_certificate_id: Some("one"),
        notification_url_app_id: None,
        latest_supported_tls_version: None,
        notification_content_type: None,
        expires_at: now(),
        application: AppId::from_u128(2),
        creator: Uuid::from_u128(3),
    }
}

#[test]
fn one_is_shown_with_its_secret_and_a_list_without_and_never_the_certificate() {
    let service = ServiceRoot::new("https://presence.example", crate::path::Root::V1);
    let one: Value = serde_json::from_slice(&write_one(&service, &shown())).unwrap();
    assert_eq!(one["@odata.context"], "https://presence.example/v1.0/$metadata#subscriptions/$entity");
    assert_eq!((&one["clientState"], &one["encryptionCertificate"]), (&json!("secret"), &Value::Null));
    assert_eq!(one["latestSupportedTlsVersion"], "v1_2");
    assert_eq!(one["expirationDateTime"], "2026-03-02T08:00:00.0000000Z");
    assert_eq!(one.as_object().unwrap().len(), 17);
    let list: Value = serde_json::from_slice(&write_list(&service, &[shown(), shown()], Some("p"))).unwrap();
    assert_eq!(list["@odata.context"], "https://presence.example/v1.0/$metadata#subscriptions");
    assert_eq!(list["@odata.nextLink"], "https://presence.example/v1.0/subscriptions?$skiptoken=p");
    assert!(list["value"][1]["clientState"].is_null());
    let empty: Value = serde_json::from_slice(&write_list(&service, &[], None)).unwrap();
    assert_eq!(empty["value"], json!([]));
}

proptest! {
    #[test]
    fn no_resource_url_or_time_panics(resource in ".{0,80}", url in ".{0,40}", expiration in ".{0,40}") {
        let _ = parse(&with(json!({ "resource": resource })), &Rules::default());
        let _ = parse(&with(json!({ "resource": format!("communications/presences?$filter={resource}") })), &Rules::default());
        let rules = Rules { plain_http_on_loopback: true, ..Rules::default() };
        let _ = parse(&with(json!({ "notificationUrl": url, "expirationDateTime": expiration })), &rules);
        let _ = parse(&with(json!({ "notificationUrl": format!("http://{url}") })), &rules);
    }
}
