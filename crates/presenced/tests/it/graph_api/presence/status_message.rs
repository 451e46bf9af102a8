//! `P/setStatusMessage` (§9).

use serde_json::{Value, json};

use crate::graph_api::{assert_empty_200, mine, presence};
use crate::support::{Caller, MONDAY, Server, USER_A, USER_B};

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
