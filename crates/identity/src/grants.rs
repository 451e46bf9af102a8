//! What a user has agreed to and a client has not fetched yet: authorization codes and device codes.
//!
//! Kept in memory and bounded: they live for minutes, and a restart only means signing in again. Of the codes themselves
//! only digests are kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use jiff::SignedDuration;
use presence::{AppId, Timestamp, UserId};

use crate::redirect::Platform;
use crate::scopes::Scopes;

/// How long an authorization code counts. Ours: RFC 6749 §4.1.2 recommends at most ten minutes.
pub const CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// How long a device code counts: Entra's 15 minutes.
pub const DEVICE_CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(15);
/// How often a device may ask, in seconds: Entra's.
pub const DEVICE_POLL_INTERVAL_SECS: u32 = 5;
/// How much earlier it may without being told so: clients round.
const DEVICE_POLL_TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// Codes of each kind at a time. With more, the one that ends first goes.
pub const GRANTS_MAX: usize = 4_096;
/// Letters of a user code, without those that look alike and without vowels, so that no words come out (RFC 8628 §6.1).
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many letters one has: 20^9, Entra's length.
const USER_CODE_LENGTH: usize = 9;

/// What an authorization code stands for.
#[derive(Clone, Debug)]
pub(crate) struct CodeGrant {
    pub(crate) client: AppId,
    pub(crate) user: UserId,
    pub(crate) redirect_uri: String,
    pub(crate) platform: Platform,
    pub(crate) scopes: Scopes,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: Option<Challenge>,
}

/// The challenge of RFC 7636 that the verifier must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// SHA-256 of the verifier, in base64url.
    S256(String),
    /// The verifier itself.
    Plain(String),
}

/// Why a code is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeProblem {
    Unknown,
    Expired,
    Used,
}

/// What a device asked for.
#[derive(Clone, Debug)]
pub(crate) struct DeviceGrant {
    pub(crate) client: AppId,
    pub(crate) scopes: Scopes,
}

/// What a device is told that asks whether its user has agreed.
#[derive(Clone, Debug)]
pub(crate) enum DeviceAnswer {
    /// Never given out, or fetched already.
    Unknown,
    /// It is another application's.
    OtherClient,
    Expired,
    TooSoon,
    Pending,
    Declined,
    Agreed(DeviceGrant, UserId),
}

/// The codes that are out.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    codes: HashMap<Digest, Kept<CodeGrant>>,
    devices: HashMap<Digest, Kept<Device>>,
    by_user_code: HashMap<String, Digest>,
}

type Digest = [u8; 32];

#[derive(Debug)]
struct Kept<T> {
    expires_at: Timestamp,
    is_used: bool,
    value: T,
}

#[derive(Debug)]
struct Device {
    grant: DeviceGrant,
    user_code: String,
    asked_at: Option<Timestamp>,
    interval_secs: u32,
    decision: Option<Decision>,
}

/// What a user said to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Agreed(UserId),
    Declined,
}

impl Grants {
    /// A new authorization code. `None` when the machine has no randomness.
    pub(crate) fn add_code(&self, grant: CodeGrant, now: Timestamp) -> Option<String> {
        let code = crate::registry::generate_secret()?;
        let mut inner = self.lock();
        make_room(&mut inner.codes, now, |_| {});
        let kept = Kept { expires_at: now + CODE_LIFETIME, is_used: false, value: grant };
        inner.codes.insert(digest_of(&code), kept);
        Some(code)
    }

    /// What a code stands for, once. Whatever comes of it, the code is used then.
    pub(crate) fn redeem_code(&self, code: &str, now: Timestamp) -> Result<CodeGrant, CodeProblem> {
        let mut inner = self.lock();
        let kept = inner.codes.get_mut(&digest_of(code)).ok_or(CodeProblem::Unknown)?;
        if kept.is_used {
            return Err(CodeProblem::Used);
        }
        kept.is_used = true;
        if now >= kept.expires_at { Err(CodeProblem::Expired) } else { Ok(kept.value.clone()) }
    }

    /// A new device code, and the user code to type. `None` when the machine has no randomness.
    pub(crate) fn add_device(&self, grant: DeviceGrant, now: Timestamp) -> Option<(String, String)> {
        let code = crate::registry::generate_secret()?;
        let mut inner = self.lock();
        let Inner { devices, by_user_code, .. } = &mut *inner;
        make_room(devices, now, |device| {
            by_user_code.remove(&device.user_code);
        });
        let user_code = new_user_code()?;
        if by_user_code.contains_key(&user_code) {
            return None;
        }
        let key = digest_of(&code);
        by_user_code.insert(user_code.clone(), key);
        let device = Device {
            grant,
            user_code: user_code.clone(),
            asked_at: None,
            interval_secs: DEVICE_POLL_INTERVAL_SECS,
            decision: None,
        };
        devices.insert(key, Kept { expires_at: now + DEVICE_CODE_LIFETIME, is_used: false, value: device });
        Some((code, user_code))
    }

