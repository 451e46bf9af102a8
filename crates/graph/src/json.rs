//! Reading and writing JSON, as leniently as the original: any case of member names, the last of duplicates wins, a
//! byte order mark is skipped, unknown members are ignored; a wrong type is the unreadable-payload error (§14.2).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::GraphError;

/// A request body as it arrived, with the two headers that say how to read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Content-Encoding` header, unless whoever calls has undone the coding.
    pub content_encoding: Option<&'a str>,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Body<'a> {
    /// A plain JSON body.
    pub const fn json(bytes: &'a [u8]) -> Self {
        Self { content_type: Some("application/json"), content_encoding: None, bytes }
    }

    /// Whether its headers say that it is JSON, and nothing else.
    pub(crate) fn is_labelled_json(&self) -> bool {
        self.content_type.is_some_and(is_json) && self.content_encoding.is_none_or(is_identity)
    }

    /// The members of the body's object.
    ///
    /// # Errors
    /// `Empty Payload` when there is nothing to read; the unreadable-payload error when there is something that is
    /// not labelled, coded or shaped as one JSON object.
    pub fn members(self) -> Result<Members<'a>, GraphError> {
        let bytes = self.bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.bytes);
        if bytes.trim_ascii().is_empty() {
            return Err(GraphError::empty_payload());
        }
        if !self.is_labelled_json() {
            return Err(GraphError::unreadable_payload());
        }
        // All at once; a reader of bytes would look at each string again.
        let text = std::str::from_utf8(bytes).map_err(|_| GraphError::unreadable_payload())?;
        match plain_members(text) {
            Some(members) => Ok(members),
            None => serde_json::from_str(text).map_err(|_| GraphError::unreadable_payload()),
        }
    }
}

/// The members of an object as nearly every write of presence has it: texts without escapes, and nothing else. `None` for anything
/// else, be it right or wrong: it is then read by serde_json, which takes longer for the same, or says what is wrong.
fn plain_members(json: &str) -> Option<Members<'_>> {
    let mut rest = Plain(json.strip_prefix('{')?);
    let mut members = Vec::with_capacity(PLAIN_MEMBERS);
    loop {
        let name = rest.text()?;
        rest.expect(b':')?;
        let value = rest.text()?;
        members.push((Cow::Borrowed(&name[1..name.len() - 1]), value));
        match rest.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    rest.0.trim_ascii().is_empty().then_some(Members(members))
}

/// For how many members room is made: a setPresence has four.
const PLAIN_MEMBERS: usize = 4;

/// Whether a text between its quotes means itself. Looked at as a whole, which the compiler makes sixteen bytes at a time of.
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |found, byte| found | (byte == b'\\') | (byte < b' '))
}

/// What is left of a plain object.
struct Plain<'a>(&'a str);

impl<'a> Plain<'a> {
    /// The next byte that is no white space, which must be one by itself.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.0.as_bytes().first()?;
            self.0 = self.0.get(1..)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// A text, in its quotes.
    fn text(&mut self) -> Option<&'a str> {
        let quoted = match self.0.as_bytes().first()? {
            b'"' => self.0,
            _ => self.0.trim_start_matches([' ', '\n', '\r', '\t']),
        };
        let inner = quoted.strip_prefix('"')?;
        let end = inner.bytes().position(|byte| byte == b'"')?;
        if !is_plain(&inner[..end]) {
            return None;
        }
        let text;
        (text, self.0) = quoted.split_at(end + 2);
        Some(text)
    }
}

/// Whether a Content-Type is `application/json`, whatever its parameters.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn is_identity(coding: &str) -> bool {
    let coding = coding.trim();
    coding.is_empty() || coding.eq_ignore_ascii_case("identity")
}

