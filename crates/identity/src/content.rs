//! The encrypted content of rich notifications: made for a subscriber's certificate, and read back with its private key.
//! Source: change-notifications §9.
//!
//! The algorithms are the ones receivers are documented to have; OAEP with SHA-1 is not ours to choose.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

/// Bytes of the key of one item.
pub const CONTENT_KEY_BYTES: usize = 32;
/// Sizes of RSA keys that are accepted, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Longest certificate that is looked at, in bytes of whatever encoding. Ours; a certificate has one to four thousand.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// What begins a PEM block with an RSA key in PKCS#1.
const PKCS1_LABEL: &str = "RSA PRIVATE KEY";
/// The initialization vector is the first half of the key, which is fresh for each item.
const IV_BYTES: usize = 16;

/// A subscriber's certificate: the key that content is encrypted for. Who issued it and when it ends do not matter.
#[derive(Clone)]
pub struct ContentCertificate {
    der: Vec<u8>,
    thumbprint: String,
    key: PublicEncryptingKey,
}

/// Why a certificate is not one that content can be encrypted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// It holds a private key, which nobody should hand out.
    #[error("it contains a private key; give the public certificate alone")]
    PrivateKey,
    /// Neither base64 of DER nor PEM.
    #[error("it is not a base64-encoded X.509 certificate")]
    Unreadable,
    /// Of another kind than RSA.
    #[error("its key is not an RSA key")]
    NotRsa,
    /// An RSA key of another size than 2048 to 4096 bits.
    #[error("its RSA key must have 2048 to 4096 bits")]
    WrongSize,
}

impl ContentCertificate {
    /// Reads what clients send: base64 of DER, with or without line breaks, PEM, or base64 of PEM.
    ///
    /// # Errors
    /// [`CertificateProblem`].
    pub fn parse(text: &str) -> Result<Self, CertificateProblem> {
        if text.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateProblem::Unreadable);
        }
        let bytes = match pem_body(text)? {
            Some(der) => der,
            None => {
                let bytes = decode(text).ok_or(CertificateProblem::Unreadable)?;
                match std::str::from_utf8(&bytes).ok().map(pem_body).transpose()?.flatten() {
                    Some(der) => der,
                    None => bytes,
                }
            }
        };
        Self::from_der(bytes)
    }

    /// Reads DER.
    ///
    /// # Errors
    /// [`CertificateProblem`].
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateProblem> {
        let (rest, certificate) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| CertificateProblem::Unreadable)?;
        if !rest.is_empty() {
            return Err(CertificateProblem::Unreadable);
        }
        let public = certificate.public_key();
        let Ok(x509_parser::public_key::PublicKey::RSA(_)) = public.parsed() else {
            return Err(CertificateProblem::NotRsa);
        };
        // The library refuses sizes it finds unsafe by itself.
        let key = PublicEncryptingKey::from_der(public.raw).map_err(|_| CertificateProblem::WrongSize)?;
        if !RSA_BITS.contains(&key.key_size_bits()) {
            return Err(CertificateProblem::WrongSize);
        }
        let thumbprint = hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der).as_ref());
        Ok(Self { thumbprint, key, der })
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-1 of the DER, in capital hexadecimal digits.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Encrypts one item's content under a key of its own, from the machine's randomness.
    ///
    /// # Errors
    /// [`ContentError::Crypto`] when the machine has no randomness.
    pub fn encrypt(&self, plaintext: &[u8]) -> Result<EncryptedContent, ContentError> {
        let mut key = [0; CONTENT_KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| ContentError::Crypto)?;
        self.encrypt_with(plaintext, &key)
    }

    /// As [`encrypt`](Self::encrypt), under this key: never use one twice.
    fn encrypt_with(
        &self,
        plaintext: &[u8],
        key: &[u8; CONTENT_KEY_BYTES],
    ) -> Result<EncryptedContent, ContentError> {
        let cipher = UnboundCipherKey::new(&AES_256, key).map_err(|_| ContentError::Crypto)?;
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).map_err(|_| ContentError::Crypto)?;
        let mut data = plaintext.to_vec();
        cipher
            .less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv(key)))
            .map_err(|_| ContentError::Crypto)?;
        let oaep = OaepPublicEncryptingKey::new(self.key.clone()).map_err(|_| ContentError::Crypto)?;
        let mut wrapped = vec![0; oaep.ciphertext_size()];
        let wrapped =
            oaep.encrypt(&OAEP_SHA1_MGF1SHA1, key, &mut wrapped, None).map_err(|_| ContentError::Crypto)?;
        Ok(EncryptedContent {
            data_signature: signature(key, &data),
            data: STANDARD.encode(&data),
            data_key: STANDARD.encode(wrapped),
        })
    }
}

