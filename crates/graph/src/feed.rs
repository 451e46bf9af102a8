//! The shapes of the change feed, a resource of our own: events of a stream, pages of changes.
//!
//! A *position* is a place in the log of visible changes, a word without meaning to clients: it says where to resume. The *sequence number* in a change is the presence's own, as `sequenceNumber` of the resource: of two states of
//! one user, the one with the greater number is the newer.

use presence::{Pair, SequenceNumber, Timestamp, UserId};

use crate::presence_reply::write_sequence_number;
use crate::{time, words};

/// Content type of a stream of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Content type of everything else here.
pub const JSON: &str = "application/json";

/// Why a feed ended although its client would go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The token ended: connect again with a new one.
    TokenExpired,
    /// The server is stopping: connect again, here or elsewhere.
    Stopping,
    /// The store does not answer: connect again in a while.
    Unavailable,
}

impl EndReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "tokenExpired",
            Self::Stopping => "serverStopping",
            Self::Unavailable => "storeUnavailable",
        }
    }
}

/// One visible change, as every reader of the feed is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Where it stands in the log.
    pub position: &'a str,
    /// Whose presence changed.
    pub user: UserId,
    /// When it changed.
    pub at: Timestamp,
    /// What is shown since.
    pub pair: Pair,
    /// The presence's sequence number since.
    pub sequence_number: SequenceNumber,
}

/// The JSON of one change.
pub fn change(change: &Change<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(
        format!("{{\"position\":\"{}\",\"id\":\"{}\",\"at\":\"", change.position, change.user).as_bytes(),
    );
    time::write_timestamp(&mut out, change.at);
    out.extend_from_slice(b"\",\"availability\":\"");
    out.extend_from_slice(words::availability(change.pair.availability).as_bytes());
    out.extend_from_slice(b"\",\"activity\":\"");
    out.extend_from_slice(words::activity(change.pair.activity).as_bytes());
    out.extend_from_slice(b"\",\"sequenceNumber\":\"");
    write_sequence_number(&mut out, change.sequence_number);
    out.extend_from_slice(b"\"}");
    out
}

/// The JSON of a part of a snapshot: `presences` is a reply to getPresencesByUserId. Changes after `position` follow once
/// there is no `more`; one that a presence shows already has no greater sequence number.
pub fn snapshot(position: &str, more: bool, presences: &[u8]) -> Vec<u8> {
    let mut out = format!("{{\"position\":\"{position}\",\"more\":{more},\"presences\":").into_bytes();
    out.extend_from_slice(presences);
    out.push(b'}');
    out
}

/// The JSON that tells a reader that the log begins later than where it wanted to go on.
pub fn behind(oldest: &str) -> Vec<u8> {
    format!("{{\"oldest\":\"{oldest}\",\"message\":\"{BEHIND}\"}}").into_bytes()
}

/// What a reader behind the log is told.
pub const BEHIND: &str =
    "The changes after this position are no longer kept. Begin again without a position, with a snapshot.";

/// The JSON that ends a feed.
pub fn end(reason: EndReason) -> Vec<u8> {
    format!("{{\"reason\":\"{}\"}}", reason.as_str()).into_bytes()
}

/// One message of a socket: the kind of an event, and its JSON.
pub fn message(kind: &str, data: &[u8]) -> Vec<u8> {
    let mut out = format!("{{\"event\":\"{kind}\",\"data\":").into_bytes();
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

/// A page of changes and the position after which the next page begins.
pub fn page(next: &str, changes: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("{{\"next\":\"{next}\",\"value\":[").into_bytes();
    for (place, change) in changes.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(change);
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use presence::{Activity, Availability};

    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let one = change(&Change {
            position: "p7",
            user: "fa8bf3dc-eca7-46b7-bad1-db199b62afc3".parse().unwrap(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            pair: Pair { availability: Availability::Busy, activity: Activity::InACall },
            sequence_number: SequenceNumber(12),
        });
        assert_eq!(
            String::from_utf8(one.clone()).unwrap(),
            "{\"position\":\"p7\",\"id\":\"fa8bf3dc-eca7-46b7-bad1-db199b62afc3\",\"at\":\"2026-01-02T03:04:05.0000000Z\",\
             \"availability\":\"Busy\",\"activity\":\"InACall\",\"sequenceNumber\":\"A0000000012\"}"
        );
        let all = [
            one.clone(),
            page("p9", &[one.clone(), one.clone()]),
            page("p9", &[]),
            message("change", &one),
            snapshot("p9", true, b"{\"value\":[]}"),
            behind("p3"),
            end(EndReason::TokenExpired),
        ];
        for json in all {
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }
}
