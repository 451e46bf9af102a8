//! Handshakes in memory: what a client that trusts only our authority accepts, and certificates that change meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity::{LocalCa, LocalCertificate, ReloadableCertificate, TlsError, server_config};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCert;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection,
};

use crate::world::*;

#[derive(Debug)]
struct FixedTime(i64);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unsigned_abs())))
    }
}

/// What came of a handshake.
struct Agreed {
    version: ProtocolVersion,
    alpn: Option<Vec<u8>>,
    certificate: CertificateDer<'static>,
}

struct Client<'a> {
    trusts: &'a CertificateDer<'static>,
    versions: &'a [&'static rustls::SupportedProtocolVersion],
    alpn: &'a [&'a [u8]],
    time: i64,
}

impl<'a> Client<'a> {
    fn new(trusts: &'a CertificateDer<'static>) -> Self {
        Self { trusts, versions: rustls::ALL_VERSIONS, alpn: &[b"h2", b"http/1.1"], time: NOW }
    }

    fn connect(&self, server: Arc<dyn ResolvesServerCert>, name: &str) -> Result<Agreed, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.clone())?;
        let mut config =
            ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(FixedTime(self.time)))
                .with_protocol_versions(self.versions)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        let mut server = ServerConnection::new(server_config(server).unwrap())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(Agreed {
            version: client.protocol_version().unwrap(),
            alpn: client.alpn_protocol().map(<[u8]>::to_vec),
            certificate: client.peer_certificates().unwrap()[0].clone(),
        })
    }
}

fn local(extra: &[&str]) -> Arc<LocalCertificate> {
    let extra: Vec<String> = extra.iter().map(|&name| name.to_owned()).collect();
    let ca = LocalCa::generate(&extra, now()).unwrap();
    Arc::new(LocalCertificate::new(ca, extra, now()).unwrap())
}

