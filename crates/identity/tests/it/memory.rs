//! What the verifier remembers, and what it does not.

use std::sync::Arc;

use identity::{Caller, KeySet, LastToken, TokenError, Verifier};
use presence::{AppId, Timestamp};
use serde_json::json;

use crate::world::*;

fn old_issuer() -> String {
    issuer().trusted().issuers[0].clone()
}

#[test]
fn a_verified_token_is_remembered_once() {
    let verifier = verifier();
    let token = token(&app_claims());
    let first = verifier.verify(&token, now()).unwrap();
    let second = verifier.verify(&token, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(verifier.verified_tokens(), 1);
}

#[test]
fn a_refused_token_is_not_remembered() {
    let verifier = verifier();
    for claims in [with(app_claims(), json!({"exp": NOW - 301})), with(app_claims(), json!({"aud": "x"}))] {
        assert!(verifier.verify(&token(&claims), now()).is_err());
    }
    assert!(verifier.verify("garbage", now()).is_err());
    assert_eq!(verifier.verified_tokens(), 0);
}

#[test]
fn the_lifetime_is_checked_at_every_hit_and_an_expired_token_forgotten() {
    let verifier = verifier();
    let token = token(&app_claims());
    assert!(verifier.verify(&token, now()).is_ok());
    assert!(verifier.verify(&token, at(NOW + 3900)).is_ok());
    assert_eq!(verifier.verify(&token, at(NOW + 3901)), Err(TokenError::Expired));
    assert_eq!(verifier.verified_tokens(), 0);
}

#[test]
fn the_number_remembered_is_bounded() {
    const MAX: usize = 64;
    let verifier = Verifier::with_capacity([issuer().trusted()], MAX);
    for n in 0..4 * MAX {
        assert!(verifier.verify(&token(&with(app_claims(), json!({"jti": n}))), now()).is_ok());
        assert!(verifier.verified_tokens() <= MAX);
    }
    assert!(verifier.verified_tokens() > MAX / 2);
}

#[test]
fn a_withdrawn_key_is_not_believed_from_memory() {
    let verifier = verifier();
    let token = token(&app_claims());
    assert!(verifier.verify(&token, now()).is_ok());
    assert!(verifier.replace_keys(&old_issuer(), other_key().signing.public()));
    assert_eq!(verifier.verified_tokens(), 0);
    assert_eq!(verifier.verify(&token, now()), Err(TokenError::UnknownKey));
}

#[test]
fn an_added_key_forgets_nothing_and_counts_at_once() {
    let verifier = verifier();
    assert!(verifier.verify(&token(&app_claims()), now()).is_ok());
    let (old, new) = (key().signing.public(), other_key().signing.public());
    let both: KeySet = [(key(), old), (other_key(), new)]
        .into_iter()
        .map(|(key, set)| (key.signing.kid().to_owned(), set.get(key.signing.kid()).unwrap().clone()))
        .collect();
    assert!(verifier.replace_keys(&old_issuer(), both));
    assert_eq!(verifier.verified_tokens(), 1);
    let header = json!({"alg": "RS256", "kid": other_key().signing.kid()});
    assert!(verifier.verify(&token_with(&header, &app_claims(), other_key()), now()).is_ok());
}

#[test]
fn keys_of_an_issuer_nobody_trusts_go_nowhere() {
    let verifier = verifier();
    assert!(!verifier.replace_keys("https://other.example/", KeySet::default()));
    assert!(verifier.verify(&token(&app_claims()), now()).is_ok());
}

// What a connection remembers of the last token it showed.

fn first(verifier: &Verifier, last: &LastToken<AppId>, token: &str) -> Result<AppId, TokenError> {
    verifier.verify_first(last, &identity::Nobody, token, now(), |caller: &Caller| caller.app)
}

#[test]
fn the_last_token_is_known_again_and_no_other() {
    let (verifier, last) = (verifier(), LastToken::default());
    let (one, other) = (token(&app_claims()), token(&with(app_claims(), json!({"jti": 1}))));
    let again = |token: &str, now: Timestamp| verifier.again(&last, token.as_bytes(), now);
    assert_eq!(again(&one, now()), None);
    let app = first(&verifier, &last, &one).unwrap();
    assert_eq!(again(&one, now()), Some(Ok(app)));
    assert_eq!(again(&other, now()), None);
    assert_eq!(again(&one[..one.len() - 1], now()), None);
    first(&verifier, &last, &other).unwrap();
    assert_eq!((again(&one, now()), again(&other, now())), (None, Some(Ok(app))));
    assert!(first(&verifier, &last, "garbage").is_err());
    assert_eq!(again("garbage", now()), None);
}

#[test]
fn the_last_token_ends_with_its_lifetime_and_with_any_change_of_trust() {
    let (verifier, last) = (verifier(), LastToken::default());
    let token = token(&app_claims());
    let again = |now: Timestamp| verifier.again(&last, token.as_bytes(), now);
    let app = first(&verifier, &last, &token).unwrap();
    assert_eq!(again(at(NOW + 3900)), Some(Ok(app)));
    assert_eq!(again(at(NOW + 3901)), Some(Err(TokenError::Expired)));
    assert_eq!(again(now()), None, "forgotten");
    first(&verifier, &last, &token).unwrap();
    verifier.replace_keys(&old_issuer(), other_key().signing.public());
    assert_eq!(again(now()), None);
    verifier.replace_keys(&old_issuer(), key().signing.public());
    first(&verifier, &last, &token).unwrap();
    verifier.replace_issuers(issuer().trusted().tenant, Vec::new());
    assert_eq!(again(now()), None);
    assert_eq!(first(&verifier, &last, &token), Err(TokenError::WrongIssuer));
}

#[test]
fn a_token_that_is_too_long_is_not_kept_with_the_connection() {
    let (verifier, last) = (verifier(), LastToken::default());
    let long = token(&with(app_claims(), json!({"padding": "x".repeat(5_000)})));
    first(&verifier, &last, &long).unwrap();
    assert_eq!(verifier.again(&last, long.as_bytes(), now()), None);
    assert!(!format!("{last:?}").contains(&long[..20]));
}
