//! `presenced dev` and `presenced ca`.

use std::io::Write;

use anyhow::Context;
use server::DASHBOARD_PATH;

use crate::args::{CaArgs, DevArgs, LogFormat};
use crate::emulator::{self, Options, Running};
use crate::{asked_to_stop, client, seed, server_runtime};

/// Runs the emulator until it is asked to stop.
pub(crate) fn run(args: DevArgs) -> anyhow::Result<()> {
    server_runtime(&args.log, LogFormat::Human)?.block_on(async {
        let asked_to_stop = asked_to_stop()?;
        let data_dir = if args.in_memory { None } else { Some(emulator::data_dir(&args.data)?) };
        let running = emulator::start(Options {
            https: args.https,
            http: args.http,
            metrics: args.metrics,
            data_dir,
            engine: args.store.map(|url| (url, args.store_prefix)),
            profile: args.profile,
            record: None,
            as_graph: args.as_graph,
        })
        .await?;
        client::say(banner(&running));
        asked_to_stop.await;
        running.stop().await;
        Ok(())
    })
}

/// Prints the certificate authority, making it first if there is none yet.
pub(crate) fn print_ca(args: CaArgs) -> anyhow::Result<()> {
    let pem = emulator::certificate_authority(&emulator::data_dir(&args.data)?, args.as_graph)?;
    match args.out {
        Some(path) => std::fs::write(&path, pem).with_context(|| path.display().to_string()),
        None => Ok(std::io::stdout().write_all(pem.as_bytes())?),
    }
}

/// What a person needs to begin: addresses, ids, and lines to copy.
fn banner(running: &Running) -> String {
    let (http, https) = (running.http_url(), running.https_url());
    let (tenant, app, secret, user) = (seed::TENANT, seed::APP, seed::SECRET, seed::USER_A);
    let mut users = String::new();
    for user in seed::users() {
        users.push_str(&format!("  user      {}  {}\n", user.id, user.user_principal_name));
    }
    format!(
        r#"
presenced is ready. Nothing here is Microsoft's, and none of it is secret.

  HTTP      {http}/v1.0
  HTTPS     {https}/v1.0   (certificate authority: presenced ca)
  dashboard {http}{DASHBOARD_PATH}
  tenant    {tenant}
  client    {app}
  secret    {secret}
{users}
Try it:

  TOKEN=$(curl -s {http}/_presenced/v1/token)
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"sessionId":"{app}","availability":"Available","activity":"Available","expirationDuration":"PT1H"}}' {http}/v1.0/users/{user}/presence/setPresence
  curl -s -H "Authorization: Bearer $TOKEN" {http}/v1.0/users/{user}/presence
  curl -s -X POST -H 'Content-Type: application/json' -d '{{"duration":"PT5M"}}' {http}/_presenced/v1/clock/advance
  curl -s -H "Authorization: Bearer $TOKEN" {http}/_presenced/v1/users/{user}/presence/explanation
  curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"sessionId":"{app}"}}' {http}/v1.0/users/{user}/presence/clearPresence
"#
    )
}