fn refusal(result: Result<Agreed, rustls::Error>) -> CertificateError {
    match result {
        Err(rustls::Error::InvalidCertificate(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_client_that_trusts_only_the_authority_connects_to_every_name() {
    let local = local(&["presence.corp.example", "10.0.0.7"]);
    let client = Client::new(local.ca().certificate_der());
    for name in ["localhost", "127.0.0.1", "::1", "presence.corp.example", "10.0.0.7"] {
        if let Err(error) = client.connect(local.clone(), name) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn a_client_refuses_another_name_another_authority_and_another_time() {
    let (local, other) = (local(&[]), local(&[]));
    let client = Client::new(local.ca().certificate_der());
    for name in ["example.com", "x.localhost", "127.0.0.2"] {
        let error = refusal(client.connect(local.clone(), name));
        assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{name}: {error:?}");
    }
    assert_eq!(
        refusal(Client::new(other.ca().certificate_der()).connect(local.clone(), "localhost")),
        CertificateError::UnknownIssuer
    );
    let day = 24 * 60 * 60;
    for time in [NOW - 2 * day, NOW + 398 * day] {
        let error = refusal(
            Client { time, ..Client::new(local.ca().certificate_der()) }.connect(local.clone(), "localhost"),
        );
        let expected = matches!(
            error,
            CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. }
        );
        assert!(expected, "{error:?}");
    }
}

#[test]
fn both_versions_and_both_protocols_are_spoken() {
    let local = local(&[]);
    let client = Client::new(local.ca().certificate_der());
    let agreed = client.connect(local.clone(), "localhost").unwrap();
    assert_eq!((agreed.version, agreed.alpn.as_deref()), (ProtocolVersion::TLSv1_3, Some(&b"h2"[..])));
    let old = Client {
        versions: &[&rustls::version::TLS12],
        alpn: &[b"http/1.1"],
        ..Client::new(local.ca().certificate_der())
    };
    let agreed = old.connect(local.clone(), "localhost").unwrap();
    assert_eq!((agreed.version, agreed.alpn.as_deref()), (ProtocolVersion::TLSv1_2, Some(&b"http/1.1"[..])));
    let bare = Client { alpn: &[], ..Client::new(local.ca().certificate_der()) };
    assert_eq!(bare.connect(local.clone(), "localhost").unwrap().alpn, None);
}

#[test]
fn a_renewed_certificate_is_shown_from_then_on() {
    let local = local(&[]);
    let client = Client::new(local.ca().certificate_der());
    let before = client.connect(local.clone(), "localhost").unwrap().certificate;
    let later = NOW + 380 * 24 * 60 * 60;
    assert!(local.renew_if_due(at(later)).unwrap());
    let client = Client { time: later, ..Client::new(local.ca().certificate_der()) };
    assert_ne!(client.connect(local.clone(), "localhost").unwrap().certificate, before);
}

/// A self-signed pair of files, and the certificate to trust.
fn write_pair(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["files.test".to_owned()]).unwrap();
    std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn open(directory: &Path) -> Result<Arc<ReloadableCertificate>, TlsError> {
    ReloadableCertificate::open(&directory.join("tls.crt"), &directory.join("tls.key")).map(Arc::new)
}

#[test]
fn files_that_change_are_taken_and_others_are_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let first = write_pair(directory.path());
    let files = open(directory.path()).unwrap();
    assert_eq!(Client::new(&first).connect(files.clone(), "files.test").unwrap().certificate, first);
    assert!(!files.reload_if_changed().unwrap());

    let second = write_pair(directory.path());
    assert!(files.reload_if_changed().unwrap());
    assert!(!files.reload_if_changed().unwrap());
    assert_eq!(Client::new(&second).connect(files, "files.test").unwrap().certificate, second);
}

#[test]
fn a_bad_new_file_keeps_the_old_certificate_and_is_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = write_pair(directory.path());
    let files = open(directory.path()).unwrap();
    let still_serves =
        || Client::new(&first).connect(files.clone(), "files.test").unwrap().certificate == first;

    std::fs::write(directory.path().join("tls.crt"), "garbage").unwrap();
    assert!(matches!(files.reload_if_changed(), Err(TlsError::Pem { expected: "certificate", .. })));
    assert!(!files.reload_if_changed().unwrap(), "once is enough");
    assert!(still_serves());

    let key = std::fs::read(directory.path().join("tls.key")).unwrap();
    write_pair(directory.path());
    std::fs::write(directory.path().join("tls.key"), &key).unwrap();
    assert!(
        matches!(files.reload_if_changed(), Err(TlsError::Unusable(_))),
        "between the two writes of a renewal"
    );
    assert!(still_serves());

    std::fs::remove_file(directory.path().join("tls.key")).unwrap();
    assert!(matches!(files.reload_if_changed(), Err(TlsError::File { .. })));
    assert!(still_serves());

    let last = write_pair(directory.path());
    assert!(files.reload_if_changed().unwrap());
    assert_eq!(Client::new(&last).connect(files.clone(), "files.test").unwrap().certificate, last);
}

#[test]
fn bad_files_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(open(directory.path()), Err(TlsError::File { .. })));
    write_pair(directory.path());
    for (name, contents) in [("tls.crt", ""), ("tls.crt", "garbage"), ("tls.key", ""), ("tls.key", "garbage")]
    {
        write_pair(directory.path());
        std::fs::write(directory.path().join(name), contents).unwrap();
        assert!(matches!(open(directory.path()), Err(TlsError::Pem { .. })), "{name} {contents:?}");
    }
}

#[test]
fn one_file_may_hold_both_key_and_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let ca = LocalCa::load_or_generate(directory.path(), &[], now()).unwrap();
    let trusted = ca.certificate_der().clone();
    LocalCertificate::new(ca, Vec::new(), now()).unwrap();
    let path = directory.path().join("server.pem");
    let files = Arc::new(ReloadableCertificate::open(&path, &path).unwrap());
    assert!(Client::new(&trusted).connect(files, "localhost").is_ok());
}
