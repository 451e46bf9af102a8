//! What clients asked an emulator and what they were told: the latest exchanges, in memory, for whoever develops a client.
//!
//! As in a [record](crate::recorder), only Graph's own paths are here and no header that carries a credential. What the
//! journal takes has a bound, however large the bodies are.

use std::collections::VecDeque;

use bytes::Bytes;
use graph::time::format_timestamp;
use parking_lot::Mutex;
use presence::{AppId, Timestamp};
use serde::Serialize;

use crate::limits::{JOURNAL_BODY_BYTES_MAX, JOURNAL_ENTRIES_MAX};

/// How much of a path is kept, in bytes.
const PATH_BYTES_MAX: usize = 2 * 1024;

/// The journal of an emulator.
#[derive(Debug, Default)]
pub struct Journal {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the next entry.
    next: u64,
    entries: VecDeque<Entry>,
}

/// One exchange.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// Counts up: after the last one seen, the next ones are asked for.
    number: u64,
    /// When it was answered, by the machine's clock.
    at: String,
    method: String,
    path: String,
    request_id: String,
    application: Option<String>,
    request_body: Option<String>,
    status: u16,
    milliseconds: f64,
    /// What a write has come to.
    outcome: Option<String>,
    response_body: Option<String>,
}

/// An exchange that is to be kept.
pub(crate) struct Exchange<'a> {
    pub(crate) at: Timestamp,
    pub(crate) method: &'a str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) app: Option<AppId>,
    pub(crate) request_body: &'a Bytes,
    pub(crate) status: u16,
    pub(crate) took: std::time::Duration,
    pub(crate) outcome: Option<&'a str>,
    pub(crate) response_body: Option<Bytes>,
}

#[derive(Serialize)]
struct Page {
    /// The number from which what comes later has not been seen.
    next: u64,
    value: Vec<Entry>,
}

impl Journal {
    pub(crate) fn note(&self, exchange: &Exchange<'_>) {
        let mut entry = Entry {
            number: 0,
            at: format_timestamp(exchange.at),
            method: exchange.method.to_owned(),
            path: beginning(exchange.path.as_bytes(), PATH_BYTES_MAX).unwrap_or_default(),
            request_id: exchange.request_id.to_owned(),
            application: exchange.app.map(|app| app.to_string()),
            request_body: beginning(exchange.request_body, JOURNAL_BODY_BYTES_MAX),
            status: exchange.status,
            milliseconds: (exchange.took.as_secs_f64() * 10_000.0).round() / 10.0,
            outcome: exchange.outcome.map(str::to_owned),
            response_body: exchange
                .response_body
                .as_ref()
                .and_then(|bytes| beginning(bytes, JOURNAL_BODY_BYTES_MAX)),
        };
        let mut kept = self.kept.lock();
        entry.number = kept.next;
        kept.next += 1;
        if kept.entries.len() >= JOURNAL_ENTRIES_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    /// The entries from a number on, oldest first, as JSON.
    pub(crate) fn page(&self, from: u64) -> Vec<u8> {
        let kept = self.kept.lock();
        let value = kept.entries.iter().filter(|entry| entry.number >= from).cloned().collect();
        serde_json::to_vec(&Page { next: kept.next, value }).unwrap_or_default()
    }
}

/// As much of some text as fits; `None` for nothing. What was cut, or is no text, says so.
fn beginning(bytes: &[u8], max: usize) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned();
    if bytes.len() > max {
        text.push_str(&format!(" … {} bytes in all", bytes.len()));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn note(journal: &Journal, path: &str, body: &'static [u8]) {
        journal.note(&Exchange {
            at: "2026-03-02T08:00:00Z".parse().unwrap(),
            method: "POST",
            path,
            request_id: "id",
            app: None,
            request_body: &Bytes::from_static(body),
            status: 200,
            took: std::time::Duration::from_micros(1_250),
            outcome: Some("visible"),
            response_body: Some(Bytes::new()),
        });
    }

    fn page(journal: &Journal, from: u64) -> Value {
        serde_json::from_slice(&journal.page(from)).unwrap()
    }

    #[test]
    fn the_latest_exchanges_are_kept_and_later_ones_asked_for_by_number() {
        let journal = Journal::default();
        for n in 0..JOURNAL_ENTRIES_MAX + 10 {
            note(&journal, &format!("/v1.0/{n}"), b"{}");
        }
        let all = page(&journal, 0);
        assert_eq!(all["value"].as_array().unwrap().len(), JOURNAL_ENTRIES_MAX);
        assert_eq!(all["value"][0]["path"], "/v1.0/10");
        let next = all["next"].as_u64().unwrap();
        note(&journal, "/v1.0/new", b"");
        let later = page(&journal, next);
        assert_eq!(later["value"].as_array().unwrap().len(), 1);
        let entry = &later["value"][0];
        assert_eq!((&entry["path"], &entry["requestBody"]), (&"/v1.0/new".into(), &Value::Null));
        assert_eq!((&entry["milliseconds"], &entry["outcome"]), (&1.3.into(), &"visible".into()));
    }

    #[test]
    fn what_an_entry_takes_has_a_bound_also_where_it_cuts_a_letter() {
        let journal = Journal::default();
        static BODY: [u8; 10_001] = {
            let mut body = [0xC3; 10_001];
            let mut at = 2;
            while at < body.len() {
                body[at] = 0xBC;
                at += 2;
            }
            body
        };
        note(&journal, &"/".repeat(1_000_000), &BODY);
        let entry = &page(&journal, 0)["value"][0];
        let length = |name: &str| entry[name].as_str().unwrap().len();
        // A byte that is no text becomes three.
        assert!(length("requestBody") < 2 * JOURNAL_BODY_BYTES_MAX && length("path") < 2 * PATH_BYTES_MAX);
        assert!(entry["requestBody"].as_str().unwrap().ends_with("… 10001 bytes in all"));
    }
}
