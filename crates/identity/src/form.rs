//! The fields of a request: of a form in its body, or of its query.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::aadsts::Refusal;

/// The longest body that is looked at. A client assertion with its certificate chain is some 8 KiB.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a form's body is.
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Fields by name. Unknown ones are ignored (`client_info`, `claims`, …); one of ours given twice is refused, so that no
/// two readers can see different requests. Not `Debug`: there are secrets among them.
pub(crate) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Those of a body.
    pub(crate) fn of_body(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Refusal> {
        // A body of another kind has no fields as far as Entra can see, and that is what it says.
        match media_type(headers) {
            Some(media) if media.eq_ignore_ascii_case(MEDIA_TYPE) => Self::parse(body),
            _ => Err(Refusal::MissingParameter("grant_type")),
        }
    }

    /// Those of a body that may also be of no kind: MSAL for Java asks for a device code without naming one.
    pub(crate) fn of_untyped_body(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Refusal> {
        match media_type(headers) {
            None => Self::parse(body),
            Some(_) => Self::of_body(headers, body),
        }
    }

    fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Refusal::BodyTooLong);
        }
        Ok(Self(form_urlencoded::parse(body).collect()))
    }

    /// Those of a query.
    pub(crate) fn of_query(query: &'a str) -> Result<Self, Refusal> {
        Self::parse(query.as_bytes())
    }

    /// The field's value; an empty one counts as absent.
    pub(crate) fn get(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refusal::RepeatedParameter(name)),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name)?.ok_or(Refusal::MissingParameter(name))
    }
}

/// The type of a body, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let media = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("unreadable");
    media.split(';').next().map(str::trim).filter(|media| !media.is_empty())
}
