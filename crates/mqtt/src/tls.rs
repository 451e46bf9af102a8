//! The TLS of a connection to a broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// What TLS is made of: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that the broker's certificate may come from; `None`: those of the system.
    pub authorities: Option<PathBuf>,
    /// A certificate and its key to show to the broker.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{path} has no {what} that can be used: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was wanted of it.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The parts do not go together.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Reads the files, as they are now.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match &files.authorities {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => builder.dangerous().with_custom_certificate_verifier(system(provider)?),
    };
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(
            certificates(certificate)?,
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "private key", error))?,
        )?,
    };
    Ok(Arc::new(config))
}

/// Believes what the machine believes.
fn system(provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>, rustls::Error> {
    Ok(Arc::new(Verifier::new(provider)?))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, "certificate", error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| wrong(path, "certificate", error))?;
    match read.is_empty() {
        true => Err(wrong(path, "certificate", "the file has none")),
        false => Ok(read),
    }
}

fn wrong(path: &Path, what: &'static str, reason: impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), what, reason: reason.to_string() }
}
