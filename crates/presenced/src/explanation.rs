//! An explanation in words, for people at a terminal.

use serde_json::Value;

/// The lines that say why `user` is shown as they are.
pub(crate) fn lines(user: &str, explanation: &Value) -> Vec<String> {
    let mut lines = vec![format!("{user} is shown as {} at {}", pair(explanation), time(&explanation["at"]))];
    lines.push(format!("  because {}", reason(explanation)));
    if explanation["outOfOfficeShown"] == true {
        lines.push("  and an out-of-office window is shown with it".to_owned());
    }
    let sessions = list(&explanation["sessions"]);
    lines.extend(sessions.iter().map(|session| self::session(session, sessions)));
    let preferred = &explanation["preferredPresence"];
    if !preferred.is_null() {
        let outcome = match text(&preferred["outcome"]) {
            "asleepWithoutSession" => "asleep: there is no presence session",
            _ => "shown",
        };
        lines.push(format!(
            "  preferred  {}  until {}  {outcome}",
            pair(preferred),
            time(&preferred["expiresAt"])
        ));
    }
    let window = &explanation["outOfOffice"];
    if !window.is_null() {
        let active = if window["isActive"] == true { "now" } else { "not now" };
        let (from, to) = (time_or(&window["startsAt"], "ever"), time_or(&window["endsAt"], "further notice"));
        lines.push(format!("  out of office  from {from} until {to}  {active}"));
    }
    let location = &explanation["workLocation"];
    if text(&location["source"]) != "none" {
        let place = location["placeId"].as_str().map_or_else(String::new, |place| format!(" at {place}"));
        lines.push(format!(
            "  works {}{place} ({})",
            text(&location["workLocationType"]),
            text(&location["source"])
        ));
    }
    let next = &explanation["nextChange"];
    lines.push(match next.is_null() {
        true => "  nothing changes by itself".to_owned(),
        false => format!("  next: {} at {}, unless somebody writes", pair(next), time(&next["at"])),
    });
    lines
}

fn reason(explanation: &Value) -> String {
    match text(&explanation["rule"]) {
        "noSession" => "there is no live presence session".to_owned(),
        "preferredPresence" => "the user's preferred presence beats all sessions".to_owned(),
        _ => {
            let sessions = list(&explanation["sessions"]);
            let shown = sessions.iter().find(|session| text(&session["outcome"]) == "shown");
            let app = shown.map_or_else(|| "an application".to_owned(), application);
            match sessions.len() {
                1 => format!("the only presence session, of {app}, says so"),
                count => format!("of {count} presence sessions that of {app} is the strongest"),
            }
        }
    }
}

fn session(session: &Value, all: &[Value]) -> String {
    let winner = all.iter().find(|other| other["application"] == session["beatenBy"]);
    let beaten_by = winner.map_or_else(|| text(&session["beatenBy"]).to_owned(), application);
    let outcome = match text(&session["outcome"]) {
        "hiddenByPreferredPresence" => "hidden by the preferred presence".to_owned(),
        "outranked" => format!("outranked by {beaten_by}"),
        "setEarlier" => format!("set earlier than {beaten_by}"),
        _ => "shown".to_owned(),
    };
    let faded = match text(&session["fade"]) {
        "fresh" => String::new(),
        _ => format!(" (set to {}, faded)", pair(&session["set"])),
    };
    let until = match session["nextFadeAt"].as_str() {
        Some(fade) => format!("fades {}, expires {}", short(fade), time(&session["expiresAt"])),
        None => format!("expires {}", time(&session["expiresAt"])),
    };
    let age =
        session["age"].as_str().map_or_else(String::new, |age| format!("  set {} ago", whole_seconds(age)));
    format!("  session {}  {}{faded}{age}  {until}  {outcome}", application(session), pair(session))
}

/// An application by name and id, or by its id alone.
fn application(input: &Value) -> String {
    let id = text(&input["application"]);
    match input["applicationName"].as_str() {
        // Whoever registered the application chose the name: no control character of it reaches a terminal.
        Some(name) => format!("{} ({id})", name.replace(char::is_control, " ")),
        None => id.to_owned(),
    }
}

/// A duration without the fraction of its seconds.
fn whole_seconds(duration: &str) -> String {
    match duration.split_once('.') {
        Some((whole, _)) => format!("{whole}S"),
        None => duration.to_owned(),
    }
}

fn pair(value: &Value) -> String {
    format!("{}/{}", text(&value["availability"]), text(&value["activity"]))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn time(value: &Value) -> &str {
    short(text(value))
}

fn time_or<'a>(value: &'a Value, none: &'a str) -> &'a str {
    value.as_str().map_or(none, short)
}

/// An instant without its fraction of a second.
fn short(time: &str) -> &str {
    time.split('.').next().unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_names_winner_loser_and_what_comes_next() {
        let session = |app: &str, outcome: &str, by: Value| {
            json!({ "application": app, "applicationName": (app == "two").then_some("Desk\u{1b}phone"), "age": "PT1M2.5S",
                "availability": "Busy", "activity": "InACall", "fade": "fresh",
                "expiresAt": "2026-03-02T09:00:00.0000000Z", "nextFadeAt": null, "outcome": outcome, "beatenBy": by })
        };
        let said = lines(
            "ana",
            &json!({
                "at": "2026-03-02T08:00:00.0000000Z", "availability": "Busy", "activity": "InACall",
                "rule": "strongestSession", "outOfOfficeShown": false,
                "sessions": [session("one", "outranked", "two".into()), session("two", "shown", Value::Null)],
                "workLocation": { "source": "none" },
                "nextChange": { "availability": "Offline", "activity": "Offline", "at": "2026-03-02T09:00:00.0000000Z" },
            }),
        );
        assert_eq!(
            said,
            [
                "ana is shown as Busy/InACall at 2026-03-02T08:00:00",
                "  because of 2 presence sessions that of Desk phone (two) is the strongest",
                "  session one  Busy/InACall  set PT1M2S ago  expires 2026-03-02T09:00:00  outranked by Desk phone (two)",
                "  session Desk phone (two)  Busy/InACall  set PT1M2S ago  expires 2026-03-02T09:00:00  shown",
                "  next: Offline/Offline at 2026-03-02T09:00:00, unless somebody writes",
            ]
        );
    }
}
