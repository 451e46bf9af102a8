//! `[subscriptions]`: quotas and lives that the profile `extended` leaves to the operator.

use graph::Profile;
use jiff::SignedDuration;
use serde::Deserialize;
use server::SubscriptionRules;

/// The most subscriptions an application may be given.
const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// The longest life a subscription may be given, in minutes: 30 days.
const LIFETIME_MINUTES_MAX: u32 = 30 * 24 * 60;

/// `[subscriptions]`: what the profile `extended` leaves to the operator. Under `graph` it is as documented, and this
/// section is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscriptions {
    /// Subscriptions of one application on behalf of one user.
    pub(crate) per_user_and_application: Option<usize>,
    /// Subscriptions of one application in one tenant.
    pub(crate) per_application: Option<usize>,
    /// The shortest life in minutes: who asks for less gets this.
    pub(crate) lifetime_minutes_min: Option<u32>,
    /// The longest life in minutes: who asks for more is refused.
    pub(crate) lifetime_minutes_max: Option<u32>,
}

impl Subscriptions {
    /// What the profile says, changed as this section does.
    pub(crate) fn rules(&self, profile: Profile) -> SubscriptionRules {
        let mut rules = SubscriptionRules::of(profile);
        let set = |rule: &mut usize, asked: Option<usize>| *rule = asked.unwrap_or(*rule);
        set(&mut rules.quota.per_user_and_app, self.per_user_and_application);
        set(&mut rules.quota.per_app_and_tenant, self.per_application);
        let minutes = |asked: Option<u32>, otherwise| {
            asked.map_or(otherwise, |minutes| SignedDuration::from_mins(i64::from(minutes)))
        };
        rules.wire.lifetime_min = minutes(self.lifetime_minutes_min, rules.wire.lifetime_min);
        rules.wire.lifetime_max = minutes(self.lifetime_minutes_max, rules.wire.lifetime_max);
        rules
    }

    pub(super) fn check(&self, profile: Profile, problems: &mut Vec<String>) {
        if profile == Profile::Graph && *self != Self::default() {
            problems.push(
                "[subscriptions] needs `profile = \"extended\"`: under `graph` they are as documented".into(),
            );
            return;
        }
        let quotas = [
            ("per_user_and_application", self.per_user_and_application),
            ("per_application", self.per_application),
        ];
        for (key, asked) in quotas {
            if asked.is_some_and(|asked| !(1..=SUBSCRIPTIONS_MAX).contains(&asked)) {
                problems.push(format!("[subscriptions] {key}: give 1 to {SUBSCRIPTIONS_MAX}"));
            }
        }
        let lifetimes = [
            ("lifetime_minutes_min", self.lifetime_minutes_min),
            ("lifetime_minutes_max", self.lifetime_minutes_max),
        ];
        for (key, asked) in lifetimes {
            if asked.is_some_and(|asked| !(1..=LIFETIME_MINUTES_MAX).contains(&asked)) {
                problems.push(format!("[subscriptions] {key}: give 1 to {LIFETIME_MINUTES_MAX} minutes"));
            }
        }
        let rules = self.rules(profile).wire;
        if rules.lifetime_min > rules.lifetime_max {
            problems.push("[subscriptions] lifetime_minutes_min is above lifetime_minutes_max".into());
        }
    }
}
