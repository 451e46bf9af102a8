//! Bodies of the presence operations: loose JSON in, a legal [`Command`] out, so that nobody downstream checks again.
//!
//! Within one body, what cannot be read (a wrong type, text that is no duration) is told before what is missing or
//! not allowed: steps 6 and 7 of §13.3.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::{DefaultHashBuilder, HashTable};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use presence::{
    AppId, Command, Location, LocationKind, NewStatusMessage, PlaceId, PreferredLifetime, PreferredPair,
    SessionLifetime, SessionPair, StatusText, UserId,
};
use serde::Deserialize;

use crate::json::{Body, Members, Text};
use crate::{GraphError, time, words};

/// Users one getPresencesByUserId may ask for, duplicates included. Source: cloudCommunications: getPresencesByUserId.
pub const IDS_MAX: usize = 650;

/// `POST /communications/getPresencesByUserId`: the distinct users, in order of first appearance (§5).
///
/// # Errors
/// 400 for more than `ids_max` ids (see [`Profile::ids_max`](crate::Profile::ids_max)), and for one that is no GUID.
pub fn get_presences_by_user_id(body: Body<'_>, ids_max: usize) -> Result<Vec<UserId>, GraphError> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Ids<'a>(#[serde(borrow)] Vec<Text<'a>>);

    let plain = if body.is_labelled_json() { plain_ids(body.bytes, ids_max) } else { None };
    let mut users = match plain {
        Some(users) => users,
        None => {
            let members = body.members()?;
            let ids = members.get::<Ids<'_>>("ids")?.ok_or_else(|| GraphError::required("Ids"))?.0;
            if ids.len() > ids_max {
                return Err(GraphError::invalid_argument(format!(
                    "The provided [Ids] has more than {ids_max} elements."
                )));
            }
            let user = |Text(id): Text<'_>| {
                id.parse().map_err(|_| {
                    GraphError::invalid_argument("The provided [Ids] has an element that is no GUID.")
                })
            };
            ids.into_iter().map(user).collect::<Result<Vec<UserId>, _>>()?
        }
    };
    drop_repeated(&mut users);
    Ok(users)
}

/// Keeps the first of those that are the same.
fn drop_repeated(users: &mut Vec<UserId>) {
    /// Its hashes cannot be foreseen, so nobody can send ids that take long.
    static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
    let hasher = &*HASHER;
    // Places instead of ids: a table that fits into the processor's first cache.
    let mut first: HashTable<u32> = HashTable::with_capacity(users.len());
    let mut kept = 0;
    for place in 0..users.len() {
        let user = users[place];
        let hash = hasher.hash_one(user.as_u128());
        if first.find(hash, |other| users[*other as usize] == user).is_none() {
            first.insert_unique(hash, kept as u32, |other| hasher.hash_one(users[*other as usize].as_u128()));
            users[kept] = user;
            kept += 1;
        }
    }
    users.truncate(kept);
}

/// The ids of a body as nearly every client writes it: an object of `ids` alone, with GUIDs in quotes, commas, and white
/// space at most between them. `None` for anything else, be it right or wrong: it is then read as JSON, which finds the same
/// or says what is wrong, and took as long as all that is done for the users.
fn plain_ids(json: &[u8], ids_max: usize) -> Option<Vec<UserId>> {
    // An id takes its quotes and a comma.
    let mut users = Vec::with_capacity((json.len() / 39 + 1).min(ids_max));
    let mut rest = json;
    for token in [&b"{"[..], b"\"ids\"", b":", b"["] {
        rest = after_space(after_space(rest).strip_prefix(token)?);
    }
    loop {
        let (quoted, after) = rest.split_first_chunk::<38>()?;
        let [b'"', id @ .., b'"'] = quoted else { return None };
        if users.len() == ids_max {
            return None;
        }
        users.push(UserId::from_chars(id)?);
        rest = after_space(after);
        if let Some(end) = rest.strip_prefix(b"]") {
            let end = after_space(after_space(end).strip_prefix(b"}")?);
            return end.is_empty().then_some(users);
        }
        rest = after_space(rest.strip_prefix(b",")?);
    }
}

