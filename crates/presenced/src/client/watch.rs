//! `presenced watch`: changes as they happen, until somebody stops it.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Client, message, read, say, segment};
use crate::args::WatchArgs;

/// How long to wait before connecting again.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Prints how the users are shown, and every change from then on. A connection that ends is made again where it ended.
///
/// # Errors
/// When the server refuses, or the log no longer has what comes next.
pub(crate) fn watch(args: WatchArgs) -> anyhow::Result<()> {
    let client = Client::new(args.server)?;
    let ids = args.users.iter().map(|user| id_of(&client, user)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut position = args.from;
    let mut connected = false;
    loop {
        match follow(&client, &ids, &mut position, &mut connected, args.output.json) {
            Ok(Ended::Again) => {}
            Ok(Ended::Behind) => {
                bail!("the changes after this position are no longer kept; watch again without --from")
            }
            Err(error) if !connected => return Err(error),
            // The server went away under us: it, or another in its place, will be back.
            Err(error) => tracing::debug!(%error, "the stream was cut"),
        }
        std::thread::sleep(RECONNECT_AFTER);
    }
}

enum Ended {
    Again,
    Behind,
}

fn follow(
    client: &Client,
    ids: &[String],
    position: &mut Option<String>,
    connected: &mut bool,
    json: bool,
) -> anyhow::Result<Ended> {
    let mut request = client
        .agent
        .get(client.url("/_presenced/v1/presences/stream"))
        .header("Authorization", format!("Bearer {}", client.token()?))
        .config()
        .timeout_global(None)
        .build();
    if !ids.is_empty() {
        request = request.query("ids", ids.join(","));
    }
    if let Some(position) = position.as_deref() {
        request = request.query("from", position);
    }
    let response = request.call().with_context(|| client.unreachable())?;
    let status = response.status();
    if !status.is_success() {
        *connected &= status.is_server_error();
        bail!("{status}: {}", message(&read(response)?));
    }
    *connected = true;
    let mut event = String::new();
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line?;
        if let Some(id) = line.strip_prefix("id: ") {
            *position = Some(id.to_owned());
        } else if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut event);
        } else if let Some(data) = line.strip_prefix("data: ") {
            match &*event {
                "behind" => return Ok(Ended::Behind),
                "end" => return Ok(Ended::Again),
                _ if json => say(format_args!("{{\"event\":\"{event}\",\"data\":{data}}}")),
                _ => say_event(&event, &serde_json::from_str(data)?),
            }
        }
    }
    Ok(Ended::Again)
}

fn say_event(event: &str, data: &Value) {
    let presences = data["presences"]["value"].as_array().map(Vec::as_slice).unwrap_or_default();
    for shown in if event == "snapshot" { presences } else { std::slice::from_ref(data) } {
        let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        let at = if event == "snapshot" { "now".to_owned() } else { text("at") };
        say(format_args!("{at:<28} {}  {}/{}", text("id"), text("availability"), text("activity")));
    }
}

fn id_of(client: &Client, user: &str) -> anyhow::Result<String> {
    if user.parse::<presence::UserId>().is_ok() {
        return Ok(user.to_owned());
    }
    let found = client.get(&format!("/v1.0/users/{}?$select=id", segment(user)))?;
    found["id"].as_str().map(str::to_owned).with_context(|| format!("{user} has no id"))
}
