//! Where in a token something stands: `resource_access.presenced.roles`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// Longest path, in characters. Ours.
pub const CLAIM_PATH_CHARS_MAX: usize = 256;
/// Dots in a path at most. Ours: how deep a search may go.
const DOTS_MAX: usize = 16;

/// The way to a claim: names of members, one inside the other, with dots between them.
///
/// Names of claims may contain dots themselves (`https://example.org/roles`): at each step the longest name that is
/// there is taken, and a shorter one if that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimPath(String);

/// A text that is no path of claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathError {
    /// Nothing, or nothing between two dots.
    #[error("it has an empty part")]
    Empty,
    /// Too long, or too deep.
    #[error("it is longer than {CLAIM_PATH_CHARS_MAX} characters or has more than {DOTS_MAX} dots")]
    TooLong,
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        if text.split('.').any(str::is_empty) {
            return Err(ClaimPathError::Empty);
        }
        if text.chars().count() > CLAIM_PATH_CHARS_MAX || text.matches('.').count() > DOTS_MAX {
            return Err(ClaimPathError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClaimPath {
    /// What stands there. `null` is nothing.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        find(claims, &self.0)
    }

    /// The text that stands there; an empty one is none.
    pub(super) fn text<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        self.find(claims)?.as_str().filter(|text| !text.is_empty())
    }

    /// The names that stand there: the words of a text, the texts of an array, the keys of an object (Zitadel's roles).
    pub(super) fn names<'a>(&self, claims: &'a Map<String, Value>) -> Vec<&'a str> {
        match self.find(claims) {
            Some(Value::String(words)) => words.split_whitespace().collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(Value::Object(names)) => names.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path).filter(|value| !value.is_null()) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| match claims.get(&path[..dot])? {
        Value::Object(inner) => find(inner, &path[dot + 1..]),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> ClaimPath {
        text.parse().unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_path_leads_into_objects_and_names_with_dots_are_found_whole() {
        let claims = object(json!({
            "realm_access": { "roles": ["a", "b"] },
            "https://example.org/roles": "c d",
            "resource_access": { "my.client": { "roles": ["e"] }, "my": { "other": 1 } },
            "urn:zitadel:iam:org:project:roles": { "reader": { "1": "x.example" }, "writer": {} },
            "nothing": null,
        }));
        let names = |text: &str| path(text).names(&claims).join(" ");
        assert_eq!(names("realm_access.roles"), "a b");
        assert_eq!(names("https://example.org/roles"), "c d");
        assert_eq!(names("resource_access.my.client.roles"), "e");
        assert_eq!(names("urn:zitadel:iam:org:project:roles"), "reader writer");
        for nowhere in
            ["nothing", "realm_access.role", "realm_access.roles.0", "resource_access.my.client.roles.x"]
        {
            assert_eq!(names(nowhere), "", "{nowhere}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(text.parse::<ClaimPath>(), Err(ClaimPathError::Empty), "{text:?}");
        }
        let deep = vec!["a"; DOTS_MAX + 2].join(".");
        assert_eq!(deep.parse::<ClaimPath>(), Err(ClaimPathError::TooLong));
        assert_eq!("a".repeat(CLAIM_PATH_CHARS_MAX + 1).parse::<ClaimPath>(), Err(ClaimPathError::TooLong));
    }

    /// Names with and without dots, nested up to four deep.
    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z:/]{1,3}(\\.[a-z]{1,2}){0,2}", 1..5)
    }

    proptest! {
        /// Whatever the names are, what stands alone in nested objects is found by the names joined with dots; and no path
        /// finds anything in claims that do not have its first letters.
        #[test]
        fn whatever_is_nested_is_found_by_its_names_joined_with_dots(names in names(), value in "[A-Z]{1,8}") {
            let nested = names.iter().rev().fold(json!(value), |inner, name| json!({ name.as_str(): inner }));
            let claims = object(nested);
            let found = path(&names.join("."));
            prop_assert_eq!(found.text(&claims), Some(value.as_str()));
            let (first, rest) = (&names[0], names[1..].join("."));
            let beside = object(json!({ format!("{first}x"): { rest.as_str(): value } }));
            prop_assert_eq!(found.find(&beside), None);
        }

        /// No path and no claims make the search panic or go on for ever.
        #[test]
        fn no_path_panics(text in ".{0,40}", key in ".{0,8}") {
            if let Ok(path) = text.parse::<ClaimPath>() {
                let claims = object(json!({ key.as_str(): { key.as_str(): { key.as_str(): [1, "x", null] } } }));
                let _ = path.names(&claims);
            }
        }
    }
}
