//! The signing key: kept, private, and never shown.

use identity::{IssuerConfig, KeyError, SecretDigest, SigningKey, Verifier};

use crate::world::*;

#[test]
fn a_key_is_made_once_and_then_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").join("deeper");
    let first = SigningKey::load_or_generate(&path).unwrap();
    let second = SigningKey::load_or_generate(&path).unwrap();
    assert_eq!(first.kid(), second.kid());
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["signing-key.pem"], "no temporary file is left");
    let pem = std::fs::read_to_string(path.join("signing-key.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    SigningKey::load_or_generate(directory.path()).unwrap();
    let mode = std::fs::metadata(directory.path().join("signing-key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_token_from_before_a_restart_is_still_good() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let key = SigningKey::load_or_generate(directory.path()).unwrap();
        identity::Issuer::new(IssuerConfig::new(tenant(), BASE_URL, key))
    };
    let token = start().mint_application(&application(), now(), 60).unwrap();
    assert!(Verifier::new([start().trusted()]).verify(&token, now()).is_ok());
}

#[test]
fn a_broken_file_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing-key.pem");
    let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for broken in ["", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &elliptic]
    {
        std::fs::write(&path, broken).unwrap();
        assert!(
            matches!(SigningKey::load_or_generate(directory.path()), Err(KeyError::Unusable)),
            "{broken}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
    }
}

#[test]
fn two_keys_have_two_ids_and_one_key_always_the_same_certificate() {
    assert_ne!(key().signing.kid(), other_key().signing.kid());
    assert_eq!(key().signing.kid().len(), 43, "SHA-256 in base64url");
    let again = SigningKey::from_pem(&key().pem).unwrap();
    assert_eq!(again.kid(), key().signing.kid());
    let issuer = identity::Issuer::new(IssuerConfig::new(tenant(), BASE_URL, again));
    assert_eq!(
        format!("{:?}", issuer.trusted().issuers),
        format!("{:?}", [format!("{BASE_URL}/{TENANT}/v2.0")])
    );
}

#[test]
fn no_secret_is_ever_printed() {
    let directory = tempfile::tempdir().unwrap();
    let ca = identity::LocalCa::load_or_generate(directory.path(), &[], now()).unwrap();
    let ca_key = std::fs::read_to_string(directory.path().join("ca-key.pem")).unwrap();
    let verifier = verifier();
    let token = token(&app_claims());
    verifier.verify(&token, now()).unwrap();
    let local = identity::LocalCertificate::new(ca, Vec::new(), now()).unwrap();
    let printed = format!("{:?} {:?} {:?} {:?} {local:?}", key().signing, issuer(), application(), verifier);
    let digest = format!("{:?}", SecretDigest::of(SECRET));
    assert_eq!(digest, "SecretDigest(hidden)");
    assert!(!printed.contains(SECRET));
    assert!(!printed.contains(&token));
    assert!(!printed.contains(token.rsplit_once('.').unwrap().1));
    for pem in [&key().pem, &ca_key] {
        for line in pem.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!printed.contains(line));
        }
    }
}

#[test]
fn a_secret_matches_itself_only() {
    let digest = SecretDigest::of(SECRET);
    assert!(digest.matches(SECRET));
    for other in ["", "x", &SECRET[1..], &SECRET.to_uppercase()] {
        assert!(!digest.matches(other));
    }
    // SHA-256 of "abc", FIPS 180-2 B.1: a configuration may hold digests made by other tools.
    let mut abc = [0; 32];
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (byte, pair) in abc.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    assert!(SecretDigest::from_bytes(abc).matches("abc"));
}
