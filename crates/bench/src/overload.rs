//! Ten times as many connections as there is room for, for a minute: what becomes of those who were in before, of health
//! checks, of memory, and how soon it is over when the crowd has gone.
//!
//! The crowd is rude: whoever is told to come again in a second comes again at once, on a new connection. It runs on a thread of its
//! own, on the cores that the server needs, as everything else of the benchmark does.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::child::{Server, cpu};
use crate::generator::{Caller, new_histogram, probe};
use crate::traffic::{Ask, Client, Tokens, Traffic};
use crate::world::{Present, World, now};

/// Connections there is room for, as the server is configured.
const ROOM: &str = "overload = { connections_max = 80 }\n";
/// Those who are in before the crowd comes, and stay.
const ADMITTED: u64 = 64;
/// The crowd: ten times as many.
const CROWD: usize = 800;
/// How long a member of it waits before it comes again.
const CROWD_PAUSE: Duration = Duration::from_millis(10);
/// Reading in calm, before and after.
const CALM: Duration = Duration::from_secs(5);
/// How often health is checked, and how long a check may take at most.
const HEALTH_EVERY: Duration = Duration::from_millis(100);
const HEALTH_MAX: Duration = Duration::from_secs(5);
/// Windows in which recovery is looked for, and what counts as such: so many times the p99 of calm.
const WINDOW: Duration = Duration::from_millis(250);
const RECOVERED: u64 = 2;
const WINDOWS_MAX: usize = 80;

/// What of overload to measure.
#[derive(Debug, Args)]
pub(crate) struct OverloadArgs {
    /// People in the directory and the store.
    #[arg(long, default_value_t = 100_000)]
    people: u64,
    /// How long the crowd stays, in seconds.
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// The presenced to measure.
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/presenced")]
    presenced: std::path::PathBuf,
}

/// What everybody shares.
struct Shared {
    address: SocketAddr,
    is_crowded: AtomicBool,
    is_over: AtomicBool,
    /// Which of the histograms those who are in write to.
    window: AtomicUsize,
    /// Microseconds: in calm, under the crowd, and then window by window.
    latency: Vec<Mutex<Histogram<u64>>>,
    told: Told,
}

