//! The local certificate authority: kept, limited, and acceptable to strict clients.

use std::path::Path;
use std::process::Command;

use identity::{CaError, LocalCa, LocalCertificate, TlsError};
use presence::Timestamp;
use x509_parser::prelude::*;

use crate::world::*;

const DAY: i64 = 24 * 60 * 60;

fn certificate(directory: &Path, extra: &[&str], now: Timestamp) -> Result<LocalCertificate, TlsError> {
    let extra: Vec<String> = extra.iter().map(|&name| name.to_owned()).collect();
    let ca = LocalCa::load_or_generate(directory, &extra, now)?;
    LocalCertificate::new(ca, extra, now)
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

/// The certificate in a file that may hold a key before it.
fn der(directory: &Path, name: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(read(directory, name).as_bytes()).unwrap().to_vec()
}

#[test]
fn authority_and_certificate_are_stable_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let first = certificate(directory.path(), &["dev.test"], now()).unwrap();
    assert!(first.ca().is_new());
    let files = |name| read(directory.path(), name);
    let before = [files("ca.pem"), files("ca-key.pem"), files("server.pem")];
    let second = certificate(directory.path(), &["dev.test"], at(NOW + 300 * DAY)).unwrap();
    assert!(!second.ca().is_new());
    assert_eq!(before, [files("ca.pem"), files("ca-key.pem"), files("server.pem")]);
    assert_eq!(second.ca().certificate_pem(), before[0]);
    assert!(!before[0].contains("PRIVATE KEY"));
}

#[cfg(unix)]
#[test]
fn keys_are_private_and_the_certificate_is_public() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    for (name, mode) in [("ca-key.pem", 0o600), ("server.pem", 0o600), ("ca.pem", 0o644)] {
        let found = std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn the_certificate_is_replaced_before_it_ends_and_the_authority_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let local = certificate(directory.path(), &[], now()).unwrap();
    let (ca, leaf) = (read(directory.path(), "ca.pem"), read(directory.path(), "server.pem"));
    // It ends at the midnight that begins day 397, and is due 30 days earlier.
    let midnight = NOW - NOW.rem_euclid(DAY);
    let due = midnight + 367 * DAY;
    assert!(!local.renew_if_due(at(due - 1)).unwrap());
    assert_eq!(read(directory.path(), "server.pem"), leaf);
    assert!(local.renew_if_due(at(due)).unwrap());
    assert_ne!(read(directory.path(), "server.pem"), leaf);
    assert!(!local.renew_if_due(at(due)).unwrap());
    assert_eq!(read(directory.path(), "ca.pem"), ca);
}

#[test]
fn the_certificate_is_replaced_when_the_names_change() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &["one.test"], now()).unwrap();
    let ca = read(directory.path(), "ca.pem");
    let mut seen = vec![read(directory.path(), "server.pem")];
    for extra in [&["one.test", "two.test"][..], &["two.test"], &[], &["127.0.0.2"]] {
        certificate(directory.path(), extra, now()).unwrap();
        let leaf = read(directory.path(), "server.pem");
        assert!(!seen.contains(&leaf), "{extra:?}");
        seen.push(leaf);
    }
    assert_eq!(read(directory.path(), "ca.pem"), ca);
}

#[test]
fn a_broken_certificate_is_replaced_and_a_broken_authority_reported() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    let ca = read(directory.path(), "ca.pem");
    std::fs::write(directory.path().join("server.pem"), "garbage").unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    assert!(read(directory.path(), "server.pem").contains("BEGIN CERTIFICATE"));
    std::fs::write(directory.path().join("ca-key.pem"), &ca).unwrap();
    let refused = certificate(directory.path(), &[], now());
    assert!(matches!(refused, Err(TlsError::Authority(CaError::Unusable(_)))));
    assert_eq!(read(directory.path(), "ca-key.pem"), ca);
}

#[test]
fn an_authority_that_ends_is_followed_by_another() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    let ca = read(directory.path(), "ca.pem");
    assert!(!certificate(directory.path(), &[], at(NOW + 3600 * DAY)).unwrap().ca().is_new());
    assert_eq!(read(directory.path(), "ca.pem"), ca);
    assert!(certificate(directory.path(), &[], at(NOW + 3640 * DAY)).unwrap().ca().is_new());
    assert_ne!(read(directory.path(), "ca.pem"), ca);
}

