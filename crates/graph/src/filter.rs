//! `$filter` and `$search` on users: text to a tree, and the tree over a user. Source: identity D.2.
//!
//! The grammar is the reference's subset: `eq`, `in`, `startsWith()`, `and`, `or`, parentheses. `ne`, `not` and
//! `endsWith()` are advanced queries: they need `ConsistencyLevel: eventual` and `$count=true`. Text compares without
//! case, as the original's directory does.

use crate::GraphError;
use crate::user::{User, UserProperty, Value};

/// Longest `$filter` or `$search`, in bytes. Ours: a list of a hundred ids fits twice.
pub const FILTER_BYTES_MAX: usize = 8_192;
/// How deep parentheses and `not` may nest. Ours: the parser recurses once for each.
pub const FILTER_DEPTH_MAX: usize = 32;

/// A condition on a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// One node for a whole `in` list, so that a property is looked at once however many values it is compared to.
    OneOf(UserProperty, Vec<Literal>),
    StartsWith(UserProperty, String),
    EndsWith(UserProperty, String),
    /// Every one of these words begins some word of the property.
    Words(UserProperty, Vec<String>),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// A literal of a filter; text in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Literal {
    Text(String),
    Bool(bool),
    Null,
}

/// Properties that a filter may name. Source: identity D.2.
const FILTERABLE: [UserProperty; 9] = [
    UserProperty::Id,
    UserProperty::UserPrincipalName,
    UserProperty::Mail,
    UserProperty::DisplayName,
    UserProperty::GivenName,
    UserProperty::Surname,
    UserProperty::AccountEnabled,
    UserProperty::Department,
    UserProperty::JobTitle,
];

/// Properties that a search may name.
const SEARCHABLE: [UserProperty; 5] = [
    UserProperty::DisplayName,
    UserProperty::Mail,
    UserProperty::UserPrincipalName,
    UserProperty::GivenName,
    UserProperty::Surname,
];

impl Filter {
    /// Reads a `$filter`. `is_advanced` says whether the request may use advanced queries.
    ///
    /// # Errors
    /// 400 for text that is no filter, for a property that cannot be filtered by, and for an advanced operator where
    /// those are not allowed.
    pub fn parse(text: &str, is_advanced: bool) -> Result<Self, GraphError> {
        check_length(text)?;
        let mut parser = Parser { text, rest: text, is_advanced, depth: 0 };
        let node = parser.any()?;
        match parser.peek() {
            "" => Ok(Self(node)),
            _ => Err(parser.error()),
        }
    }

    /// Reads a `$search`: clauses such as `"displayName:ada"`, joined by `AND` and `OR`, the former binding tighter.
    ///
    /// # Errors
    /// 400 for text that is no search, and for a property that cannot be searched.
    pub fn parse_search(text: &str) -> Result<Self, GraphError> {
        check_length(text)?;
        let mut rest = text.trim_start();
        let mut any = vec![Vec::new()];
        loop {
            let (node, after) = search_clause(text, rest)?;
            if let Some(all) = any.last_mut() {
                all.push(node);
            }
            rest = after.trim_start();
            if rest.is_empty() {
                break;
            } else if let Some(after) = strip_word(rest, "AND") {
                rest = after.trim_start();
            } else if let Some(after) = strip_word(rest, "OR") {
                any.push(Vec::new());
                rest = after.trim_start();
            } else {
                return Err(invalid_search(text, rest));
            }
        }
        Ok(Self(Node::Any(any.into_iter().map(Node::All).collect())))
    }

    /// Whether a user meets the condition.
    pub fn matches(&self, user: &User) -> bool {
        self.0.matches(user)
    }

    /// Whether users meet both conditions.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Node::All(vec![self.0, other.0]))
    }
}

impl Node {
    fn matches(&self, user: &User) -> bool {
        match self {
            Self::OneOf(property, literals) => match user.value(*property) {
                Value::Bool(value) => literals.contains(&Literal::Bool(value)),
                Value::Text(None) => literals.contains(&Literal::Null),
                Value::Id(_) | Value::Text(Some(_)) | Value::List(_) => {
                    text(user, *property).is_some_and(|text| {
                        literals
                            .iter()
                            .any(|literal| matches!(literal, Literal::Text(wanted) if *wanted == text))
                    })
                }
            },
            Self::StartsWith(property, start) => {
                text(user, *property).is_some_and(|text| text.starts_with(start))
            }
            Self::EndsWith(property, end) => text(user, *property).is_some_and(|text| text.ends_with(end)),
            Self::Words(property, words) => text(user, *property).is_some_and(|text| {
                words
                    .iter()
                    .all(|word| tokens(&text).any(|token| token.starts_with(word)) || text.starts_with(word))
            }),
            Self::Not(node) => !node.matches(user),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(user)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(user)),
        }
    }
}

