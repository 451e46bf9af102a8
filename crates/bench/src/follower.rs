//! A follower of everybody's changes, so that every change has somebody who is told of it: reads the event stream and
//! counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

/// How often the follower looks whether it is over, when nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Follows until it is dropped.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    events: AtomicU64,
    is_over: AtomicBool,
}

impl Follower {
    /// Follows everybody from now on.
    pub(crate) fn start(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut answer = String::new();
        ask(address, token, "changes", "connection: close\r\n")?.read_to_string(&mut answer)?;
        let (_, rest) = answer.split_once("\"next\":\"").context("a page of changes without a position")?;
        let (position, _) = rest.split_once('"').context("a position without an end")?;
        let stream = ask(address, token, &format!("stream?from={position}"), "")?;
        stream.set_read_timeout(Some(LOOK_INTERVAL))?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || read(stream, &shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes that the follower was told of.
    pub(crate) fn events(&self) -> u64 {
        self.shared.events.load(Ordering::Relaxed)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // An error would have shown as events that are missing.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn ask(address: SocketAddr, token: &str, what: &str, more: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /_presenced/v1/presences/{what} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{more}\r\n"
    )?;
    Ok(stream)
}

/// Every event ends with an empty line, and nothing else has one: chunks and the head are separated otherwise.
fn read(mut stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let (mut buffer, mut last) = (vec![0; 64 * 1024], 0);
    while !shared.is_over.load(Ordering::Relaxed) {
        let length = match stream.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the stream ended"),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut events = 0;
        for byte in &buffer[..length] {
            events += u64::from(*byte == b'\n' && last == b'\n');
            last = *byte;
        }
        shared.events.fetch_add(events, Ordering::Relaxed);
    }
    Ok(())
}
