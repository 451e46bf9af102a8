//! Bearer token in, caller out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use presence::{TenantId, Timestamp};
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;

use crate::caller::Caller;
use crate::claims::{Claims, Header, Lifetime, Registered};
use crate::error::TokenError;
use crate::foreign::{Mapping, Nobody, People, Subject};
use crate::jwks::{Algorithm, KeySet};
use crate::last_token::LastToken;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClaimMapping {
    /// As our own issuer writes them, which is as Entra does: `oid`, `tid`, `scp` or `roles`, `appid` or `azp`.
    #[default]
    Entra,
    /// As the settings of a foreign issuer say.
    Foreign(Box<Mapping>),
}

/// Verifies bearer tokens of the issuers it trusts. Shared by all connections; it has no lock that is held across a
/// verification.
#[derive(Debug)]
pub struct Verifier {
    issuers: ArcSwap<Issuers>,
    /// Grows when somebody is trusted differently: see [`LastToken`].
    epoch: AtomicU64,
    verified: Cache<TokenDigest, Verified>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Who is trusted, by the names tokens call them. Several under one name: one issuer for several tenants.
#[derive(Clone, Debug, Default)]
struct Issuers(HashMap<String, Vec<Arc<Slot>>>);

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
    keys: ArcSwap<KeySet>,
    /// No longer trusted: what was verified meanwhile is not believed from memory.
    is_retired: AtomicBool,
}

/// SHA-256 of the whole token, signature included. The digest is kept rather than the token: it is shorter, and the
/// memory of the process then holds no list of usable credentials.
type TokenDigest = [u8; 32];

/// What is remembered of a token: the key among others, so that a token is not believed after its key was withdrawn, even
/// if its verification was under way meanwhile.
#[derive(Clone, Debug)]
struct Verified {
    slot: Arc<Slot>,
    kid: Arc<str>,
    key: [u8; 32],
    lifetime: Lifetime,
    caller: Arc<Caller>,
    /// What a foreign token says, to be held against the directory at each hit. The caller is what came of it last.
    subject: Option<Arc<Subject>>,
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
        let mut all = Issuers::default();
        issuers.into_iter().for_each(|issuer| all.add(issuer));
        Self {
            issuers: ArcSwap::from_pointee(all),
            epoch: AtomicU64::new(0),
            verified: Cache::new(verified_tokens_max),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// [`verify_among`](Self::verify_among) nobody: for issuers whose subjects are object ids.
    ///
    /// # Errors
    /// As there.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, TokenError> {
        self.verify_among(&Nobody, token, now)
    }

