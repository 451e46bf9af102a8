//! Filters: `userName eq "ada@example.org" and active eq true`, in lists and within paths of patches (RFC 7644 §3.4.2.2).

use serde_json::Value;

use super::{ENTERPRISE_USER, ScimError, ScimType, USER};

/// Longest filter or path, in bytes. Ours.
const FILTER_BYTES_MAX: usize = 4_096;
/// How deep parentheses and `not` may nest. Ours: the parser recurses once for each.
const DEPTH_MAX: usize = 16;

/// A condition on a resource, or on one value of an attribute that has several.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Compare(Path, Operator, Value),
    Present(Path),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// Where in a resource: `name.givenName`, or with the schema before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Whether the attribute is in the enterprise extension.
    pub(super) is_enterprise: bool,
    /// Empty for the extension as a whole.
    pub(super) attribute: String,
    pub(super) sub: Option<String>,
}

impl Path {
    /// Reads a path without a value filter.
    pub(super) fn parse(text: &str) -> Result<Self, ScimError> {
        let (is_enterprise, rest) = match strip_schema(text, ENTERPRISE_USER) {
            Some(rest) => (true, rest),
            None => (false, strip_schema(text, USER).unwrap_or(text)),
        };
        let (attribute, sub) = match rest.split_once('.') {
            Some((attribute, sub)) => (attribute, Some(sub)),
            None => (rest, None),
        };
        let is_whole_extension = is_enterprise && rest.is_empty();
        if !(is_whole_extension || is_name(attribute)) || !sub.is_none_or(is_name) {
            return Err(ScimError::new(
                ScimType::InvalidPath,
                format!("{text:?} is not the path of an attribute."),
            ));
        }
        Ok(Self { is_enterprise, attribute: attribute.to_owned(), sub: sub.map(str::to_owned) })
    }

    fn is(&self, attribute: &str) -> bool {
        !self.is_enterprise && self.sub.is_none() && self.attribute.eq_ignore_ascii_case(attribute)
    }

    /// Every value at this path: of an attribute that has several, all of them.
    fn values<'v>(&self, resource: &'v Value) -> Vec<&'v Value> {
        let within = if self.is_enterprise { member(resource, ENTERPRISE_USER) } else { Some(resource) };
        let Some(value) = within.and_then(|within| member(within, &self.attribute)) else {
            return Vec::new();
        };
        let each: Vec<&Value> =
            value.as_array().map_or_else(|| vec![value], |values| values.iter().collect());
        match &self.sub {
            Some(sub) => each.into_iter().filter_map(|value| member(value, sub)).collect(),
            // `emails eq "x"` means the value of each.
            None => each.into_iter().map(|value| member(value, "value").unwrap_or(value)).collect(),
        }
    }

    /// Only these two tell upper case from lower (RFC 7643 §3.1); the schema of users says that nothing else does.
    fn is_case_exact(&self) -> bool {
        self.is("id") || self.is("externalId")
    }
}

fn strip_schema<'t>(text: &'t str, schema: &str) -> Option<&'t str> {
    let head = text.get(..schema.len()).filter(|head| head.eq_ignore_ascii_case(schema))?;
    let rest = &text[head.len()..];
    rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(rest))
}

