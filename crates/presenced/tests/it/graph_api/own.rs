//! `/_presenced/v1`: explanations, what a mailbox would know, imports and the clock.

use serde_json::{Value, json};

use crate::graph_api::batch::batch;
use crate::graph_api::{UNKNOWN, assert_refused, mine, presence, sequence_number};
use crate::support::{APP, Answer, Caller, JSON, MONDAY, Server, USER_A, USER_B, name_of, shared};

#[test]
fn out_of_office_shows_where_the_table_says_so_and_only_while_it_lasts() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    let app = Caller::application(&server);
    let path = format!("/_presenced/v1/users/{USER_A}/outOfOffice");
    let put = |caller: &Caller<'_>, body: &Value| {
        let body = body.to_string();
        caller.send("PUT", &path, &[JSON, ("Content-Length", &body.len().to_string())], body.as_bytes())
    };
    let window = json!({ "message": "Back in May", "startDateTime": { "dateTime": "2030-01-07T09:00:00" },
        "endDateTime": { "dateTime": "2030-01-07T18:00:00", "timeZone": "Romance Standard Time" } });
    assert_eq!(put(&me, &window).status, 204);
    let settings = || presence(&app, USER_A)["outOfOfficeSettings"].clone();
    let here = json!({ "message": null, "isOutOfOffice": false });
    let away = json!({ "message": "Back in May", "isOutOfOffice": true });
    assert_eq!(settings(), here, "not yet");
    server.advance("PT1H");
    assert_eq!(settings(), away);
    assert_eq!(me.pair(USER_A), "Offline/OutOfOffice");
    for (availability, activity, shown) in [
        ("Available", "Available", "Available/OutOfOffice"),
        ("Busy", "InACall", "Busy/InACall"),
        ("DoNotDisturb", "Presenting", "DoNotDisturb/Presenting"),
        ("Away", "Away", "Away/Away"),
    ] {
        assert_eq!(me.set(USER_A, availability, activity, "PT4H").status, 200);
        assert_eq!(me.pair(USER_A), shown);
        assert_eq!(settings(), away);
    }
    server.advance("PT7H59M59S");
    assert_eq!(settings(), away, "18:00 in Romance time is 17:00 in UTC");
    server.advance("PT1S");
    assert_eq!(settings(), here);
    assert_eq!(put(&app, &json!({})).status, 204, "no ends: from now on, until further notice");
    assert_eq!(settings(), json!({ "message": null, "isOutOfOffice": true }));
    assert_eq!(me.send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(settings(), here);
    let other = Caller::user(&server, USER_B);
    assert_refused(&put(&other, &window), 401, "Unauthorized");
    assert_eq!(settings(), here);
}

#[test]
fn an_explanation_names_every_input_the_rule_and_what_lost_to_what() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let path = format!("/_presenced/v1/users/{user}/presence/explanation");
    let nothing = me.get(&path).json();
    assert_eq!((&nothing["rule"], &nothing["sessions"]), (&json!("noSession"), &json!([])));
    assert_eq!(me.set(&user, "Available", "Available", "PT1H").status, 200);
    mine(
        &me,
        "setUserPreferredPresence",
        &json!({ "availability": "BeRightBack", "activity": "BeRightBack" }),
    );
    mine(&me, "setStatusMessage", &json!({ "statusMessage": { "message": { "content": "x" } } }));
    let answer = me.get(&path);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let explained = answer.json();
    assert_eq!(explained["id"], user.as_str());
    assert_eq!(explained["rule"], "preferredPresence");
    assert_eq!(explained["availability"], "BeRightBack");
    assert_eq!(explained["at"], "2030-01-07T08:00:00.0000000Z");
    assert_eq!(explained["sequenceNumber"].as_str(), Some(sequence_number(&me, &user).as_str()));
    let session = &explained["sessions"][0];
    assert_eq!(session["application"], APP);
    assert_eq!(session["outcome"], "hiddenByPreferredPresence");
    assert_eq!(session["nextFadeAt"], "2030-01-07T08:05:00.0000000Z");
    assert_eq!(session["expiresAt"], "2030-01-07T09:00:00.0000000Z");
    assert_eq!(explained["preferredPresence"]["expiresAt"], "2030-01-14T08:00:00.0000000Z");
    assert_eq!(explained["statusMessage"]["content"], "x");
    assert_eq!(explained["nextChange"]["availability"], "Offline");
    assert_eq!(explained["nextChange"]["at"], "2030-01-07T09:00:00.0000000Z");
    // By whatever key, for whoever may read the presence; the times of the message are the owner's, as in a read.
    let by_name = format!("/_presenced/v1/users/{}/presence/explanation", name_of(&user));
    assert_eq!(me.get(&by_name).json(), explained);
    let app = Caller::application(&server);
    let theirs = app.get(&by_name).json();
    assert_eq!(theirs["sessions"], explained["sessions"]);
    let message = json!({ "content": "x", "publishedAt": null, "expiresAt": null });
    assert_eq!(theirs["statusMessage"], message);
    assert_refused(
        &app.get(&format!("/_presenced/v1/users/{UNKNOWN}/presence/explanation")),
        404,
        "NotFound",
    );
    assert_refused(&server.send("GET", &path, &[], b""), 401, "InvalidAuthenticationToken");
}