/// How often the crowd was told what.
#[derive(Default)]
struct Told {
    served: AtomicU64,
    come_again: AtomicU64,
    something_else: AtomicU64,
    nothing: AtomicU64,
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
pub(crate) fn run(args: &OverloadArgs) -> anyhow::Result<()> {
    println!("{}", json!({ "machine": crate::report::machine(), "people": args.people, "secs": args.secs }));
    let folder = tempfile::tempdir()?;
    let found = measure(args, folder.path())?;
    for (field, value) in found.as_object().into_iter().flatten() {
        println!("overload     {field:<32} {value:>14}");
    }
    Ok(())
}

fn measure(args: &OverloadArgs, folder: &Path) -> anyhow::Result<Value> {
    let people = args.people;
    let world = World::new(folder, people)?.with_settings(ROOM);
    world.fill(Present { people, expiring: 0, expire_at: now() })?;
    let server = Server::presenced(&args.presenced, &world, "error")?;
    let tokens = Tokens::one(world.token()?);
    let latency = (0..2 + WINDOWS_MAX).map(|_| Ok(Mutex::new(new_histogram()?)));
    let shared = Shared {
        address: server.http,
        is_crowded: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        window: AtomicUsize::new(0),
        latency: latency.collect::<anyhow::Result<_>>()?,
        told: Told::default(),
    };
    let readers = (0..ADMITTED).map(|number| Client::new(Traffic::GetOne, people, number, tokens.clone()));
    let readers: Vec<Client> = readers.collect();
    let request = format!(
        "GET /v1.0/users/{}/presence HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        crate::world::user(0),
        tokens.first(),
    );
    std::thread::scope(|scope| {
        let admitted =
            scope.spawn(|| on_one_thread(try_join_all(readers.into_iter().map(|r| read(r, &shared)))));
        let crowd = scope
            .spawn(|| on_one_thread(try_join_all((0..CROWD).map(|_| crowd(&shared, request.as_bytes())))));
        let found = watch(args, &server, &shared);
        shared.is_crowded.store(false, Ordering::Relaxed);
        shared.is_over.store(true, Ordering::Relaxed);
        for thread in [admitted, crowd] {
            thread.join().ok().context("a thread of the generator ended early")??;
        }
        found
    })
}

/// Lets the crowd come and go, and looks on.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
fn watch(args: &OverloadArgs, server: &Server, shared: &Shared) -> anyhow::Result<Value> {
    std::thread::sleep(CALM);
    let resident_before = server.resident_bytes()?;
    let cpu_before = (server.cpu()?, cpu("self")?);
    shared.window.store(1, Ordering::Relaxed);
    shared.is_crowded.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let (mut resident_max, mut health_max) = (resident_before, Duration::ZERO);
    let (mut healthy, mut unhealthy) = (0_u64, 0_u64);
    let health = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while began.elapsed() < Duration::from_secs(args.secs) {
        let asked = Instant::now();
        let answer =
            runtime.block_on(async { tokio::time::timeout(HEALTH_MAX, probe(shared.address, health)).await });
        health_max = health_max.max(asked.elapsed());
        match answer {
            Ok(Ok((200, ..))) => healthy += 1,
            _ => unhealthy += 1,
        }
        resident_max = resident_max.max(server.resident_bytes()?);
        std::thread::sleep(HEALTH_EVERY);
    }
    let cpu_secs = (server.cpu()? - cpu_before.0, cpu("self")? - cpu_before.1);
    shared.is_crowded.store(false, Ordering::Relaxed);
    let left = Instant::now();
    let p99 = |window: usize| {
        let latency = shared.latency[window].lock().ok();
        latency.map_or(
            u64::MAX,
            |latency| if latency.is_empty() { u64::MAX } else { latency.value_at_quantile(0.99) },
        )
    };
    let mut recovered_after = None;
    for window in 2..2 + WINDOWS_MAX {
        shared.window.store(window, Ordering::Relaxed);
        std::thread::sleep(WINDOW);
        if p99(window) <= RECOVERED * p99(0) {
            recovered_after = Some(left.elapsed().as_secs_f64());
            break;
        }
    }
    // Somebody new is let in, too.
    let path = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (newcomer, ..) = runtime.block_on(probe(shared.address, path))?;
    let told = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let served = |window: usize| shared.latency[window].lock().map_or(0, |latency| latency.len());
    let mib = |bytes: u64| bytes / 1024 / 1024;
    Ok(json!({
        "admitted_served_calm": served(0),
        "admitted_p99_micros_calm": p99(0),
        "admitted_served_during": served(1),
        "admitted_p99_micros_during": p99(1),
        "crowd_told_to_come_again": told(&shared.told.come_again),
        "crowd_served": told(&shared.told.served),
        "crowd_told_something_else": told(&shared.told.something_else),
        "crowd_closed_without_an_answer": told(&shared.told.nothing),
        "health_answered": healthy,
        "health_not_answered": unhealthy,
        "health_slowest_ms": health_max.as_millis() as u64,
        "resident_mib_before": mib(resident_before),
        "resident_mib_at_most": mib(resident_max),
        "resident_mib_after": mib(server.resident_bytes()?),
        "recovered_after_secs": recovered_after,
        "newcomer_afterwards": newcomer,
        "server_cpu_secs": cpu_secs.0.as_secs_f64(),
        "generator_cpu_secs": cpu_secs.1.as_secs_f64(),
    }))
}

fn on_one_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work).map(drop)
}

/// One who is in, and reads. Anything but an answer is the end of the measurement.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
async fn read(mut client: Client, shared: &Shared) -> anyhow::Result<()> {
    let mut caller = Caller::connect(shared.address).await?;
    let mut ask = Ask::default();
    while !shared.is_over.load(Ordering::Relaxed) && client.ask(&mut ask) {
        let began = Instant::now();
        let status = caller.ask(&ask, client.token()).await.context("somebody who is in")?;
        anyhow::ensure!(status == 200, "somebody who is in was told {status}");
        if let Ok(mut latency) = shared.latency[shared.window.load(Ordering::Relaxed)].lock() {
            latency.saturating_record(began.elapsed().as_micros() as u64);
        }
    }
    Ok(())
}

/// One of the crowd.
async fn crowd(shared: &Shared, request: &[u8]) -> anyhow::Result<()> {
    while !shared.is_over.load(Ordering::Relaxed) {
        if shared.is_crowded.load(Ordering::Relaxed) {
            let told = &shared.told;
            let count = match probe(shared.address, request).await {
                Ok((200, ..)) => &told.served,
                Ok((503 | 429, ..)) => &told.come_again,
                Ok(_) => &told.something_else,
                Err(_) => &told.nothing,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(CROWD_PAUSE).await;
    }
    Ok(())
}
