//! From a raw path to a [`Route`], folding every spelling of a URL that clients use into one. Source: §2, §14.2.
//!
//! Resolving a path comes before the token is looked at, the verb after it (§13.3); hence [`Route::parse`] knows no
//! method, and [`Route::operation`] is asked later.

use std::borrow::Cow;
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use presence::UserId;

use crate::operations::{Access, Method, NO_OPERATION_PATHS, OPERATIONS, Operation, Row};
use crate::permission::Grant;
use crate::{GraphError, user};

/// The key that SDKs write for "me" when the piece that rewrites it is missing (§18).
const ME_TOKEN: &str = "me-token-to-replace";
/// Collections whose members may be named `users('key')` as well as `users/key`.
const KEYED: [&str; 3] = ["users", "presences", "subscriptions"];
/// What an action's qualified name starts with; CSDL gives the namespace and its alias (§2, §17).
const NAMESPACES: [&str; 2] = ["microsoft.graph.", "graph."];

/// A version root. Both have the same operations; only contexts differ (§1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// `/v1.0`.
    V1,
    /// `/beta`.
    Beta,
}

impl Root {
    /// The path segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1.0",
            Self::Beta => "beta",
        }
    }
}

/// A user as a URL names one: an object id, or a user principal name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key as the caller gave it, decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object id, if the key is a GUID.
    pub fn id(&self) -> Option<UserId> {
        self.0.parse().ok()
    }
}

/// By which of its addresses a user or a presence is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `/me`: the signed-in user.
    Me,
    /// `/users/{key}`.
    User(Key),
    /// `/communications/presences/{key}`.
    Communications(Key),
}

/// A path that exists, with what is variable in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The version root.
    pub root: Root,
    /// The template that matched.
    pub template: &'static str,
    /// The user meant; `None` where the path names none.
    pub address: Option<Address>,
    /// The size of a photo in pixels of a side; `None` where the path names none.
    pub photo_size: Option<u16>,
    /// The subscription meant; `None` where the path names none.
    pub subscription: Option<Box<str>>,
    /// The operations that have the template.
    rows: &'static [&'static Row],
}

impl Route {
    /// Resolves a raw path, without its query.
    ///
    /// # Errors
    /// 400 for a version or a segment that does not exist, and for text that is not UTF-8.
    pub fn parse(path: &str) -> Result<Self, GraphError> {
        let (root, rest) = split_root(path)?;
        let segments = segments(rest)?;
        let as_long = TEMPLATES.iter().filter(|template| template.pieces.len() == segments.len());
        for template in as_long {
            if let Match::Whole(captures) = match_template(&template.pieces, &segments) {
                return Ok(Self {
                    root,
                    template: template.whole,
                    address: captures.address(template.whole),
                    photo_size: captures.size,
                    subscription: captures.subscription.map(Into::into),
                    rows: &template.rows,
                });
            }
        }
        let matched = TEMPLATES.iter().map(|template| match match_template(&template.pieces, &segments) {
            Match::Whole(_) => segments.len(),
            Match::Prefix(matched) => matched,
        });
        // The first segment nothing goes on with; or the last, when a path stops half-way.
        let culprit = segments.get(matched.max().unwrap_or_default()).or(segments.last());
        Err(GraphError::segment_not_found(culprit.map_or(root.as_str(), |segment| segment)))
    }

    /// Whether somebody must be known to go on: everywhere, but where all there is is open to anyone.
    pub fn needs_token(&self) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| !matches!(row.access, Access::Anyone))
    }

    /// The operation this verb names here. HEAD is a GET whose body is not sent.
    ///
    /// # Errors
    /// 405 with the methods that are allowed.
    pub fn operation(&self, method: Method) -> Result<Operation, GraphError> {
        let wanted = if method == Method::Head { Method::Get } else { method };
        match self.rows.iter().find(|row| row.method == wanted) {
            Some(row) => Ok(row.operation),
            None => Err(GraphError::method_not_allowed(
                self.rows
                    .iter()
                    .flat_map(|row| match row.method {
                        Method::Get => vec![Method::Get, Method::Head],
                        other => vec![other],
                    })
                    .collect(),
            )),
        }
    }

    /// Step 5 of §13.3: `/me` is somebody only for a delegated caller.
    ///
    /// # Errors
    /// 400 for an application token on `/me`.
    pub fn check_me(&self, grant: &Grant) -> Result<(), GraphError> {
        match (&self.address, grant) {
            (Some(Address::Me), Grant::Application { .. }) => Err(GraphError::me_needs_delegated()),
            _ => Ok(()),
        }
    }
}