/// A property's text, in lower case.
fn text(user: &User, property: UserProperty) -> Option<String> {
    match user.value(property) {
        Value::Text(text) => text.map(str::to_lowercase),
        Value::Id(id) => Some(id.to_string()),
        Value::Bool(_) | Value::List(_) => None,
    }
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty())
}

fn check_length(text: &str) -> Result<(), GraphError> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(GraphError::invalid_filter(&format!("It is longer than {FILTER_BYTES_MAX} bytes.")));
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    is_advanced: bool,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Node, GraphError> {
        self.joined("or", Self::all, Node::Any)
    }

    fn all(&mut self) -> Result<Node, GraphError> {
        self.joined("and", Self::one, Node::All)
    }

    fn joined(
        &mut self,
        operator: &str,
        operand: impl Fn(&mut Self) -> Result<Node, GraphError>,
        join: impl Fn(Vec<Node>) -> Node,
    ) -> Result<Node, GraphError> {
        let first = operand(self)?;
        let mut nodes = Vec::new();
        while self.peek().eq_ignore_ascii_case(operator) {
            self.next();
            nodes.push(operand(self)?);
        }
        if nodes.is_empty() {
            return Ok(first);
        }
        nodes.insert(0, first);
        Ok(join(nodes))
    }

    fn one(&mut self) -> Result<Node, GraphError> {
        if self.peek() == "(" {
            return self.nested(|parser| {
                parser.next();
                let node = parser.any()?;
                parser.expect(")")?;
                Ok(node)
            });
        }
        let word = self.peek();
        if word.eq_ignore_ascii_case("not") {
            self.need_advanced("Not")?;
            return self.nested(|parser| {
                parser.next();
                Ok(Node::Not(Box::new(parser.one()?)))
            });
        }
        if word.eq_ignore_ascii_case("startsWith") {
            let (property, start) = self.call()?;
            return Ok(Node::StartsWith(property, start));
        }
        if word.eq_ignore_ascii_case("endsWith") {
            self.need_advanced("EndsWith")?;
            let (property, end) = self.call()?;
            return Ok(Node::EndsWith(property, end));
        }
        self.comparison()
    }

    fn nested(&mut self, parse: impl Fn(&mut Self) -> Result<Node, GraphError>) -> Result<Node, GraphError> {
        if self.depth == FILTER_DEPTH_MAX {
            return Err(GraphError::invalid_filter(&format!("It nests deeper than {FILTER_DEPTH_MAX}.")));
        }
        self.depth += 1;
        let node = parse(self);
        self.depth -= 1;
        node
    }

    fn comparison(&mut self) -> Result<Node, GraphError> {
        let property = self.property()?;
        let operator = self.peek();
        if operator.eq_ignore_ascii_case("eq") {
            self.next();
            return Ok(Node::OneOf(property, vec![self.literal(property)?]));
        }
        if operator.eq_ignore_ascii_case("ne") {
            self.need_advanced("NotEqual")?;
            self.next();
            return Ok(Node::Not(Box::new(Node::OneOf(property, vec![self.literal(property)?]))));
        }
        if operator.eq_ignore_ascii_case("in") {
            self.next();
            self.expect("(")?;
            let mut literals = vec![self.literal(property)?];
            while self.peek() == "," {
                self.next();
                literals.push(self.literal(property)?);
            }
            self.expect(")")?;
            return Ok(Node::OneOf(property, literals));
        }
        Err(self.error())
    }

    /// `startsWith(property,'text')`, from its name on.
    fn call(&mut self) -> Result<(UserProperty, String), GraphError> {
        self.next();
        self.expect("(")?;
        let property = self.property()?;
        self.expect(",")?;
        let Literal::Text(text) = self.literal(property)? else { return Err(self.error()) };
        self.expect(")")?;
        Ok((property, text))
    }

    fn property(&mut self) -> Result<UserProperty, GraphError> {
        let name = self.peek();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.error());
        }
        let property = UserProperty::parse(name).filter(|property| FILTERABLE.contains(property));
        let property = property.ok_or_else(|| {
            GraphError::unsupported_query(format!(
                "Unsupported or invalid query filter clause specified for property '{name}' of resource 'User'."
            ))
        })?;
        self.next();
        Ok(property)
    }

    fn literal(&mut self, property: UserProperty) -> Result<Literal, GraphError> {
        let token = self.peek();
        let literal = match token.strip_prefix('\'') {
            Some(quoted) => {
                let text = quoted.strip_suffix('\'').ok_or_else(|| self.error())?;
                Literal::Text(text.replace("''", "'").to_lowercase())
            }
            None if token.eq_ignore_ascii_case("true") => Literal::Bool(true),
            None if token.eq_ignore_ascii_case("false") => Literal::Bool(false),
            None if token.eq_ignore_ascii_case("null") => Literal::Null,
            None => return Err(self.error()),
        };
        let is_bool = property == UserProperty::AccountEnabled;
        if is_bool != matches!(literal, Literal::Bool(_)) && literal != Literal::Null {
            return Err(self.error());
        }
        self.next();
        Ok(literal)
    }

    fn need_advanced(&self, operator: &str) -> Result<(), GraphError> {
        if self.is_advanced {
            return Ok(());
        }
        Err(GraphError::unsupported_query(format!(
            "Operator '{operator}' is not supported because the 'ConsistencyLevel:eventual' header or '$count=true' is \
             missing."
        )))
    }

    fn expect(&mut self, token: &str) -> Result<(), GraphError> {
        if self.peek() != token {
            return Err(self.error());
        }
        self.next();
        Ok(())
    }

    /// The token that comes next; empty at the end. A text is one token, quotes included.
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = match rest.as_bytes().first() {
            None => 0,
            Some(b'(' | b')' | b',') => 1,
            Some(b'\'') => quoted_end(rest),
            Some(_) => rest
                .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '\''))
                .unwrap_or(rest.len()),
        };
        &rest[..end]
    }

    fn next(&mut self) {
        let token = self.peek();
        self.rest = &self.rest.trim_start()[token.len()..];
    }

    fn error(&self) -> GraphError {
        let position = self.text.len() - self.rest.trim_start().len();
        GraphError::invalid_filter(&format!("Syntax error at position {position} in '{}'.", self.text))
    }
}