    /// What the device with this user code asks for, if it waits for an answer.
    pub(crate) fn device_waiting(&self, user_code: &str, now: Timestamp) -> Option<DeviceGrant> {
        let inner = self.lock();
        let kept = inner.devices.get(inner.by_user_code.get(&folded(user_code))?)?;
        (kept.value.decision.is_none() && now < kept.expires_at).then(|| kept.value.grant.clone())
    }

    /// Notes what the user said to a device; false when it does not wait for an answer.
    pub(crate) fn decide(&self, user_code: &str, decision: Decision, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let Inner { devices, by_user_code, .. } = &mut *inner;
        let kept = by_user_code.get(&folded(user_code)).and_then(|key| devices.get_mut(key));
        let Some(kept) = kept.filter(|kept| kept.value.decision.is_none() && now < kept.expires_at) else {
            return false;
        };
        kept.value.decision = Some(decision);
        true
    }

    /// What a device is told now. What its user agreed to is told once.
    pub(crate) fn ask(&self, device_code: &str, client: AppId, now: Timestamp) -> DeviceAnswer {
        let mut inner = self.lock();
        let Some(kept) = inner.devices.get_mut(&digest_of(device_code)) else { return DeviceAnswer::Unknown };
        let device = &mut kept.value;
        if device.grant.client != client {
            return DeviceAnswer::OtherClient;
        }
        if kept.is_used {
            return DeviceAnswer::Unknown;
        }
        if now >= kept.expires_at {
            return DeviceAnswer::Expired;
        }
        let wait = SignedDuration::from_secs(device.interval_secs.into()) - DEVICE_POLL_TOLERANCE;
        let is_too_soon = device.asked_at.is_some_and(|before| now.duration_since(before) < wait);
        device.asked_at = Some(now);
        match device.decision {
            Some(Decision::Agreed(user)) => {
                kept.is_used = true;
                DeviceAnswer::Agreed(device.grant.clone(), user)
            }
            Some(Decision::Declined) => DeviceAnswer::Declined,
            None if is_too_soon => {
                // RFC 8628 §3.5: from now on it has to wait five seconds longer.
                device.interval_secs = device.interval_secs.saturating_add(5).min(60);
                DeviceAnswer::TooSoon
            }
            None => DeviceAnswer::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one step of a map: there is nothing half done to be afraid of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `verifier` answers the challenge.
impl Challenge {
    pub(crate) fn is_answered_by(&self, verifier: &str) -> bool {
        use base64::Engine as _;
        use subtle::ConstantTimeEq as _;
        let given = match self {
            Self::Plain(_) => verifier.to_owned(),
            Self::S256(_) => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest_of(verifier)),
        };
        let (Self::S256(challenge) | Self::Plain(challenge)) = self;
        given.as_bytes().ct_eq(challenge.as_bytes()).into()
    }
}

/// Forgets what has ended; if there is still no room, the one that ends first.
fn make_room<T>(map: &mut HashMap<Digest, Kept<T>>, now: Timestamp, mut forget: impl FnMut(&T)) {
    if map.len() < GRANTS_MAX {
        return;
    }
    // Used and ended ones are told from unknown ones for another while, as long as there is room.
    map.retain(|_, kept| {
        let is_kept = kept.expires_at > now;
        if !is_kept {
            forget(&kept.value);
        }
        is_kept
    });
    if map.len() >= GRANTS_MAX
        && let Some(first) = map.iter().min_by_key(|(_, kept)| kept.expires_at).map(|(key, _)| *key)
        && let Some(kept) = map.remove(&first)
    {
        forget(&kept.value);
    }
}

fn digest_of(text: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

fn new_user_code() -> Option<String> {
    let mut code = String::with_capacity(USER_CODE_LENGTH);
    while code.len() < USER_CODE_LENGTH {
        let mut byte = [0];
        aws_lc_rs::rand::fill(&mut byte).ok()?;
        // 240 is the largest multiple of 20 in a byte: above it some letters would be likelier than others.
        if byte[0] < 240 {
            code.push(char::from(USER_CODE_LETTERS[usize::from(byte[0]) % USER_CODE_LETTERS.len()]));
        }
    }
    Some(code)
}

/// A user code as people type it: in any case, with spaces or dashes.
fn folded(user_code: &str) -> String {
    let letters = user_code.chars().filter(char::is_ascii_alphabetic).take(USER_CODE_LENGTH + 1);
    letters.map(|letter| letter.to_ascii_uppercase()).collect()
}
