//! The issuer's signing key: made, kept, and shown to the world as a JSON Web Key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize,
};
use serde::Serialize;

use crate::files;
use crate::jwks::{KeySet, VerificationKey};
use crate::refresh::RefreshSeal;

/// The file that holds the key, as PKCS#8 PEM.
pub(crate) const FILE_NAME: &str = "signing-key.pem";

/// An RSA-2048 key that signs tokens with RS256.
///
/// Making one takes a search for primes, tens to hundreds of milliseconds, and is by far the dearest step of a first
/// start. [`generate`](Self::generate) and [`load_or_generate`](Self::load_or_generate) need nothing else, so they can
/// run on a thread of their own while the rest starts.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    private: EncodingKey,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    certificate: Vec<u8>,
    refresh: RefreshSeal,
}

/// Why there is no signing key, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the signing key {path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else than an RSA key of 2048 bits or more in PKCS#8 PEM.
    #[error("the signing key is not an RSA key of at least 2048 bits in PKCS#8 PEM form")]
    Unusable,
    /// More keys wait for their end than there is room for.
    #[error("too many retired keys wait for their end; rotate with less overlap")]
    TooMany,
    /// The library failed to make a key or a signature.
    #[error("no RSA key or signature could be made")]
    Crypto,
}

impl SigningKey {
    /// A new key, kept nowhere.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the machine has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|_| KeyError::Crypto)?;
        Self::from_pair(&pair)
    }

    /// The key kept in `directory`; at the first start a new one, which is then kept there with mode 0600.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no usable key. A broken file is not replaced: tokens and
    /// clients may depend on the key that was in it.
    pub fn load_or_generate(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(FILE_NAME);
        let failed = |source| KeyError::File { path: path.clone(), source };
        if let Some(pem) = files::read_if_there(&path).map_err(failed)? {
            return Self::from_pem(&pem);
        }
        let (pair, pem) = generate_pem()?;
        if files::create_private(&path, pem.as_bytes()).map_err(failed)? {
            return Self::from_pair(&pair);
        }
        Self::from_pem(&files::read_if_there(&path).map_err(failed)?.ok_or(KeyError::Unusable)?)
    }

    /// The key in this PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when it is not an RSA key of at least 2048 bits.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pair =
            KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).map_err(|_| KeyError::Unusable)?;
        Self::from_pair(&pair).map_err(|_| KeyError::Unusable)
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, KeyError> {
        // jsonwebtoken wants the bare RSAPrivateKey in some of its paths and PKCS#8 in others; its own PEM reader
        // knows which.
        let private =
            EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).map_err(|_| KeyError::Crypto)?;
        let jwk =
            Jwk::from_encoding_key(&private, jsonwebtoken::Algorithm::RS256).map_err(|_| KeyError::Crypto)?;
        let jsonwebtoken::jwk::AlgorithmParameters::RSA(public) = &jwk.algorithm else {
            return Err(KeyError::Crypto);
        };
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Crypto);
        Ok(Self {
            kid: jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::Crypto)?,
            modulus: decoded(&public.n)?,
            exponent: decoded(&public.e)?,
            certificate: certificate(pair)?,
            refresh: RefreshSeal::of(pair.serialized_der()),
            private,
        })
    }

    /// The key id: the RFC 7638 thumbprint, so that it follows from the key and never names two.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, for a verifier.
    pub fn public(&self) -> KeySet {
        std::iter::once(self.verification_key()).collect()
    }

    pub(crate) fn verification_key(&self) -> (String, VerificationKey) {
        (self.kid.clone(), VerificationKey::rs256(&self.modulus, &self.exponent))
    }

    /// The public half as a JSON Web Key. Source: identity B.3.
    pub(crate) fn json_web_key(&self) -> JsonWebKey {
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.certificate);
        JsonWebKey {
            kty: "RSA",
            r#use: "sig",
            kid: self.kid.clone(),
            x5t: URL_SAFE_NO_PAD.encode(thumbprint),
            n: URL_SAFE_NO_PAD.encode(&self.modulus),
            e: URL_SAFE_NO_PAD.encode(&self.exponent),
            x5c: [STANDARD.encode(&self.certificate)],
            alg: "RS256",
        }
    }

    /// The seal of refresh tokens.
    pub(crate) fn refresh(&self) -> &RefreshSeal {
        &self.refresh
    }

    /// A signed token with these claims.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.private).map_err(|_| KeyError::Crypto)
    }
}

/// A new pair, and its private half as PKCS#8 PEM.
pub(crate) fn generate_pem() -> Result<(KeyPair, String), KeyError> {
    let pair =
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|_| KeyError::Crypto)?;
    let pem = pair.serialize_pem();
    Ok((pair, pem))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// One entry of a key set. No `issuer` member: identity B.3.
#[derive(Serialize)]
pub(crate) struct JsonWebKey {
    kty: &'static str,
    r#use: &'static str,
    kid: String,
    x5t: String,
    n: String,
    e: String,
    x5c: [String; 1],
    alg: &'static str,
}

/// The self-signed certificate of `x5c`, only a wrapping of the public key for validators that want one. Its dates are
/// fixed and its serial number follows from the key, so the same key always has the same certificate and `x5t`, and
/// there is no second file to keep.
fn certificate(pair: &KeyPair) -> Result<Vec<u8>, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "presenced development issuer");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    debug_assert!(!pair.der_bytes().is_empty());
    params.self_signed(pair).map(|certificate| certificate.der().to_vec()).map_err(|_| KeyError::Crypto)
}
