//! The command of `presenced exec`: started, told of signals, waited for, and nothing of it left behind.

use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// How long what the command left behind may take to end once asked, before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Where signals for the command go.
#[derive(Clone, Copy)]
enum Target {
    /// The command alone: it shares our terminal, which sends Ctrl-C to both of us by itself.
    Process(Pid),
    /// The command and all it started: a group of its own.
    Group(Pid),
}

/// Runs the command to its end. SIGINT, SIGTERM and SIGHUP that we get are passed on; the emulator stays until the command has
/// ended, so that it can clean up. Without a terminal, the command has a process group of its own, and what of it outlives the
/// command is ended: asked first, killed after two seconds.
///
/// # Errors
/// When the command cannot be started.
pub(super) async fn run(mut command: Command) -> io::Result<ExitStatus> {
    // Before the start: a signal that comes just after it is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A group of its own could not read from the terminal.
    let on_terminal = io::stdin().is_terminal();
    if !on_terminal {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let target = pid.map(|pid| if on_terminal { Target::Process(pid) } else { Target::Group(pid) });
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupt.recv() => if let Some(Target::Group(_)) = target { pass_on(target, Signal::INT) },
            _ = terminate.recv() => pass_on(target, Signal::TERM),
            _ = hang_up.recv() => pass_on(target, Signal::HUP),
        }
    };
    if let Some(Target::Group(group)) = target {
        end_group(group).await;
    }
    Ok(status)
}

/// The command's own code, or what a shell says of a command that a signal ended: 128 and the signal's number.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn pass_on(target: Option<Target>, signal: Signal) {
    let sent = match target {
        Some(Target::Process(pid)) => kill_process(pid, signal),
        Some(Target::Group(pid)) => kill_process_group(pid, signal),
        None => Ok(()),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "the signal found nobody");
    }
}

/// Ends what a command left running in its group, and returns when it has ended. Its number cannot be another's: a group lives
/// as long as a member does.
async fn end_group(group: Pid) {
    for signal in [Signal::TERM, Signal::KILL] {
        pass_on(Some(Target::Group(group)), signal);
        let ended = async {
            while test_kill_process_group(group).is_ok() {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Whoever was killed ends soon, but not always at once; longer than for a deaf one, nobody is waited for.
        if tokio::time::timeout(GRACE, ended).await.is_ok() {
            return;
        }
    }
}