fn split_root(path: &str) -> Result<(Root, &str), GraphError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let version = decode(version)?;
    let root = [Root::V1, Root::Beta].into_iter().find(|root| root.as_str().eq_ignore_ascii_case(&version));
    Ok((root.ok_or_else(|| GraphError::invalid_version(&version))?, rest))
}

/// The segments below the root, each decoded once, key forms taken apart and one trailing slash dropped.
fn segments(rest: &str) -> Result<Vec<Cow<'_, str>>, GraphError> {
    let mut segments = Vec::with_capacity(6);
    if rest.is_empty() {
        return Ok(segments);
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // Every byte is looked at once: where a segment ends, it is known whether there is anything in it to undo.
    let (mut start, mut is_plain) = (0, true);
    for (at, byte) in rest.bytes().chain([b'/']).enumerate() {
        match byte {
            b'/' => {
                let raw = &rest[start..at];
                if is_plain {
                    segments.push(raw.into());
                } else {
                    push_decoded(&mut segments, raw)?;
                }
                (start, is_plain) = (at + 1, true);
            }
            b'%' | b'(' => is_plain = false,
            _ => {}
        }
    }
    Ok(segments)
}

fn push_decoded<'a>(segments: &mut Vec<Cow<'a, str>>, raw: &'a str) -> Result<(), GraphError> {
    let segment = decode(raw)?;
    match split_key(&segment) {
        Some((collection, key)) => segments.extend([Cow::Owned(collection.to_owned()), Cow::Owned(key)]),
        None => segments.push(segment),
    }
    Ok(())
}

fn decode(raw: &str) -> Result<Cow<'_, str>, GraphError> {
    if !raw.contains('%') {
        return Ok(raw.into());
    }
    percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| GraphError::bad_request("The request URL is not valid UTF-8."))
}

/// `users('key')` as `users` and `key`. A quote inside the key is doubled; a GUID may stand without quotes.
fn split_key(segment: &str) -> Option<(&str, String)> {
    let (collection, rest) = segment.split_once('(')?;
    KEYED.iter().find(|keyed| keyed.eq_ignore_ascii_case(collection))?;
    let key = rest.strip_suffix(')')?;
    let key = match key.strip_prefix('\'') {
        Some(quoted) => quoted.strip_suffix('\'')?.replace("''", "'"),
        None => key.to_owned(),
    };
    Some((collection, key))
}

/// A template of the table, taken apart once.
struct Template {
    whole: &'static str,
    pieces: Box<[Piece]>,
    rows: Box<[&'static Row]>,
}

/// What one segment of a template stands for.
#[derive(Clone, Copy)]
enum Piece {
    User,
    Size,
    Subscription,
    Literal(&'static str),
}

impl Piece {
    fn new(segment: &'static str) -> Self {
        match segment {
            "{user}" => Self::User,
            "{size}" => Self::Size,
            "{subscription}" => Self::Subscription,
            literal => Self::Literal(literal),
        }
    }
}

/// Every template there is, in the order of the table.
static TEMPLATES: LazyLock<Box<[Template]>> = LazyLock::new(|| {
    let all = OPERATIONS.iter().flat_map(|row| row.paths).chain(NO_OPERATION_PATHS);
    let mut seen = Vec::new();
    all.filter(|whole| {
        !seen.contains(whole) && {
            seen.push(*whole);
            true
        }
    })
    .map(|whole| Template {
        whole,
        pieces: whole.split('/').skip(1).map(Piece::new).collect(),
        rows: OPERATIONS.iter().filter(|row| row.paths.contains(whole)).collect(),
    })
    .collect()
});

#[derive(Default)]
struct Captures<'a> {
    user: Option<&'a str>,
    size: Option<u16>,
    subscription: Option<&'a str>,
}

enum Match<'a> {
    Whole(Captures<'a>),
    /// How many segments fit before one did not.
    Prefix(usize),
}

impl Captures<'_> {
    fn address(&self, template: &str) -> Option<Address> {
        match self.user {
            Some(key) if key.eq_ignore_ascii_case(ME_TOKEN) => Some(Address::Me),
            Some(key) if template.starts_with("/users/") => Some(Address::User(Key(key.into()))),
            Some(key) => Some(Address::Communications(Key(key.into()))),
            None if template == "/me" || template.starts_with("/me/") => Some(Address::Me),
            None => None,
        }
    }
}