/// What follows the white space of JSON.
fn after_space(mut json: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = json {
        json = rest;
    }
    json
}

/// `POST …/presence/setPresence`. `app` is the application id of the token (§6).
///
/// # Errors
/// 400 for an unsupported pair, a lifetime out of range, and another application's session.
pub fn set_presence(body: Body<'_>, app: AppId) -> Result<Command, GraphError> {
    let members = body.members()?;
    let session_id = members.text("sessionId")?;
    let wanted = WantedPair::read(&members)?;
    check_session(session_id.as_deref(), app)?;
    let pair = wanted.pair(SessionPair::new)?;
    let lifetime = match wanted.duration {
        Some(duration) => SessionLifetime::new(duration)?,
        None => SessionLifetime::default(),
    };
    Ok(Command::SetPresence { app, pair, lifetime })
}

/// `POST …/presence/clearPresence`. `app` is the application id of the token (§7).
///
/// # Errors
/// 400 for another application's session.
pub fn clear_presence(body: Body<'_>, app: AppId) -> Result<Command, GraphError> {
    let session_id = body.members()?.text("sessionId")?;
    check_session(session_id.as_deref(), app)?;
    Ok(Command::ClearPresence { app })
}

/// `POST …/presence/setUserPreferredPresence` (§8).
///
/// # Errors
/// 400 for an unsupported pair and a lifetime out of range.
pub fn set_user_preferred_presence(body: Body<'_>) -> Result<Command, GraphError> {
    let wanted = WantedPair::read(&body.members()?)?;
    let pair = wanted.pair(PreferredPair::new)?;
    let lifetime = match wanted.duration {
        Some(duration) => PreferredLifetime::new(duration)?,
        None => pair.default_lifetime(),
    };
    Ok(Command::SetPreferredPresence { pair, lifetime })
}

/// `POST …/presence/setStatusMessage`; an empty or null message takes the present one back (§9).
///
/// # Errors
/// 400 for HTML, a text too long, an expiry that is no local time in a known zone, or one that has passed at `now`.
pub fn set_status_message(body: Body<'_>, now: Timestamp) -> Result<Command, GraphError> {
    let members = body.members()?;
    let Some(status) = members.object("statusMessage")? else {
        // An explicit null clears; a body that does not name the member at all is more likely a mistake. Assumed.
        return match members.raw("statusMessage") {
            Some(_) => Ok(Command::SetStatusMessage(None)),
            None => Err(GraphError::required("StatusMessage")),
        };
    };
    let message = status.object("message")?;
    let (content, content_type) = match &message {
        Some(message) => (message.text("content")?, message.text("contentType")?),
        None => (None, None),
    };
    let expiry = status.object("expiryDateTime")?;
    let expiry = match &expiry {
        Some(expiry) => Some((expiry.text("dateTime")?, expiry.text("timeZone")?)),
        None => None,
    };
    let is_html = match content_type.as_deref() {
        Some(html) if html.eq_ignore_ascii_case(words::HTML) => true,
        Some(text) if !text.eq_ignore_ascii_case(words::TEXT) => return Err(GraphError::unreadable_payload()),
        _ => false,
    };
    if is_html {
        return Err(GraphError::invalid_argument("The provided [ContentType] is not supported."));
    }
    let expires_at = match expiry {
        Some((date_time, time_zone)) => {
            let date_time = date_time.ok_or_else(|| GraphError::required("DateTime"))?;
            Some(time::parse_date_time_time_zone(&date_time, time_zone.as_deref())?)
        }
        None => None,
    };
    let Some(text) = StatusText::new(content.as_deref().unwrap_or_default())? else {
        return Ok(Command::SetStatusMessage(None));
    };
    let message = NewStatusMessage { text, expires_at };
    message.check(now)?;
    Ok(Command::SetStatusMessage(Some(message)))
}

