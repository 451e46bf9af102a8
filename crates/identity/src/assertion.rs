//! Client assertions: an application signs a short JWT with the key of a certificate that is registered for it
//! (RFC 7523, identity B.4).
//!
//! An assertion may be shown again while it is valid: MSAL for Python keeps one for nine minutes and uses it for every
//! token of that time, so refusing a known `jti` would refuse unmodified clients. Its short life is the bound.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use presence::{AppId, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

use crate::jwks::{Algorithm, VerificationKey};
use crate::verify::CLOCK_SKEW_SECS;

/// How long an assertion may live from now on: what every library of Microsoft's writes (identity B.4).
pub const ASSERTION_LIFETIME_MAX_SECS: i64 = 10 * 60;
/// The longest assertion that is looked at, in bytes: one with a certificate chain is some 8 KiB.
pub const ASSERTION_BYTES_MAX: usize = 32 * 1024;
/// Certificates of one application at most.
pub const CLIENT_CERTIFICATES_MAX: usize = 10;
/// The shortest RSA key of a client, in bits.
const KEY_BITS_MIN: usize = 2_048;

/// `client_assertion_type` of a JWT.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Base64url with or without padding: MSAL for Python leaves it on in `x5t` (identity B.4).
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A certificate registered for an application. Only its public half is ever here.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    key: VerificationKey,
    sha1: [u8; 20],
    sha256: [u8; 32],
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The text holds no certificate of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds no PEM certificate with an RSA key of at least {KEY_BITS_MIN} bits")]
pub struct NoClientCertificate;

impl ClientCertificate {
    /// The first certificate of a PEM text; a private key beside it is passed over.
    ///
    /// # Errors
    /// [`NoClientCertificate`].
    pub fn from_pem(pem: &str) -> Result<Self, NoClientCertificate> {
        let der = CertificateDer::pem_slice_iter(pem.as_bytes()).next();
        Self::from_der(&der.ok_or(NoClientCertificate)?.map_err(|_| NoClientCertificate)?)
    }

    /// The certificate in this DER.
    ///
    /// # Errors
    /// [`NoClientCertificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, NoClientCertificate> {
        let (_, certificate) = parse_x509_certificate(der).map_err(|_| NoClientCertificate)?;
        let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
            return Err(NoClientCertificate);
        };
        if key.key_size() < KEY_BITS_MIN {
            return Err(NoClientCertificate);
        }
        let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
        let instant = |seconds| Timestamp::from_second(seconds).map_err(|_| NoClientCertificate);
        Ok(Self {
            key: VerificationKey::rsa(modulus, key.exponent),
            sha1: digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, der),
            sha256: digest_of(&digest::SHA256, der),
            not_before: instant(certificate.validity().not_before.timestamp())?,
            not_after: instant(certificate.validity().not_after.timestamp())?,
        })
    }

    /// SHA-256 of the certificate: its name in lists.
    pub const fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Until when it counts.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    fn is_named_by(&self, header: &Header) -> bool {
        let is = |name: &Option<String>, thumbprint: &[u8]| {
            name.as_ref().is_none_or(|name| URL_SAFE.decode(name).is_ok_and(|name| name == thumbprint))
        };
        is(&header.x5t, &self.sha1) && is(&header.x5t_s256, &self.sha256)
    }
}

/// What is wrong with an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssertionProblem {
    /// Not a JWT with the claims it must have, in an algorithm that is accepted.
    Malformed,
    /// Signed with no certificate of the application.
    UnknownKey,
    /// Signed with one whose time is over or has not come.
    ExpiredKey,
    /// The signature is not that of the certificate it names.
    Signature,
    /// `iss` or `sub` is not the client.
    Client,
    /// `aud` is not our token endpoint.
    Audience,
    /// Not valid now, or valid for too long.
    Lifetime,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// `exp` and the like may be fractional (identity B.4).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: f64,
    nbf: Option<f64>,
}

/// The client an assertion says it is of, not yet believed: for requests that name no `client_id` besides.
pub(crate) fn claimed_client(assertion: &str) -> Option<String> {
    let payload = assertion.split('.').nth(1).filter(|_| assertion.len() <= ASSERTION_BYTES_MAX)?;
    Some(serde_json::from_slice::<Claims>(&URL_SAFE.decode(payload).ok()?).ok()?.sub)
}

/// Whether `assertion` proves that its sender is `client`. `is_audience` says whether an `aud` means us.
pub(crate) fn check(
    assertion: &str,
    client: AppId,
    certificates: &[ClientCertificate],
    is_audience: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<(), AssertionProblem> {
    let (message, signature, header, claims) = read(assertion).ok_or(AssertionProblem::Malformed)?;
    let algorithm = match header.alg.as_str() {
        "RS256" => Algorithm::Rs256,
        "PS256" => Algorithm::Ps256,
        _ => return Err(AssertionProblem::Malformed),
    };
    // One that names no certificate at all may be of any.
    let mut named = certificates.iter().filter(|certificate| certificate.is_named_by(&header)).peekable();
    if named.peek().is_none() {
        return Err(AssertionProblem::UnknownKey);
    }
    let certificate = named
        .find(|certificate| certificate.key.verifies(message.as_bytes(), signature, algorithm))
        .ok_or(AssertionProblem::Signature)?;
    if now < certificate.not_before || now > certificate.not_after {
        return Err(AssertionProblem::ExpiredKey);
    }
    let is_client = |text: &str| text.parse() == Ok(client);
    if !is_client(&claims.iss) || !is_client(&claims.sub) {
        return Err(AssertionProblem::Client);
    }
    if !is_audience(&claims.aud) {
        return Err(AssertionProblem::Audience);
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
    let (now, skew, longest) =
        (now.as_second() as f64, CLOCK_SKEW_SECS as f64, ASSERTION_LIFETIME_MAX_SECS as f64);
    let is_now = claims.exp + skew > now
        && claims.exp <= now + longest + skew
        && claims.nbf.is_none_or(|nbf| nbf <= now + skew);
    if is_now { Ok(()) } else { Err(AssertionProblem::Lifetime) }
}

fn read(assertion: &str) -> Option<(&str, &str, Header, Claims)> {
    if assertion.len() > ASSERTION_BYTES_MAX {
        return None;
    }
    let (message, signature) = assertion.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE.decode(header).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE.decode(payload).ok()?).ok()?;
    header.crit.is_none().then_some((message, signature, header, claims))
}

fn digest_of<const N: usize>(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(digest::digest(algorithm, bytes).as_ref());
    out
}
