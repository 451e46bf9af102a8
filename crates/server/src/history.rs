//! The past of a user, for those who may see it: `GET users/{id}/presence/history`, and what an explanation of an instant
//! that has passed is made from.
//!
//! A day of somebody's presence says more about them than a glance at it. So a user sees their own, an application that
//! may read everybody's presence by itself sees everybody's, and whoever reads on a user's behalf sees others' only where
//! the operator says so.

use engine::Past;
use graph::history::{History, Names, Write};
use graph::odata::Query;
use graph::{Grant, GraphError};
use jiff::SignedDuration;
use presence::{AppId, Timestamp, UserId, UserPresence, stretches};
use store::Action;

use crate::api::Visitor;
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::Reply;

/// How far back a history reaches when nobody says.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);
/// Most stretches of one answer.
const STRETCHES_MAX: usize = 10_000;

/// Who sees whose past, where a history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryReaders {
    /// Users their own, and applications that may read everybody's presence by themselves.
    #[default]
    Owner,
    /// Whoever may read the presence.
    Readers,
}

impl App {
    /// Answers with what is known of a user's past.
    pub(crate) async fn history(
        &self,
        visitor: Visitor,
        user: UserId,
        query: Option<&str>,
    ) -> Result<Reply, Refusal> {
        self.check_history_reader(visitor, user)?;
        let now = self.engine.clock().now();
        let asked = Asked::parse(query, now)?;
        let key = visitor.key(user);
        let past = match asked {
            Asked::Instant(at) => self.engine.past(key, at, at).await?,
            Asked::Period { from, to } => self.engine.past(key, from, to).await?,
        };
        let past = past.ok_or_else(not_kept)?;
        let body = match asked {
            Asked::Instant(at) => {
                let record = past.record_at(at).ok_or_else(|| not_known(&past))?;
                graph::history::instant_to_json(user, at, record.at(at).pair)
            }
            Asked::Period { from, to } => self.tell(visitor, user, &past, from, to),
        };
        Ok(Reply::content("application/json", body))
    }

    fn tell(&self, visitor: Visitor, user: UserId, past: &Past, from: Timestamp, to: Timestamp) -> Vec<u8> {
        let records = past.records();
        let (shown, is_cut) = stretches(&records, from, to, STRETCHES_MAX);
        let known_from = shown.first().map(|stretch| stretch.from);
        let writes: Vec<Write> = past
            .entries
            .iter()
            .filter(|entry| entry.at() >= known_from.unwrap_or(from).max(from) && entry.at() <= to)
            .map(|entry| Write {
                at: entry.at(),
                action: action(entry.action),
                app: entry.author.app,
                by: entry.author.user,
                pair: entry.presence.at(entry.at()).pair,
            })
            .collect();
        let directory = self.directory();
        let tenant = directory.tenant(visitor.tenant);
        let app_name = |app: AppId| {
            let application = tenant?.applications.get(&app)?;
            Some(application.display_name.clone()).filter(|name| !name.is_empty())
        };
        let user_name = |user: UserId| {
            let user = tenant?.user(user)?;
            user.display_name.clone().or_else(|| Some(user.user_principal_name.clone()))
        };
        graph::history::to_json(
            &History {
                user,
                from,
                to,
                known_from,
                is_partial: past.is_partial || is_cut,
                shown: &shown,
                writes: &writes,
            },
            &Names { app: &app_name, user: &user_name },
        )
    }

    /// The record of a user as it was at an instant that has passed, for whoever may see it.
    pub(crate) async fn record_of_the_past(
        &self,
        visitor: Visitor,
        user: UserId,
        at: Timestamp,
    ) -> Result<Option<UserPresence>, Refusal> {
        if !self.engine.keeps_history() || self.check_history_reader(visitor, user).is_err() {
            return Ok(None);
        }
        let past = self.engine.past(visitor.key(user), at, at).await?;
        Ok(past.and_then(|past| past.record_at(at).cloned()))
    }

    /// Whoever calls may read the presence already. May they read the past, too?
    fn check_history_reader(&self, visitor: Visitor, user: UserId) -> Result<(), GraphError> {
        let is_allowed = match visitor.grant {
            Grant::Application { .. } => true,
            Grant::Delegated { user: reader, .. } => {
                reader == user || self.history_readers == HistoryReaders::Readers
            }
        };
        if is_allowed { Ok(()) } else { Err(GraphError::insufficient_privileges()) }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Instant(Timestamp),
    Period { from: Timestamp, to: Timestamp },
}

impl Asked {
    fn parse(query: Option<&str>, now: Timestamp) -> Result<Self, GraphError> {
        let (mut at, mut from, mut to) = (None, None, None);
        for (name, value) in Query::parse(query.unwrap_or_default())?.pairs() {
            let asked = match name {
                "at" => &mut at,
                "from" => &mut from,
                "to" => &mut to,
                _ => {
                    return Err(GraphError::invalid_argument(format!(
                        "The query parameter '{name}' is not known here."
                    )));
                }
            };
            *asked = Some(crate::own::instant(value)?);
        }
        if let Some(at) = at {
            if from.is_some() || to.is_some() {
                return Err(GraphError::invalid_argument("Give either at, or from and to."));
            }
            if at > now {
                return Err(GraphError::invalid_argument("A history ends now; at is later."));
            }
            return Ok(Self::Instant(at));
        }
        let to = to.unwrap_or(now).min(now);
        let from = from.unwrap_or_else(|| to.saturating_sub(PERIOD).unwrap_or(Timestamp::MIN));
        if from > to {
            return Err(GraphError::invalid_argument("The period ends before it begins."));
        }
        Ok(Self::Period { from, to })
    }
}

fn not_kept() -> GraphError {
    GraphError::not_found("No history is kept on this server.")
}

fn not_known(past: &Past) -> GraphError {
    let first = past.records().first().map(|record| record.settled_at);
    GraphError::not_found(match first.filter(|first| *first > Timestamp::MIN) {
        Some(first) => {
            format!("Of this user nothing is known before {}.", graph::time::format_timestamp(first))
        }
        None => "Of this user nothing is known.".to_owned(),
    })
}

/// Graph's word for what was done, where it has one.
const fn action(action: Action) -> &'static str {
    match action {
        Action::SetPresence => "setPresence",
        Action::ClearPresence => "clearPresence",
        Action::SetPreferredPresence => "setUserPreferredPresence",
        Action::ClearPreferredPresence => "clearUserPreferredPresence",
        Action::SetStatusMessage => "setStatusMessage",
        Action::SetManualLocation => "setManualLocation",
        Action::SetAutomaticLocation => "setAutomaticLocation",
        Action::ClearLocation => "clearLocation",
        Action::ClearAutomaticLocation => "clearAutomaticLocation",
        Action::SetSchedule => "setScheduledLocations",
        Action::SetOutOfOffice => "setOutOfOffice",
    }
}
