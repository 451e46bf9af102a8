//! The public keys of an issuer, and the algorithms a token may be signed with.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

/// A signature algorithm a token may use. Asymmetric ones only, so that `none` and a public key taken for an HMAC
/// secret cannot even be written down. Source: identity A.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256: what Entra uses, and the only one every issuer must have.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm an `alg` header names. None for every other, `none` and `HS256` among them.
    pub(crate) fn from_header(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    pub(crate) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// One public key. It serves the algorithms of its kind, and only one if its issuer says which: a token cannot choose
/// another for it.
#[derive(Clone, Debug)]
pub struct VerificationKey {
    algorithms: &'static [Algorithm],
    key: DecodingKey,
    /// The same key as the library wants it to verify with, where it serves RS256. Making that of modulus and exponent is
    /// otherwise a part of every verification.
    rs256: Option<ParsedPublicKey>,
    /// SHA-256 of the key itself: another key under the same `kid` is another key.
    fingerprint: [u8; 32],
}

impl VerificationKey {
    /// An RS256 key, from modulus and exponent as big-endian bytes.
    pub fn rs256(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::new_rsa(&[Algorithm::Rs256], modulus, exponent)
    }

    /// A PS256 key, in the same way.
    pub(crate) fn ps256(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::new_rsa(&[Algorithm::Ps256], modulus, exponent)
    }

    /// An RSA key of which its issuer does not say what for.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::new_rsa(&[Algorithm::Rs256, Algorithm::Ps256], modulus, exponent)
    }

    /// An ES256 key, from the coordinates of its point. None when the library cannot read them.
    pub(crate) fn es256(x: &[u8], y: &[u8]) -> Option<Self> {
        let key =
            DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y)).ok()?;
        Some(Self { algorithms: &[Algorithm::Es256], key, rs256: None, fingerprint: fingerprint(&[x, y]) })
    }

    /// An Ed25519 key. None when the library cannot read it.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        let key = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(x)).ok()?;
        Some(Self { algorithms: &[Algorithm::EdDsa], key, rs256: None, fingerprint: fingerprint(&[x]) })
    }

    fn new_rsa(algorithms: &'static [Algorithm], modulus: &[u8], exponent: &[u8]) -> Self {
        let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        // A key it does not take serves nothing either way.
        let rs256 = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok();
        Self { algorithms, key, rs256, fingerprint: fingerprint(&[modulus, exponent]) }
    }

    /// Whether this key is for that algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is this key's signature of `message` by an algorithm that it serves.
    pub fn verifies(&self, message: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        if let (Some(key), Algorithm::Rs256) = (&self.rs256, algorithm) {
            let signature = URL_SAFE_NO_PAD.decode(signature);
            return self.serves(algorithm)
                && signature.is_ok_and(|signature| key.verify_sig(message, &signature).is_ok());
        }
        self.serves(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm.library())
                .unwrap_or(false)
    }

    pub(crate) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // With their lengths, so that no two keys have the same bytes.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// An issuer's public keys by `kid`.
#[derive(Clone, Debug, Default)]
pub struct KeySet(BTreeMap<String, VerificationKey>);

impl KeySet {
    /// The key with this id.
    pub fn get(&self, kid: &str) -> Option<&VerificationKey> {
        self.0.get(kid)
    }

    /// Whether this key is in the set under this id.
    pub(crate) fn has(&self, kid: &str, fingerprint: &[u8; 32]) -> bool {
        self.0.get(kid).is_some_and(|key| key.fingerprint == *fingerprint)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(String, VerificationKey)> for KeySet {
    fn from_iter<I: IntoIterator<Item = (String, VerificationKey)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}
