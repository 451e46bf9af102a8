//! A certificate authority for one machine: it vouches for the server's local names and, by its own limits, for little
//! else, so that trusting it costs a developer nothing beyond what it is for.
//!
//! The limits are in the certificate, critical and enforced by the client: only the names below and those known when it
//! was made (name constraints), only TLS servers (extended key usage), no further authorities (path length 0).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use jiff::tz::Offset;
use presence::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::files;

/// How long the authority lives, in days: ten years, since every machine that trusts it must be told of the next one.
const CA_DAYS: i64 = 3652;

/// How long a server certificate lives, in days. Apple refuses more than 825 from a private authority and more than 398
/// from a public one; below both, nobody has a reason to object.
const LEAF_DAYS: i64 = 397;

/// How many days before its end a certificate is replaced.
const RENEWAL_DAYS: i64 = 30;

/// How many days before `now` a certificate begins, for clients whose clocks are slow.
const BACKDATED_DAYS: i64 = 1;

/// What the server certificate always names.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Domains the authority may vouch for although nobody asked yet: reserved for testing (RFC 6761), or by definition the
/// developer's own machine.
const PERMITTED_DOMAINS: [&str; 3] = ["localhost", "test", "host.docker.internal"];

/// The authority's private key and certificate, mode 0600.
const AUTHORITY_FILE: &str = "ca-key.pem";

/// The certificate alone, for trust stores.
const EXPORT_FILE: &str = "ca.pem";

/// The server's private key and certificate, mode 0600.
const LEAF_FILE: &str = "server.pem";

/// A certificate authority for this machine's server.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    directory: Option<PathBuf>,
    is_new: bool,
}

/// Why there is no authority, or no certificate from it.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The authority's file holds no P-256 key with its certificate.
    #[error("{0} does not hold a certificate authority")]
    Unusable(PathBuf),
    /// Neither a host name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    BadName(String),
    /// The authority was limited to other names when it was made.
    #[error(
        "the certificate authority may not vouch for `{0}`: it is limited to the names it was made for. Remove its \
         directory to make another, which then must be trusted anew"
    )]
    NotPermitted(String),
    /// The library failed to make a key or a certificate.
    #[error("no certificate could be made")]
    Generate(#[from] rcgen::Error),
    /// The date is not one a certificate can bear.
    #[error("the time is outside the years of certificates")]
    Date,
}

/// A private key and the certificate for it.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
}

