//! The certificates the server shows, and the TLS it speaks with them.
//!
//! Both kinds of certificate can be replaced under running connections: a new handshake sees the new one. Who calls
//! [`renew_if_due`](LocalCertificate::renew_if_due) and [`reload_if_changed`](ReloadableCertificate::reload_if_changed),
//! and how often, is the server's business.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::aws_lc_rs::digest;
use arc_swap::ArcSwap;
use presence::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::ca::{CaError, Leaf, LocalCa};

/// TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1, with the certificate `certificates` has at the time of each handshake.
///
/// # Errors
/// Never in practice: the provider is fixed and supports both versions.
pub fn server_config(certificates: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no certificate, or no private key, in PEM.
    #[error("{path} holds no {expected} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What the reader says.
        source: pem::Error,
    },
    /// The certificate and the key do not go together, or are of a kind that cannot be used.
    #[error("the certificate cannot be used with its key")]
    Unusable(#[from] rustls::Error),
    /// The local authority refused.
    #[error(transparent)]
    Authority(#[from] CaError),
}

/// A certificate from the local authority, renewed before it ends.
pub struct LocalCertificate {
    ca: LocalCa,
    extra_names: Vec<String>,
    current: ArcSwap<(Leaf, Arc<CertifiedKey>)>,
}

impl LocalCertificate {
    /// A certificate for `localhost`, `127.0.0.1`, `::1` and `extra_names`; where the authority is kept in a directory,
    /// the one from last time if it still serves.
    ///
    /// # Errors
    /// When a name is malformed or not one the authority may vouch for, or files cannot be read or written.
    pub fn new(ca: LocalCa, extra_names: Vec<String>, now: Timestamp) -> Result<Self, TlsError> {
        let current = certified_leaf(&ca, &extra_names, now)?;
        Ok(Self { ca, extra_names, current: ArcSwap::from_pointee(current) })
    }

    /// The authority to trust.
    pub fn ca(&self) -> &LocalCa {
        &self.ca
    }

    /// Takes a new certificate when the current one is near its end; whether it did. The authority itself is looked
    /// after at the start only: it lasts for years, and a new one must be trusted first.
    ///
    /// # Errors
    /// As [`new`](Self::new). The current certificate then stays.
    pub fn renew_if_due(&self, now: Timestamp) -> Result<bool, TlsError> {
        if self.current.load().0.lasts(now) {
            return Ok(false);
        }
        self.current.store(Arc::new(certified_leaf(&self.ca, &self.extra_names, now)?));
        Ok(true)
    }
}

impl ResolvesServerCert for LocalCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().1))
    }
}

impl fmt::Debug for LocalCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCertificate")
            .field("ca", &self.ca)
            .field("extra_names", &self.extra_names)
            .finish_non_exhaustive()
    }
}

fn certified_leaf(
    ca: &LocalCa,
    extra_names: &[String],
    now: Timestamp,
) -> Result<(Leaf, Arc<CertifiedKey>), TlsError> {
    let leaf = ca.leaf(extra_names, now)?;
    let key = PrivateKeyDer::Pkcs8(leaf.key.clone_key());
    let certified = CertifiedKey::from_der(vec![leaf.certificate.clone()], key, &provider())?;
    Ok((leaf, Arc::new(certified)))
}

/// A certificate chain and its key from PEM files that somebody else renews.
pub struct ReloadableCertificate {
    certificate_path: PathBuf,
    key_path: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// The digest of both files as last read, good or bad.
    last_read: Mutex<FilesDigest>,
}

type FilesDigest = [u8; 32];

impl ReloadableCertificate {
    /// Reads both files. They may be one and the same.
    ///
    /// # Errors
    /// When a file cannot be read, holds nothing of use, or the two do not go together.
    pub fn open(certificate_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let files = PemFiles::read(certificate_path, key_path)?;
        Ok(Self {
            current: ArcSwap::new(files.certified(certificate_path, key_path)?),
            last_read: Mutex::new(files.digest()),
            certificate_path: certificate_path.to_owned(),
            key_path: key_path.to_owned(),
        })
    }

    /// Takes what the files hold now when it has changed; whether it did. Contents are compared, not dates: they are a
    /// few kilobytes, and tools that swap symbolic links or copy dates would deceive a look at the date.
    ///
    /// # Errors
    /// When a file cannot be read, or its new content is of no use, as in the moment between the two writes of a renewal.
    /// The current certificate then stays. The same bad content is reported once.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let files = PemFiles::read(&self.certificate_path, &self.key_path)?;
        let digest = files.digest();
        // Held to the end, so that of two callers the later one cannot put older content back.
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if *last_read == digest {
            return Ok(false);
        }
        *last_read = digest;
        self.current.store(files.certified(&self.certificate_path, &self.key_path)?);
        Ok(true)
    }
}

impl ResolvesServerCert for ReloadableCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for ReloadableCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadableCertificate")
            .field("certificate_path", &self.certificate_path)
            .field("key_path", &self.key_path)
            .finish_non_exhaustive()
    }
}

/// What the two files held at one time.
struct PemFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PemFiles {
    fn read(certificate_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
        };
        Ok(Self { certificate: read(certificate_path)?, key: read(key_path)? })
    }

    fn digest(&self) -> FilesDigest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(self.certificate.len() as u64).to_be_bytes());
        context.update(&self.certificate);
        context.update(&self.key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }

    fn certified(&self, certificate_path: &Path, key_path: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
        let unreadable = |path: &Path, expected| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, expected, source }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(unreadable(certificate_path, "certificate"))?;
        if chain.is_empty() {
            return Err(unreadable(certificate_path, "certificate")(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unreadable(key_path, "private key"))?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