    /// The caller `token` stands for at `now`, which is the time of the world and not that of an emulated clock:
    /// token lifetimes follow their issuer. A foreign subject is looked up among `people`, each time anew.
    ///
    /// Only tokens that pass are remembered, so nobody without a valid token can push one out of memory.
    ///
    /// # Errors
    /// The first rule of identity A.1 the token breaks. The signature comes before the times, the audience and the
    /// tenant, so a forger learns nothing about them.
    pub fn verify_among(
        &self,
        people: &(impl People + ?Sized),
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Caller>, TokenError> {
        Ok(self.look_up(people, token, now)?.caller)
    }

    /// [`verify_among`](Self::verify_among) for a connection that may show the token again: what `make` makes of the
    /// caller is remembered with it. `None` from [`again`](Self::again) says that it has to be asked here.
    ///
    /// # Errors
    /// As there.
    pub fn verify_first<T: Copy>(
        &self,
        last: &LastToken<T>,
        people: &(impl People + ?Sized),
        token: &str,
        now: Timestamp,
        make: impl FnOnce(&Caller) -> T,
    ) -> Result<T, TokenError> {
        // Read before anything is looked at: if somebody is trusted differently meanwhile, the next one asks anew.
        let epoch = self.epoch.load(Ordering::Acquire);
        let verified = self.look_up(people, token, now)?;
        let made = make(&verified.caller);
        // A foreign subject is held against the directory at each request.
        if verified.subject.is_none() {
            last.remember(token, epoch, verified.lifetime, made);
        }
        Ok(made)
    }

    /// What was made of this token when the connection showed it last, if that was the last token it showed. Bytes that are
    /// no token are nothing that was shown.
    ///
    /// # Errors
    /// When its lifetime is over.
    pub fn again<T: Copy>(
        &self,
        last: &LastToken<T>,
        token: &[u8],
        now: Timestamp,
    ) -> Option<Result<T, TokenError>> {
        last.find(token, self.epoch.load(Ordering::Acquire), now)
    }

    fn look_up(
        &self,
        people: &(impl People + ?Sized),
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, TokenError> {
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
            return Ok(match &verified.subject {
                Some(subject) if !subject.is_still(&verified.caller, people) => {
                    let verified = Verified { caller: Arc::new(subject.caller(people)), ..verified };
                    self.verified.insert(digest, verified.clone());
                    verified
                }
                _ => verified,
            });
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let verified = self.examine(people, token, now)?;
        self.verified.insert(digest, verified.clone());
        Ok(verified)
    }

    /// The trusted issuer that a token claims to come from and whose keys it does not find there: whoever fetches keys
    /// may want to look for new ones. Nothing of such a token is to be believed.
    pub fn issuer_lacking_key(&self, token: &str) -> Option<String> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (message, _) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header: Header = json_part(header).ok()?;
        let algorithm = Algorithm::from_header(&header.alg)?;
        let (kid, iss) = (header.kid?, json_part::<Registered>(payload).ok()?.iss?);
        let issuers = self.issuers.load();
        let lacks = |slot: &Arc<Slot>| {
            slot.trusted.algorithms.contains(&algorithm) && slot.keys.load().get(&kid).is_none()
        };
        issuers.0.get(&iss)?.iter().any(lacks).then_some(iss)
    }

    /// Puts new keys in force for the issuer that signs as `issuer`. Tokens that were verified with a key that is
    /// withdrawn by that are forgotten. Returns whether there is such an issuer.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet) -> bool {
        let issuers = self.issuers.load();
        let Some(slots) = issuers.0.get(issuer) else { return false };
        let keys = Arc::new(keys);
        for slot in slots {
            slot.keys.store(Arc::clone(&keys));
        }
        self.forget_the_unfounded();
        true
    }

    /// Trusts these issuers for `tenant` from now on, and no others. Those that are trusted already as they are keep the
    /// keys they have, and what was verified with them; everything else of the tenant is forgotten.
    pub fn replace_issuers(&self, tenant: TenantId, issuers: Vec<TrustedIssuer>) {
        self.issuers.rcu(|old| old.with(tenant, issuers.clone()));
        self.forget_the_unfounded();
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

    fn forget_the_unfounded(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
        self.verified.retain(|_, verified| verified.is_founded());
    }

    fn remembered(&self, digest: &TokenDigest) -> Option<Verified> {
        self.verified.get(digest).filter(Verified::is_founded)
    }

    fn examine(
        &self,
        people: &(impl People + ?Sized),
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotAJwt)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::NotAJwt)?;
        let header: Header = json_part(header)?;
        let algorithm = Algorithm::from_header(&header.alg).ok_or(TokenError::WrongAlgorithm)?;
        if header.crit.is_some() {
            return Err(TokenError::NotAJwt);
        }
        let registered: Registered = json_part(payload)?;

        // Not believed yet: `iss`, `kid` and the tenant only choose which key the signature is tried with.
        let iss = registered.iss.as_deref().ok_or(TokenError::MissingClaim("iss"))?;
        let slot = self.issuers.load().choose(iss, payload)?;
        let trusted = &slot.trusted;
        if !trusted.algorithms.contains(&algorithm) {
            return Err(TokenError::WrongAlgorithm);
        }
        let kid = header.kid.ok_or(TokenError::UnknownKey)?;
        let keys = slot.keys.load();
        let key = keys.get(&kid).ok_or(TokenError::UnknownKey)?;
        if !key.serves(algorithm) {
            return Err(TokenError::WrongAlgorithm);
        }
        if !key.verifies(message.as_bytes(), signature, algorithm) {
            return Err(TokenError::BadSignature);
        }

