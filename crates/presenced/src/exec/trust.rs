//! How the usual clients are told to trust the emulator's certificate, beside what they trust already.
//!
//! Most of these variables *replace* what a program trusts. They therefore name a bundle: the certificates the machine
//! trusts, and the emulator's authority. A program under `presenced exec` can still reach the rest of the world.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::args::TrustArgs;
use crate::exec::jks;

/// Where distributions keep the bundle of what the machine trusts; the first that is there is used.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",
];
/// What each program reads, one that is set keeps its certificates.
const AUTHORITY: &str = "PRESENCED_CA";

/// Writes the files into `folder`, and names them in variables.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn variables(
    folder: &Path,
    ca_pem: &str,
    before: &TrustArgs,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let write = |name: &str, content: &[u8]| -> anyhow::Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    };
    let authority = write("ca.pem", ca_pem.as_bytes())?;
    let pem = bundle(ca_pem, before);
    let bundle = write("ca-bundle.pem", pem.as_bytes())?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect();
    let store = write("truststore.jks", &jks::trust_store(&certificates))?;
    let settings = format!("openssl.cafile=\"{0}\"\ncurl.cainfo=\"{0}\"\n", bundle.display());
    write("presenced.ini", settings.as_bytes())?;

    let mut java = before.java_tool_options.clone().unwrap_or_default();
    java.push(if java.is_empty() { "" } else { " " });
    java.push("-Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStore=");
    java.push(&store);
    // An empty entry stands for the folder PHP was built with.
    let mut php = before.php_ini_scan_dir.clone().unwrap_or_default();
    php.push(":");
    php.push(folder);
    // Node adds these to its own; everybody else forgets theirs.
    let node = if before.node_extra_ca_certs.is_some() { &bundle } else { &authority };
    Ok(vec![
        (AUTHORITY, authority.clone().into()),
        // OpenSSL, httpx, Go, Ruby, .NET, git, rustls-native-certs.
        ("SSL_CERT_FILE", bundle.clone().into()),
        // requests, and with it MSAL for Python.
        ("REQUESTS_CA_BUNDLE", bundle.clone().into()),
        // The curl program.
        ("CURL_CA_BUNDLE", bundle.clone().into()),
        ("NODE_EXTRA_CA_CERTS", node.clone().into()),
        ("JAVA_TOOL_OPTIONS", java),
        ("PHP_INI_SCAN_DIR", php),
    ])
}

/// What the machine and the caller's variables trust, each file once, and then the emulator's authority.
fn bundle(ca_pem: &str, before: &TrustArgs) -> String {
    let system = || SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
    let mut files: Vec<PathBuf> = Vec::new();
    let main = before.ssl_cert_file.clone().or_else(system);
    let others = [&before.requests_ca_bundle, &before.curl_ca_bundle, &before.node_extra_ca_certs];
    for file in main.into_iter().chain(others.into_iter().flatten().cloned()) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let mut bundle = String::new();
    for file in files {
        // requests allows a folder here; what cannot be read was of no use to the program before, either.
        match fs::read_to_string(&file) {
            Ok(pem) => {
                bundle.push_str(pem.trim_end());
                bundle.push('\n');
            }
            Err(error) => tracing::debug!(%error, file = %file.display(), "not in the bundle"),
        }
    }
    bundle.push_str(ca_pem);
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_bundle_has_what_each_variable_trusted_once_and_our_authority_last() {
        let folder = tempfile::tempdir().unwrap();
        let (corporate, extra) = (folder.path().join("corporate.pem"), folder.path().join("extra.pem"));
        fs::write(&corporate, "CORPORATE").unwrap();
        fs::write(&extra, "EXTRA\n").unwrap();
        let before = TrustArgs {
            ssl_cert_file: Some(corporate.clone()),
            requests_ca_bundle: Some(corporate),
            node_extra_ca_certs: Some(extra),
            curl_ca_bundle: Some(folder.path().join("gone.pem")),
            ..TrustArgs::default()
        };
        assert_eq!(bundle(CA, &before), format!("CORPORATE\nEXTRA\n{CA}"));
    }

    #[test]
    fn options_of_java_and_folders_of_php_that_were_there_stay() {
        let folder = tempfile::tempdir().unwrap();
        let before = TrustArgs {
            java_tool_options: Some("-Xmx64m".into()),
            php_ini_scan_dir: Some("/etc/php/conf.d".into()),
            ..TrustArgs::default()
        };
        let variables = variables(folder.path(), CA, &before).unwrap();
        let value = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name).unwrap();
            found.1.to_str().unwrap().to_owned()
        };
        assert!(value("JAVA_TOOL_OPTIONS").starts_with("-Xmx64m -Djavax.net.ssl.trustStoreType=JKS -D"));
        let scanned = format!("/etc/php/conf.d:{}", folder.path().display());
        assert_eq!(value("PHP_INI_SCAN_DIR"), scanned);
        assert_eq!(value("NODE_EXTRA_CA_CERTS"), value("PRESENCED_CA"));
    }
}