/// The members of a JSON object, not yet looked into.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// The value of a member, typed. Absent and `null` are `None`.
    ///
    /// # Errors
    /// The unreadable-payload error when the value is of another type.
    pub fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, GraphError> {
        self.raw(name)
            .map_or(Ok(None), |raw| serde_json::from_str(raw).map_err(|_| GraphError::unreadable_payload()))
    }

    /// The text of a member. Absent and `null` are `None`.
    ///
    /// # Errors
    /// The unreadable-payload error when the value is not a string.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, GraphError> {
        // It is JSON already: a string without escapes is what is between its quotes.
        let plain = self.raw(name).and_then(|raw| raw.strip_prefix('"')?.strip_suffix('"'));
        if let Some(plain) = plain.filter(|text| is_plain(text)) {
            return Ok(Some(plain.into()));
        }
        Ok(self.get::<Text<'a>>(name)?.map(|text| text.0))
    }

    /// The members of a member. Absent and `null` are `None`.
    ///
    /// # Errors
    /// The unreadable-payload error when the value is not an object.
    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, GraphError> {
        self.get(name)
    }

    /// The JSON text of a member, which may be `null`.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        // The last of duplicates wins, in whatever case each is written.
        self.0.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, raw)| *raw)
    }

    /// Every member as written, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, raw)| (&**name, *raw))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), raw)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, raw.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// A string, borrowed when it has no escapes. (A plain `Cow` would always copy.)
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Appends a JSON string, quoted and escaped.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Nearly every string of this API needs no escape.
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        serde_json::to_writer(out, text).expect("a string is always JSON and a Vec always takes it");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Appends a JSON string, or `null`.
pub fn string_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: Body<'_>) -> GraphError {
        body.members().unwrap_err()
    }

    #[test]
    fn member_names_match_in_any_case_and_the_last_duplicate_wins() {
        let members = Body::json(br#"{"sessionid":"a","SessionId":"b","sessionId":"c"}"#).members().unwrap();
        assert_eq!(members.text("sessionId").unwrap().as_deref(), Some("c"));
        let earlier_type_does_not_matter = Body::json(br#"{"a":1,"A":"x"}"#).members().unwrap();
        assert_eq!(earlier_type_does_not_matter.text("a").unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn plain_objects_are_read_as_serde_json_reads_them_and_others_are_left_to_it() {
        let plain = [
            r#"{"a":"x"}"#,
            "{ \"a\"\t:\r\n\"x\" , \"Ä\" : \"é\u{2028}\",\"a\":\"\",\"\":\"}\" }\n ",
            r#"{"sessionId":"8","availability":"Available","activity":"Available","expirationDuration":"PT1H","x":","}"#,
        ];
        let left = [
            "",
            "{",
            "{}",
            "{ }",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":"x",}"#,
            r#"{"a":"x" "b":"y"}"#,
            r#"{"a":"x"}}"#,
            r#"{"a":"x"} {}"#,
            r#"{"a":"x\ny"}"#,
            r#"{"a\u0041":"x"}"#,
            r#"{"a":"x\"}"#,
            r#"{"a":"x"#,
            r#"{"a":"x""#,
            r#"{,"a":"x"}"#,
            "{\"a\":\"x\ny\"}",
            "{\"a\":\"x\u{a0}\"\u{a0}}",
            r#"{a:"x"}"#,
            r#"{"a":"x"}é"#,
            r#"{"a"é:"x"}"#,
            r#"{"a":é"x"}"#,
        ];
        let by_serde =
            |text: &'static str| serde_json::from_str::<Members<'_>>(text).map(|members| members.0);
        for text in plain {
            assert_eq!(plain_members(text).unwrap().0, by_serde(text).unwrap(), "{text}");
        }
        for text in left {
            assert!(plain_members(text).is_none(), "{text}");
        }
        // Whatever is cut out or put in, the two never read different things.
        for text in plain {
            for (start, _) in text.char_indices() {
                for put in ["", "\"", "\\", ",", ":", "}", " ", "é"] {
                    let changed = format!(
                        "{}{put}{}",
                        &text[..start],
                        &text[start..].chars().skip(1).collect::<String>()
                    );
                    if let Some(members) = plain_members(&changed) {
                        let expected: Members<'_> = serde_json::from_str(&changed).expect(&changed);
                        assert_eq!(members.0, expected.0, "{changed}");
                    }
                }
            }
        }
    }

    #[test]
    fn null_and_absent_are_the_same() {
        let members = Body::json(br#"{"a":null}"#).members().unwrap();
        assert_eq!(members.text("a").unwrap(), None);
        assert_eq!(members.text("b").unwrap(), None);
    }

    #[test]
    fn a_wrong_type_is_an_unreadable_payload() {
        let members = Body::json(br#"{"a":1,"b":[],"c":"x","d":"\ud800"}"#).members().unwrap();
        assert_eq!(members.text("a").unwrap_err(), GraphError::unreadable_payload());
        assert_eq!(members.object("b").unwrap_err(), GraphError::unreadable_payload());
        assert_eq!(members.object("c").unwrap_err(), GraphError::unreadable_payload());
        assert_eq!(members.text("d").unwrap_err(), GraphError::unreadable_payload());
    }

    #[test]
    fn a_byte_order_mark_is_accepted() {
        assert!(Body::json(b"\xEF\xBB\xBF{}").members().is_ok());
        assert_eq!(refused(Body::json(b"\xEF\xBB\xBF")), GraphError::empty_payload());
    }

    #[test]
    fn an_empty_body_is_an_empty_payload_whatever_its_type() {
        assert_eq!(refused(Body::default()), GraphError::empty_payload());
        assert_eq!(refused(Body::json(b" \r\n")), GraphError::empty_payload());
    }

    #[test]
    fn anything_but_one_json_object_is_unreadable() {
        for bytes in
            [&b"[]"[..], b"null", b"1", b"{", b"{} x", b"{\"a\":tru}", b"{\"a\":\"\xFF\"}", b"\xFF", b"{a:1}"]
        {
            assert_eq!(refused(Body::json(bytes)), GraphError::unreadable_payload(), "{bytes:?}");
        }
    }

    #[test]
    fn content_type_must_be_json_and_its_parameters_are_ignored() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/json;odata.metadata=none"]
        {
            assert!(Body { content_type: Some(good), ..Body::json(b"{}") }.members().is_ok(), "{good}");
        }
        for bad in [None, Some(""), Some("text/plain"), Some("text/json"), Some("application/jsonp")] {
            let body = Body { content_type: bad, ..Body::json(b"{}") };
            assert_eq!(refused(body), GraphError::unreadable_payload(), "{bad:?}");
        }
    }

    #[test]
    fn a_compressed_body_is_unreadable_so_that_sdks_retry_without() {
        let body = Body { content_encoding: Some("gzip"), ..Body::json(b"{}") };
        assert_eq!(refused(body), GraphError::unreadable_payload());
        assert!(Body { content_encoding: Some("identity"), ..Body::json(b"{}") }.members().is_ok());
    }

    #[test]
    fn deep_nesting_is_survived() {
        let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n)).into_bytes();
        for depth in [10, 1_000, 1_000_000] {
            let _ = Body::json(&deep(depth)).members();
        }
        let nested = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
        if let Ok(members) = Body::json(nested.as_bytes()).members() {
            assert!(members.object("a").is_ok());
            assert!(members.get::<serde_json::Value>("a").is_err());
        }
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"\\\n\u{1}é");
        string_or_null(&mut out, None);
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"\\\n\u0001é"null"#);
    }
}
