//! `presenced exec -- COMMAND`: a fresh emulator for the life of one command.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

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
            profile: graph::Profile::default(),
        })
        .await?;
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &running.ca_pem).with_context(|| ca.display().to_string())?;

        let (program, arguments) = args.command.split_first().context("no command")?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .env("PRESENCED_URL", running.https_url())
            .env("PRESENCED_HTTP_URL", running.http_url())
            .env("PRESENCED_CA", &ca)
            .env("PRESENCED_TENANT", seed::TENANT.to_string())
            .env("PRESENCED_CLIENT_ID", seed::APP.to_string())
            .env("PRESENCED_CLIENT_SECRET", seed::SECRET)
            .env("PRESENCED_APP_TOKEN", running.token(None)?)
            .env("PRESENCED_USER_A", seed::USER_A.to_string())
            .env("PRESENCED_USER_B", seed::USER_B.to_string())
            .env("PRESENCED_USER_A_TOKEN", running.token(Some(seed::USER_A))?);
        let mut child = command.spawn().with_context(|| program.to_string_lossy().into_owned())?;
        let status = wait(&mut child).await?;
        running.stop().await;
        Ok(exit_code(status))
    })
}

/// Waits for the command. Ctrl-C reaches it by itself, for it is of the same terminal group; the emulator stays until the
/// command has ended. A SIGTERM is for us alone and is passed on.
async fn wait(child: &mut tokio::process::Child) -> anyhow::Result<ExitStatus> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                    kill_process(pid, Signal::TERM)?;
                }
            }
        }
    }
}

/// The command's own code, or what a shell says of a command that a signal ended: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
