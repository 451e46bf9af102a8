//! The signing key: kept, private, and never shown.

use identity::{
    Issuer, IssuerConfig, KeyError, KeyFolderState, KeyRing, RETIRED_KEYS_MAX, SecretDigest, SigningKey,
    Verifier,
};
use jiff::SignedDuration;

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

#[test]
fn a_rotation_signs_with_a_new_key_and_believes_the_old_one_until_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let old = KeyRing::load_or_generate(folder.path(), now()).unwrap();
    let mut config = IssuerConfig::new(tenant(), BASE_URL, old.clone());
    config.sign_in = true;
    let issuer = Issuer::new(config);
    let verifier = Verifier::new([issuer.trusted()]);
    let before = issuer.mint_application(&application(), now(), 3_600).unwrap();
    assert!(verifier.verify(&before, now()).is_ok());

    let ring = KeyRing::rotate(folder.path(), SignedDuration::from_hours(1), now()).unwrap();
    assert_ne!(ring.current().kid(), old.current().kid());
    let follow = |ring: &KeyRing| {
        issuer.replace_keys(ring.clone());
        for name in issuer.trusted().issuers {
            assert!(verifier.replace_keys(&name, ring.public()));
        }
    };
    follow(&ring);
    let after = issuer.mint_application(&application(), now(), 3_600).unwrap();
    assert!(verifier.verify(&before, now()).is_ok() && verifier.verify(&after, now()).is_ok());
    let (_, set) = status_and_json(&ask(&issuer, NOW, http::Method::GET, "/common/discovery/keys", &[], &[]));
    let kids: Vec<_> =
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, [ring.current().kid(), old.current().kid()]);

    // Its end comes, also over a restart, and nobody else's.
    let later = KeyRing::load_or_generate(folder.path(), at(NOW + 3_600)).unwrap();
    assert_eq!((later.current().kid(), later.retired().count()), (ring.current().kid(), 0));
    follow(&later);
    assert!(verifier.verify(&before, now()).is_err());
    assert!(verifier.verify(&after, now()).is_ok());
}

#[test]
fn a_rotation_without_overlap_leaves_one_key_and_a_folder_that_did_not_change_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = KeyFolderState::default();
    KeyRing::rotate(folder.path(), SignedDuration::from_hours(1), now()).unwrap();
    let read = |state: &mut KeyFolderState, at| KeyRing::load_if_changed(folder.path(), at, state).unwrap();
    assert_eq!(read(&mut state, now()).unwrap().retired().count(), 1);
    assert!(read(&mut state, now()).is_none());
    // The end of a key is a change, too.
    assert_eq!(read(&mut state, at(NOW + 3_600)).unwrap().retired().count(), 0);
    let ring = KeyRing::rotate(folder.path(), SignedDuration::ZERO, now()).unwrap();
    assert_eq!(ring.retired().count(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(read(&mut state, now()).unwrap().current().kid(), ring.current().kid());
}

#[test]
fn a_crash_in_the_middle_of_a_rotation_leaves_the_old_key_signing() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load_or_generate(folder.path()).unwrap();
    let half = folder.path().join(format!("retired-{}-{}.pem", NOW + 60, key.kid()));
    std::fs::copy(folder.path().join("signing-key.pem"), half).unwrap();
    let ring = KeyRing::load_or_generate(folder.path(), now()).unwrap();
    assert_eq!((ring.current().kid(), ring.retired().count()), (key.kid(), 0));
    assert_eq!(ring.public().len(), 1);
}

#[test]
fn keys_that_wait_for_their_end_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load_or_generate(folder.path()).unwrap();
    for number in 0..RETIRED_KEYS_MAX {
        let name = format!("retired-{}-{number}.pem", NOW + 60);
        std::fs::copy(folder.path().join("signing-key.pem"), folder.path().join(name)).unwrap();
    }
    let refused = KeyRing::rotate(folder.path(), SignedDuration::from_hours(1), now());
    assert!(matches!(refused, Err(KeyError::TooMany)), "{refused:?}");
    assert_eq!(SigningKey::load_or_generate(folder.path()).unwrap().kid(), key.kid());
    assert!(KeyRing::rotate(folder.path(), SignedDuration::ZERO, now()).is_ok());
}
