//! What an issuer publishes: its configuration, and its keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::jwks::{KeySet, VerificationKey};

/// Largest configuration that is read, in bytes. Real ones have 1 to 8 KiB.
pub const DISCOVERY_BYTES_MAX: usize = 64 * 1024;
/// Largest key set that is read, in bytes. Real ones have 1 to 20 KiB, certificates included.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Keys of one issuer at most; real ones have 1 to 10.
pub const KEYS_MAX: usize = 64;
/// Shortest RSA modulus, in bits. Source: NIST SP 800-131A; RFC 7518 §3.3 has the same.
const RSA_BITS_MIN: usize = 2048;
/// Longest RSA modulus, in bits: what the library verifies, and dear enough.
const RSA_BITS_MAX: usize = 8192;
/// Bytes of a coordinate on P-256, and of an Ed25519 key.
const CURVE_BYTES: usize = 32;

/// Why what an issuer publishes is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentProblem {
    /// Not the document it should be.
    #[error("the document is not the JSON it should be: {0}")]
    Unreadable(String),
    /// The configuration is another issuer's. Source: OpenID Connect Discovery 1.0 §4.3.
    #[error(
        "the document says its issuer is {found:?}, and {configured:?} is configured; they must be equal to the letter"
    )]
    OtherIssuer {
        /// What the document says.
        found: String,
        /// What the settings say.
        configured: String,
    },
    /// Too many keys.
    #[error("the key set has {0} keys; at most {KEYS_MAX} are read")]
    TooManyKeys(usize),
    /// No key that can be used.
    #[error(
        "none of the {0} keys of the key set can be used: RSA of 2048 bits or more, P-256 or Ed25519, with a kid, for signatures"
    )]
    NoUsableKey(usize),
}

/// An issuer's configuration, as far as it matters to whom is shown its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where its keys are.
    pub jwks_uri: String,
}

impl Discovery {
    /// Where the configuration of an issuer is. Source: OpenID Connect Discovery 1.0 §4.
    pub fn url(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
    }

    /// Reads the configuration of `issuer`.
    ///
    /// # Errors
    /// [`DocumentProblem::Unreadable`] and [`DocumentProblem::OtherIssuer`].
    pub fn read(issuer: &str, document: &[u8]) -> Result<Self, DocumentProblem> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let document: Document = read(document)?;
        if document.issuer != issuer {
            return Err(DocumentProblem::OtherIssuer {
                found: document.issuer,
                configured: issuer.to_owned(),
            });
        }
        Ok(Self { jwks_uri: document.jwks_uri })
    }
}

/// One entry of a key set. Source: RFC 7517 §4, RFC 7518 §6, RFC 8037.
#[derive(Deserialize, Serialize)]
struct Jwk {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// Reads a JSON Web Key Set. Keys that cannot be used are left out, as RFC 7517 §5 wants: other kinds, other purposes,
/// RSA below 2048 bits, no `kid`. Of two with one `kid` the first counts.
///
/// # Errors
/// [`DocumentProblem`]; a set without a key that can be used is none.
pub fn key_set(document: &[u8]) -> Result<KeySet, DocumentProblem> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let document: Document = read(document)?;
    let count = document.keys.len();
    if count > KEYS_MAX {
        return Err(DocumentProblem::TooManyKeys(count));
    }
    // The last of two entries would win in the map, so they come backwards.
    let keys = document.keys.into_iter().rev().filter_map(|key| usable(serde_json::from_value(key).ok()?));
    let keys: KeySet = keys.collect();
    if keys.is_empty() { Err(DocumentProblem::NoUsableKey(count)) } else { Ok(keys) }
}

/// The same key set without what is not needed to read it again, certificates above all: to be kept. Never longer than
/// `bytes_max`; keys at the end that do not fit are left out.
///
/// # Errors
/// [`DocumentProblem::Unreadable`].
pub fn compact_key_set(document: &[u8], bytes_max: usize) -> Result<Vec<u8>, DocumentProblem> {
    #[derive(Deserialize, Serialize)]
    struct Document {
        keys: Vec<serde_json::Value>,
    }
    let document: Document = read(document)?;
    let mut bytes = br#"{"keys":["#.to_vec();
    const END: &[u8] = b"]}";
    let mut is_first = true;
    for key in document.keys.into_iter().take(KEYS_MAX) {
        let Ok(jwk) = serde_json::from_value::<Jwk>(key) else { continue };
        let key = serde_json::to_vec(&jwk).unwrap_or_default();
        if bytes.len() + key.len() + 1 + END.len() > bytes_max {
            break;
        }
        if !std::mem::take(&mut is_first) {
            bytes.push(b',');
        }
        bytes.extend(key);
    }
    bytes.extend(END);
    Ok(bytes)
}

fn usable(jwk: Jwk) -> Option<(String, VerificationKey)> {
    let kid = jwk.kid.filter(|kid| !kid.is_empty())?;
    if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if jwk.key_ops.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
        return None;
    }
    let bytes = |part: Option<String>| URL_SAFE_NO_PAD.decode(part?.trim_end_matches('=')).ok();
    let alg = jwk.alg.as_deref();
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(jwk.n)?, bytes(jwk.e)?);
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(&n)) || bits(&e) < 2 {
                return None;
            }
            match alg {
                None => VerificationKey::rsa(&n, &e),
                Some("RS256") => VerificationKey::rs256(&n, &e),
                Some("PS256") => VerificationKey::ps256(&n, &e),
                Some(_) => return None,
            }
        }
        ("EC", Some("P-256")) if alg.is_none_or(|alg| alg == "ES256") => {
            let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
            if x.len() != CURVE_BYTES || y.len() != CURVE_BYTES {
                return None;
            }
            VerificationKey::es256(&x, &y)?
        }
        ("OKP", Some("Ed25519")) if alg.is_none_or(|alg| ["EdDSA", "Ed25519"].contains(&alg)) => {
            let x = bytes(jwk.x).filter(|x| x.len() == CURVE_BYTES)?;
            VerificationKey::ed25519(&x)?
        }
        _ => return None,
    };
    Some((kid, key))
}

