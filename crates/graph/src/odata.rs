//! Query options: reading a query string, `$select`, what presence refuses, and `@odata.context`. Source: §3.5, §14.2.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use presence::UserId;

use crate::GraphError;
use crate::headers::MetadataLevel;
use crate::path::Root;

/// The service root of a request, such as `https://presence.example/v1.0`: what every context starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoot(Box<str>);

impl ServiceRoot {
    /// The service root below a base URL such as `https://presence.example`.
    pub fn new(base_url: &str, root: Root) -> Self {
        Self([base_url.trim_end_matches('/'), root.as_str()].join("/").into())
    }

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A query string, taken apart and decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a raw query string, without its question mark.
    ///
    /// # Errors
    /// 400 for text that is not UTF-8.
    pub fn parse(raw: &'a str) -> Result<Self, GraphError> {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The value of a system option such as `$select`, by its name in any case.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options().find(|(option, _)| option.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The system options, those whose name starts with `$`, in order. All other parameters mean nothing here.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(name, _)| name.starts_with('$')).map(|(name, value)| (&**name, &**value))
    }

    /// Every parameter, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Refuses every system option but these, and a `$format` other than JSON.
    ///
    /// # Errors
    /// 400 that names the option.
    pub fn allow_only(&self, allowed: &[&str]) -> Result<(), GraphError> {
        for (name, _) in self.options() {
            let is_allowed =
                allowed.iter().chain(&["$format"]).any(|allowed| allowed.eq_ignore_ascii_case(name));
            if !is_allowed {
                return Err(GraphError::bad_request(format!("The query option '{name}' is not supported.")));
            }
        }
        match self.option("$format") {
            Some(format) if !is_json_format(format) => {
                Err(GraphError::bad_request(format!("The format '{format}' is not supported.")))
            }
            _ => Ok(()),
        }
    }

    /// The metadata level the request asks for: `$format` goes before the `Accept` header, as OData has it.
    pub fn metadata_level(&self, accept: Option<&str>) -> MetadataLevel {
        match self.option("$format") {
            Some(format) if format.contains('/') => MetadataLevel::from_accept(Some(format)),
            _ => MetadataLevel::from_accept(accept),
        }
    }
}

fn is_json_format(format: &str) -> bool {
    format.eq_ignore_ascii_case("json") || crate::json::is_json(format)
}

fn decode(raw: &str) -> Result<Cow<'_, str>, GraphError> {
    let spaced: Cow<'_, str> = if raw.contains('+') { raw.replace('+', " ").into() } else { raw.into() };
    let decoded = match spaced {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8(),
        Cow::Owned(text) => percent_decode_str(&text).decode_utf8().map(|text| text.into_owned().into()),
    };
    decoded.map_err(|_| GraphError::bad_request("The request URL is not valid UTF-8."))
}

/// A property of the presence resource, in the order in which responses have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceProperty {
    /// `id`.
    Id,
    /// `availability`.
    Availability,
    /// `activity`.
    Activity,
    /// `outOfOfficeSettings`.
    OutOfOfficeSettings,
    /// `sequenceNumber`.
    SequenceNumber,
    /// `statusMessage`.
    StatusMessage,
    /// `workLocation`.
    WorkLocation,
}

impl PresenceProperty {
    /// Every property.
    pub const ALL: [Self; 7] = [
        Self::Id,
        Self::Availability,
        Self::Activity,
        Self::OutOfOfficeSettings,
        Self::SequenceNumber,
        Self::StatusMessage,
        Self::WorkLocation,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Availability => "availability",
            Self::Activity => "activity",
            Self::OutOfOfficeSettings => "outOfOfficeSettings",
            Self::SequenceNumber => "sequenceNumber",
            Self::StatusMessage => "statusMessage",
            Self::WorkLocation => "workLocation",
        }
    }
}

/// Which properties of a presence a response has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceSelect(Option<Vec<PresenceProperty>>);

impl PresenceSelect {
    /// Every property.
    pub const ALL: Self = Self(None);

    /// Whether the response has this property.
    pub fn contains(&self, property: PresenceProperty) -> bool {
        self.0.as_ref().is_none_or(|selected| selected.contains(&property))
    }

    /// The selected properties in the order of the request, or `None` for all.
    pub fn properties(&self) -> Option<&[PresenceProperty]> {
        self.0.as_deref()
    }

    fn parse(text: &str) -> Result<Self, GraphError> {
        let mut selected = Vec::new();
        for name in select_names(text) {
            if name == "*" {
                return Ok(Self::ALL);
            }
            let property = PresenceProperty::ALL
                .into_iter()
                .find(|property| property.as_str().eq_ignore_ascii_case(name));
            let property = property.ok_or_else(|| GraphError::no_such_presence_property(name))?;
            if !selected.contains(&property) {
                selected.push(property);
            }
        }
        Ok(Self((!selected.is_empty()).then_some(selected)))
    }
}

/// The names of a `$select`, trimmed, without empty ones.
pub(crate) fn select_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Reads the query of any operation on presence: `$select` is honoured on reads, everything else that starts with `$`
/// is refused, since presence has nothing to expand, filter or page (§14.2).
///
/// # Errors
/// 400 for an option that is not supported and for a property that does not exist.
pub fn presence_select(query: &Query<'_>) -> Result<PresenceSelect, GraphError> {
    query.allow_only(&["$select"])?;
    query.option("$select").map_or(Ok(PresenceSelect::ALL), PresenceSelect::parse)
}

