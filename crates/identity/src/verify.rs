//! Bearer token in, caller out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::{TenantId, Timestamp};
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::claims::{Claims, Header, Lifetime};
use crate::error::TokenError;
use crate::jwks::{Algorithm, KeySet};

/// The longest token that is looked at. Real ones are 1 to 4 KiB; a user in hundreds of groups stays below 20 KiB.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// How far the clocks of issuer and server may differ, in seconds: the default of Microsoft's validators.
/// Source: identity A.1.
pub const CLOCK_SKEW_SECS: i64 = 5 * 60;

/// How many verified tokens are remembered. An application uses one token for an hour, so this is the number of
/// applications and signed-in users that are served without repeating an RSA verification.
pub const VERIFIED_TOKENS_MAX: usize = 10_000;

/// The audiences Microsoft Graph answers to. Source: identity A.1.
pub const GRAPH_AUDIENCES: [&str; 3] =
    ["https://graph.microsoft.com", "https://graph.microsoft.com/", "00000003-0000-0000-c000-000000000000"];

/// An issuer whose tokens are accepted: which strings it signs as, for which tenant it speaks, which keys and
/// algorithms it has, and how its claims are to be read.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// The exact values of `iss`, trailing slash included. More than one only when one issuer has several addresses.
    pub issuers: Vec<String>,
    /// The tenant its callers belong to. A token without `tid` is of this tenant; one with another `tid` is refused.
    pub tenant: TenantId,
    /// The accepted values of `aud`. Never empty in earnest: no issuer is trusted for every audience.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys at the start; [`Verifier::replace_keys`] follows a rotation.
    pub keys: KeySet,
    /// How its claims are to be read.
    pub claims: ClaimMapping,
}

impl TrustedIssuer {
    /// [`GRAPH_AUDIENCES`] and the server's own addresses, each with and without a trailing slash: the default list
    /// of accepted audiences. Source: identity A.1.
    pub fn default_audiences<'a>(base_urls: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let own = base_urls
            .into_iter()
            .map(|url| url.trim_end_matches('/'))
            .flat_map(|url| [url.to_owned(), format!("{url}/")]);
        GRAPH_AUDIENCES.iter().map(|&audience| audience.to_owned()).chain(own).collect()
    }
}

/// How the claims of an issuer are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimMapping {
    /// As Entra writes them: `oid`, `tid`, `scp` or `roles`, `appid` or `azp`.
    #[default]
    Entra,
}

/// Verifies bearer tokens of the issuers it trusts. Shared by all connections; it has no lock that is held across a
/// verification.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Slot>,
    verified: Cache<TokenDigest, Verified>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How well verified tokens are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembrance {
    /// Tokens that were remembered.
    pub hits: u64,
    /// Tokens that were not, good or bad.
    pub misses: u64,
    /// How many are.
    pub entries: usize,
}

#[derive(Debug)]
struct Slot {
    trusted: TrustedIssuer,
    keys: ArcSwap<Keys>,
}

/// The keys in force. `generation` grows whenever one is withdrawn, so that a token verified under the old set, even
/// one whose verification was under way meanwhile, is not believed from memory.
#[derive(Debug)]
struct Keys {
    set: KeySet,
    generation: u64,
}

/// SHA-256 of the whole token, signature included. The digest is kept rather than the token: it is shorter, and the
/// memory of the process then holds no list of usable credentials.
type TokenDigest = [u8; 32];

#[derive(Clone, Debug)]
struct Verified {
    issuer: usize,
    generation: u64,
    lifetime: Lifetime,
    caller: Arc<Caller>,
}

impl Verifier {
    /// A verifier of these issuers' tokens.
    pub fn new(issuers: impl IntoIterator<Item = TrustedIssuer>) -> Self {
        Self::with_capacity(issuers, VERIFIED_TOKENS_MAX)
    }

