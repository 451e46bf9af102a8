//! JSON of our own `GET /_presenced/v1/users/{id}/presence/history`: what was shown over a period, for how long, and who
//! wrote by which application. Graph has nothing like it; the words are the project's own, and those of operations are Graph's.

use jiff::SignedDuration;
use presence::{AppId, Pair, Stretch, Timestamp, UserId};
use serde_json::{Map, Value, json};

use crate::{time, words};

/// A history, as it is to be told.
pub struct History<'a> {
    /// Whose.
    pub user: UserId,
    /// The first instant asked for.
    pub from: Timestamp,
    /// The first after the last.
    pub to: Timestamp,
    /// From when on it is known what was shown; `None` when nothing is.
    pub known_from: Option<Timestamp>,
    /// Whether more is known before that: ask again, up to it.
    pub is_partial: bool,
    /// What was shown, oldest first.
    pub shown: &'a [Stretch],
    /// The writes, oldest first.
    pub writes: &'a [Write],
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When.
    pub at: Timestamp,
    /// What was done, in Graph's word for it.
    pub action: &'static str,
    /// By which application, where that is known.
    pub app: Option<AppId>,
    /// For which signed-in user; `None`: the application acted by itself.
    pub by: Option<UserId>,
    /// What was shown right after it.
    pub pair: Pair,
}

/// What people call applications and users, for those that are known.
pub struct Names<'a> {
    /// Of an application.
    pub app: &'a dyn Fn(AppId) -> Option<String>,
    /// Of a user.
    pub user: &'a dyn Fn(UserId) -> Option<String>,
}

/// The history of a user, as JSON.
pub fn to_json(history: &History<'_>, names: &Names<'_>) -> Vec<u8> {
    let shown = history.shown.iter().map(|stretch| {
        let mut value = pair(stretch.pair);
        value.insert("from".into(), instant(stretch.from));
        value.insert("to".into(), instant(stretch.to));
        value
    });
    let totals = presence::totals(history.shown).into_iter().map(|(shown, total)| {
        let mut value = pair(shown);
        value.insert("duration".into(), time::format_duration(total).into());
        value.insert("seconds".into(), seconds(total));
        value
    });
    let writes = history.writes.iter().map(|write| {
        let mut value = pair(write.pair);
        value.insert("at".into(), instant(write.at));
        value.insert("action".into(), write.action.into());
        value.insert("application".into(), write.app.map(|app| app.to_string()).into());
        value.insert("applicationName".into(), write.app.and_then(names.app).into());
        value.insert("user".into(), write.by.map(|user| user.to_string()).into());
        value.insert("userName".into(), write.by.and_then(names.user).into());
        value
    });
    let value = json!({
        "id": history.user.to_string(),
        "from": instant(history.from),
        "to": instant(history.to),
        "knownFrom": history.known_from.map(instant),
        "isPartial": history.is_partial,
        "shown": shown.collect::<Vec<_>>(),
        "totals": totals.collect::<Vec<_>>(),
        "writes": writes.collect::<Vec<_>>(),
    });
    serde_json::to_vec(&value).expect("a Value is always JSON")
}

/// The presence as of an instant, as JSON.
pub fn instant_to_json(user: UserId, at: Timestamp, shown: Pair) -> Vec<u8> {
    let mut value = pair(shown);
    value.insert("id".into(), user.to_string().into());
    value.insert("at".into(), instant(at));
    serde_json::to_vec(&value).expect("a Value is always JSON")
}

fn pair(pair: Pair) -> Map<String, Value> {
    Map::from_iter([
        ("availability".to_owned(), words::availability(pair.availability).into()),
        ("activity".to_owned(), words::activity(pair.activity).into()),
    ])
}

fn instant(instant: Timestamp) -> Value {
    time::format_timestamp(instant).into()
}

/// Seconds with as many digits as an instant has.
fn seconds(duration: SignedDuration) -> Value {
    let ticks = duration.as_nanos() / 100;
    (ticks as f64 / 10_000_000.0).into()
}

#[cfg(test)]
mod tests {
    use presence::{Activity, Availability};

    use super::*;

    #[test]
    fn a_history_says_what_was_shown_how_long_and_who_wrote() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, to) = (at("2026-03-02T08:00:00Z"), at("2026-03-02T09:30:00.5Z"));
        let busy = Pair::new(Availability::Busy, Activity::InACall);
        let app = AppId::from_u128(1);
        let told = to_json(
            &History {
                user: UserId::from_u128(9),
                from,
                to,
                known_from: Some(from),
                is_partial: false,
                shown: &[Stretch { from, to, pair: busy }],
                writes: &[Write { at: from, action: "setPresence", app: Some(app), by: None, pair: busy }],
            },
            &Names { app: &|known| (known == app).then(|| "Desk".to_owned()), user: &|_| None },
        );
        let told: Value = serde_json::from_slice(&told).unwrap();
        let total = json!({ "availability": "Busy", "activity": "InACall", "duration": "PT1H30M0.5S", "seconds": 5400.5 });
        assert_eq!(told["totals"], json!([total]));
        assert_eq!(told["shown"][0]["to"], "2026-03-02T09:30:00.5000000Z");
        let write = &told["writes"][0];
        assert_eq!((&write["applicationName"], &write["user"]), (&json!("Desk"), &Value::Null));
        assert_eq!(told["knownFrom"], "2026-03-02T08:00:00.0000000Z");
    }
}
