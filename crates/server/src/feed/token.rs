//! Positions of the log as clients see them.
//!
//! The store keeps one log for all tenants. A bare position would tell one tenant how much happens in the others, so a
//! client gets it sealed: a word that means something only to this service, and only for its own tenant. It is also what
//! keeps a position meaningful to clients when there is more than one log behind it.

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::TenantId;
use store::{Document, DocumentKind, Position, Store, StoreError};

/// The length of the key, in bytes.
pub const POSITION_KEY_BYTES: usize = 16;

/// The key of this store's positions; made at the first call.
///
/// # Errors
/// When the store does not answer, or the machine gives no random bytes.
pub async fn position_key(store: &dyn Store) -> Result<[u8; POSITION_KEY_BYTES], StoreError> {
    let kept = store.documents(DocumentKind::Secret).await?;
    let kept =
        kept.into_iter().find(|document| document.key == DOCUMENT_KEY).and_then(|document| document.body);
    if let Some(key) = kept.and_then(|body| body.try_into().ok()) {
        return Ok(key);
    }
    let mut key = [0; POSITION_KEY_BYTES];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| StoreError::Unavailable("no random bytes".to_owned()))?;
    let document =
        Document { kind: DocumentKind::Secret, key: DOCUMENT_KEY.to_vec(), body: Some(key.to_vec()) };
    store.put_documents(vec![document]).await?;
    // Another node may have made one at the same moment, and been first.
    let kept = store.documents(DocumentKind::Secret).await?;
    let kept = kept.into_iter().find(|document| document.key == DOCUMENT_KEY).and_then(|found| found.body);
    Ok(kept.and_then(|body| body.try_into().ok()).unwrap_or(key))
}

/// Under which the store keeps the key.
const DOCUMENT_KEY: &[u8] = b"positions";

/// Seals and opens positions.
pub(crate) struct PositionSeal {
    sealing: EncryptingKey,
    opening: DecryptingKey,
}

impl PositionSeal {
    /// With this key. The same key must be used for as long as clients may come back.
    ///
    /// # Panics
    /// Never: every key of this length is one.
    pub(crate) fn new(key: &[u8; POSITION_KEY_BYTES]) -> Self {
        let unbound = || UnboundCipherKey::new(&AES_128, key).expect("the length is right");
        Self {
            sealing: EncryptingKey::ecb(unbound()).expect("the cipher is AES"),
            opening: DecryptingKey::ecb(unbound()).expect("the cipher is AES"),
        }
    }

    /// The word for a position in the eyes of a tenant.
    pub(crate) fn seal(&self, tenant: TenantId, position: Position) -> String {
        // One block, and no two equal: the mode that has no state is enough.
        let mut block = [0; 16];
        block[..8].copy_from_slice(&position.0.to_be_bytes());
        block[8..].copy_from_slice(&mark(tenant));
        if self.sealing.encrypt(&mut block).is_err() {
            return String::new();
        }
        URL_SAFE_NO_PAD.encode(block)
    }

    /// Sixteen bytes as sixteen others, the same for the same.
    pub(crate) fn seal_bytes(&self, mut bytes: [u8; 16]) -> [u8; 16] {
        // One block of one block's length: it cannot fail, and if it did, the bytes would be themselves.
        let _ = self.sealing.encrypt(&mut bytes);
        bytes
    }

    /// The position of a word; none for a word of another tenant, and for anything that is none.
    pub(crate) fn open(&self, tenant: TenantId, word: &str) -> Option<Position> {
        let mut block: [u8; 16] = URL_SAFE_NO_PAD.decode(word).ok()?.try_into().ok()?;
        self.opening.decrypt(&mut block, DecryptionContext::None).ok()?;
        let (position, marked) = block.split_at(8);
        (marked == mark(tenant)).then_some(Position(u64::from_be_bytes(position.try_into().ok()?)))
    }
}

/// By which a tenant's positions are told from others'.
fn mark(tenant: TenantId) -> [u8; 8] {
    let id = tenant.as_u128();
    ((id >> 64) as u64 ^ id as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_position_opens_for_its_tenant_and_key_only() {
        let (one, other) = (TenantId::from_u128(1), TenantId::from_u128(2));
        let (seal, another) = (PositionSeal::new(&[7; 16]), PositionSeal::new(&[8; 16]));
        for position in [0, 1, 2, u64::MAX] {
            let word = seal.seal(one, Position(position));
            assert_eq!(seal.open(one, &word), Some(Position(position)));
            assert_eq!(seal.open(other, &word), None);
            assert_eq!(another.open(one, &word), None);
            assert_eq!(word.len(), 22);
        }
        for word in ["", "7", "zzzzzzzzzzzzzzzzzzzzzz", "ä", &"A".repeat(1_000)] {
            assert_eq!(seal.open(one, word), None, "{word}");
        }
    }
}