/// The bits of a number, without leading zeros.
fn bits(big_endian: &[u8]) -> usize {
    let significant = big_endian.iter().skip_while(|byte| **byte == 0).count();
    let first = big_endian[big_endian.len() - significant..].first();
    first.map_or(0, |first| significant * 8 - first.leading_zeros() as usize)
}

fn read<T: for<'de> Deserialize<'de>>(document: &[u8]) -> Result<T, DocumentProblem> {
    serde_json::from_slice(document).map_err(|error| DocumentProblem::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rsa(bytes: usize) -> serde_json::Value {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        json!({ "kty": "RSA", "kid": "a", "n": n, "e": "AQAB" })
    }

    fn set(keys: &[serde_json::Value]) -> Result<KeySet, DocumentProblem> {
        key_set(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn with(mut key: serde_json::Value, member: &str, value: serde_json::Value) -> serde_json::Value {
        key[member] = value;
        key
    }

    #[test]
    fn the_configuration_must_name_the_issuer_to_the_letter() {
        let document = br#"{"issuer":"https://id.example/o/x/","jwks_uri":"https://id.example/keys"}"#;
        assert_eq!(
            Discovery::read("https://id.example/o/x/", document).unwrap().jwks_uri,
            "https://id.example/keys"
        );
        for other in ["https://id.example/o/x", "https://ID.example/o/x/", ""] {
            let refused = Discovery::read(other, document);
            assert!(matches!(refused, Err(DocumentProblem::OtherIssuer { .. })), "{other}");
        }
        assert!(matches!(Discovery::read("x", b"<html>"), Err(DocumentProblem::Unreadable(_))));
        for (issuer, url) in [("https://a/o/x/", "https://a/o/x"), ("https://a", "https://a")] {
            assert_eq!(Discovery::url(issuer), format!("{url}/.well-known/openid-configuration"));
        }
    }

    #[test]
    fn keys_that_are_weak_or_for_something_else_are_left_out() {
        assert!(set(&[rsa(256)]).is_ok());
        let bad = [
            rsa(255),
            rsa(128),
            rsa(1025),
            with(rsa(256), "e", json!("AQ")),
            with(rsa(256), "e", json!("")),
            with(rsa(256), "kid", json!("")),
            with(rsa(256), "kid", json!(null)),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "alg", json!("RSA-OAEP")),
            with(rsa(256), "alg", json!("RS512")),
            with(rsa(256), "alg", json!("HS256")),
            with(rsa(256), "key_ops", json!(["sign"])),
            json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0" }),
            json!({ "kty": "EC", "crv": "P-384", "kid": "a", "x": "AAAA", "y": "AAAA" }),
            json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": "AAAA", "y": "AAAA" }),
            json!({ "kty": "OKP", "crv": "X25519", "kid": "a", "x": URL_SAFE_NO_PAD.encode([1; 32]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA" }),
            json!("a"),
            json!(null),
        ];
        for key in &bad {
            assert_eq!(set(std::slice::from_ref(key)).err(), Some(DocumentProblem::NoUsableKey(1)), "{key}");
        }
        let mut mixed = bad.to_vec();
        mixed.push(with(with(rsa(256), "use", json!("sig")), "kid", json!("good")));
        let usable = set(&mixed).unwrap();
        assert!(usable.get("good").is_some() && usable.get("a").is_none());
        assert_eq!(
            set(&vec![rsa(256); KEYS_MAX + 1]).err(),
            Some(DocumentProblem::TooManyKeys(KEYS_MAX + 1))
        );
    }

    #[test]
    fn a_key_set_is_kept_without_certificates_and_read_back_and_never_longer_than_there_is_room() {
        let fat = |number: usize| {
            let key = with(rsa(256), "kid", json!(number.to_string()));
            with(with(key, "x5c", json!(["A".repeat(2_000)])), "use", json!("sig"))
        };
        let document = json!({ "keys": (0..KEYS_MAX).map(fat).collect::<Vec<_>>() }).to_string();
        let compact = compact_key_set(document.as_bytes(), 64 * 1024).unwrap();
        assert!(compact.len() < 32 * 1024, "{}", compact.len());
        assert_eq!(key_set(&compact).unwrap().len(), KEYS_MAX);
        let little = compact_key_set(document.as_bytes(), 1_000).unwrap();
        assert!(little.len() <= 1_000 && key_set(&little).unwrap().get("0").is_some());
        assert!(compact_key_set(b"{}", 1_000).is_err());
    }

    #[test]
    fn bits_are_counted_without_leading_zeros() {
        for (bytes, count) in [(&[][..], 0), (&[0], 0), (&[1], 1), (&[0, 0x80, 0], 16), (&[0x7f, 0], 15)] {
            assert_eq!(bits(bytes), count, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_document_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            for document in [&bytes[..], text.as_bytes()] {
                let _ = (key_set(document), Discovery::read("https://x", document));
            }
        }
    }
}
