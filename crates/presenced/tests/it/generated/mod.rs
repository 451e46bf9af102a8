//! Thousands of requests that vary every parameter of every action over valid, boundary and invalid values, two at a time,
//! at each address and as each kind of caller, over a real socket; and subscriptions, and reads.
//!
//! [`contract`] takes actions, addresses and parameters from the operations table and the schema; [`model`] says what must come of
//! each value and, by the rules, of each request, and knows nothing of the server. Where several values are invalid, the answer
//! may name any of them.

mod contract;
mod model;

use std::io::Write as _;

use serde_json::{Value, json};

use crate::sdk::receiver::Receiver;
use crate::support::{Answer, Caller, JSON, MONDAY, Server, USER_A, USER_B};
use contract::{Action, Parameter};
use model::{Choice, Model, NOBODY, RECEIVER};

/// Fewer would not be worth the name.
const CASES_MIN: usize = 5_000;

/// Who calls, and at which address.
struct Place<'s> {
    caller: &'s Caller<'s>,
    is_application: bool,
    path: String,
    /// Why a good request is refused all the same: status and code.
    barred: Option<(u16, &'static str)>,
}

#[test]
fn every_generated_request_is_answered_as_the_model_of_the_contract_says() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let (app, own) = (Caller::application(&server), Caller::user(&server, USER_A));
    let mut model = Model::new();
    let mut counts = Vec::new();
    for action in contract::actions() {
        let mut cases = 0;
        for place in places(&action, &app, &own) {
            for values in combinations(&action) {
                judge(&action, &place, &values, &mut model);
                cases += 1;
            }
        }
        counts.push((action.name, cases));
    }
    counts.push(("createSubscription", subscribing(&app)));
    counts.push(("getPresencesByUserId", many(&app)));
    counts.push(("getPresence", reading(&app, &own)));
    let cases: usize = counts.iter().map(|(_, cases)| cases).sum();
    writeln!(std::io::stderr(), "\ngenerated requests: {cases} {counts:?}").unwrap();
    assert!(cases >= CASES_MIN, "{cases}");
}

/// Sends one request, compares the answer with the model's, and where it was carried out, also what is seen then.
fn judge(action: &Action, place: &Place<'_>, values: &[(&Parameter, Choice)], model: &mut Model) {
    let body = contract::body(values.iter().map(|(parameter, (value, _))| (*parameter, value.clone())));
    let answer = match action.is_bodiless {
        true => place.caller.send("POST", &place.path, &[], b""),
        false => place.caller.post(&place.path, &body),
    };
    let what = format!("{} {body}", place.path);
    let mut codes: Vec<&str> = values.iter().filter_map(|(_, (_, code))| *code).collect();
    codes.extend(model::refusal_of_all(action.name, &body));
    if place.is_application && place.path.contains("/me/") {
        refused(&answer, 400, &["BadRequest"], &what);
    } else if !codes.is_empty() {
        refused(&answer, 400, &codes, &what);
    } else if place.is_application && action.name.contains("Location") {
        refused(&answer, 403, &["Forbidden"], &what);
    } else if let Some((status, code)) = place.barred {
        refused(&answer, status, &[code], &what);
    } else if model.apply(action.name, &body).is_err() {
        // Of all that can be asked for here, only a session that is not there is refused for what is kept.
        refused(&answer, 404, &["NotFound"], &what);
    } else {
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}: {answer:?}");
        assert_eq!(seen(place.caller), model.seen(), "{what}");
    }
}

/// What is read of the user, in the model's shape.
fn seen(caller: &Caller<'_>) -> Value {
    let read = caller.get(&format!("/v1.0/users/{USER_A}/presence")).json();
    let location = &read["workLocation"];
    json!({
        "availability": read["availability"],
        "activity": read["activity"],
        "statusMessage": read["statusMessage"]["message"]["content"],
        "source": location["source"],
        "workLocationType": location["workLocationType"],
        "placeId": location["placeId"],
    })
}

#[track_caller]
fn refused(answer: &Answer, status: u16, codes: &[&str], what: &str) {
    assert_eq!(answer.status, status, "{what}: expected {codes:?}");
    let (found, code, _) = answer.error();
    assert!(
        found == status && codes.contains(&code.as_str()),
        "{what}: {found} {code}, expected {status} {codes:?}"
    );
}

/// Every address of the action, in spellings by turns, as each kind of caller; and addresses of others.
fn places<'s>(action: &Action, app: &'s Caller<'s>, own: &'s Caller<'s>) -> Vec<Place<'s>> {
    let at = |caller, is_application, path: String, barred| Place { caller, is_application, path, barred };
    let of = |template: &str, user: &str| template.replace("{user}", user);
    let spelled = |template: &str| {
        template
            .replace("/{user}", "('{user}')")
            .replace(action.name, &format!("microsoft.graph.{}", action.name))
    };
    let mut places = Vec::new();
    for template in &action.paths {
        places.push(at(app, true, format!("/v1.0{}", of(template, USER_A)), None));
        places.push(at(own, false, format!("/beta{}", of(&spelled(template), USER_A)), None));
    }
    let others = action.paths.iter().filter(|template| template.contains("{user}"));
    for template in others {
        places.push(at(app, true, format!("/beta{}", of(template, NOBODY)), Some((404, "NotFound"))));
        places.push(at(own, false, format!("/v1.0{}", of(template, USER_B)), Some((401, "Unauthorized"))));
    }
    places
}