/// `POST …/presence/setManualLocation`. `zone` is the user's, for the end of the day (§10).
///
/// # Errors
/// 400 for a type of location that may not be set.
pub fn set_manual_location(body: Body<'_>, zone: TimeZone) -> Result<Command, GraphError> {
    Ok(Command::SetManualLocation { location: location(&body.members()?)?, zone })
}

/// `POST …/presence/setAutomaticLocation`. `app` is the application id of the token (§10).
///
/// # Errors
/// 400 for a type of location that may not be set.
pub fn set_automatic_location(body: Body<'_>, app: AppId, zone: TimeZone) -> Result<Command, GraphError> {
    Ok(Command::SetAutomaticLocation { app, location: location(&body.members()?)?, zone })
}

/// The `workLocationType` and `placeId` of an object.
pub(crate) fn location(members: &Members<'_>) -> Result<Location, GraphError> {
    let kind = members.text("workLocationType")?;
    let place = members.text("placeId")?;
    let kind = required(kind.as_deref(), "WorkLocationType")?;
    let known = [LocationKind::Office, LocationKind::Remote, LocationKind::TimeOff];
    let Some(kind) = known.into_iter().find(|known| words::location_kind(*known).eq_ignore_ascii_case(kind))
    else {
        let is_member = [words::UNSPECIFIED, words::UNKNOWN_FUTURE_VALUE]
            .iter()
            .any(|member| member.eq_ignore_ascii_case(kind));
        // A member that may not be set is an argument; a word that is no member cannot even be read.
        return Err(if is_member {
            GraphError::invalid_argument("The provided [WorkLocationType] is not supported.")
        } else {
            GraphError::unreadable_payload()
        });
    };
    let place = PlaceId::new(place.as_deref().unwrap_or_default())?;
    Ok(Location { kind, place })
}

/// The members that setPresence and setUserPreferredPresence share, read but not judged.
struct WantedPair<'a> {
    availability: Option<std::borrow::Cow<'a, str>>,
    activity: Option<std::borrow::Cow<'a, str>>,
    duration: Option<SignedDuration>,
}

impl<'a> WantedPair<'a> {
    fn read(members: &Members<'a>) -> Result<Self, GraphError> {
        let duration = match members.text("expirationDuration")? {
            Some(text) => Some(time::parse_duration(&text).ok_or_else(GraphError::unreadable_payload)?),
            None => None,
        };
        Ok(Self {
            availability: members.text("availability")?,
            activity: members.text("activity")?,
            duration,
        })
    }

    fn pair<P>(
        &self,
        legal: impl Fn(presence::Availability, presence::Activity) -> Option<P>,
    ) -> Result<P, GraphError> {
        let availability = required(self.availability.as_deref(), "Availability")?;
        let activity = required(self.activity.as_deref(), "Activity")?;
        let pair = words::parse_availability(availability).zip(words::parse_activity(activity));
        pair.and_then(|(availability, activity)| legal(availability, activity)).ok_or_else(|| {
            GraphError::invalid_argument(
                "The provided [Availability] and [Activity] are not a supported combination.",
            )
        })
    }
}

/// Letting one application write another's session would be a hole, so the id must be the token's (§6).
fn check_session(session_id: Option<&str>, app: AppId) -> Result<(), GraphError> {
    if required(session_id, "SessionId")?.parse() == Ok(app) {
        Ok(())
    } else {
        Err(GraphError::invalid_argument("The provided [SessionId] is not the application id of the caller."))
    }
}

/// A member that must be there; the empty text counts as missing, as it does in the original's model binding.
fn required<'a>(value: Option<&'a str>, member: &str) -> Result<&'a str, GraphError> {
    value.filter(|text| !text.trim().is_empty()).ok_or_else(|| GraphError::required(member))
}

#[cfg(test)]
mod tests;