#[test]
fn an_explanation_is_given_for_instants_to_come_and_for_those_that_have_passed() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    assert_eq!(me.set(&user, "Available", "Available", "PT1H").status, 200);
    let path = |at: &str| format!("/_presenced/v1/users/{user}/presence/explanation?at={at}");
    let now = me.get(&path(MONDAY)).json();
    assert_eq!((&now["activity"], &now["sessions"][0]["age"]), (&json!("Available"), &json!("PT0S")));
    assert!(now["sessions"][0]["applicationName"].is_string(), "{now}");
    let later = me.get(&path("2030-01-07T08:07:00Z")).json();
    assert_eq!(later["at"], "2030-01-07T08:07:00.0000000Z");
    assert_eq!(
        (&later["activity"], &later["sessions"][0]["age"]),
        (&json!("AvailableInactive"), &json!("PT7M"))
    );
    let zoned = me.get(&path("2030-01-07T10:10:00%2B02:00")).json();
    assert_eq!((&zoned["activity"], &zoned["nextChange"]["activity"]), (&json!("Away"), &json!("Offline")));
    // Nobody had written anything: the history of an emulator knows.
    let past = me.get(&path("2030-01-07T07:59:59Z")).json();
    assert_eq!((&past["rule"], &past["at"]), (&json!("noSession"), &json!("2030-01-07T07:59:59.0000000Z")));
    for at in ["yesterday", "2030-13-01T00:00:00Z", "", "2030-01-07T08:00:00"] {
        assert_refused(&me.get(&path(at)), 400, "InvalidArgument");
    }
    assert_refused(&me.get(&path(MONDAY).replace("at=", "when=")), 400, "InvalidArgument");
}

#[test]
fn a_history_tells_what_was_shown_how_long_and_explains_instants_that_have_passed() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let me = Caller::user(&server, USER_A);
    let app = Caller::application(&server);
    assert_eq!(app.set(USER_A, "Available", "Available", "PT30M").status, 200);
    server.advance("PT20M");
    let preferred =
        json!({ "availability": "DoNotDisturb", "activity": "DoNotDisturb", "expirationDuration": "PT5M" });
    assert_eq!(me.post("/v1.0/me/presence/setUserPreferredPresence", &preferred).status, 200);
    server.advance("PT40M");
    let own = format!("/_presenced/v1/users/{USER_A}/presence");
    let history = me.get(&format!("{own}/history?from=2030-01-07T07:50:00Z")).json();
    let shown: Vec<(&str, &str)> = history["shown"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stretch| (&stretch["from"].as_str().unwrap()[11..16], stretch["activity"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            ("07:50", "Offline"),
            ("08:00", "Available"),
            ("08:05", "AvailableInactive"),
            ("08:10", "Away"),
            ("08:20", "DoNotDisturb"),
            ("08:25", "Away"),
            ("08:30", "Offline"),
        ]
    );
    let total = |activity: &str| {
        let totals = history["totals"].as_array().unwrap();
        totals.iter().find(|total| total["activity"] == activity).unwrap()["seconds"].clone()
    };
    assert_eq!((total("Away"), total("Offline")), (json!(900.0), json!(2400.0)));
    assert_eq!((&history["isPartial"], &history["knownFrom"]), (&json!(false), &history["from"]));
    let writes = history["writes"].as_array().unwrap();
    assert_eq!(
        (&writes[0]["applicationName"], &writes[0]["user"]),
        (&json!("Demo application"), &Value::Null)
    );
    assert_eq!(
        (&writes[1]["userName"], &writes[1]["action"]),
        (&json!("Ana Fuentes"), &json!("setUserPreferredPresence"))
    );
    for (at, activity, rule) in [
        ("08:07:00", "AvailableInactive", "strongestSession"),
        ("08:24:59", "DoNotDisturb", "preferredPresence"),
        ("08:25:00", "Away", "strongestSession"),
        ("07:59:59", "Offline", "noSession"),
    ] {
        let at = format!("2030-01-07T{at}Z");
        assert_eq!(me.get(&format!("{own}/history?at={at}")).json()["activity"], activity, "{at}");
        let explained = me.get(&format!("{own}/explanation?at={at}")).json();
        assert_eq!((&explained["activity"], &explained["rule"]), (&json!(activity), &json!(rule)), "{at}");
    }
}