    /// As [`new`](Self::new), remembering at most about `verified_tokens_max` verified tokens.
    pub fn with_capacity(
        issuers: impl IntoIterator<Item = TrustedIssuer>,
        verified_tokens_max: usize,
    ) -> Self {
        let slot = |mut trusted: TrustedIssuer| {
            let keys = Keys { set: std::mem::take(&mut trusted.keys), generation: 0 };
            Slot { trusted, keys: ArcSwap::from_pointee(keys) }
        };
        Self {
            issuers: issuers.into_iter().map(slot).collect(),
            verified: Cache::new(verified_tokens_max),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The caller `token` stands for at `now`, which is the time of the world and not that of an emulated clock:
    /// token lifetimes follow their issuer.
    ///
    /// Only tokens that pass are remembered, so nobody without a valid token can push one out of memory.
    ///
    /// # Errors
    /// The first rule of identity A.1 the token breaks. The signature comes before the times, the audience and the
    /// tenant, so a forger learns nothing about them.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Empty);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let digest = token_digest(token);
        if let Some(verified) = self.remembered(&digest) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            verified.lifetime.check(now, CLOCK_SKEW_SECS).inspect_err(|_| {
                self.verified.remove(&digest);
            })?;
            return Ok(verified.caller);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let verified = self.examine(token, now)?;
        let caller = Arc::clone(&verified.caller);
        self.verified.insert(digest, verified);
        Ok(caller)
    }

    /// Puts new keys in force for the issuer that signs as `issuer`. When one of the old keys is withdrawn, every
    /// remembered token is forgotten. Returns whether there is such an issuer.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet) -> bool {
        let Some(slot) = self.issuers.iter().find(|slot| slot.signs_as(issuer)) else { return false };
        let mut withdrawn = false;
        slot.keys.rcu(|old| {
            withdrawn = !old.set.is_kept_by(&keys);
            Keys { set: keys.clone(), generation: old.generation + u64::from(withdrawn) }
        });
        if withdrawn {
            self.verified.clear();
        }
        true
    }

    /// How well verified tokens are remembered, since the start.
    pub fn remembrance(&self) -> Remembrance {
        Remembrance {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.verified.len(),
        }
    }

    /// How many verified tokens are remembered.
    pub fn verified_tokens(&self) -> usize {
        self.verified.len()
    }

    fn remembered(&self, digest: &TokenDigest) -> Option<Verified> {
        let verified = self.verified.get(digest)?;
        let current = self.issuers[verified.issuer].keys.load().generation;
        (verified.generation == current).then_some(verified)
    }

    fn examine(&self, token: &str, now: Timestamp) -> Result<Verified, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotAJwt)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::NotAJwt)?;
        let header: Header = json_part(header)?;
        let algorithm = Algorithm::from_header(&header.alg).ok_or(TokenError::WrongAlgorithm)?;
        if header.crit.is_some() {
            return Err(TokenError::NotAJwt);
        }
        let claims: Claims = json_part(payload)?;

        // Not believed yet: `iss` and `kid` only choose which key the signature is tried with.
        let iss = claims.iss.as_deref().ok_or(TokenError::MissingClaim("iss"))?;
        let issuer =
            self.issuers.iter().position(|slot| slot.signs_as(iss)).ok_or(TokenError::WrongIssuer)?;
        let Slot { trusted, keys } = &self.issuers[issuer];
        if !trusted.algorithms.contains(&algorithm) {
            return Err(TokenError::WrongAlgorithm);
        }
        let keys = keys.load();
        let key = header.kid.as_deref().and_then(|kid| keys.set.get(kid)).ok_or(TokenError::UnknownKey)?;
        if key.algorithm() != algorithm {
            return Err(TokenError::WrongAlgorithm);
        }
        if !key.verifies(message.as_bytes(), signature) {
            return Err(TokenError::BadSignature);
        }

        let lifetime = claims.lifetime()?;
        lifetime.check(now, CLOCK_SKEW_SECS)?;
        if !claims.is_for(&trusted.audiences) {
            return Err(TokenError::WrongAudience);
        }
        let caller = match trusted.claims {
            ClaimMapping::Entra => claims.into_caller(trusted.tenant, lifetime)?,
        };
        Ok(Verified { issuer, generation: keys.generation, lifetime, caller: Arc::new(caller) })
    }
}

impl Slot {
    fn signs_as(&self, issuer: &str) -> bool {
        self.trusted.issuers.iter().any(|own| own == issuer)
    }
}

fn token_digest(token: &str) -> TokenDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

fn json_part<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::NotAJwt)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::NotAJwt)
}