fn match_template<'a>(template: &[Piece], segments: &'a [Cow<'_, str>]) -> Match<'a> {
    let mut captures = Captures::default();
    let mut wanted = template.iter().copied();
    for (position, segment) in segments.iter().enumerate() {
        let fits = match wanted.next() {
            Some(Piece::User) => {
                captures.user = Some(segment);
                // `$count` and its like are no keys; a name that starts so needs the quoted form (§14.2), which is
                // told apart by nothing once taken apart, so a `$` key with an `@` in it is let through.
                !segment.is_empty() && (!segment.starts_with('$') || segment.contains('@'))
            }
            Some(Piece::Subscription) => {
                captures.subscription = Some(segment);
                !segment.is_empty() && !segment.starts_with('$')
            }
            Some(Piece::Size) => {
                captures.size = user::photo_size(segment);
                captures.size.is_some()
            }
            Some(Piece::Literal(literal)) => {
                literal.eq_ignore_ascii_case(segment) || literal.eq_ignore_ascii_case(short_name(segment))
            }
            None => false,
        };
        if !fits {
            return Match::Prefix(position);
        }
    }
    if wanted.next().is_none() { Match::Whole(captures) } else { Match::Prefix(segments.len()) }
}

/// An action's name without its namespace: `microsoft.graph.setPresence` is `setPresence`.
fn short_name(segment: &str) -> &str {
    let namespace = NAMESPACES.iter().find(|namespace| {
        segment.get(..namespace.len()).is_some_and(|start| start.eq_ignore_ascii_case(namespace))
    });
    namespace.map_or(segment, |namespace| &segment[namespace.len()..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e";

    #[track_caller]
    fn check(path: &str, template: &str, key: Option<&str>) {
        let route = Route::parse(path).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(route.template, template, "{path}");
        let found = match &route.address {
            Some(Address::Me) => Some("me"),
            Some(Address::User(key) | Address::Communications(key)) => Some(key.as_str()),
            None => None,
        };
        assert_eq!(found, key, "{path}");
    }

    #[track_caller]
    fn refused(path: &str, message: &str) {
        let error = Route::parse(path).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "BadRequest"), "{path}");
        assert_eq!(error.message, message, "{path}");
    }

    #[test]
    fn every_template_of_the_table_resolves_to_itself_on_both_roots() {
        let templates = OPERATIONS.iter().flat_map(|row| row.paths).chain(NO_OPERATION_PATHS);
        for template in templates {
            let path =
                template.replace("{user}", ID).replace("{size}", "48x48").replace("{subscription}", ID);
            for root in [Root::V1, Root::Beta] {
                let route = Route::parse(&format!("/{}{path}", root.as_str())).unwrap();
                assert_eq!((route.root, route.template), (root, *template));
            }
        }
    }

    #[test]
    fn the_three_addresses_of_one_presence() {
        let address = |path: &str| Route::parse(path).unwrap().address.unwrap();
        assert_eq!(address("/v1.0/me/presence"), Address::Me);
        assert_eq!(address(&format!("/v1.0/users/{ID}/presence")), Address::User(Key(ID.into())));
        assert_eq!(
            address(&format!("/v1.0/communications/presences/{ID}")),
            Address::Communications(Key(ID.into()))
        );
    }

    #[test]
    fn segments_and_ids_match_in_any_case() {
        check("/V1.0/ME/Presence/SETPRESENCE", "/me/presence/setPresence", Some("me"));
        check("/Beta/Communications/getpresencesbyuserid", "/communications/getPresencesByUserId", None);
        let upper = ID.to_uppercase();
        let Some(Address::User(key)) = Route::parse(&format!("/v1.0/users/{upper}")).unwrap().address else {
            panic!()
        };
        assert_eq!(key.id(), ID.parse().ok());
        assert_eq!(key.as_str(), upper, "kept as given, for error texts");
    }

    #[test]
    fn key_forms_are_the_same_as_segments() {
        for path in [
            format!("/v1.0/users('{ID}')/presence"),
            format!("/v1.0/users(%27{ID}%27)/presence"),
            format!("/v1.0/Users%28%27{ID}%27%29/presence"),
            format!("/v1.0/users({ID})/presence"),
        ] {
            check(&path, "/users/{user}/presence", Some(ID));
        }
        check(
            &format!("/v1.0/communications/presences('{ID}')/setPresence"),
            "/communications/presences/{user}/setPresence",
            Some(ID),
        );
        check("/v1.0/users('o''hara@x.example')", "/users/{user}", Some("o'hara@x.example"));
        refused("/v1.0/users('')", "Resource not found for the segment ''.");
        refused("/v1.0/users('x", "Resource not found for the segment 'users('x'.");
    }

    #[test]
    fn a_upn_may_be_percent_encoded_and_is_decoded_once() {
        check("/v1.0/users/ada%40x.example/presence", "/users/{user}/presence", Some("ada@x.example"));
        check("/v1.0/users/ada@x.example/presence", "/users/{user}/presence", Some("ada@x.example"));
        check("/v1.0/users/a_b%23EXT%23@x.example", "/users/{user}", Some("a_b#EXT#@x.example"));
        check("/v1.0/users('$ada@x.example')", "/users/{user}", Some("$ada@x.example"));
        check("/v1.0/users/100%2525", "/users/{user}", Some("100%25"));
        check("/v1.0/users/a+b@x.example", "/users/{user}", Some("a+b@x.example"));
    }

    #[test]
    fn an_encoded_slash_stays_in_its_segment() {
        check("/v1.0/users/a%2Fpresence", "/users/{user}", Some("a/presence"));
    }

    #[test]
    fn text_that_is_not_utf8_is_400() {
        refused("/v1.0/users/%FF/presence", "The request URL is not valid UTF-8.");
        refused("/%C0%80/me", "The request URL is not valid UTF-8.");
    }

    #[test]
    fn one_trailing_slash_is_accepted_and_no_other_slash_collapses() {
        check("/v1.0/me/presence/", "/me/presence", Some("me"));
        refused("/v1.0/me/presence//", "Resource not found for the segment ''.");
        refused("/v1.0//me/presence", "Resource not found for the segment ''.");
        refused("/v1.0/users//presence", "Resource not found for the segment ''.");
    }

    #[test]
    fn actions_have_a_short_and_a_qualified_name() {
        for name in
            ["setPresence", "microsoft.graph.setPresence", "graph.setPresence", "Microsoft.Graph.SetPresence"]
        {
            check(&format!("/v1.0/me/presence/{name}"), "/me/presence/setPresence", Some("me"));
        }
        check(
            "/v1.0/communications/microsoft.graph.getPresencesByUserId",
            "/communications/getPresencesByUserId",
            None,
        );
        refused("/v1.0/me/presence/graph.", "Resource not found for the segment 'graph.'.");
    }

    #[test]
    fn the_sdks_placeholder_means_me() {
        check("/v1.0/users/me-token-to-replace/presence", "/users/{user}/presence", Some("me"));
        check("/v1.0/users/me-token-to-replace", "/users/{user}", Some("me"));
        check(
            "/v1.0/users/me-token-to-replace/presence/setPresence",
            "/users/{user}/presence/setPresence",
            Some("me"),
        );
    }

    #[test]
    fn an_unknown_version_is_named() {
        refused("/v2.0/me", "Invalid version: v2.0");
        refused("/me/presence", "Invalid version: me");
        refused("/", "Invalid version: ");
        refused("", "Invalid version: ");
    }

    #[test]
    fn the_first_segment_that_leads_nowhere_is_named() {
        refused("/v1.0/xyz", "Resource not found for the segment 'xyz'.");
        refused("/v1.0/me/presence/xyz", "Resource not found for the segment 'xyz'.");
        refused("/v1.0/me/xyz/presence", "Resource not found for the segment 'xyz'.");
        refused("/v1.0/users/a/b/c", "Resource not found for the segment 'b'.");
        refused("/v1.0/me/presence/setPresence/more", "Resource not found for the segment 'more'.");
        refused("/v1.0/communications", "Resource not found for the segment 'communications'.");
        refused("/v1.0", "Resource not found for the segment 'v1.0'.");
        refused("/v1.0/", "Resource not found for the segment 'v1.0'.");
        refused("/v1.0/me/photos/1x1", "Resource not found for the segment '1x1'.");
    }

    #[test]
    fn a_wrong_verb_is_405_with_the_verbs_that_are_allowed() {
        let allow =
            |path: &str, method| Route::parse(path).unwrap().operation(method).unwrap_err().allow.unwrap();
        assert_eq!(allow("/v1.0/me/presence", Method::Post), [Method::Get, Method::Head]);
        assert_eq!(allow("/v1.0/me/presence/setPresence", Method::Get), [Method::Post]);
        for path in ["/v1.0/communications/presences", "/v1.0/communications/presences/$count"] {
            for method in [Method::Get, Method::Post, Method::Other] {
                assert_eq!(allow(path, method), [], "{path}");
            }
        }
        for path in [format!("/v1.0/users/{ID}/presence"), format!("/v1.0/communications/presences/{ID}")] {
            assert_eq!(allow(&path, Method::parse("PATCH")), [Method::Get, Method::Head]);
            assert_eq!(allow(&path, Method::parse("DELETE")), [Method::Get, Method::Head]);
        }
    }

    #[test]
    fn head_is_a_get() {
        let route = Route::parse("/v1.0/me/presence").unwrap();
        assert_eq!(route.operation(Method::Head), Ok(Operation::GetPresence));
    }

    #[test]
    fn me_is_nobody_for_an_application() {
        let application = Grant::Application { roles: Default::default() };
        let delegated = Grant::Delegated { user: UserId::from_u128(1), scopes: Default::default() };
        for path in ["/v1.0/me", "/v1.0/me/presence", "/v1.0/users/me-token-to-replace/presence/setPresence"]
        {
            let route = Route::parse(path).unwrap();
            assert_eq!(route.check_me(&application), Err(GraphError::me_needs_delegated()), "{path}");
            assert_eq!(route.check_me(&delegated), Ok(()), "{path}");
        }
        assert_eq!(Route::parse("/v1.0/users").unwrap().check_me(&application), Ok(()));
    }

    proptest! {
        #[test]
        fn no_path_panics(path in ".{0,80}") {
            let _ = Route::parse(&path);
        }

        #[test]
        fn no_path_made_of_likely_pieces_panics(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("v1.0"), Just("users"), Just("users('"), Just("')"), Just("("), Just("'"), Just("%27"),
                    Just("%"), Just("%2"), Just("%FF"), Just("é"), Just("me"), Just("presence"), Just("graph."),
                    Just("microsoft.graph."), Just("/"), Just("presences"), Just("communications"), Just("$count"),
                ],
                0..12,
            )
        ) {
            let _ = Route::parse(&format!("/v1.0/{}", pieces.join("/")));
            let _ = Route::parse(&pieces.concat());
        }
    }
}