impl LocalCa {
    /// A new authority, kept nowhere, for the local names and `extra_names`.
    ///
    /// # Errors
    /// When a name is malformed or no key can be made.
    pub fn generate(extra_names: &[String], now: Timestamp) -> Result<Self, CaError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = authority(&pair, extra_names, now)?;
        let certificate = params.self_signed(&pair)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, pair), certificate, directory: None, is_new: true })
    }

    /// The authority kept in `directory`. At the first start, and when the kept one is about to end, a new one. Its
    /// certificate alone lies beside it as `ca.pem`.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and when files cannot be read or written. A broken file is not replaced: people
    /// trust what was in it.
    pub fn load_or_generate(
        directory: &Path,
        extra_names: &[String],
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let path = directory.join(AUTHORITY_FILE);
        let kept = |source| CaError::File { path: path.clone(), source };
        let mut ca = match files::read_if_there(&path).map_err(kept)? {
            Some(pem) => Self::from_pem(&pem).ok_or_else(|| CaError::Unusable(path.clone()))?,
            None => {
                let new = Self::generate(extra_names, now)?;
                match files::create_private(&path, new.private_pem().as_bytes()).map_err(kept)? {
                    true => new,
                    // Another process was first; two authorities would serve nobody.
                    false => files::read_if_there(&path)
                        .map_err(kept)?
                        .and_then(|pem| Self::from_pem(&pem))
                        .ok_or_else(|| CaError::Unusable(path.clone()))?,
                }
            }
        };
        if !lasts(&ca.certificate, now) {
            ca = Self::generate(extra_names, now)?;
            files::replace_private(&path, ca.private_pem().as_bytes()).map_err(kept)?;
        }
        let export = directory.join(EXPORT_FILE);
        files::replace_public(&export, ca.certificate_pem().as_bytes())
            .map_err(|source| CaError::File { path: export.clone(), source })?;
        ca.directory = Some(directory.to_owned());
        Ok(ca)
    }

    /// The certificate as PEM: what a client is told to trust.
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether it was made just now, so that nobody can trust it yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// A server certificate for the local names and `extra_names`: the kept one as long as it lasts and names exactly
    /// these, else a new one.
    pub(crate) fn leaf(&self, extra_names: &[String], now: Timestamp) -> Result<Leaf, CaError> {
        let names = self.leaf_names(extra_names)?;
        let Some(path) = self.directory.as_ref().map(|directory| directory.join(LEAF_FILE)) else {
            return self.issue(names, now);
        };
        let kept = |source| CaError::File { path: path.clone(), source };
        // One file for key and certificate, so that they are never of different ages. Whatever is wrong with it, a new one
        // takes its place: nobody but us depends on it.
        let found = files::read_if_there(&path).map_err(kept)?.and_then(|pem| Leaf::from_pem(&pem));
        match found {
            Some(leaf) if lasts(&leaf.certificate, now) && self.issued(&leaf.certificate, &names) => Ok(leaf),
            _ => {
                let leaf = self.issue(names, now)?;
                files::replace_private(&path, leaf.to_pem().as_bytes()).map_err(kept)?;
                Ok(leaf)
            }
        }
    }

    /// A certificate for this machine's own names and its key, both PEM: for a receiver of notifications that runs beside
    /// the emulator.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn receiver_certificate(&self, now: Timestamp) -> Result<(String, String), CaError> {
        let leaf = self.issue(self.leaf_names(&[])?, now)?;
        let pem = leaf.to_pem();
        // Key and certificate in one text; either half is one block.
        let (first, second) = pem.split_at(pem.rfind("-----BEGIN").unwrap_or_default());
        let (key, certificate) =
            if first.contains("PRIVATE KEY") { (first, second) } else { (second, first) };
        Ok((certificate.to_owned(), key.to_owned()))
    }

    fn issue(&self, names: Vec<SanType>, now: Timestamp) -> Result<Leaf, CaError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // Not a host name: names are in the alternative names, and a strict client must not take this for one.
        params.distinguished_name = common_name("presenced development server");
        set_validity(&mut params, now, -BACKDATED_DAYS, LEAF_DAYS)?;
        params.subject_alt_names = names;
        // Strict clients (OpenSSL's X509_STRICT, the default of Python 3.13) want both key identifiers and critical
        // basic constraints.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&pair, &self.issuer)?.der().clone();
        Ok(Leaf { certificate, key: PrivatePkcs8KeyDer::from(pair.serialize_der()) })
    }

    /// The names of the server certificate, each one checked against our own limits: a client would refuse the others
    /// with a much darker message.
    fn leaf_names(&self, extra_names: &[String]) -> Result<Vec<SanType>, CaError> {
        let mut names: Vec<SanType> = Vec::new();
        for name in LOCAL_NAMES.into_iter().chain(extra_names.iter().map(String::as_str)) {
            let san = parse_name(name)?;
            if !self.permits(&san) {
                return Err(CaError::NotPermitted(name.to_owned()));
            }
            if !names.contains(&san) {
                names.push(san);
            }
        }
        Ok(names)
    }

    fn permits(&self, name: &SanType) -> bool {
        let Ok((_, certificate)) = parse_x509_certificate(&self.certificate) else { return false };
        let constraints = certificate.name_constraints().ok().flatten();
        let permitted = constraints.and_then(|extension| extension.value.permitted_subtrees.as_ref());
        permitted.into_iter().flatten().any(|subtree| match (&subtree.base, name) {
            (GeneralName::DNSName(domain), SanType::DnsName(name)) => {
                let name = name.as_str();
                name == *domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            }
            (GeneralName::IPAddress(network), SanType::IpAddress(address)) => contains(network, *address),
            _ => false,
        })
    }

    /// Whether we issued `certificate` for exactly these names.
    fn issued(&self, certificate: &CertificateDer<'_>, names: &[SanType]) -> bool {
        let (Ok((_, ours)), Ok((_, theirs))) =
            (parse_x509_certificate(&self.certificate), parse_x509_certificate(certificate))
        else {
            return false;
        };
        let Ok(Some(found)) = theirs.subject_alternative_name() else { return false };
        let found = &found.value.general_names;
        // The authority's name holds its key's identifier, so it stands for the key.
        theirs.issuer() == ours.subject()
            && found.len() == names.len()
            && names.iter().all(|name| found.iter().any(|other| is_same(name, other)))
    }

    fn from_pem(pem: &str) -> Option<Self> {
        let Leaf { certificate, key } = Leaf::from_pem(pem)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).ok()?;
        let issuer = Issuer::from_ca_cert_der(&certificate, pair).ok()?;
        Some(Self { issuer, certificate, directory: None, is_new: false })
    }

    fn private_pem(&self) -> String {
        format!("{}{}", self.issuer.key().serialize_pem(), self.certificate_pem())
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa")
            .field("directory", &self.directory)
            .field("is_new", &self.is_new)
            .finish_non_exhaustive()
    }
}

