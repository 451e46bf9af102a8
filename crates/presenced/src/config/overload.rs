//! `[overload]`: how much is served at a time, and what the others are told.

use serde::Deserialize;
use server::http::overload::{Bounds, OverloadStatus};

/// The section; what is left out is as without it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overload {
    /// Connections open at a time.
    connections_max: Option<u32>,
    /// HTTP/2 requests in flight at a time, over all connections.
    requests_max: Option<u32>,
    /// 503 or 429.
    status: Option<u16>,
}

impl Overload {
    /// As the server wants it.
    pub(crate) fn bounds(self) -> Bounds {
        let usual = Bounds::default();
        Bounds {
            connections: self.connections_max.unwrap_or(usual.connections),
            streams: self.requests_max.unwrap_or(usual.streams),
            refusal: match self.status {
                Some(429) => OverloadStatus::TooManyRequests,
                _ => OverloadStatus::Unavailable,
            },
        }
    }

    pub(super) fn check(self, problems: &mut Vec<String>) {
        for (key, value) in [("connections_max", self.connections_max), ("requests_max", self.requests_max)] {
            if value == Some(0) {
                problems.push(format!("[overload] {key}: 0 would serve nobody"));
            }
        }
        if let Some(status) = self.status.filter(|status| ![503, 429].contains(status)) {
            problems.push(format!("[overload] status: {status} is neither 503 nor 429"));
        }
    }
}
