//! Bodies of our own `PUT /_presenced/v1/users/{id}/outOfOffice` and `…/scheduledLocations`: what a mailbox and a
//! calendar know, in the shapes that Graph itself uses for them. Graph's presence API has no such writes (§10, §11.4).

use presence::{OutOfOffice, Schedule, ScheduledLocation, Timestamp};

use crate::json::{Body, Members};
use crate::presence_request::location;
use crate::{GraphError, time};

/// Reads an out-of-office window: `{"message"?, "startDateTime"?, "endDateTime"?}`, the two ends as dateTimeTimeZone.
/// No start is since ever, no end is until further notice.
///
/// # Errors
/// 400 for what cannot be read, a window that ends before it starts, and a text too long.
pub fn out_of_office(bytes: &[u8]) -> Result<OutOfOffice, GraphError> {
    let members = Body::json(bytes).members()?;
    let message = members.text("message")?;
    let starts_at = date_time(&members, "startDateTime")?;
    let ends_at = date_time(&members, "endDateTime")?;
    Ok(OutOfOffice::new(message.as_deref(), starts_at, ends_at)?)
}

/// Reads the segments of a schedule:
/// `{"value": [{"workLocationType", "placeId"?, "startDateTime", "endDateTime"}]}`.
///
/// # Errors
/// 400 for what cannot be read, a segment that ends before it starts, and too many of them.
pub fn schedule(bytes: &[u8]) -> Result<Schedule, GraphError> {
    let segments = Body::json(bytes).members()?.get::<Vec<Members<'_>>>("value")?;
    let segments = segments.ok_or_else(|| GraphError::required("Value"))?;
    let segment = |members: &Members<'_>| {
        let starts_at = date_time(members, "startDateTime")?;
        let ends_at = date_time(members, "endDateTime")?;
        Ok(ScheduledLocation {
            location: location(members)?,
            starts_at: starts_at.ok_or_else(|| GraphError::required("StartDateTime"))?,
            ends_at: ends_at.ok_or_else(|| GraphError::required("EndDateTime"))?,
        })
    };
    Ok(Schedule::new(segments.iter().map(segment).collect::<Result<_, GraphError>>()?)?)
}

fn date_time(members: &Members<'_>, name: &str) -> Result<Option<Timestamp>, GraphError> {
    let Some(value) = members.object(name)? else { return Ok(None) };
    let date_time = value.text("dateTime")?.ok_or_else(|| GraphError::required("DateTime"))?;
    time::parse_date_time_time_zone(&date_time, value.text("timeZone")?.as_deref()).map(Some)
}

#[cfg(test)]
mod tests {
    use presence::LocationKind;

    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_out_of_office_window_may_be_open_at_either_end() {
        let window = out_of_office(
            br#"{"message":"Back in May","startDateTime":{"dateTime":"2026-04-01T00:00:00","timeZone":"Europe/Berlin"},
                "endDateTime":{"dateTime":"2026-05-01T00:00:00"}}"#,
        )
        .unwrap();
        assert_eq!(window.message(), Some("Back in May"));
        assert_eq!(window.starts_at(), Some(instant("2026-03-31T22:00:00Z")));
        assert_eq!(window.ends_at(), Some(instant("2026-05-01T00:00:00Z")));
        let open = out_of_office(b"{}").unwrap();
        assert_eq!((open.message(), open.starts_at(), open.ends_at()), (None, None, None));
    }

    #[test]
    fn a_schedule_is_a_list_of_segments() {
        let schedule = schedule(
            br#"{"value":[{"workLocationType":"office","placeId":"hq","startDateTime":{"dateTime":"2026-03-02T08:00"},
                "endDateTime":{"dateTime":"2026-03-02T12:00"}},{"workLocationType":"remote",
                "startDateTime":{"dateTime":"2026-03-02T12:00"},"endDateTime":{"dateTime":"2026-03-02T17:00"}}]}"#,
        )
        .unwrap();
        let kinds: Vec<_> = schedule.segments().iter().map(|segment| segment.location.kind).collect();
        assert_eq!(kinds, [LocationKind::Office, LocationKind::Remote]);
        assert_eq!(schedule.segments()[0].location.place.as_ref().unwrap().as_str(), "hq");
        assert_eq!(schedule.segments()[1].ends_at, instant("2026-03-02T17:00:00Z"));
    }

    #[test]
    fn windows_and_segments_that_make_no_sense_are_refused() {
        let at = |time: &str| format!(r#"{{"dateTime":"2026-03-02T{time}"}}"#);
        let backwards = format!(r#"{{"startDateTime":{},"endDateTime":{}}}"#, at("12:00"), at("11:00"));
        assert_eq!(out_of_office(backwards.as_bytes()).unwrap_err().code.as_str(), "InvalidArgument");
        let starts = format!(r#""workLocationType":"office","startDateTime":{}"#, at("12:00"));
        for (segment, missing) in [
            ("{}", "WorkLocationType"),
            (r#"{"workLocationType":"office"}"#, "StartDateTime"),
            (&format!("{{{starts}}}"), "EndDateTime"),
        ] {
            let error = schedule(format!(r#"{{"value":[{segment}]}}"#).as_bytes()).unwrap_err();
            assert_eq!(error, GraphError::required(missing), "{segment}");
        }
        assert_eq!(schedule(b"{}").unwrap_err(), GraphError::required("Value"));
        assert_eq!(schedule(br#"{"value":1}"#).unwrap_err(), GraphError::unreadable_payload());
    }
}
