//! The public keys of an issuer, and the algorithms a token may be signed with.

use std::collections::BTreeMap;

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

/// One public key. It serves one algorithm: a token cannot choose another for it.
#[derive(Clone, Debug)]
pub struct VerificationKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl VerificationKey {
    /// An RS256 key, from modulus and exponent as big-endian bytes.
    pub fn rs256(modulus: &[u8], exponent: &[u8]) -> Self {
        Self { algorithm: Algorithm::Rs256, key: DecodingKey::from_rsa_raw_components(modulus, exponent) }
    }

    /// The algorithm this key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` (base64url) is this key's signature of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm.library()).unwrap_or(false)
    }
}

/// An issuer's public keys by `kid`.
#[derive(Clone, Debug, Default)]
pub struct KeySet(BTreeMap<String, VerificationKey>);

impl KeySet {
    /// The key with this id.
    pub fn get(&self, kid: &str) -> Option<&VerificationKey> {
        self.0.get(kid)
    }

    /// Whether every key of `self` is in `other` too.
    pub(crate) fn is_kept_by(&self, other: &Self) -> bool {
        self.0.keys().all(|kid| other.0.contains_key(kid))
    }
}

impl FromIterator<(String, VerificationKey)> for KeySet {
    fn from_iter<I: IntoIterator<Item = (String, VerificationKey)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}
