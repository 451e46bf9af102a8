//! Validation tokens as a receiver of notifications checks them. Source: change-notifications §10.
//!
//! [`Publisher::mint_validation_token`](crate::Publisher::mint_validation_token) makes them; this is the other side, for whoever
//! debugs a receiver. Only RS256 is looked at: it is the one algorithm all helper libraries accept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::Timestamp;
use serde::Deserialize;

use crate::claims::Header;
use crate::jwks::{Algorithm, KeySet, VerificationKey};
use crate::publisher::CHANGE_NOTIFICATION_PUBLISHER;
use crate::verify::{CLOCK_SKEW_SECS, TOKEN_BYTES_MAX};

/// Why a validation token does not prove who sent a notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationProblem {
    /// Not three parts in base64url, of which the first two are JSON objects.
    #[error("it is not a signed JWT")]
    NotAJwt,
    /// Another algorithm than RS256.
    #[error("it is signed with {0}, not RS256")]
    Algorithm(String),
    /// No `kid`, or none of the key set's.
    #[error("the key set has no key with kid {0:?}; was it fetched from the issuer of this token?")]
    UnknownKey(String),
    /// The signature is not that key's.
    #[error("its signature is wrong: it was not signed with the key of this kid, or was changed on its way")]
    Signature,
    /// A claim is missing or of another type.
    #[error("it has no claim {0}")]
    MissingClaim(&'static str),
    /// Before `nbf`.
    #[error("it is not valid before {0}: compare the clocks")]
    NotYet(Timestamp),
    /// After `exp`.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// `azp` or `appid` is somebody else's.
    #[error(
        "its {claim} is {found:?} and not the publisher of change notifications, {CHANGE_NOTIFICATION_PUBLISHER}"
    )]
    Publisher {
        /// Which claim.
        claim: &'static str,
        /// What it says.
        found: String,
    },
    /// `iss` does not name the tenant.
    #[error("its issuer {0:?} does not contain its tenant")]
    Issuer(String),
    /// `aud` is another application.
    #[error("it is meant for the application {0:?}")]
    Audience(String),
}

/// The text is not a JSON Web Key Set with a key for RS256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JSON Web Key Set with an RSA key that has a kid")]
pub struct NoKeySet;

/// The RSA keys of a JSON Web Key Set; keys of other kinds are passed over.
///
/// # Errors
/// [`NoKeySet`].
pub fn validation_keys(jwks: &[u8]) -> Result<KeySet, NoKeySet> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Rsa {
        kty: String,
        kid: String,
        n: String,
        e: String,
    }
    let set: Jwks = serde_json::from_slice(jwks).map_err(|_| NoKeySet)?;
    let keys: Vec<(String, VerificationKey)> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Rsa>(key).ok())
        .filter(|key| key.kty == "RSA")
        .filter_map(|key| {
            let (n, e) = (URL_SAFE_NO_PAD.decode(key.n).ok()?, URL_SAFE_NO_PAD.decode(key.e).ok()?);
            Some((key.kid, VerificationKey::rs256(&n, &e)))
        })
        .collect();
    if keys.is_empty() { Err(NoKeySet) } else { Ok(keys.into_iter().collect()) }
}

/// A validation token, read and not yet believed.
#[derive(Clone, Debug)]
pub struct ValidationToken<'a> {
    message: &'a str,
    signature: &'a str,
    header: (String, Option<String>),
    claims: serde_json::Map<String, serde_json::Value>,
}

