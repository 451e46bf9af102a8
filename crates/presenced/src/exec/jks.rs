//! A Java trust store in the JKS format, which every Java reads without further settings.
//!
//! The format is Sun's of 1996: a header, the certificates, and a digest. The digest is keyed by a password, but trusted
//! certificates are no secret, and Java checks it only if it is given one. Java 17 reads PEM trust stores from no property,
//! and ignores certificates in a PKCS#12 file that lack an attribute of Oracle's.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// The password that everybody's trust store has.
const PASSWORD: &str = "changeit";
/// Part of the format.
const SALT: &[u8] = b"Mighty Aphrodite";

/// A store that trusts these.
pub(super) fn trust_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let count = u32::try_from(certificates.len()).unwrap_or(u32::MAX);
    let mut store = Vec::new();
    for word in [MAGIC, VERSION, count] {
        store.extend(word.to_be_bytes());
    }
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        push_text(&mut store, &format!("certificate-{index}"));
        // When it was added: nobody asks.
        store.extend(0_u64.to_be_bytes());
        push_text(&mut store, "X.509");
        store.extend(u32::try_from(certificate.len()).unwrap_or(u32::MAX).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(&PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    digest.update(SALT);
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

/// Java's own way to write a short text.
fn push_text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}
