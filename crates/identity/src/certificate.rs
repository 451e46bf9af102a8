//! What a certificate says about itself, for those who look after it.

use std::net::IpAddr;

use presence::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The facts of the first certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// From when it counts.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The DNS names and IP addresses it is for.
    pub names: Vec<String>,
}

impl CertificateFacts {
    /// The facts of the first certificate in a PEM text; `None` when there is none that can be read.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        let leaf = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
        let (_, certificate) = parse_x509_certificate(&leaf).ok()?;
        let validity = certificate.validity();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names =
            names.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                    address.ok().map(|address| address.to_string())
                }
                _ => None,
            });
        Some(Self {
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            names: names.collect(),
        })
    }

    /// Whether it is for this host: by name, by a wildcard for its first label, or by address.
    pub fn is_for(&self, host: &str) -> bool {
        let host =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            *name == host || name.strip_prefix("*.").is_some_and(|wildcard| Some(wildcard) == parent)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_clients_do() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["presence.example.org", "*.example.net", "127.0.0.1", "::1"].map(str::to_owned);
        let pem = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let facts = CertificateFacts::of_pem(pem.as_bytes()).unwrap();
        assert!(facts.not_before < facts.not_after);
        for host in ["presence.example.org", "PRESENCE.example.org.", "a.example.net", "127.0.0.1", "[::1]"] {
            assert!(facts.is_for(host), "{host}");
        }
        for host in ["example.org", "b.a.example.net", "example.net", "127.0.0.2", ""] {
            assert!(!facts.is_for(host), "{host}");
        }
        assert_eq!(CertificateFacts::of_pem(b"no certificate"), None);
    }
}
