//! Throttling, off unless configured: requests of one application in one tenant within a window (presence-api §15).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use presence::{AppId, TenantId, Timestamp};

/// The window over which requests are counted. Source: presence-api §15.
pub const THROTTLE_WINDOW: Duration = Duration::from_secs(30);
/// Applications counted at a time. Those quiet for a window are forgotten first, so only this many busy ones could evade
/// their count, and only by being more than any tenant registers.
const THROTTLED_APPS_MAX: usize = 16_384;

/// Counts requests, refused ones too.
#[derive(Debug)]
pub struct Throttle {
    requests_max: u32,
    windows: Mutex<HashMap<(TenantId, AppId), Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began_at: Timestamp,
    requests: u32,
}

impl Throttle {
    /// At most `requests_max` requests of an application within [`THROTTLE_WINDOW`].
    pub fn new(requests_max: u32) -> Self {
        Self { requests_max, windows: Mutex::default() }
    }

    /// Counts a request at `now` (wall-clock time, not the domain's).
    ///
    /// # Errors
    /// When it is one too many: whole seconds until the window ends, at least 1.
    pub(crate) fn count(&self, tenant: TenantId, app: AppId, now: Timestamp) -> Result<(), u32> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= THROTTLED_APPS_MAX && !windows.contains_key(&(tenant, app)) {
            windows.retain(|_, window| left(window, now).is_some());
            if windows.len() >= THROTTLED_APPS_MAX {
                windows.clear();
            }
        }
        let window = windows.entry((tenant, app)).or_insert(Window { began_at: now, requests: 0 });
        if left(window, now).is_none() {
            *window = Window { began_at: now, requests: 0 };
        }
        window.requests = window.requests.saturating_add(1);
        if window.requests <= self.requests_max {
            return Ok(());
        }
        let left = left(window, now).unwrap_or_default();
        Err(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1))
    }
}

/// How much of the window is left, if any.
fn left(window: &Window, now: Timestamp) -> Option<SignedDuration> {
    let whole = SignedDuration::from_secs(THROTTLE_WINDOW.as_secs() as i64);
    let left = whole - now.duration_since(window.began_at);
    (left > SignedDuration::ZERO).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_its_own_count_and_a_new_one_each_window() {
        let throttle = Throttle::new(2);
        let (tenant, app, other) = (TenantId::from_u128(1), AppId::from_u128(1), AppId::from_u128(2));
        let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        assert_eq!(throttle.count(tenant, app, at(0)), Ok(()));
        assert_eq!(throttle.count(tenant, app, at(1)), Ok(()));
        assert_eq!(throttle.count(tenant, app, at(10)), Err(20));
        assert_eq!(throttle.count(tenant, other, at(10)), Ok(()));
        assert_eq!(throttle.count(TenantId::from_u128(2), app, at(10)), Ok(()));
        assert_eq!(throttle.count(tenant, app, at(29)), Err(1));
        assert_eq!(throttle.count(tenant, app, at(30)), Ok(()));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let throttle = Throttle::new(1);
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        for app in 0..THROTTLED_APPS_MAX as u128 * 2 {
            let _ = throttle.count(TenantId::from_u128(1), AppId::from_u128(app), now);
        }
        assert!(throttle.windows.lock().unwrap().len() <= THROTTLED_APPS_MAX);
    }
}