#[test]
fn names_beyond_the_limits_need_another_authority() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &["presence.corp.example", "10.0.0.7"], now()).unwrap();
    for fine in
        ["presence.corp.example", "PRESENCE.corp.example.", "a.presence.corp.example", "10.0.0.7", "x.test"]
    {
        assert!(certificate(directory.path(), &[fine], now()).is_ok(), "{fine}");
    }
    for name in
        ["corp.example", "evilpresence.corp.example", "graph.microsoft.com", "10.0.0.8", "::2", "evil-test"]
    {
        let refused = certificate(directory.path(), &[name], now());
        assert!(
            matches!(&refused, Err(TlsError::Authority(CaError::NotPermitted(found))) if found == name),
            "{name}: {refused:?}"
        );
    }
    for name in ["", "a b", "*.test", "-", "https://x.test", "x.test:8443"] {
        let refused = certificate(directory.path(), &[name], now());
        assert!(matches!(&refused, Err(TlsError::Authority(CaError::BadName(_)))), "{name}: {refused:?}");
    }
}

#[test]
fn the_authority_limits_itself() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    let der = der(directory.path(), "ca.pem");
    let (_, ca) = parse_x509_certificate(&der).unwrap();
    let basic = ca.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap();
    assert!(
        usage.critical
            && usage.value.key_cert_sign()
            && usage.value.crl_sign()
            && !usage.value.digital_signature()
    );
    let constraints = ca.name_constraints().unwrap().unwrap();
    assert!(constraints.critical);
    assert_eq!(constraints.value.permitted_subtrees.as_ref().unwrap().len(), 5);
    assert!(ca.extended_key_usage().unwrap().unwrap().value.server_auth);
    let days = (ca.validity().not_after.timestamp() - ca.validity().not_before.timestamp()) / DAY;
    assert_eq!(days, 3653);
}

#[test]
fn the_certificate_has_what_strict_clients_want() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &["dev.test"], now()).unwrap();
    let (ca, leaf) = (der(directory.path(), "ca.pem"), der(directory.path(), "server.pem"));
    let (_, ca) = parse_x509_certificate(&ca).unwrap();
    let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
    let basic = leaf.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && !basic.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature());
    assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    let days = (leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp()) / DAY;
    assert!(
        days <= 398,
        "Apple: at most 825 days from a private authority, 398 from a public one; it has {days}"
    );
    assert!(leaf.validity().not_before.timestamp() <= NOW - DAY);
    let subject_id = |certificate: &X509Certificate<'_>| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    };
    let authority_id = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    assert!(subject_id(&leaf).is_some());
    assert_eq!(authority_id, subject_id(&ca));
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 4);
}

/// Runs OpenSSL's own opinion; silent where it is not installed.
fn openssl_verify(directory: &Path, leaf: &str, checks: &[&str]) -> Option<bool> {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &NOW.to_string()])
        .args(checks)
        .arg("-CAfile")
        .arg(directory.join("ca.pem"))
        .arg(directory.join(leaf))
        .output()
        .ok()?;
    Some(output.status.success())
}

#[test]
fn openssl_strict_accepts_the_chain_for_its_names_only() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &["dev.test"], now()).unwrap();
    let check = |checks: &[&str]| openssl_verify(directory.path(), "server.pem", checks);
    let Some(plain) = check(&[]) else { return };
    assert!(plain);
    assert_eq!(check(&["-verify_hostname", "localhost"]), Some(true));
    assert_eq!(check(&["-verify_hostname", "dev.test"]), Some(true));
    assert_eq!(check(&["-verify_ip", "127.0.0.1"]), Some(true));
    assert_eq!(check(&["-verify_ip", "::1"]), Some(true));
    assert_eq!(check(&["-verify_hostname", "other.test"]), Some(false));
}

#[test]
fn a_stolen_authority_is_of_no_use_for_other_names() {
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), &[], now()).unwrap();
    let pem = read(directory.path(), "ca-key.pem");
    let stolen = rcgen::Issuer::from_ca_cert_pem(
        &read(directory.path(), "ca.pem"),
        rcgen::KeyPair::from_pem(pem.split_inclusive("-----END PRIVATE KEY-----").next().unwrap()).unwrap(),
    )
    .unwrap();
    let forge = |name: &str| {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        let forged = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &stolen).unwrap();
        std::fs::write(directory.path().join("forged.pem"), forged.pem()).unwrap();
        openssl_verify(directory.path(), "forged.pem", &[])
    };
    let Some(fine) = forge("x.test") else { return };
    assert!(fine, "the forgery as such is well made");
    for name in ["graph.microsoft.com", "login.example", "192.0.2.1"] {
        assert_eq!(forge(name), Some(false), "{name}");
    }
}