impl<'a> ValidationToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`ValidationProblem::NotAJwt`].
    pub fn read(token: &'a str) -> Result<Self, ValidationProblem> {
        let parts = || {
            let (message, signature) = token.rsplit_once('.')?;
            let (header, payload) = message.split_once('.')?;
            let json = |part| URL_SAFE_NO_PAD.decode(part).ok();
            let header: Header = serde_json::from_slice(&json(header)?).ok()?;
            // Extensions that must be understood: none is.
            let header = header.crit.is_none().then_some((header.alg, header.kid))?;
            Some(Self { message, signature, header, claims: serde_json::from_slice(&json(payload)?).ok()? })
        };
        let read = if token.len() > TOKEN_BYTES_MAX { None } else { parts() };
        read.ok_or(ValidationProblem::NotAJwt)
    }

    /// What it claims.
    pub fn claims(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.claims
    }

    /// Checks what receivers are documented to check: signature, times, publisher, tenant, and with `app` whom it is for.
    /// Clocks may differ as much as everywhere ([`CLOCK_SKEW_SECS`]).
    ///
    /// # Errors
    /// The first thing that is wrong, in that order.
    pub fn check(&self, keys: &KeySet, app: Option<&str>, now: Timestamp) -> Result<(), ValidationProblem> {
        use ValidationProblem as P;
        let (algorithm, kid) = &self.header;
        if Algorithm::from_header(algorithm) != Some(Algorithm::Rs256) {
            return Err(P::Algorithm(algorithm.clone()));
        }
        let kid = kid.as_deref().unwrap_or_default();
        let key = keys.get(kid).ok_or_else(|| P::UnknownKey(kid.to_owned()))?;
        if !key.verifies(self.message.as_bytes(), self.signature, Algorithm::Rs256) {
            return Err(P::Signature);
        }
        let (not_before, expires) = (self.instant("nbf")?, self.instant("exp")?);
        let seconds = now.as_second();
        if seconds < not_before.as_second().saturating_sub(CLOCK_SKEW_SECS) {
            return Err(P::NotYet(not_before));
        }
        if seconds >= expires.as_second().saturating_add(CLOCK_SKEW_SECS) {
            return Err(P::Expired(expires));
        }
        // Some helper libraries read the one, some the other.
        for claim in ["azp", "appid"] {
            let found = self.text(claim)?;
            if found != CHANGE_NOTIFICATION_PUBLISHER {
                return Err(P::Publisher { claim, found: found.to_owned() });
            }
        }
        let (issuer, tenant, audience) = (self.text("iss")?, self.text("tid")?, self.text("aud")?);
        if !issuer.contains(tenant) {
            return Err(P::Issuer(issuer.to_owned()));
        }
        match app {
            Some(app) if !app.eq_ignore_ascii_case(audience) => Err(P::Audience(audience.to_owned())),
            _ => Ok(()),
        }
    }

    fn text(&self, claim: &'static str) -> Result<&str, ValidationProblem> {
        let text = self.claims.get(claim).and_then(serde_json::Value::as_str);
        text.filter(|text| !text.is_empty()).ok_or(ValidationProblem::MissingClaim(claim))
    }

    fn instant(&self, claim: &'static str) -> Result<Timestamp, ValidationProblem> {
        let seconds = self.claims.get(claim).and_then(serde_json::Value::as_i64);
        let instant = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        instant.ok_or(ValidationProblem::MissingClaim(claim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the sheet (§13).
    const TOKEN: &str = include_str!("../tests/vectors/validation-token.jwt");
    const JWKS: &str = include_str!("../tests/vectors/validation-keys.json");
    const APP: &str = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f";

    fn check(token: &str, app: Option<&str>, now: &str) -> Result<(), ValidationProblem> {
        let keys = validation_keys(JWKS.as_bytes()).unwrap();
        ValidationToken::read(token)?.check(&keys, app, now.parse().unwrap())
    }

    #[test]
    fn the_token_of_the_worked_example_is_valid_in_its_time_and_for_its_application() {
        let token = TOKEN.trim();
        for app in [None, Some(APP), Some(&*APP.to_uppercase())] {
            assert_eq!(check(token, app, "2026-01-01T00:00:00Z"), Ok(()));
        }
        assert_eq!(ValidationToken::read(token).unwrap().claims()["ver"], "2.0");
        let early = check(token, None, "2025-12-31T23:54:59Z");
        assert!(matches!(early, Err(ValidationProblem::NotYet(_))), "{early:?}");
        let late = check(token, None, "2100-01-01T00:05:00Z");
        assert!(matches!(late, Err(ValidationProblem::Expired(_))), "{late:?}");
        let other = check(token, Some("22222222-2222-4222-8222-222222222222"), "2026-01-01T00:00:00Z");
        assert_eq!(other, Err(ValidationProblem::Audience(APP.to_owned())));
    }

    #[test]
    fn a_token_that_was_changed_or_signed_with_another_key_proves_nothing() {
        let token = TOKEN.trim();
        let parts: Vec<&str> = token.split('.').collect();
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims = String::from_utf8(claims).unwrap().replace("8e460676", "8e460677");
        let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims), parts[2]);
        let header = |json: &str| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(json), parts[1], parts[2]);
        let none = header(r#"{"alg":"none","kid":"presenced-test-1"}"#);
        let unknown = header(r#"{"alg":"RS256","kid":"other"}"#);
        for (token, problem) in [
            (&*forged, ValidationProblem::Signature),
            (&*none, ValidationProblem::Algorithm("none".into())),
            (&*unknown, ValidationProblem::UnknownKey("other".into())),
            ("a.b", ValidationProblem::NotAJwt),
            ("", ValidationProblem::NotAJwt),
        ] {
            assert_eq!(check(token, None, "2026-01-01T00:00:00Z"), Err(problem), "{token}");
        }
    }

    #[test]
    fn a_key_set_needs_a_key_that_can_be_used() {
        for text in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"EC","kid":"a","x":"","y":""}]}"#] {
            assert_eq!(validation_keys(text.as_bytes()).err(), Some(NoKeySet), "{text}");
        }
    }

    #[test]
    fn what_our_publisher_mints_passes_until_it_expires_and_other_tokens_do_not() {
        let key = crate::SigningKey::generate().unwrap();
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        let later = |hours| now.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
        let tenant = presence::TenantId::from_u128(7);
        let publisher = crate::Publisher::new(vec!["https://p.example".to_owned()], key.clone());
        let token = publisher.mint_validation_token(tenant, APP, now).unwrap();
        let check = |now| ValidationToken::read(&token).unwrap().check(&key.public(), Some(APP), now);
        assert_eq!((check(now), check(later(4))), (Ok(()), Ok(())), "a retry after four hours is believed");
        assert!(matches!(check(later(9)), Err(ValidationProblem::Expired(_))));

        // Somebody else's service, with the same key.
        let claims = serde_json::json!({
            "aud": APP, "iss": format!("https://p.example/{tenant}/v2.0"), "tid": tenant.to_string(),
            "nbf": 0, "exp": 4_102_444_800_i64, "azp": CHANGE_NOTIFICATION_PUBLISHER, "appid": APP,
        });
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            let token = key.sign(&claims).unwrap();
            ValidationToken::read(&token).unwrap().check(&key.public(), None, now).err()
        };
        let publisher = serde_json::Value::from(CHANGE_NOTIFICATION_PUBLISHER);
        assert_eq!(with("appid", publisher.clone()), None);
        assert_eq!(
            with("azp", APP.into()),
            Some(ValidationProblem::Publisher { claim: "azp", found: APP.to_owned() })
        );
        assert_eq!(with("appid", serde_json::Value::Null), Some(ValidationProblem::MissingClaim("appid")));
        assert_eq!(with("exp", "soon".into()), Some(ValidationProblem::MissingClaim("exp")));
    }
}
