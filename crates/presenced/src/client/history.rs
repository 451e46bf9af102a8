//! `presenced history`: what was shown over a period, for how long, and who wrote.

use serde_json::Value;

use super::{Client, say, say_json, segment};
use crate::args::HistoryArgs;

pub(crate) fn history(args: &HistoryArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server.clone())?;
    let query: Vec<String> = [("from", &args.from), ("to", &args.to), ("at", &args.at)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))))
        .collect();
    let path = format!("/_presenced/v1/users/{}/presence/history", segment(&args.user));
    let history = client.get(&if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) })?;
    if args.output.json {
        say_json(&history);
        return Ok(());
    }
    for line in lines(&args.user, &history) {
        say(line);
    }
    Ok(())
}

/// A history in words, for people at a terminal.
fn lines(user: &str, history: &Value) -> Vec<String> {
    if history["shown"].is_null() {
        return vec![format!("{user} was shown as {} at {}", pair(history), time(&history["at"]))];
    }
    let mut lines = vec![format!("{user} from {} to {}", time(&history["from"]), time(&history["to"]))];
    match (history["knownFrom"].as_str(), history["isPartial"] == true) {
        (None, _) => {
            lines.push("  nothing is known of this time".to_owned());
            return lines;
        }
        (Some(from), true) => {
            lines.push(format!("  only from {} on: there is too much for one answer", short(from)));
        }
        (Some(from), false) if Some(from) != history["from"].as_str() => {
            lines.push(format!("  known from {} on", short(from)));
        }
        _ => {}
    }
    let totals = list(&history["totals"]);
    let all: f64 = totals.iter().filter_map(|total| total["seconds"].as_f64()).sum();
    for total in totals {
        let seconds = total["seconds"].as_f64().unwrap_or_default();
        let share = if all > 0.0 { 100.0 * seconds / all } else { 0.0 };
        lines.push(format!("  {:<32} {:>12}  {share:5.1} %", pair(total), clock(seconds)));
    }
    for stretch in list(&history["shown"]) {
        lines.push(format!("  {}  {}", time(&stretch["from"]), pair(stretch)));
    }
    for write in list(&history["writes"]) {
        let app = match (text(&write["applicationName"]), text(&write["application"])) {
            ("", "") => "an unknown application".to_owned(),
            ("", id) => id.to_owned(),
            (name, id) => format!("{} ({id})", plain(name)),
        };
        let by = match (text(&write["userName"]), text(&write["user"])) {
            ("", "") => String::new(),
            ("", id) => format!(" for {id}"),
            (name, _) => format!(" for {}", plain(name)),
        };
        lines.push(format!(
            "  {}  {} by {app}{by}: {}",
            time(&write["at"]),
            text(&write["action"]),
            pair(write)
        ));
    }
    lines
}

/// Whoever registered something chose its name: no control character of it reaches a terminal.
fn plain(name: &str) -> String {
    name.replace(char::is_control, " ")
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
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

/// An instant without its fraction of a second.
fn short(time: &str) -> &str {
    time.split('.').next().unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_tells_totals_what_was_shown_and_who_wrote() {
        let history = json!({
            "id": "x", "from": "2026-03-02T08:00:00.0000000Z", "to": "2026-03-02T10:00:00.0000000Z",
            "knownFrom": "2026-03-02T09:00:00.0000000Z", "isPartial": false,
            "shown": [{ "from": "2026-03-02T09:00:00.0000000Z", "to": "2026-03-02T10:00:00.0000000Z",
                "availability": "Busy", "activity": "InACall" }],
            "totals": [{ "availability": "Busy", "activity": "InACall", "duration": "PT1H", "seconds": 3600.0 }],
            "writes": [{ "at": "2026-03-02T09:00:00.0000000Z", "action": "setPresence", "application": "1",
                "applicationName": "Desk\u{1b}[2J", "user": "2", "userName": "Ana",
                "availability": "Busy", "activity": "InACall" }],
        });
        assert_eq!(
            lines("ana", &history),
            [
                "ana from 2026-03-02T08:00:00 to 2026-03-02T10:00:00",
                "  known from 2026-03-02T09:00:00 on",
                "  Busy/InACall                          1:00:00  100.0 %",
                "  2026-03-02T09:00:00  Busy/InACall",
                "  2026-03-02T09:00:00  setPresence by Desk [2J (1) for Ana: Busy/InACall",
            ]
        );
        let at = json!({ "id": "x", "at": "2026-03-02T08:00:00.0000000Z", "availability": "Away", "activity": "Away" });
        assert_eq!(lines("ana", &at), ["ana was shown as Away/Away at 2026-03-02T08:00:00"]);
    }
}
