//! Throttling, off unless configured: requests of one application in one tenant within a window (presence-api §15).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use presence::{AppId, TenantId, Timestamp};

/// The window over which requests are counted. Source: presence-api §15.
pub const THROTTLE_WINDOW: Duration = Duration::from_secs(30);
/// Applications counted at a time in one tenant. Those quiet for a window are forgotten first, so only this many busy ones
/// could evade their count, and only by being more than a tenant registers. Each tenant has its own: none can make
/// another's be forgotten.
const THROTTLED_APPS_PER_TENANT_MAX: usize = 4_096;

/// Counts requests, refused ones too.
#[derive(Debug, Default)]
pub struct Throttle {
    requests_max: Option<u32>,
    tenants: Mutex<HashMap<TenantId, HashMap<AppId, Window>>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began_at: Timestamp,
    requests: u32,
}

impl Throttle {
    /// At most `requests_max` requests of an application within [`THROTTLE_WINDOW`], where a tenant says nothing else;
    /// `None`: any number.
    pub fn new(requests_max: Option<u32>) -> Self {
        Self { requests_max, tenants: Mutex::default() }
    }

    /// Counts a request at `now` (wall-clock time, not the domain's; asked only where there is a limit), in a tenant with a
    /// limit of its own or without.
    ///
    /// # Errors
    /// When it is one too many: whole seconds until the window ends, at least 1.
    pub(crate) fn count(
        &self,
        tenant: TenantId,
        tenant_max: Option<u32>,
        app: AppId,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<(), u32> {
        let Some(requests_max) = tenant_max.or(self.requests_max) else { return Ok(()) };
        let now = now();
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = tenants.entry(tenant).or_default();
        if windows.len() >= THROTTLED_APPS_PER_TENANT_MAX && !windows.contains_key(&app) {
            windows.retain(|_, window| left(window, now).is_some());
            if windows.len() >= THROTTLED_APPS_PER_TENANT_MAX {
                windows.clear();
            }
        }
        let window = windows.entry(app).or_insert(Window { began_at: now, requests: 0 });
        if left(window, now).is_none() {
            *window = Window { began_at: now, requests: 0 };
        }
        window.requests = window.requests.saturating_add(1);
        if window.requests <= requests_max {
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
        let throttle = Throttle::new(Some(2));
        let (tenant, app, other) = (TenantId::from_u128(1), AppId::from_u128(1), AppId::from_u128(2));
        let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        assert_eq!(throttle.count(tenant, None, app, || at(0)), Ok(()));
        assert_eq!(throttle.count(tenant, None, app, || at(1)), Ok(()));
        assert_eq!(throttle.count(tenant, None, app, || at(10)), Err(20));
        assert_eq!(throttle.count(tenant, None, other, || at(10)), Ok(()));
        assert_eq!(throttle.count(TenantId::from_u128(2), None, app, || at(10)), Ok(()));
        assert_eq!(throttle.count(tenant, None, app, || at(29)), Err(1));
        assert_eq!(throttle.count(tenant, None, app, || at(30)), Ok(()));
    }

    #[test]
    fn a_tenants_own_limit_counts_before_the_servers() {
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let (tenant, app) = (TenantId::from_u128(1), AppId::from_u128(1));
        let throttle = Throttle::new(None);
        assert!((0..10).all(|_| throttle.count(tenant, None, app, || now).is_ok()));
        assert!((0..10).any(|_| throttle.count(tenant, Some(5), app, || now).is_err()));
        assert!(throttle.count(TenantId::from_u128(2), None, app, || now).is_ok());
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let throttle = Throttle::new(Some(1));
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        for app in 0..THROTTLED_APPS_PER_TENANT_MAX as u128 * 2 {
            let _ = throttle.count(TenantId::from_u128(1), None, AppId::from_u128(app), || now);
        }
        let tenants = throttle.tenants.lock().unwrap();
        assert!(tenants.values().all(|windows| windows.len() <= THROTTLED_APPS_PER_TENANT_MAX));
    }
}