fn is_name(text: &str) -> bool {
    let text = text.strip_prefix('$').unwrap_or(text);
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A member of an object, by its name in any case.
pub(super) fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

impl Filter {
    /// Reads a filter.
    pub(super) fn parse(text: &str) -> Result<Self, ScimError> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let filter = parser.or(0)?;
        if parser.at != parser.tokens.len() {
            return Err(invalid("something follows the filter"));
        }
        Ok(filter)
    }

    /// Whether a resource, or a value, is meant.
    pub(super) fn matches(&self, resource: &Value) -> bool {
        match self {
            Self::And(one, other) => one.matches(resource) && other.matches(resource),
            Self::Or(one, other) => one.matches(resource) || other.matches(resource),
            Self::Not(filter) => !filter.matches(resource),
            Self::Present(path) => path.values(resource).iter().any(|value| is_present(value)),
            Self::Compare(path, Operator::Ne, wanted) => !path
                .values(resource)
                .iter()
                .any(|value| compare(value, Operator::Eq, wanted, path.is_case_exact())),
            Self::Compare(path, operator, wanted) => path
                .values(resource)
                .iter()
                .any(|value| compare(value, *operator, wanted, path.is_case_exact())),
        }
    }

    /// The text that `attribute` must equal for the filter to match at all, so that an index can be asked first.
    pub(super) fn demands(&self, attribute: &str) -> Option<&str> {
        match self {
            Self::Compare(path, Operator::Eq, Value::String(text)) if path.is(attribute) => Some(text),
            Self::And(one, other) => one.demands(attribute).or_else(|| other.demands(attribute)),
            _ => None,
        }
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare(value: &Value, operator: Operator, wanted: &Value, is_case_exact: bool) -> bool {
    match (value, wanted) {
        (Value::String(value), Value::String(wanted)) => {
            let fold = |text: &str| if is_case_exact { text.to_owned() } else { text.to_lowercase() };
            let (value, wanted) = (fold(value), fold(wanted));
            match operator {
                Operator::Eq => value == wanted,
                Operator::Ne => value != wanted,
                Operator::Co => value.contains(&wanted),
                Operator::Sw => value.starts_with(&wanted),
                Operator::Ew => value.ends_with(&wanted),
                Operator::Gt => value > wanted,
                Operator::Ge => value >= wanted,
                Operator::Lt => value < wanted,
                Operator::Le => value <= wanted,
            }
        }
        // Some providers write booleans as text.
        (Value::Bool(value), wanted) => {
            operator == Operator::Eq && super::attributes::boolean(wanted) == Some(*value)
        }
        _ => operator == Operator::Eq && value == wanted,
    }
}

fn invalid(what: &str) -> ScimError {
    ScimError::new(ScimType::InvalidFilter, format!("The filter cannot be read: {what}."))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Literal(Value),
}

fn tokens(text: &str) -> Result<Vec<Token>, ScimError> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(invalid("it is too long"));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                1
            }
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                match stream.next() {
                    Some(Ok(value)) => tokens.push(Token::Literal(value)),
                    _ => return Err(invalid("a text does not end")),
                }
                stream.byte_offset()
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()\"".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Filter, ScimError> {
        let mut filter = self.and(depth)?;
        while self.takes("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.and(depth)?));
        }
        Ok(filter)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, ScimError> {
        let mut filter = self.one(depth)?;
        while self.takes("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.one(depth)?));
        }
        Ok(filter)
    }

    fn one(&mut self, depth: usize) -> Result<Filter, ScimError> {
        if depth > DEPTH_MAX {
            return Err(invalid("it nests too deep"));
        }
        if self.takes("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        match self.next() {
            Some(Token::Open) => {
                let filter = self.or(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(filter),
                    _ => Err(invalid("a parenthesis does not end")),
                }
            }
            Some(Token::Word(path)) => {
                let path = Path::parse(&path).map_err(|error| invalid(error.detail.trim_end_matches('.')))?;
                self.comparison(path)
            }
            _ => Err(invalid("an attribute is missing")),
        }
    }

    fn comparison(&mut self, path: Path) -> Result<Filter, ScimError> {
        let Some(Token::Word(word)) = self.next() else { return Err(invalid("an operator is missing")) };
        let operator = match word.to_ascii_lowercase().as_str() {
            "pr" => return Ok(Filter::Present(path)),
            "eq" => Operator::Eq,
            "ne" => Operator::Ne,
            "co" => Operator::Co,
            "sw" => Operator::Sw,
            "ew" => Operator::Ew,
            "gt" => Operator::Gt,
            "ge" => Operator::Ge,
            "lt" => Operator::Lt,
            "le" => Operator::Le,
            _ => return Err(invalid("there is no such operator")),
        };
        let value = match self.next() {
            Some(Token::Literal(value)) => value,
            Some(Token::Word(word)) => {
                let lower = word.to_ascii_lowercase();
                serde_json::from_str::<Value>(&lower)
                    .map_err(|_| invalid("a value is neither text, number nor boolean"))?
            }
            _ => return Err(invalid("a value is missing")),
        };
        if value.is_array() || value.is_object() {
            return Err(invalid("a value is neither text, number nor boolean"));
        }
        Ok(Filter::Compare(path, operator, value))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_it = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(is_it);
        is_it
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn matches(filter: &str) -> bool {
        let ada = json!({ "id": "7", "externalId": "Ext-1", "userName": "Ada@X.example", "active": true,
            "name": { "givenName": "Ada" },
            "emails": [{ "value": "ada@x.example", "type": "work" }, { "value": "a@home.example", "type": "home" }],
            ENTERPRISE_USER: { "department": "Engines" } });
        Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error:?}")).matches(&ada)
    }

    #[test]
    fn names_and_texts_compare_without_case_but_for_ids() {
        for yes in [
            r#"userName eq "ada@x.EXAMPLE""#,
            r#"USERNAME Eq "ada@x.example" AND active eq True"#,
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada""#,
            r#"externalId eq "Ext-1" and not (active eq false)"#,
            r#"name.givenName co "D" or id eq "8""#,
            r#"emails.type eq "home""#,
            r#"emails pr and title ne "x""#,
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "engines""#,
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [r#"externalId eq "ext-1""#, r#"active eq "false""#, "title pr", r#"id gt "7""#] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}id pr{}", "(".repeat(100), ")".repeat(100));
        let long = format!("id eq \"{}\"", "x".repeat(FILTER_BYTES_MAX));
        for bad in [
            "",
            "userName",
            "userName eq",
            "userName is \"x\"",
            "eq eq",
            "(id pr",
            "id pr)",
            "id eq \"x",
            "id eq [1]",
            "a b c d",
            "id eq 'x'",
            "../x eq 1",
            &deep,
            &long,
        ] {
            assert_eq!(
                Filter::parse(bad).map_err(|error| error.scim_type),
                Err(ScimType::InvalidFilter),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_index_is_asked_only_for_what_every_match_must_have() {
        let demands = |text: &str| Filter::parse(text).unwrap().demands("userName").map(str::to_owned);
        assert_eq!(demands(r#"userName eq "a" and active eq true"#).as_deref(), Some("a"));
        assert_eq!(demands(r#"userName eq "a" or active eq true"#), None);
        assert_eq!(demands(r#"not (userName eq "a")"#), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in ".{0,200}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.matches(&json!({ "id": "7" }));
            }
        }

        #[test]
        fn any_words_are_a_filter_or_an_error(words in prop::collection::vec(
            prop::sample::select(vec!["(", ")", "not", "and", "or", "eq", "pr", "userName", "emails.value", "\"x\"", "true", "1"]), 0..20)) {
            if let Ok(filter) = Filter::parse(&words.join(" ")) {
                filter.matches(&json!({ "userName": "x", "emails": [{ "value": "x" }] }));
            }
        }
    }
}