/// All pairs of choices of two parameters, the others valid.
fn combinations(action: &Action) -> Vec<Vec<(&Parameter, Choice)>> {
    let parameters: Vec<_> = action
        .parameters
        .iter()
        .map(|parameter| (parameter, model::choices(action.name, &parameter.name())))
        .collect();
    let valid: Vec<_> =
        parameters.iter().map(|(parameter, choices)| (*parameter, choices[0].clone())).collect();
    let mut all = vec![valid.clone()];
    if let [(parameter, choices)] = &parameters[..] {
        return choices.iter().map(|choice| vec![(*parameter, choice.clone())]).collect();
    }
    for first in 0..parameters.len() {
        for second in first + 1..parameters.len() {
            for one in &parameters[first].1 {
                for other in &parameters[second].1 {
                    let mut values = valid.clone();
                    values[first].1 = one.clone();
                    values[second].1 = other.clone();
                    all.push(values);
                }
            }
        }
    }
    all
}

/// createSubscription: what is made is taken back, for there may be one at a time.
fn subscribing(app: &Caller<'_>) -> usize {
    let receiver = Receiver::new();
    let action = contract::subscription();
    let all = combinations(&action);
    for values in &all {
        let values: Vec<_> = values
            .iter()
            .map(|(parameter, (value, code))| {
                let here =
                    |value: &Value| if value == RECEIVER { json!(receiver.url) } else { value.clone() };
                (*parameter, (value.as_ref().map(here), *code))
            })
            .collect();
        let body = contract::body(values.iter().map(|(parameter, (value, _))| (*parameter, value.clone())));
        let mut codes: Vec<&str> = values.iter().filter_map(|(_, (_, code))| *code).collect();
        codes.extend(model::refusal_of_all(action.name, &body));
        let answer = app.send("POST", "/v1.0/subscriptions", &[JSON], body.to_string().as_bytes());
        if codes.is_empty() {
            assert_eq!(answer.status, 201, "{body}: {answer:?}");
            let path = format!("/v1.0/subscriptions/{}", answer.json()["id"].as_str().unwrap());
            assert_eq!(app.send("DELETE", &path, &[], b"").status, 204);
        } else {
            refused(&answer, 400, &codes, &body.to_string());
        }
    }
    assert_eq!(app.get("/v1.0/subscriptions").json()["value"], json!([]));
    all.len()
}

/// getPresencesByUserId: lists of every length around the limit, and lists that are none.
fn many(app: &Caller<'_>) -> usize {
    let path = "/v1.0/communications/getPresencesByUserId";
    let guids = |count: usize| -> Vec<Value> {
        (0..count).map(|number| json!(format!("00000000-0000-4000-9000-{number:012}"))).collect()
    };
    let mut cases = 0;
    for count in (0..20).chain(640..=660) {
        let answer = app.post(path, &json!({ "ids": guids(count) }));
        match count <= 650 {
            true => assert_eq!(answer.json()["value"].as_array().unwrap().len(), count),
            false => refused(&answer, 400, &["InvalidArgument"], &count.to_string()),
        }
        cases += 1;
    }
    let wrong = [
        (json!({}), "InvalidArgument"),
        (json!({ "ids": null }), "InvalidArgument"),
        (json!({ "ids": USER_A }), "BadRequest"),
        (json!({ "ids": [1] }), "BadRequest"),
        (json!({ "ids": [null] }), "BadRequest"),
        (json!({ "ids": [USER_A, "nobody"] }), "InvalidArgument"),
        (json!([]), "BadRequest"),
    ];
    for (body, code) in &wrong {
        refused(&app.post(path, body), 400, &[code], &body.to_string());
    }
    cases + wrong.len()
}

/// Reads with every selection of up to two members, known and unknown, at every address.
fn reading(app: &Caller<'_>, own: &Caller<'_>) -> usize {
    let members = [
        "id",
        "availability",
        "activity",
        "statusMessage",
        "outOfOfficeSettings",
        "sequenceNumber",
        "workLocation",
        "mood",
        "Availability2",
    ];
    let mut cases = 0;
    for (caller, path) in [
        (app, format!("/v1.0/users/{USER_A}/presence")),
        (app, format!("/beta/communications/presences/{USER_A}")),
        (own, "/v1.0/me/presence".to_owned()),
    ] {
        for one in members {
            for other in members {
                let answer = caller.get(&format!("{path}?%24select={one},{other}"));
                let known = |name: &str| members[..7].contains(&name);
                if known(one) && known(other) {
                    let read = answer.json();
                    let has = |name: &str| read.get(name).is_some();
                    assert!(has(one) && has(other), "{read}");
                    let others = members[..7].iter().filter(|name| ![one, other, "id"].contains(name));
                    assert!(others.clone().all(|name| !has(name)), "{one},{other}: {read}");
                } else {
                    refused(&answer, 400, &["BadRequest"], &format!("{one},{other}"));
                }
                cases += 1;
            }
        }
    }
    cases
}