#[test]
fn every_write_says_whether_it_is_seen_and_if_not_what_is_and_until_when() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let outcome = |answer: &Answer| answer.header("presenced-outcome").map(str::to_owned).unwrap_or_default();
    assert_eq!(outcome(&me.set(&user, "Available", "Available", "PT1H")), "visible");
    let path = |action: &str| format!("/v1.0/me/presence/{action}");
    let busy = json!({ "availability": "Busy", "activity": "Busy", "expirationDuration": "PT30M" });
    assert_eq!(outcome(&me.post(&path("setUserPreferredPresence"), &busy)), "visible");
    let hidden = "by=preferredPresence;until=\"2030-01-07T08:30:00.0000000Z\"";
    assert_eq!(outcome(&me.set(&user, "Away", "Away", "PT1H")), format!("hidden;{hidden}"));
    assert_eq!(outcome(&me.clear(&user)), "visible", "the preference sleeps without a session");
    let clear = json!([{ "id": "1", "method": "POST", "url": "/me/presence/clearUserPreferredPresence",
        "headers": { "Content-Type": "application/json" }, "body": {} }]);
    let answers = batch(&me, "/v1.0", &clear);
    assert_eq!(answers[0]["headers"]["Presenced-Outcome"], "unchanged;by=noSession", "{answers:?}");
    let window = json!({ "startDateTime": { "dateTime": "2030-01-07T09:00:00", "timeZone": "UTC" } });
    let own = format!("/_presenced/v1/users/{user}/outOfOffice");
    let answer = me.send("PUT", &own, &[JSON], window.to_string().as_bytes());
    assert_eq!(outcome(&answer), "hidden;by=inOffice;until=\"2030-01-07T09:00:00.0000000Z\"");
    let refused = me.clear(&user);
    assert_eq!((refused.status, refused.header("presenced-outcome")), (404, None));
}

#[test]
fn users_are_imported_from_csv_and_json_serve_at_once_and_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let import = |server: &Server, content_type: &str, body: &str| {
        server.send("POST", "/_presenced/v1/users", &[("Content-Type", content_type)], body.as_bytes())
    };
    let (ada, bob) = ("3c1f0d0e-0000-4a53-9a0e-000000000001", "3c1f0d0e-0000-4a53-9a0e-000000000002");
    let csv = format!(
        "\u{feff}id,userPrincipalName,displayName,businessPhones,accountEnabled,timeZone\r\n\
         {ada},ada@presenced.example,\"Lovelace, Ada\",+44 1; +44 2,,Europe/London\r\n"
    );
    assert_eq!(import(&server, "text/csv; charset=utf-8", &csv).json(), json!({ "imported": 1 }));
    let page = json!({ "@odata.context": "x", "value": [{ "id": bob, "userPrincipalName": "bob@presenced.example", "mail": null }] });
    assert_eq!(import(&server, "application/json", &page.to_string()).json(), json!({ "imported": 1 }));
    let app = Caller::application(&server);
    let user = app.get("/v1.0/users/ada@presenced.example").json();
    assert_eq!(
        (&user["displayName"], &user["businessPhones"]),
        (&json!("Lovelace, Ada"), &json!(["+44 1", "+44 2"]))
    );
    assert_eq!(app.set(ada, "Busy", "InACall", "PT1H").status, 200);
    let me = Caller::user(&server, bob);
    assert_eq!(me.get("/v1.0/me/presence").json()["availability"], "Offline");
    // The same id again replaces; a name of somebody else is refused and nothing of the file is taken.
    let renamed = json!([{ "id": bob, "userPrincipalName": "robert@presenced.example" }]);
    assert_eq!(import(&server, "application/json", &renamed.to_string()).status, 200);
    assert_eq!(app.get("/v1.0/users/bob@presenced.example").status, 404);
    let clash = json!([
        { "id": UNKNOWN, "userPrincipalName": "new@presenced.example" },
        { "id": "3c1f0d0e-0000-4a53-9a0e-000000000003", "userPrincipalName": "ADA@presenced.example" },
    ]);
    assert_refused(&import(&server, "application/json", &clash.to_string()), 400, "InvalidArgument");
    assert_eq!(app.get(&format!("/v1.0/users/{UNKNOWN}")).status, 404);
    // A disabled user's tokens are worth nothing any more.
    let disabled =
        json!([{ "id": bob, "userPrincipalName": "robert@presenced.example", "accountEnabled": false }]);
    assert_eq!(import(&server, "application/json", &disabled.to_string()).status, 200);
    assert_refused(&me.get("/v1.0/me/presence"), 401, "Authorization_IdentityNotFound");
    server.kill();
    let server = Server::dev_in(folder.path());
    let app = Caller::application(&server);
    assert_eq!(app.get("/v1.0/users/ada@presenced.example").json()["id"], ada);
    assert_eq!(
        app.get("/v1.0/users?$filter=accountEnabled%20eq%20false&$select=id").json()["value"],
        json!([{ "id": bob }])
    );
}