/// What the key is for, and not the key.
impl fmt::Debug for ContentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentCertificate").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

/// `encryptedContent`, all in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedContent {
    /// `data`: the content, encrypted with AES-256-CBC.
    pub data: String,
    /// `dataSignature`: HMAC-SHA256 over the encrypted bytes, under the same key.
    pub data_signature: String,
    /// `dataKey`: the key, encrypted with RSA-OAEP for the certificate.
    pub data_key: String,
}

/// Why content could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The private key is no unencrypted RSA key in PEM.
    #[error(
        "the private key is not an unencrypted RSA key in PEM form (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)"
    )]
    PrivateKey,
    /// A member is not base64.
    #[error("{0} is not base64")]
    NotBase64(&'static str),
    /// The key of the item cannot be decrypted: it was encrypted for another certificate.
    #[error("dataKey cannot be decrypted with this private key: it was made for another certificate")]
    WrongKey,
    /// The signature does not fit: the content was changed on its way.
    #[error("dataSignature is wrong: the content was changed on its way")]
    WrongSignature,
    /// The content cannot be decrypted although the signature fits.
    #[error("data cannot be decrypted")]
    Undecryptable,
    /// The library failed.
    #[error("the encryption failed")]
    Crypto,
}

/// A subscriber's private key: what a receiver has, and whoever debugs one.
pub struct ContentKey(OaepPrivateDecryptingKey);

impl ContentKey {
    /// Reads an RSA key in PEM: PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE KEY`), unencrypted.
    ///
    /// # Errors
    /// [`ContentError::PrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, ContentError> {
        let mut blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
        let block = blocks.find(|block| ["PRIVATE KEY", PKCS1_LABEL].contains(&block.label.as_str()));
        let block = block.ok_or(ContentError::PrivateKey)?;
        let pkcs8 = match block.label.as_str() {
            PKCS1_LABEL => {
                let pair = KeyPair::from_der(&block.contents).map_err(|_| ContentError::PrivateKey)?;
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| ContentError::PrivateKey)?;
                der.as_ref().to_vec()
            }
            _ => block.contents,
        };
        let key = PrivateDecryptingKey::from_pkcs8(&pkcs8).map_err(|_| ContentError::PrivateKey)?;
        OaepPrivateDecryptingKey::new(key).map(Self).map_err(|_| ContentError::PrivateKey)
    }

    /// The content, once its signature was found right.
    ///
    /// # Errors
    /// [`ContentError`], one for each thing that can be wrong.
    pub fn decrypt(&self, content: &EncryptedContent) -> Result<Vec<u8>, ContentError> {
        let decoded = |name, text: &str| STANDARD.decode(text).map_err(|_| ContentError::NotBase64(name));
        let wrapped = decoded("dataKey", &content.data_key)?;
        let mut data = decoded("data", &content.data)?;
        let mut key = vec![0; self.0.min_output_size()];
        let key = self
            .0
            .decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped, &mut key, None)
            .map_err(|_| ContentError::WrongKey)?;
        let key: &[u8; CONTENT_KEY_BYTES] = (&*key).try_into().map_err(|_| ContentError::WrongKey)?;
        let expected = signature(key, &data);
        if !bool::from(expected.as_bytes().ct_eq(content.data_signature.as_bytes())) {
            return Err(ContentError::WrongSignature);
        }
        let cipher = UnboundCipherKey::new(&AES_256, key).map_err(|_| ContentError::Crypto)?;
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).map_err(|_| ContentError::Crypto)?;
        let plaintext = cipher
            .decrypt(&mut data, DecryptionContext::Iv128(iv(key)))
            .map_err(|_| ContentError::Undecryptable)?;
        Ok(plaintext.to_vec())
    }
}

fn iv(key: &[u8; CONTENT_KEY_BYTES]) -> FixedLength<IV_BYTES> {
    let mut iv = [0; IV_BYTES];
    iv.copy_from_slice(&key[..IV_BYTES]);
    FixedLength::from(iv)
}

fn signature(key: &[u8; CONTENT_KEY_BYTES], data: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data))
}

/// The DER in a PEM text; none when it is not PEM.
fn pem_body(text: &str) -> Result<Option<Vec<u8>>, CertificateProblem> {
    if !text.contains("-----BEGIN") {
        return Ok(None);
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(CertificateProblem::PrivateKey);
    }
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    let block = blocks.find(|block| block.label == "CERTIFICATE");
    block.map(|block| Some(block.contents)).ok_or(CertificateProblem::Unreadable)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
