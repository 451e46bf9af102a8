//! `P/setPresence` and `P/clearPresence`: sessions over time (§6, §7).

use serde_json::json;

use crate::graph_api::permissions::Mint;
use crate::graph_api::{assert_empty_200, assert_refused, mine, presence, sequence_number};
use crate::support::{APP, Caller, MONDAY, Server, USER_A, USER_B, shared};

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
