//! Processes under measurement: started, waited for, looked at through `/proc`, and ended.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::reference::ReferenceArgs;
use crate::world::{START_TIMEOUT, World};

/// How often a port is tried while a server starts.
const TRY_INTERVAL: Duration = Duration::from_millis(5);
/// Ticks of `/proc/PID/stat` in a second: fixed by the kernel's interface on every architecture Rust's std supports.
const TICKS_PER_SEC: f64 = 100.0;

/// A running server, ended when dropped.
pub(crate) struct Server {
    child: Child,
    /// Plain HTTP; TLS alone where it has been asked for.
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// From the start of the process to the first connection it took.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// `presenced serve` over this world.
    pub(crate) fn presenced(binary: &Path, world: &World, log: &str) -> anyhow::Result<Self> {
        let (http, https) = (free_address()?, free_address()?);
        let config = world.write_config(http.port(), https.port())?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(config).args(["--log", log]);
        Self::start(command, http, https)
    }

    /// The reference with these answers.
    pub(crate) fn reference(answers: &ReferenceArgs) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("reference").args(["--address", &answers.address.to_string()]);
        for (name, bytes) in [
            ("--get-bytes", answers.get_bytes),
            ("--batch-bytes", answers.batch_bytes),
            ("--post-bytes", answers.post_bytes),
        ] {
            command.args([name, &bytes.to_string()]);
        }
        if !answers.tls.is_empty() {
            command.arg("--tls").args(&answers.tls);
        }
        Self::start(command, answers.address, answers.address)
    }

    #[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
    fn start(mut command: Command, http: SocketAddr, https: SocketAddr) -> anyhow::Result<Self> {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Self { child, http, https, ready_after: Duration::ZERO };
        while TcpStream::connect(http).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("a server ended with {status} while starting");
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("a server did not start within {START_TIMEOUT:?}");
            }
            std::thread::sleep(TRY_INTERVAL);
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    /// CPU time of the process until now, all threads.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process; `self` is this one.
pub(crate) fn cpu(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold spaces; user and system time are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SEC))
}

/// Resident memory of a process in bytes; `self` is this one.
pub(crate) fn resident_bytes(process: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no VmRSS")?.parse::<u64>()? * 1024)
}

/// A free port of this machine.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
