//! Refresh tokens: what a user agreed to, sealed so that only this issuer can read or make one.
//!
//! Nothing of them is kept, so they outlive a restart and need no bound. Each answer brings a new one, and the one before
//! counts until its own end, as Entra's do: a client whose answer got lost can ask again. The seal comes from a signing
//! key, so a rotation ends them with the overlap of that key, and a client that is used meanwhile has a newer one.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::scopes::Scopes;

/// How long one counts: 90 days, as Entra's.
pub const REFRESH_TOKEN_LIFETIME_SECS: i64 = 90 * 24 * 60 * 60;
/// How long those of a page count, from the sign-in on and however often they are renewed: 24 hours, as Entra's.
pub const PAGE_REFRESH_TOKEN_LIFETIME_SECS: i64 = 24 * 60 * 60;
/// The longest that is looked at, in bytes.
const REFRESH_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a refresh token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshToken {
    /// Which user.
    #[serde(rename = "u")]
    pub(crate) user: Uuid,
    /// Which application.
    #[serde(rename = "c")]
    pub(crate) client: Uuid,
    /// What the user agreed to.
    #[serde(rename = "s")]
    pub(crate) scopes: Scopes,
    /// Its end, in seconds since the epoch.
    #[serde(rename = "e")]
    pub(crate) expires_at: i64,
    /// Whether it is a page's.
    #[serde(rename = "p")]
    pub(crate) is_page: bool,
}

/// Seals and opens refresh tokens.
#[derive(Clone)]
pub(crate) struct RefreshSeal([u8; 32]);

impl RefreshSeal {
    /// The seal that comes from this secret.
    pub(crate) fn of(secret: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"presenced refresh token 1");
        context.update(secret);
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// The token as text. `None` when the machine has no randomness.
    pub(crate) fn seal(&self, tenant: TenantId, token: &RefreshToken) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = serde_json::to_vec(token).ok()?;
        let (key, associated) = (self.key()?, Aad::from(tenant.as_u128().to_be_bytes()));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// What a text says that was sealed here for this tenant.
    pub(crate) fn open(&self, tenant: TenantId, text: &str) -> Option<RefreshToken> {
        if text.len() > REFRESH_TOKEN_BYTES_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let (key, associated) = (self.key()?, Aad::from(tenant.as_u128().to_be_bytes()));
        let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), associated, sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }

    fn key(&self) -> Option<LessSafeKey> {
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).ok()?))
    }
}

impl fmt::Debug for RefreshSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshSeal(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_only_whole_here_and_for_its_tenant() {
        let scopes =
            Scopes { asked: vec![], granted: vec!["Presence.Read".to_owned()], openid: true, offline: true };
        let token = RefreshToken {
            user: Uuid::from_u128(1),
            client: Uuid::from_u128(2),
            scopes,
            expires_at: 3,
            is_page: false,
        };
        let (seal, tenant) = (RefreshSeal::of(b"secret"), TenantId::from_u128(4));
        let text = seal.seal(tenant, &token).unwrap();
        assert_eq!(seal.open(tenant, &text), Some(token.clone()));
        assert_ne!(seal.seal(tenant, &token), Some(text.clone()));
        assert_eq!(RefreshSeal::of(b"other").open(tenant, &text), None);
        assert_eq!(seal.open(TenantId::from_u128(5), &text), None);
        for length in 0..text.len() {
            assert_eq!(seal.open(tenant, &text[..length]), None);
        }
        assert_eq!(seal.open(tenant, &"A".repeat(REFRESH_TOKEN_BYTES_MAX + 1)), None);
    }
}