/// Where a text that begins with a quote ends; two quotes inside stand for one. Without an end, all of it.
fn quoted_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] != b'\'' {
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\'') {
            at += 2;
        } else {
            return at + 1;
        }
    }
    text.len()
}

/// One `"property:words"`, or `"words"` for any property; a backslash keeps the character after it.
fn search_clause<'a>(text: &str, rest: &'a str) -> Result<(Node, &'a str), GraphError> {
    let quoted = rest.strip_prefix('"').ok_or_else(|| invalid_search(text, rest))?;
    let mut content = String::new();
    let mut characters = quoted.char_indices();
    let after = loop {
        match characters.next() {
            Some((at, '"')) => break &quoted[at + 1..],
            Some((_, '\\')) => content.extend(characters.next().map(|(_, c)| c)),
            Some((_, c)) => content.push(c),
            None => return Err(invalid_search(text, rest)),
        }
    };
    let (properties, words) = match content.split_once(':') {
        Some((name, words)) => {
            let property = UserProperty::parse(name.trim()).filter(|property| SEARCHABLE.contains(property));
            let property = property.ok_or_else(|| {
                GraphError::unsupported_query(format!("Property '{}' cannot be searched.", name.trim()))
            })?;
            (vec![property], words.to_lowercase())
        }
        None => (SEARCHABLE.to_vec(), content.to_lowercase()),
    };
    let words: Vec<String> = tokens(&words).map(str::to_owned).collect();
    if words.is_empty() {
        return Err(invalid_search(text, rest));
    }
    Ok((
        Node::Any(properties.into_iter().map(|property| Node::Words(property, words.clone())).collect()),
        after,
    ))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word).filter(|rest| rest.starts_with(|c: char| c.is_whitespace() || c == '"'))
}

