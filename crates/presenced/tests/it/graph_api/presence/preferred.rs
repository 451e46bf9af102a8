//! `P/setUserPreferredPresence` and `P/clearUserPreferredPresence` (§8).

use serde_json::json;

use crate::graph_api::mine;
use crate::support::{Caller, MONDAY, Server, USER_A};

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
