//! The issuer's keys over time: one that signs, and those before it, whose tokens are believed until they end.
//!
//! A folder holds them: `signing-key.pem` signs, and `retired-SECONDS-KID.pem` is believed until that instant. A rotation
//! first puts the old key under its new name and then the new one in its place, so that whoever reads in between, or after
//! a crash there, finds the old key signing.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::SignedDuration;
use presence::Timestamp;

use crate::files;
use crate::jwks::KeySet;
use crate::keys::{self, JsonWebKey, KeyError, SigningKey};
use crate::refresh::RefreshToken;

/// How long keys are believed after a rotation when nobody says: longer than any token of an issuer counts, which is
/// 24 hours.
pub const KEY_OVERLAP_DEFAULT: SignedDuration = SignedDuration::from_hours(25);
/// How long they may be: a year.
pub const KEY_OVERLAP_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);
/// Retired keys at a time.
pub const RETIRED_KEYS_MAX: usize = 16;

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: SigningKey,
    retired: Vec<(SigningKey, Timestamp)>,
}

impl From<SigningKey> for KeyRing {
    fn from(current: SigningKey) -> Self {
        Self { current, retired: Vec::new() }
    }
}

/// What a folder looked like when keys were read from it: the next reading may be spared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFolderState(Vec<(PathBuf, Option<SystemTime>)>);

impl KeyRing {
    /// The keys kept in `directory`; at the first start a new one.
    ///
    /// # Errors
    /// As [`SigningKey::load_or_generate`], for each of them.
    pub fn load_or_generate(directory: &Path, now: Timestamp) -> Result<Self, KeyError> {
        let current = SigningKey::load_or_generate(directory)?;
        let mut retired = Vec::new();
        for (path, until) in retired_files(directory)? {
            // One that goes meanwhile has ended.
            let Some(pem) = files::read_if_there(&path).map_err(failed(&path))? else { continue };
            let key = SigningKey::from_pem(&pem)?;
            if until > now && key.kid() != current.kid() {
                retired.push((key, until));
            }
        }
        Ok(Self { current, retired })
    }

    /// As [`load_or_generate`](Self::load_or_generate), if the folder differs from `state` or a key has ended; `state` is
    /// then that of now.
    ///
    /// # Errors
    /// As there.
    pub fn load_if_changed(
        directory: &Path,
        now: Timestamp,
        state: &mut KeyFolderState,
    ) -> Result<Option<Self>, KeyError> {
        let mut found = vec![directory.join(keys::FILE_NAME)];
        found.extend(
            retired_files(directory)?.into_iter().filter(|(_, until)| *until > now).map(|(path, _)| path),
        );
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let found: Vec<_> = found.into_iter().map(|path| (path.clone(), modified(&path))).collect();
        if state.0 == found {
            return Ok(None);
        }
        let ring = Self::load_or_generate(directory, now)?;
        *state = KeyFolderState(found);
        Ok(Some(ring))
    }

    /// Puts a new key in the place of the one that signs in `directory`. The keys there were are believed for `overlap`
    /// more, or less if they end before that; zero ends them at once.
    ///
    /// # Errors
    /// When files cannot be read or written, or [`KeyError::TooMany`] keys are waiting for their end.
    pub fn rotate(directory: &Path, overlap: SignedDuration, now: Timestamp) -> Result<Self, KeyError> {
        let old = SigningKey::load_or_generate(directory)?;
        let path = directory.join(keys::FILE_NAME);
        let end = now.checked_add(overlap).map_err(|_| KeyError::Unusable)?;
        let retired = retired_files(directory)?;
        if retired.iter().filter(|(_, until)| *until > now && end > now).count() >= RETIRED_KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let (_, pem) = keys::generate_pem()?;
        if overlap > SignedDuration::ZERO {
            let old_pem = files::read_if_there(&path).map_err(failed(&path))?.ok_or(KeyError::Unusable)?;
            let kept = retired_name(directory, end, &old);
            files::replace_private(&kept, old_pem.as_bytes()).map_err(failed(&kept))?;
        }
        files::replace_private(&path, pem.as_bytes()).map_err(failed(&path))?;
        for (path, until) in retired {
            let moved = if until <= now || end <= now {
                std::fs::remove_file(&path)
            } else if until > end {
                let pem = files::read_if_there(&path).map_err(failed(&path))?.ok_or(KeyError::Unusable)?;
                std::fs::rename(&path, retired_name(directory, end, &SigningKey::from_pem(&pem)?))
            } else {
                Ok(())
            };
            moved.map_err(failed(&path))?;
        }
        Self::load_or_generate(directory, now)
    }

    /// The key that signs.
    pub const fn current(&self) -> &SigningKey {
        &self.current
    }

    /// The keys that do not sign any more, and until when they are believed.
    pub fn retired(&self) -> impl Iterator<Item = (&SigningKey, Timestamp)> {
        self.retired.iter().map(|(key, until)| (key, *until))
    }

    /// The public halves, for a verifier.
    pub fn public(&self) -> KeySet {
        self.all().map(SigningKey::verification_key).collect()
    }

    pub(crate) fn json_web_keys(&self) -> Vec<JsonWebKey> {
        self.all().map(SigningKey::json_web_key).collect()
    }

    pub(crate) fn open_refresh_token(&self, tenant: presence::TenantId, text: &str) -> Option<RefreshToken> {
        self.all().find_map(|key| key.refresh().open(tenant, text))
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(self.retired.iter().map(|(key, _)| key))
    }
}

/// The files of retired keys and their ends, in order.
fn retired_files(directory: &Path) -> Result<Vec<(PathBuf, Timestamp)>, KeyError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let name = entry.map_err(failed(directory))?.file_name();
        let until = name.to_str().and_then(|name| {
            let (seconds, _) = name.strip_prefix("retired-")?.strip_suffix(".pem")?.split_once('-')?;
            Timestamp::from_second(seconds.parse().ok()?).ok()
        });
        if let Some(until) = until {
            files.push((directory.join(name), until));
        }
    }
    files.sort();
    // The ones that end last are kept, should somebody have put more there.
    let surplus = files.len().saturating_sub(RETIRED_KEYS_MAX);
    Ok(files.split_off(surplus))
}

fn retired_name(directory: &Path, until: Timestamp, key: &SigningKey) -> PathBuf {
    directory.join(format!("retired-{}-{}.pem", until.as_second(), key.kid()))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeyError {
    move |source| KeyError::File { path: path.to_owned(), source }
}
