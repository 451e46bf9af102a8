//! `presenced keys`: the keys of the embedded issuer, in the data folder of a server that may be running.

use std::path::PathBuf;

use anyhow::{Context, bail};
use engine::{Clock, SystemClock};
use graph::time::{format_timestamp, parse_duration};
use identity::{KEY_OVERLAP_DEFAULT, KEY_OVERLAP_MAX, KeyRing};
use jiff::SignedDuration;
use serde_json::json;

use crate::args::{KeysArgs, KeysCommand};
use crate::client::{say, say_json};
use crate::config::Config;
use crate::emulator;
use crate::serve::KEYS_FOLDER;

/// Lists or rotates.
///
/// # Errors
/// When there are no keys yet, or files cannot be read or written.
pub(crate) fn run(command: KeysCommand) -> anyhow::Result<()> {
    let now = SystemClock::new(None).now();
    match command {
        KeysCommand::List { folder, output } => {
            let ring = KeyRing::load_or_generate(&existing(&folder)?, now)?;
            let retired = ring.retired().map(|(key, until)| (key.kid(), Some(until)));
            let keys: Vec<_> = std::iter::once((ring.current().kid(), None)).chain(retired).collect();
            if output.json {
                let keys = keys.iter().map(|(kid, until)| {
                    json!({ "kid": kid, "signs": until.is_none(), "believedUntil": until.map(format_timestamp) })
                });
                say_json(&json!({ "value": keys.collect::<Vec<_>>() }));
            } else {
                for (kid, until) in keys {
                    match until {
                        None => say(format_args!("{kid}  signs")),
                        Some(until) => say(format_args!("{kid}  believed until {}", format_timestamp(until))),
                    }
                }
            }
        }
        KeysCommand::Rotate { overlap, folder } => {
            let overlap = match overlap {
                None => KEY_OVERLAP_DEFAULT,
                Some(text) => parse_duration(&text)
                    .filter(|overlap| (SignedDuration::ZERO..=KEY_OVERLAP_MAX).contains(overlap))
                    .with_context(|| format!("{text:?} is not a duration from PT0S to P366D"))?,
            };
            let ring = KeyRing::rotate(&existing(&folder)?, overlap, now)?;
            say(format_args!("{}  signs from now on", ring.current().kid()));
        }
    }
    Ok(())
}

/// The folder of the keys. One is not made here: whoever names the wrong place is told so.
fn existing(args: &KeysArgs) -> anyhow::Result<PathBuf> {
    let data = match &args.config {
        Some(config) => Config::read(config)?.data_dir,
        None => emulator::data_dir(&args.data)?,
    };
    let folder = data.join(KEYS_FOLDER);
    if !folder.join("signing-key.pem").is_file() {
        bail!("there are no keys in {}; has the server ever run there?", folder.display());
    }
    Ok(folder)
}