impl Leaf {
    /// Whether the certificate has begun and is not near its end.
    pub(crate) fn lasts(&self, now: Timestamp) -> bool {
        lasts(&self.certificate, now)
    }

    fn from_pem(pem: &str) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        parse_x509_certificate(&certificate).ok()?;
        Some(Self { certificate, key })
    }

    fn to_pem(&self) -> String {
        format!(
            "{}{}",
            pem("PRIVATE KEY", self.key.secret_pkcs8_der()),
            pem("CERTIFICATE", &self.certificate)
        )
    }
}

fn authority(pair: &KeyPair, extra_names: &[String], now: Timestamp) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    // Each authority has a name of its own: trust stores mix up two of the same name.
    let id = params.key_identifier(pair);
    let id: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = common_name(&format!("presenced development CA {id}"));
    set_validity(&mut params, now, -BACKDATED_DAYS, CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut permitted = vec![
        GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
        GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(std::net::Ipv6Addr::LOCALHOST.octets(), 128)),
    ];
    permitted.extend(PERMITTED_DOMAINS.map(|domain| GeneralSubtree::DnsName(domain.to_owned())));
    for name in extra_names {
        permitted.push(match parse_name(name)? {
            SanType::IpAddress(IpAddr::V4(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(address.octets(), 32))
            }
            SanType::IpAddress(IpAddr::V6(address)) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(address.octets(), 128))
            }
            _ => GeneralSubtree::DnsName(normal(name)),
        });
    }
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    Ok(params)
}

/// A name as a certificate holds it. Wildcards are refused: a local server has few names, and clients disagree about them.
fn parse_name(name: &str) -> Result<SanType, CaError> {
    let bad = || CaError::BadName(name.to_owned());
    match ServerName::try_from(normal(name)).map_err(|_| bad())? {
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(address.into())),
        ServerName::DnsName(host) => Ok(SanType::DnsName(host.as_ref().try_into().map_err(|_| bad())?)),
        _ => Err(bad()),
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn is_same(name: &SanType, other: &GeneralName<'_>) -> bool {
    match (name, other) {
        (SanType::DnsName(name), GeneralName::DNSName(other)) => name.as_str() == *other,
        (SanType::IpAddress(IpAddr::V4(address)), GeneralName::IPAddress(other)) => {
            address.octets() == *other
        }
        (SanType::IpAddress(IpAddr::V6(address)), GeneralName::IPAddress(other)) => {
            address.octets() == *other
        }
        _ => false,
    }
}

/// Whether a constraint's network, address then mask, contains `address`.
fn contains(network: &[u8], address: IpAddr) -> bool {
    let within = |octets: &[u8]| {
        network.len() == 2 * octets.len()
            && octets.iter().enumerate().all(|(i, octet)| octet & network[octets.len() + i] == network[i])
    };
    match address {
        IpAddr::V4(address) => within(&address.octets()),
        IpAddr::V6(address) => within(&address.octets()),
    }
}

/// Whether `certificate` has begun and still has the time in which it ought to be replaced before it.
fn lasts(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
    let validity = certificate.validity();
    let replaced_at = validity.not_after.timestamp() - RENEWAL_DAYS * 24 * 60 * 60;
    (validity.not_before.timestamp()..replaced_at).contains(&now.as_second())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Has a certificate count from `from` to `to` days after `now`, in whole days.
fn set_validity(params: &mut CertificateParams, now: Timestamp, from: i64, to: i64) -> Result<(), CaError> {
    let date = |days: i64| {
        let then = now.checked_add(SignedDuration::from_hours(24 * days)).map_err(|_| CaError::Date)?;
        Ok::<_, CaError>(Offset::UTC.to_datetime(then).date())
    };
    let (from, to) = (date(from)?, date(to)?);
    let month_and_day = |date: jiff::civil::Date| (date.month().unsigned_abs(), date.day().unsigned_abs());
    let (month, day) = month_and_day(from);
    params.not_before = rcgen::date_time_ymd(from.year().into(), month, day);
    let (month, day) = month_and_day(to);
    params.not_after = rcgen::date_time_ymd(to.year().into(), month, day);
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = String::new();
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