        let lifetime = registered.lifetime()?;
        lifetime.check(now, CLOCK_SKEW_SECS)?;
        if !registered.is_for(&trusted.audiences) {
            return Err(TokenError::WrongAudience);
        }
        let (caller, subject) = match &trusted.claims {
            ClaimMapping::Entra => {
                (json_part::<Claims>(payload)?.into_caller(trusted.tenant, lifetime)?, None)
            }
            ClaimMapping::Foreign(mapping) => {
                let subject = mapping.read(trusted.tenant, &json_part(payload)?, lifetime.ends_at())?;
                (subject.caller(people), Some(Arc::new(subject)))
            }
        };
        let (kid, key) = (kid.into(), *key.fingerprint());
        drop(keys);
        Ok(Verified { slot, kid, key, lifetime, caller: Arc::new(caller), subject })
    }
}

impl Verified {
    /// Whether its issuer is still trusted and still has the key.
    fn is_founded(&self) -> bool {
        !self.slot.is_retired.load(Ordering::Acquire) && self.slot.keys.load().has(&self.kid, &self.key)
    }
}

impl Issuers {
    fn add(&mut self, mut trusted: TrustedIssuer) {
        let keys = ArcSwap::from_pointee(std::mem::take(&mut trusted.keys));
        self.insert(Arc::new(Slot { trusted, keys, is_retired: AtomicBool::new(false) }));
    }

    fn insert(&mut self, slot: Arc<Slot>) {
        for name in &slot.trusted.issuers {
            self.0.entry(name.clone()).or_default().push(Arc::clone(&slot));
        }
    }

    /// The same issuers, but these for `tenant`.
    fn with(&self, tenant: TenantId, issuers: Vec<TrustedIssuer>) -> Self {
        let mut new = self.clone();
        let mut old: Vec<Arc<Slot>> = Vec::new();
        for slots in new.0.values_mut() {
            let of_tenant = slots.extract_if(.., |slot| slot.trusted.tenant == tenant);
            old.extend(of_tenant);
        }
        new.0.retain(|_, slots| !slots.is_empty());
        for issuer in issuers {
            match old.iter().find(|slot| slot.trusted.is_the_same(&issuer)) {
                Some(kept) => new.insert(Arc::clone(kept)),
                None => {
                    // Another tenant may have fetched the keys of this issuer.
                    let known = issuer.issuers.iter().find_map(|name| new.0.get(name)?.first().cloned());
                    let keys = match known.filter(|_| issuer.keys.is_empty()) {
                        Some(known) => KeySet::clone(&known.keys.load()),
                        None => issuer.keys.clone(),
                    };
                    new.add(TrustedIssuer { keys, ..issuer });
                }
            }
        }
        let kept = |slot: &Arc<Slot>| new.0.values().flatten().any(|other| Arc::ptr_eq(slot, other));
        for slot in old.iter().filter(|slot| !kept(slot)) {
            slot.is_retired.store(true, Ordering::Release);
        }
        new
    }

    /// Of the issuers of this name the one whose tenant the claims name, or the first: it will refuse them.
    fn choose(&self, iss: &str, payload: &str) -> Result<Arc<Slot>, TokenError> {
        let slots = self.0.get(iss).map(Vec::as_slice).unwrap_or_default();
        let first = slots.first().ok_or(TokenError::WrongIssuer)?;
        if slots.len() == 1 {
            return Ok(Arc::clone(first));
        }
        let claims = json_part(payload)?;
        let is_of_tenant = |slot: &&Arc<Slot>| match &slot.trusted.claims {
            ClaimMapping::Entra => false,
            ClaimMapping::Foreign(mapping) => mapping.is_of_tenant(slot.trusted.tenant, &claims),
        };
        Ok(Arc::clone(slots.iter().find(is_of_tenant).unwrap_or(first)))
    }
}

impl TrustedIssuer {
    /// Whether both are trusted in the same way, whatever their keys.
    fn is_the_same(&self, other: &Self) -> bool {
        (&self.issuers, self.tenant, &self.audiences, &self.algorithms, &self.claims)
            == (&other.issuers, other.tenant, &other.audiences, &other.algorithms, &other.claims)
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
