//! `presenced exec -- COMMAND`: a fresh emulator for the life of one command.
//!
//! The command needs to be told nothing: the environment names the emulator in our own variables, and in those by which
//! the usual clients find a certificate authority and a place to sign in.

mod child;
mod jks;
mod trust;

use std::process::ExitCode;

use anyhow::Context;

use crate::args::{ExecArgs, LogArgs, LogFormat};
use crate::emulator::{self, Options};
use crate::{seed, server_runtime};

/// Runs the command, and answers with its exit status.
///
/// # Errors
/// When the emulator or the command cannot be started.
pub(crate) fn run(args: ExecArgs) -> anyhow::Result<ExitCode> {
    let level = if args.verbose { "info" } else { "error" };
    let log = LogArgs { log_format: None, log: level.to_owned() };
    server_runtime(&log, LogFormat::Human)?.block_on(async {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let running = emulator::start(Options {
            https: any_port,
            http: any_port,
            data_dir: None,
            engine: None,
            profile: graph::Profile::default(),
            metrics: None,
            record: args.record.clone(),
            as_graph: false,
        })
        .await?;

        let receiver = [("receiver.pem", &running.receiver.0), ("receiver-key.pem", &running.receiver.1)];
        for (name, pem) in receiver {
            std::fs::write(folder.path().join(name), pem).with_context(|| name.to_owned())?;
        }
        let (program, arguments) = args.command.split_first().context("no command")?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .envs(trust::variables(folder.path(), &running.ca_pem, &args.trust)?)
            .env("PRESENCED_RECEIVER_CERTIFICATE", folder.path().join("receiver.pem"))
            .env("PRESENCED_RECEIVER_KEY", folder.path().join("receiver-key.pem"))
            .env("PRESENCED_URL", running.https_url())
            .env("PRESENCED_HTTP_URL", running.http_url())
            .env("PRESENCED_TENANT", seed::TENANT.to_string())
            .env("PRESENCED_CLIENT_ID", seed::APP.to_string())
            .env("PRESENCED_CLIENT_SECRET", seed::SECRET)
            .env("PRESENCED_APP_TOKEN", running.token(None)?)
            .env("PRESENCED_USER_A", seed::USER_A.to_string())
            .env("PRESENCED_USER_B", seed::USER_B.to_string())
            .env("PRESENCED_USER_A_TOKEN", running.token(Some(seed::USER_A))?)
            // What azure-identity reads, in every language.
            .env("AZURE_AUTHORITY_HOST", running.https_url())
            .env("AZURE_TENANT_ID", seed::TENANT.to_string())
            .env("AZURE_CLIENT_ID", seed::APP.to_string())
            .env("AZURE_CLIENT_SECRET", seed::SECRET);
        let status = child::run(command).await.with_context(|| program.to_string_lossy().into_owned());
        running.stop().await;
        Ok(child::exit_code(status?))
    })
}