fn invalid_search(text: &str, rest: &str) -> GraphError {
    GraphError::bad_request(format!("Syntax error at position {} in '{text}'.", text.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ada() -> User {
        User {
            display_name: Some("Ada O'Hara-Lovelace".into()),
            given_name: Some("Ada".into()),
            mail: Some("ada.lovelace@presence.example".into()),
            department: Some("Engines".into()),
            ..User::new("3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e".parse().unwrap(), "Ada@presence.example")
        }
    }

    #[track_caller]
    fn matches(text: &str, expected: bool) {
        assert_eq!(Filter::parse(text, false).unwrap().matches(&ada()), expected, "{text}");
    }

    #[track_caller]
    fn refused(text: &str, code: &str) {
        let error = Filter::parse(text, false).unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, code), "{text}: {}", error.message);
    }

    #[test]
    fn eq_compares_text_without_case() {
        matches("displayName eq 'ada o''hara-lovelace'", true);
        matches("DisplayName EQ 'Ada'", false);
        matches("userPrincipalName eq 'ADA@presence.example'", true);
        matches("id eq '3C1F0D0E-5b7a-4a53-9a0e-6a1f2b3c4d5e'", true);
        matches("accountEnabled eq true", true);
        matches("accountEnabled eq false", false);
        matches("jobTitle eq null", true);
        matches("mail eq null", false);
    }

    #[test]
    fn in_and_starts_with() {
        matches("department in ('Sales', 'engines')", true);
        matches("department in('Sales','Law')", false);
        matches("startswith(displayName,'ada o')", true);
        matches("startsWith( mail , 'bob' )", false);
        matches("startswith(jobTitle,'x')", false);
    }

    #[test]
    fn and_binds_tighter_than_or_and_parentheses_bind_tightest() {
        let (yes, no) = ("givenName eq 'Ada'", "givenName eq 'Bob'");
        matches(&format!("{yes} or {no} and {no}"), true);
        matches(&format!("({yes} or {no}) and {no}"), false);
        matches(&format!("{no} or {no} or {yes}"), true);
        matches(&format!("(({yes})) and ({yes} and {yes})"), true);
    }

    #[test]
    fn advanced_operators_need_the_consistency_header_and_count() {
        for text in
            ["displayName ne 'Ada'", "not startswith(mail,'bob')", "endsWith(mail,'presence.example')"]
        {
            refused(text, "Request_UnsupportedQuery");
            assert!(Filter::parse(text, true).unwrap().matches(&ada()), "{text}");
        }
        assert!(!Filter::parse("not (mail ne null)", true).unwrap().matches(&ada()));
    }

    #[test]
    fn a_property_that_cannot_be_filtered_by_is_named() {
        refused("officeLocation eq 'x'", "Request_UnsupportedQuery");
        refused("xyz eq 'x'", "Request_UnsupportedQuery");
    }

    #[test]
    fn what_is_no_filter_is_an_invalid_filter_clause() {
        for text in [
            "",
            " ",
            "mail",
            "mail eq",
            "mail eq x",
            "mail eq 'x",
            "mail eq 'x' and",
            "(mail eq 'x'",
            "mail eq 'x')",
            "mail in ()",
            "mail in ('x',)",
            "mail in 'x'",
            "startswith(mail)",
            "startswith(mail,null)",
            "startswith mail",
            "mail gt 'x'",
            "accountEnabled eq 'true'",
            "mail eq true",
            "'x' eq mail",
            "mail eq 'x' mail eq 'x'",
            "mail/any(x:x eq 'y')",
        ] {
            let error = Filter::parse(text, false).unwrap_err();
            assert_eq!(error.status, 400, "{text}");
            if !text.contains("any(") {
                assert!(error.message.starts_with("Invalid filter clause: "), "{text}: {}", error.message);
                assert_eq!(error.code.as_str(), "BadRequest");
            }
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth| format!("{}mail eq 'x'{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&nested(FILTER_DEPTH_MAX), false).is_ok());
        refused(&nested(FILTER_DEPTH_MAX + 1), "BadRequest");
        assert!(Filter::parse(&"not ".repeat(2_000), true).is_err());
        refused(&format!("mail eq '{}'", "x".repeat(FILTER_BYTES_MAX)), "BadRequest");
    }

    #[test]
    fn a_search_finds_the_beginnings_of_words() {
        for (search, expected) in [
            (r#""displayName:ada""#, true),
            (r#""displayName:LOVE""#, true),
            (r#""displayName:lace""#, false),
            (r#""displayName:love ada""#, true),
            (r#""displayName:bob" OR "mail:ada""#, true),
            (r#""displayName:ada" AND "mail:bob""#, false),
            (r#""mail:bob" AND "mail:bob" OR "givenName:ada""#, true),
            (r#""lovelace""#, true),
            (r#""mail:ada.lovelace@presence.example""#, true),
        ] {
            assert_eq!(Filter::parse_search(search).unwrap().matches(&ada()), expected, "{search}");
        }
        for search in [
            "",
            "ada",
            "displayName:ada",
            "\"ada",
            "\"\"",
            "\"displayName:\"",
            "\"a\" \"b\"",
            "\"a\" AND",
            "\"jobTitle:x\"",
            "\"a\" ANDx",
        ] {
            assert_eq!(Filter::parse_search(search).unwrap_err().status, 400, "{search}");
        }
    }

    proptest! {
        #[test]
        fn no_filter_panics(
            text in ".{0,60}",
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("mail"), Just("id"), Just("accountEnabled"), Just("eq"), Just("ne"), Just("in"), Just("not"),
                    Just("and"), Just("or"), Just("("), Just(")"), Just(","), Just("'"), Just("'é'"), Just("startswith"),
                    Just("endsWith"), Just("true"), Just("null"), Just("\""), Just("\\"), Just("AND"), Just("mail:x"),
                ],
                0..20,
            ),
        ) {
            for text in [text, pieces.join(" "), pieces.concat()] {
                for is_advanced in [true, false] {
                    if let Ok(filter) = Filter::parse(&text, is_advanced) {
                        filter.matches(&ada());
                    }
                }
                if let Ok(search) = Filter::parse_search(&text) {
                    search.matches(&ada());
                }
            }
        }
    }
}
