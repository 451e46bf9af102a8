//! Header names and values of the contract, and what the `Accept` header asks for. Source: §14.

/// `request-id`: a new GUID for each request.
pub const REQUEST_ID: &str = "request-id";
/// `client-request-id`: the caller's, or else the request-id.
pub const CLIENT_REQUEST_ID: &str = "client-request-id";
/// `x-ms-ags-diagnostic`: which server answered, as JSON text. See [`diagnostic`].
pub const DIAGNOSTIC: &str = "x-ms-ags-diagnostic";
/// `OData-Version`: on every OData body.
pub const ODATA_VERSION: (&str, &str) = ("odata-version", "4.0");
/// `Cache-Control`: on every response.
pub const CACHE_CONTROL: (&str, &str) = ("cache-control", "no-cache");
/// `Strict-Transport-Security`: only over TLS.
pub const STRICT_TRANSPORT_SECURITY: (&str, &str) = ("strict-transport-security", "max-age=31536000");
/// `Presenced-Outcome`: ours, on every presence write; see [`crate::explanation::outcome_header`].
pub const OUTCOME: &str = "presenced-outcome";
/// `ConsistencyLevel`: the request header that advanced directory queries need, with the value `eventual`.
pub const CONSISTENCY_LEVEL: &str = "consistencylevel";
/// `Content-Type` of an error: without OData parameters.
pub const CONTENT_TYPE_ERROR: &str = "application/json";
/// `Content-Type` of a batch response. A batch is no OData body.
pub const CONTENT_TYPE_BATCH: &str = "application/json";
/// `Content-Type` of `$metadata`.
pub const CONTENT_TYPE_METADATA: &str = "application/xml";

/// The value of [`DIAGNOSTIC`] for a server of this name; nobody should parse it, so it is short and honest.
pub fn diagnostic(instance: &str) -> String {
    let mut out = br#"{"ServerInfo":{"DataCenter":"self-hosted","Slice":"0","Ring":"0","ScaleUnit":"000","RoleInstance":"#
        .to_vec();
    crate::json::string(&mut out, instance);
    out.extend_from_slice(b"}}");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Whether a `ConsistencyLevel` header asks for eventual consistency.
pub fn is_eventual(consistency_level: Option<&str>) -> bool {
    consistency_level.is_some_and(|level| level.trim().eq_ignore_ascii_case("eventual"))
}

/// How much OData control information a response carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataLevel {
    /// None at all, not even `@odata.context`.
    None,
    /// `@odata.context` only.
    #[default]
    Minimal,
    /// Types, ids and edit links too.
    Full,
}

impl MetadataLevel {
    /// What the `Accept` header asks for. Whatever it says, JSON is what it gets: a header that excludes JSON, or that
    /// cannot be read, counts as minimal (§13.2, row 406).
    pub fn from_accept(accept: Option<&str>) -> Self {
        // What most clients send needs no taking apart.
        if matches!(accept, None | Some("application/json" | "*/*")) {
            return Self::Minimal;
        }
        let mut best = (0.0, Self::Minimal);
        for range in accept.unwrap_or_default().split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let essence = parameters.next().unwrap_or_default();
            if !["application/json", "application/*", "*/*"]
                .iter()
                .any(|json| json.eq_ignore_ascii_case(essence))
            {
                continue;
            }
            let (mut quality, mut level) = (1.0_f32, Self::Minimal);
            for (name, value) in parameters.filter_map(|parameter| parameter.split_once('=')) {
                let (name, value) = (name.trim(), value.trim().trim_matches('"'));
                if name.eq_ignore_ascii_case("q") {
                    quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0);
                } else if name.eq_ignore_ascii_case("odata.metadata") || name.eq_ignore_ascii_case("metadata")
                {
                    level = Self::parse(value);
                }
            }
            if quality > best.0 {
                best = (quality, level);
            }
        }
        best.1
    }

    /// `Content-Type` of an OData body of this level.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::None => {
                "application/json;odata.metadata=none;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
            }
            Self::Minimal => {
                "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
            }
            Self::Full => {
                "application/json;odata.metadata=full;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
            }
        }
    }

    fn parse(value: &str) -> Self {
        if value.eq_ignore_ascii_case("none") {
            Self::None
        } else if value.eq_ignore_ascii_case("full") {
            Self::Full
        } else {
            Self::Minimal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_names_the_metadata_level_and_everything_else_is_minimal() {
        use MetadataLevel::{Full, Minimal, None as Nothing};
        for (accept, level) in [
            (None, Minimal),
            (Some("*/*"), Minimal),
            (Some("application/json"), Minimal),
            (Some("application/json;odata.metadata=minimal"), Minimal),
            (Some("application/json; odata.metadata=none"), Nothing),
            (Some("application/json;odata.metadata=\"full\";IEEE754Compatible=true"), Full),
            (Some("APPLICATION/JSON;OData.Metadata=NONE"), Nothing),
            (Some("application/json;metadata=none"), Nothing),
            (Some("text/plain;q=0.9"), Minimal),
            (Some("text/html, application/json;odata.metadata=none;q=0.5, */*;q=0.1"), Nothing),
            (
                Some(
                    "application/json;odata.metadata=none;q=0.2, application/json;odata.metadata=full;q=0.8",
                ),
                Full,
            ),
            (Some("application/json;odata.metadata=none;q=0"), Minimal),
            (Some("application/json;odata.metadata=some;q=x"), Minimal),
            (Some(",;=,"), Minimal),
        ] {
            assert_eq!(MetadataLevel::from_accept(accept), level, "{accept:?}");
        }
    }

    #[test]
    fn content_type_echoes_the_level() {
        assert_eq!(
            MetadataLevel::Minimal.content_type(),
            "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
        );
        assert!(MetadataLevel::None.content_type().contains("odata.metadata=none;"));
        assert!(MetadataLevel::Full.content_type().contains("odata.metadata=full;"));
    }

    #[test]
    fn the_diagnostic_header_is_one_server_info_object() {
        let value: serde_json::Value = serde_json::from_str(&diagnostic("a\"b")).unwrap();
        assert_eq!(value["ServerInfo"]["RoleInstance"], "a\"b");
        for member in ["DataCenter", "Slice", "Ring", "ScaleUnit"] {
            assert!(value["ServerInfo"][member].is_string(), "{member}");
        }
    }

    #[test]
    fn only_eventual_is_eventual() {
        assert!(is_eventual(Some(" Eventual ")));
        assert!(!is_eventual(Some("session")));
        assert!(!is_eventual(None));
    }
}