#[test]
fn the_clock_advances_freezes_resumes_and_is_set_forward_only() {
    let server = Server::dev();
    let clock = |action: &str, body: &Value| {
        server.send("POST", &format!("/_presenced/v1/clock/{action}"), &[JSON], body.to_string().as_bytes())
    };
    let now = || server.send("GET", "/_presenced/v1/clock", &[], b"").json();
    assert_eq!((&now()["frozen"], &now()["aheadSeconds"]), (&json!(false), &json!(0)));
    let answer = clock("advance", &json!({ "duration": "P1DT1H" })).json();
    assert_eq!((&answer["frozen"], &answer["aheadSeconds"]), (&json!(false), &json!(25 * 3_600)));
    assert_eq!(clock("freeze", &json!({})).json()["frozen"], true);
    let time = now()["time"].clone();
    assert_eq!(now()["time"], time, "frozen");
    assert_eq!(clock("set", &json!({ "time": MONDAY })).json()["time"], "2030-01-07T08:00:00.0000000Z");
    assert_eq!(
        clock("advance", &json!({ "duration": "PT0.5S" })).json()["time"],
        "2030-01-07T08:00:00.5000000Z"
    );
    assert_eq!(clock("advance", &json!({ "duration": "PT0S" })).status, 200);
    for (action, body) in [
        ("set", json!({ "time": MONDAY })),
        ("set", json!({ "time": "1970-01-01T00:00:00Z" })),
        ("advance", json!({ "duration": "-PT1S" })),
    ] {
        assert_refused(&clock(action, &body), 400, "InvalidArgument");
    }
    assert_eq!(now()["time"], "2030-01-07T08:00:00.5000000Z", "what is refused moves nothing");
    let resumed = clock("resume", &json!({})).json();
    assert_eq!(resumed["frozen"], false);
    assert!(resumed["time"].as_str().unwrap() >= "2030-01-07T08:00:00.5", "{resumed}");
    assert_refused(&clock("jump", &json!({})), 400, "BadRequest");
    assert_refused(&server.send("GET", "/_presenced/v1/clock/advance", &[], b""), 405, "Request_BadRequest");
    assert_refused(&server.send("POST", "/_presenced/v1/clock", &[JSON], b"{}"), 405, "Request_BadRequest");
    // A token lives by the machine's time, whatever the clock says.
    let me = Caller::user(&server, USER_A);
    assert_eq!(clock("advance", &json!({ "duration": "P365D" })).status, 200);
    assert_eq!(me.get("/v1.0/me/presence").status, 200);
}

#[test]
fn only_requests_that_mean_this_machine_reach_the_emulators_own_resources() {
    let server = shared();
    let host = server.http;
    let send = |line: &str, headers: &str| {
        server.send_raw(format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes())
    };
    for (line, headers) in [
        ("GET /_presenced/v1/clock".to_owned(), format!("Host: {host}\r\n")),
        (
            "GET /_presenced/v1/clock".to_owned(),
            "Host: localhost:1\r\nOrigin: http://localhost:3000\r\n".to_owned(),
        ),
        ("GET /_presenced/v1/token".to_owned(), "Host: [::1]\r\nOrigin: https://127.0.0.1\r\n".to_owned()),
        (format!("GET http://{host}/_presenced/v1/clock"), "Host: evil.example\r\n".to_owned()),
    ] {
        assert_eq!(send(&line, &headers).status, 200, "{line} {headers}");
    }
    let before = send("GET /_presenced/v1/clock", &format!("Host: {host}\r\n")).json();
    let advance = "POST /_presenced/v1/clock/advance";
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        "Host: localhost.evil.example\r\n".to_owned(),
        format!("Host: {host}\r\nOrigin: https://evil.example\r\n"),
        format!("Host: {host}\r\nOrigin: null\r\n"),
        format!("Host: {host}\r\nOrigin: http://localhost@evil.example\r\n"),
        String::new(),
    ] {
        for line in
            ["GET /_presenced/v1/clock", "GET /_presenced/v1/token", advance, "POST /_presenced/v1/users"]
        {
            assert_refused(&send(line, &headers), 403, "Forbidden");
        }
    }
    let line = "GET http://evil.example/_presenced/v1/token";
    assert_refused(&send(line, &format!("Host: {host}\r\n")), 403, "Forbidden");
    assert_eq!(send("GET /_presenced/v1/clock", &format!("Host: {host}\r\n")).json()["time"], before["time"]);
}
