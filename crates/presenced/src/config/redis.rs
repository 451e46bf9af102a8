//! `store = "redis://..."` and `[redis]`: presence in an engine that is there already, for many nodes.

use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use store::redis::{BUCKETS_MAX, Loss, Options, Place};

/// `[redis]`: what the URL does not say.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redis {
    /// The ACL user, if the URL names none.
    pub(crate) user: Option<String>,
    /// A file with the user's password.
    pub(crate) password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities of the engine; left out: those of the system.
    pub(crate) authority: Option<PathBuf>,
    /// PEM file of a certificate to show to the engine.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub(crate) key: Option<PathBuf>,
    /// What the names of all keys begin with.
    pub(crate) prefix: Option<String>,
    /// How many buckets people are spread over: fixed when the store is made.
    pub(crate) buckets: Option<u16>,
    /// How many replicas each write waits for; left out: one if every master has one.
    pub(crate) replicas: Option<usize>,
    /// What may be lost of what was acknowledged.
    pub(crate) accept_loss: AcceptLoss,
    /// What this node is called in `presenced nodes`; left out: its first listen address.
    pub(crate) node: Option<String>,
}

/// Never where secrets are.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

/// What may be lost of what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AcceptLoss {
    /// Nothing, when one machine fails.
    #[default]
    None,
    /// The last second.
    Second,
    /// Anything.
    All,
}

/// Most replicas a write may wait for.
const REPLICAS_MAX: usize = 8;

impl Redis {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.password_file, &mut self.authority, &mut self.certificate, &mut self.key]
            .into_iter()
            .flatten()
    }

    pub(super) fn check(&self, store: Option<&str>, problems: &mut Vec<String>) {
        if let Some(url) = store.filter(|url| *url != EMBEDDED)
            && let Err(error) = url.parse::<Place>()
        {
            // Not the text itself: it may have a password in it.
            problems.push(format!("store: {error}, or \"{EMBEDDED}\""));
        }
        if self.buckets.is_some_and(|buckets| !(1..=BUCKETS_MAX).contains(&buckets)) {
            problems.push(format!("[redis] buckets: give 1 to {BUCKETS_MAX}"));
        }
        if self.replicas.is_some_and(|replicas| replicas > REPLICAS_MAX) {
            problems.push(format!("[redis] replicas: give 0 to {REPLICAS_MAX}"));
        }
        if self.certificate.is_some() != self.key.is_some() {
            problems.push("[redis] certificate and key belong together".to_owned());
        }
        if self.prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.contains(['{', '}'])) {
            problems.push("[redis] prefix: some letters, without braces".to_owned());
        }
        let files = [
            ("password_file", &self.password_file),
            ("authority", &self.authority),
            ("certificate", &self.certificate),
            ("key", &self.key),
        ];
        for (key, path) in files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(format!("[redis] {key}: {}: {error}", path.display()));
            }
        }
    }

    /// Where the engine is and how it is used.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn open(
        &self,
        url: &str,
        node: String,
        retention: store::Retention,
    ) -> anyhow::Result<(Place, Options)> {
        let mut place: Place = url.parse()?;
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        place.user = place.user.or_else(|| self.user.clone());
        if let Some(path) = &self.password_file {
            let password = String::from_utf8(read(path)?).with_context(|| path.display().to_string())?;
            place.password = Some(password.trim_end_matches(['\r', '\n']).to_owned());
        }
        place.authority = self.authority.as_ref().map(read).transpose()?;
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            place.client_certificate = Some((read(certificate)?, read(key)?));
        }
        let defaults = Options::default();
        let options = Options {
            prefix: self.prefix.clone().unwrap_or(defaults.prefix),
            buckets: self.buckets,
            replicas: self.replicas,
            accept_loss: match self.accept_loss {
                AcceptLoss::None => Loss::None,
                AcceptLoss::Second => Loss::Second,
                AcceptLoss::All => Loss::All,
            },
            node: self.node.clone().unwrap_or(node),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            retention,
            ..defaults
        };
        Ok((place, options))
    }
}

/// `store` for a store in `data_dir`.
pub(crate) const EMBEDDED: &str = "embedded";
