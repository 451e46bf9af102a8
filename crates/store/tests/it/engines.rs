//! Real engines for the tests: `redis-server` processes on free ports, which end with whoever started them. With
//! `PRESENCED_TEST_ENGINE` it is the program of that name, such as a `valkey-server`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::redis::{Options, Place, Redis};

/// How often a step that needs another process is looked at again, ten times a second, before it is called hung.
const LOOKS_MAX: u32 = 600;

/// One `redis-server`, which ends with whoever started it, also if that is killed.
pub(crate) struct Server {
    pub(crate) port: u16,
    settings: Vec<String>,
    /// A shell that ends the server when nobody holds its input any more.
    guard: Child,
    folder: tempfile::TempDir,
}

/// The server in the background; in the foreground, a wait for the end of the input.
const GUARDED: &str =
    r#"${PRESENCED_TEST_ENGINE:-redis-server} "$@" >/dev/null 2>&1 & cat >/dev/null; kill -9 $!"#;

impl Server {
    /// With an append-only file that is written before each answer, and these settings besides.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Of a cluster's servers each talks on a second port, ten thousand higher.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = std::iter::repeat_with(free).find(|port| *port < u16::MAX - 10_000).unwrap();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let guard = launch(port, &settings, folder.path());
        let server = Self { port, settings, guard, folder };
        server.wait();
        server
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap();
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }

    /// Starts it again after it was killed, with what it kept.
    pub(crate) fn restart(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        self.guard = launch(self.port, &self.settings, self.folder.path());
        self.wait();
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    fn wait(&self) {
        wait_for("redis-server", || self.cli(&["PING"]) == "PONG");
    }
}

fn launch(port: u16, settings: &[String], folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", GUARDED, "sh", "--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"])
        .args(["--pidfile", &folder.join("pid").to_string_lossy()])
        .args(settings)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Servers that belong together.
pub(crate) struct Engine {
    pub(crate) servers: Vec<Server>,
}

impl Engine {
    pub(crate) fn single() -> Self {
        Self { servers: vec![Server::start(&[])] }
    }

    /// A master and its replica.
    pub(crate) fn replicated() -> Self {
        let master = Server::start(&[]);
        let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
        wait_for("the replica", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        Self { servers: vec![master, replica] }
    }

    /// Three masters, each with a replica.
    pub(crate) fn cluster() -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let servers: Vec<_> = (0..6).map(|_| Server::start(&settings)).collect();
        let addresses: Vec<String> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for server in &servers {
            wait_for("the cluster", || {
                server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && server.cli(&["CLUSTER", "NODES"]).matches("slave").count() == 3
                    && !server.cli(&["INFO", "replication"]).contains("link_status:down")
            });
        }
        let masters = || {
            servers
                .iter()
                .filter(|server| server.cli(&["INFO", "replication"]).contains("connected_slaves:1"))
        };
        wait_for("the replicas", || masters().count() == 3);
        Self { servers }
    }

    pub(crate) fn place(&self) -> Place {
        place(&self.servers.iter().map(|server| server.port).collect::<Vec<_>>())
    }

    /// A store there, apart from all others.
    pub(crate) fn open(&self, options: Options) -> Redis {
        run_open(&self.place(), options)
    }
}

pub(crate) fn run_open(place: &Place, options: Options) -> Redis {
    runtime().block_on(Redis::open(place, options)).unwrap()
}

/// Options with a prefix that nobody else has.
pub(crate) fn apart() -> Options {
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    Options { prefix: format!("test-{}", PREFIXES.fetch_add(1, Ordering::Relaxed)), ..Options::default() }
}

/// The runtime that the stores' own tasks live on; a test's may end before them.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

fn place(ports: &[u16]) -> Place {
    Place { servers: ports.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect(), ..Place::default() }
}

fn cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output();
    let output = output.expect("redis-cli is missing: install Debian's package redis-tools");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_there() {
            return;
        }
        pause();
    }
    panic!("{what} did not come")
}

/// Lets other processes go on; nothing depends on how long.
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

#[expect(clippy::print_stderr, reason = "a test that cannot be made says what is missing")]
pub(crate) fn is_missing() -> bool {
    let is_missing = Command::new("redis-server").arg("--version").output().is_err();
    if is_missing {
        eprintln!("skipped: redis-server is missing; it is Debian's package redis-server");
    }
    is_missing
}
