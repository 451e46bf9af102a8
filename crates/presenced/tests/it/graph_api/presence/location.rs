//! `P/setManualLocation` and the other three: which layer is shown (§10).

use serde_json::{Value, json};

use crate::graph_api::{mine, presence};
use crate::support::{Caller, JSON, MONDAY, Server};

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
