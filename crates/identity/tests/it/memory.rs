//! What the verifier remembers, and what it does not.

use std::sync::Arc;

use identity::{KeySet, TokenError, Verifier};
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