/// What a response's `@odata.context` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `GET /me/presence` and `GET /users/{id}/presence`: the same, with the object id.
    UserPresence(UserId),
    /// `GET /communications/presences/{id}`.
    CommunicationsPresence,
    /// getPresencesByUserId.
    Presences,
    /// `GET /me` and `GET /users/{id}`.
    User,
    /// `GET /users`.
    Users,
}

/// Appends the URL of a context, with the selected names if there are any (§3.5, identity D.1).
pub fn write_context<'n>(
    out: &mut Vec<u8>,
    service: &ServiceRoot,
    context: Context,
    selected: Option<impl Iterator<Item = &'n str>>,
) {
    out.extend_from_slice(service.as_str().as_bytes());
    out.extend_from_slice(b"/$metadata#");
    let (path, end) = match context {
        Context::UserPresence(user) => {
            out.extend_from_slice(b"users('");
            out.extend_from_slice(user.as_uuid().as_hyphenated().encode_lower(&mut [0; 36]).as_bytes());
            ("')/presence", "/$entity")
        }
        Context::CommunicationsPresence => ("communications/presences", "/$entity"),
        Context::Presences => ("Collection(microsoft.graph.presence)", ""),
        Context::User => ("users", "/$entity"),
        Context::Users => ("users", ""),
    };
    out.extend_from_slice(path.as_bytes());
    if let Some(selected) = selected {
        for (position, name) in selected.enumerate() {
            out.push(if position == 0 { b'(' } else { b',' });
            out.extend_from_slice(name.as_bytes());
        }
        out.push(b')');
    }
    out.extend_from_slice(end.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(raw: &str) -> Result<PresenceSelect, GraphError> {
        presence_select(&Query::parse(raw).unwrap())
    }

    #[track_caller]
    fn refused(raw: &str) -> GraphError {
        let error = select(raw).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "BadRequest"), "{raw}");
        error
    }

    #[test]
    fn select_is_a_comma_list_and_its_name_may_be_encoded() {
        use PresenceProperty::{Activity, Availability};
        for raw in [
            "$select=availability,activity",
            "%24select=availability%2Cactivity",
            "$select=availability,%20activity",
            "$SELECT=Availability,ACTIVITY,availability",
            "$select=availability,+activity,",
        ] {
            assert_eq!(select(raw).unwrap().properties(), Some(&[Availability, Activity][..]), "{raw}");
        }
        for raw in ["", "$select=*", "$select=id,*", "$select=", "other=1", "select=id"] {
            assert_eq!(select(raw).unwrap(), PresenceSelect::ALL, "{raw}");
        }
    }

    #[test]
    fn select_of_an_unknown_property_names_it() {
        assert_eq!(
            refused("$select=id,xyz").message,
            "Could not find a property named 'xyz' on type 'microsoft.graph.presence'."
        );
    }

    #[test]
    fn expand_and_every_other_system_option_are_refused() {
        for option in ["expand", "filter", "top", "skip", "orderby", "search", "count", "skiptoken", "xyz"] {
            refused(&format!("${option}=x"));
            refused(&format!("%24{option}=x"));
        }
    }

    #[test]
    fn other_parameters_are_ignored() {
        assert_eq!(select("api-version=1&x&=y&&z=%24filter"), Ok(PresenceSelect::ALL));
    }

    #[test]
    fn format_may_be_json_only() {
        for raw in ["$format=json", "$format=JSON", "$format=application/json;odata.metadata=none"] {
            assert!(select(raw).is_ok(), "{raw}");
        }
        refused("$format=xml");
        let query = Query::parse("$format=application/json;odata.metadata=none").unwrap();
        assert_eq!(query.metadata_level(Some("application/json;odata.metadata=full")), MetadataLevel::None);
        let query = Query::parse("$format=json").unwrap();
        assert_eq!(query.metadata_level(Some("application/json;odata.metadata=full")), MetadataLevel::Full);
    }

    #[test]
    fn a_query_that_is_not_utf8_is_400() {
        assert_eq!(Query::parse("$select=%FF").unwrap_err().status, 400);
        assert_eq!(Query::parse("%FF+=1").unwrap_err().status, 400);
    }

    #[test]
    fn contexts_are_those_of_the_reference() {
        let service = ServiceRoot::new("https://presence.example/", Root::V1);
        let id: UserId = "3C1F0D0E-5b7a-4a53-9a0e-6a1f2b3c4d5e".parse().unwrap();
        let context = |context, selected: Option<&[&str]>| {
            let mut out = Vec::new();
            write_context(&mut out, &service, context, selected.map(|names| names.iter().copied()));
            String::from_utf8(out).unwrap().replace("https://presence.example/v1.0/$metadata#", "")
        };
        let user = Context::UserPresence(id);
        assert_eq!(context(user, None), "users('3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e')/presence/$entity");
        assert_eq!(
            context(user, Some(&["availability", "activity"])),
            "users('3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e')/presence(availability,activity)/$entity"
        );
        assert_eq!(context(Context::CommunicationsPresence, None), "communications/presences/$entity");
        assert_eq!(context(Context::Presences, None), "Collection(microsoft.graph.presence)");
        assert_eq!(context(Context::User, None), "users/$entity");
        assert_eq!(context(Context::User, Some(&["id", "displayName"])), "users(id,displayName)/$entity");
        assert_eq!(context(Context::Users, None), "users");
        assert_eq!(
            ServiceRoot::new("http://localhost:8080", Root::Beta).as_str(),
            "http://localhost:8080/beta"
        );
    }

    proptest! {
        #[test]
        fn no_query_panics(raw in ".{0,80}", likely in "[$%&=+,*a-f0-9]{0,40}") {
            for raw in [raw, likely] {
                if let Ok(query) = Query::parse(&raw) {
                    let _ = presence_select(&query);
                }
            }
        }
    }
}
