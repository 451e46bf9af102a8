//! `cargo xtask startup`: how long `presenced dev` takes to its first answered request, and how much memory it idles in.
//!
//! Prints figures and judges none: machines differ. Starts are cold for the process, warm for the disk.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts measured of each kind.
const ROUNDS: usize = 11;
/// How often the port is tried while the server starts.
const TRY_INTERVAL: Duration = Duration::from_millis(1);
/// How long the server idles before its memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// Builds the release binary, measures it and prints what was found.
///
/// # Errors
/// When it cannot be built or does not answer.
#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
#[expect(clippy::disallowed_methods, reason = "the target folder is named by the environment")]
pub(crate) fn run() -> Result<(), String> {
    let built =
        Command::new(env!("CARGO")).args(["build", "--release", "--quiet", "-p", "presenced"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the release build failed".to_owned());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, Into::into);
    let binary = target.join("release/presenced");
    let folder = std::env::temp_dir().join(format!("presenced-startup-{}", std::process::id()));
    let mut first = Vec::new();
    let mut later = Vec::new();
    let mut memory_kib = 0;
    for _ in 0..ROUNDS {
        let _ = std::fs::remove_dir_all(&folder);
        first.push(start(&binary, &folder, None)?);
        later.push(start(&binary, &folder, Some(&mut memory_kib))?);
    }
    let _ = std::fs::remove_dir_all(&folder);
    println!("start to first answered request, {ROUNDS} starts each, milliseconds:");
    println!("  first start (makes keys)  {}", summary(&mut first));
    println!("  later starts              {}", summary(&mut later));
    println!("idle resident memory: {:.1} MiB", memory_kib as f64 / 1024.0);
    Ok(())
}

fn summary(times: &mut [Duration]) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let median = ms(times[times.len() / 2]);
    format!("median {median:.0}  [{:.0}-{:.0}]", ms(times[0]), ms(times[times.len() - 1]))
}

#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
fn start(binary: &Path, folder: &Path, memory_kib: Option<&mut u64>) -> Result<Duration, String> {
    let (http, https) = (free_address()?, free_address()?);
    let began = Instant::now();
    let mut child = Command::new(binary)
        .args([
            "dev",
            "--log",
            "error",
            "--http",
            &http.to_string(),
            "--https",
            &https.to_string(),
            "--data-dir",
        ])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    let answered = first_answer(&mut child, http);
    let took = began.elapsed();
    if let (Ok(()), Some(memory_kib)) = (&answered, memory_kib) {
        std::thread::sleep(IDLE);
        *memory_kib = (*memory_kib).max(resident_kib(child.id()));
    }
    let _ = child.kill();
    let _ = child.wait();
    answered.map(|()| took)
}

fn first_answer(child: &mut Child, address: SocketAddr) -> Result<(), String> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("presenced ended with {status}"));
        }
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(TRY_INTERVAL);
            continue;
        };
        let request = b"GET /v1.0/$metadata HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        let exchanged = stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer));
        return match exchanged {
            Ok(_) if answer.starts_with(b"HTTP/1.1 200") => Ok(()),
            other => Err(format!("no answer: {other:?}")),
        };
    }
}

fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
