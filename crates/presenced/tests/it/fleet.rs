//! Several `presenced` over one cluster of three masters and three replicas, under load, while one thing after another is
//! killed, paused, cut off, moved or filled up. Afterwards every acknowledged write is there, subscriptions have been told
//! of every change in order, or `missed`, and streams that went from node to node have no gap.

use std::collections::HashSet;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::engines::{Engine, wait_for};
use crate::notifications::read_request;
use crate::support::{APP, Caller, JSON, Server, USER_A};

const NODES: usize = 3;
/// Users, each with a writer of its own.
const USERS: usize = 6;
/// Acknowledged writes that each writer makes after a fault before it counts as over.
const WRITES_AFTER: usize = 5;
/// How long one request may take before its sender goes to another node, as a load balancer would.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// The processes and what drives them.
struct Fleet {
    engine: Engine,
    /// By which each node reaches it.
    urls: Vec<String>,
    nodes: Vec<Option<Server>>,
    folder: tempfile::TempDir,
    load: Arc<Load>,
}

/// What the threads share.
struct Load {
    addresses: Vec<SocketAddr>,
    tokens: Mutex<Vec<String>>,
    stop: AtomicBool,
    /// Acknowledged writes of each user.
    acknowledged: Vec<AtomicUsize>,
    /// When writes were acknowledged.
    times: Mutex<Vec<Instant>>,
    /// Requests that were answered with anything but success, or not at all, and were sent again.
    retried: AtomicUsize,
    /// What each receiver was told.
    told: [Told; 2],
}

#[derive(Default)]
struct Told {
    /// The ids of the items, and the users, as they came.
    changes: Mutex<Vec<(Uuid, String)>>,
    /// Lifecycle events.
    events: Mutex<Vec<String>>,
}

impl Told {
    /// The changes, each when it came first.
    fn distinct(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        lock(&self.changes).iter().filter(|(id, _)| seen.insert(*id)).map(|(_, user)| user.clone()).collect()
    }

    fn missed(&self) -> usize {
        lock(&self.events).iter().filter(|event| *event == "missed").count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn nothing_acknowledged_is_lost_and_everything_is_told_in_order_whatever_fails() {
    if crate::engines::is_missing() {
        return;
    }
    let engine = Engine::cluster();
    let servers = engine.servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
    let url = format!("redis://{}", servers.collect::<Vec<_>>().join(","));
    under_load(Fleet::start(engine, vec![url; NODES]), |fleet| {
        fleet.phase("a node is killed", |fleet| {
            fleet.nodes[0].take().unwrap().kill();
        });
        fleet.phase("it comes back", |fleet| fleet.start_node(0));
        fleet.phase("a master is killed, a replica takes over", Fleet::kill_master);
        fleet.phase("a master is paused, replaced, and comes back stale", Fleet::pause_master);
        fleet.phase("slots move to another master", Fleet::reshard);
        fleet.phase("memory is full, and is not any more", Fleet::fill_up);
        fleet.phase("all nodes are restarted, one after the other", |fleet| {
            for node in 0..NODES {
                fleet.stop_node(node);
                fleet.start_node(node);
            }
        });
    });
}

#[test]
fn a_node_that_is_cut_off_from_the_engine_refuses_and_the_others_take_over() {
    if crate::engines::is_missing() {
        return;
    }
    let engine = Engine::single();
    let wires: Vec<_> = (0..NODES).map(|_| Wire::to(engine.servers[0].port)).collect();
    let urls = wires.iter().map(|wire| format!("redis://{}", wire.address)).collect();
    one_is_cut_off(engine, urls, || wires[0].cut(), || wires[0].mend());
}

#[test]
fn a_node_whose_packets_get_lost_refuses_and_the_others_take_over() {
    if crate::engines::is_missing() {
        return;
    }
    let Some(network) = Network::new() else { return };
    let urls = (0..NODES).map(|node| format!("redis://{}", network.address(node))).collect();
    let nothing = Engine { servers: Vec::new() };
    one_is_cut_off(nothing, urls, || network.cut(0), || network.mend(0));
}

/// The first node loses its way to the engine, and gets it back.
fn one_is_cut_off(engine: Engine, urls: Vec<String>, cut: impl Fn(), mend: impl Fn()) {
    under_load(Fleet::start(engine, urls), |fleet| {
        let path = format!("/v1.0/users/{}/presence", user_id(0));
        fleet.phase("a node is cut off", |fleet| {
            cut();
            let status = || fleet.load.send(0, "GET", &path, "").map(|(status, _)| status);
            wait_for("a refusal", || status().is_ok_and(|status| status == 503));
            assert_eq!(fleet.load.send(1, "GET", &path, "").unwrap().0, 200, "the others go on");
        });
        fleet.phase("it is connected again", |fleet| {
            mend();
            wait_for("an answer", || {
                fleet.load.send(0, "GET", &path, "").is_ok_and(|(status, _)| status == 200)
            });
        });
    });
}

/// An engine in a network of its own, with a line to each node that can be cut: no end is told, packets get lost.
struct Network {
    name: String,
    port: u16,
    /// A shell that ends the engine when nobody holds its input any more.
    guard: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Network {
    /// `None`, and why, where networks cannot be made.
    #[expect(clippy::print_stderr, reason = "a test that cannot be made says what is missing")]
    fn new() -> Option<Self> {
        let process = std::process::id();
        let name = format!("presenced-{process}");
        if let Err(why) = ip(&["netns", "add", &name]) {
            eprintln!("skipped: no network namespaces here (ip netns add: {why})");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = format!(
            "ip netns exec {name} ${{PRESENCED_TEST_ENGINE:-redis-server}} --port {port} --bind 0.0.0.0 --protected-mode no \
             --save '' --appendonly yes --appendfsync always >/dev/null 2>&1 & cat >/dev/null; kill -9 $!"
        );
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &server]).current_dir(folder.path()).stdin(std::process::Stdio::piped());
        let network = Self { name, port, guard: shell.spawn().unwrap(), _folder: folder };
        for node in 0..NODES {
            let ends = network.ends(node);
            let [ours, theirs] = network.addresses(node).map(|address| format!("{address}/30"));
            for command in [
                vec![
                    "link",
                    "add",
                    &ends[0],
                    "type",
                    "veth",
                    "peer",
                    "name",
                    &ends[1],
                    "netns",
                    &network.name,
                ],
                vec!["address", "add", &ours, "dev", &ends[0]],
                vec!["link", "set", &ends[0], "up"],
                vec!["-n", &network.name, "address", "add", &theirs, "dev", &ends[1]],
            ] {
                ip(&command).unwrap();
            }
            network.mend(node);
            wait_for("the engine", || TcpStream::connect(network.address(node)).is_ok());
        }
        Some(network)
    }

    /// Names of a line's ends: the node's and the engine's.
    fn ends(&self, node: usize) -> [String; 2] {
        let process = std::process::id();
        ["a", "b"].map(|end| format!("pd{process}{end}{node}"))
    }

    /// A small network for each line.
    fn addresses(&self, node: usize) -> [std::net::Ipv4Addr; 2] {
        let third = std::process::id() as u8;
        [1, 2].map(|end| std::net::Ipv4Addr::new(10, 213, third, node as u8 * 4 + end))
    }

    fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from((self.addresses(node)[1], self.port))
    }

    fn cut(&self, node: usize) {
        ip(&["-n", &self.name, "link", "set", &self.ends(node)[1], "down"]).unwrap();
    }

    fn mend(&self, node: usize) {
        ip(&["-n", &self.name, "link", "set", &self.ends(node)[1], "up"]).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        // The lines go with one of their ends.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let done =
        std::process::Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// How often two nodes are asked for the same at the same moment.
const ROUNDS: usize = 25;

#[test]
fn of_two_nodes_that_are_asked_for_the_same_subscription_at_once_one_makes_it() {
    if crate::engines::is_missing() {
        return;
    }
    let engine = Engine::single();
    let url = format!("redis://127.0.0.1:{}", engine.servers[0].port);
    let nodes = [(); 2].map(|()| Server::dev_with(&["--in-memory", "--store", &url]));
    let callers = nodes.each_ref().map(|node| Caller::user(node, USER_A));
    let receiver = receive(Arc::new(Load::at(Vec::new())), 0);
    let clock = nodes[0].send("GET", "/_presenced/v1/clock", &[], b"").json();
    let now: presence::Timestamp = clock["time"].as_str().unwrap().parse().unwrap();
    let body = json!({
        "changeType": "updated",
        "resource": format!("communications/presences/{USER_A}"),
        "notificationUrl": format!("http://{receiver}/notify"),
        "expirationDateTime": (now + Duration::from_secs(3_000)).to_string(),
    });
    for round in 0..ROUNDS {
        let together = std::sync::Barrier::new(2);
        let answers = std::thread::scope(|scope| {
            let ask = |caller: &Caller<'_>| {
                together.wait();
                caller.post("/v1.0/subscriptions", &body)
            };
            let asked = callers.each_ref().map(|caller| scope.spawn(move || ask(caller)));
            asked.map(|asked| asked.join().unwrap())
        });
        let mut statuses = answers.each_ref().map(|answer| answer.status);
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "round {round}: {answers:?}");
        let made = answers.iter().find(|answer| answer.status == 201).unwrap();
        let path = format!("/v1.0/subscriptions/{}", made.json()["id"].as_str().unwrap());
        let deleted = callers[round % 2].send("DELETE", &path, &[], b"");
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
}

/// A way to an engine that can be cut.
struct Wire {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let wire = Self { address, is_cut, ends };
        let (is_cut, ends) = (wire.is_cut.clone(), wire.ends.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                lock(&ends).extend([near, far]);
            }
        });
        wire
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for end in lock(&self.ends).drain(..) {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

/// Lets writers, watchers and receivers work while `faults` happen, and checks in the end what all of them have.
#[expect(clippy::print_stdout, reason = "what was counted is a part of the result")]
fn under_load(mut fleet: Fleet, faults: impl FnOnce(&mut Fleet)) {
    let load = fleet.load.clone();
    let receivers = [0, 1].map(|number| receive(load.clone(), number));
    for (caller, receiver) in [(None, receivers[0]), (Some(USER_A), receivers[1])] {
        fleet.subscribe(caller, receiver);
    }
    let begin = load.page(0, None, 0).unwrap().0;
    let mut threads = Vec::new();
    let streams: Vec<_> = (0..NODES)
        .map(|node| {
            let (load, begin) = (load.clone(), begin.clone());
            std::thread::spawn(move || load.watch(node, begin))
        })
        .collect();
    for user in 0..USERS {
        let load = load.clone();
        threads.push(std::thread::spawn(move || load.write(user)));
    }
    fleet.phase("nothing fails", |_| {});
    faults(&mut fleet);
    load.stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    let log = load.all(&begin);
    for user in 0..USERS {
        let name = user_id(user);
        let changes = log.iter().filter(|(of, _)| *of == name).count();
        assert_eq!(
            changes,
            load.acknowledged[user].load(Ordering::SeqCst),
            "writes of {name} that are there"
        );
        let numbers: Vec<_> = log.iter().filter(|(of, _)| *of == name).map(|(_, number)| number).collect();
        assert!(numbers.is_sorted(), "{name}: {numbers:?}");
    }
    for (stream, seen) in streams.into_iter().map(|stream| stream.join().unwrap()).enumerate() {
        assert!(
            seen.len() <= log.len() && seen == log[..seen.len()],
            "stream {stream} has a gap or more than there was"
        );
        assert!(
            seen.len() + 50 >= log.len(),
            "stream {stream} has stopped at {} of {}",
            seen.len(),
            log.len()
        );
    }
    let changed: Vec<&str> = log.iter().map(|(user, _)| user.as_str()).collect();
    for told in &load.told {
        wait_for("the last notification", || told.distinct().len() >= log.len() || told.missed() > 0);
        let firsts = told.distinct();
        println!(
            "{} notifications of {} changes, of {}; {} times missed",
            lock(&told.changes).len(),
            firsts.len(),
            log.len(),
            told.missed()
        );
        // In the order of the log, none invented; and none left out unless that was told.
        let mut rest = changed.iter();
        assert!(firsts.iter().all(|user| rest.any(|other| other == user)), "not in the order of the log");
        assert!(firsts.len() == log.len() || told.missed() > 0, "a gap of which nobody was told");
    }
    println!(
        "{} acknowledged writes, all there; {} requests sent again",
        log.len(),
        load.retried.load(Ordering::SeqCst)
    );
}

fn user_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

impl Fleet {
    fn start(engine: Engine, urls: Vec<String>) -> Self {
        let addresses =
            (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let nodes = (0..NODES).map(|_| None).collect();
        let mut fleet = Self { engine, urls, nodes, folder, load: Arc::new(Load::at(addresses)) };
        for node in 0..NODES {
            fleet.start_node(node);
        }
        let users: Vec<Value> = (0..USERS)
            .map(|user| json!({ "id": user_id(user), "userPrincipalName": format!("u{user}@presenced.example") }))
            .collect();
        let server = fleet.nodes[0].as_ref().unwrap();
        let answer =
            server.send("POST", "/_presenced/v1/users", &[JSON], Value::from(users).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        // Every node learns of them.
        let path = format!("/v1.0/users/{}", user_id(USERS - 1));
        for node in 0..NODES {
            wait_for("the users", || {
                fleet.load.send(node, "GET", &path, "").is_ok_and(|(status, _)| status == 200)
            });
        }
        fleet
    }

    fn start_node(&mut self, node: usize) {
        let folder = self.folder.path().join(format!("node-{node}"));
        let folder = folder.to_str().unwrap();
        let arguments = ["--data-dir", folder, "--profile", "extended", "--store", &self.urls[node]];
        let server = Server::dev_at(&self.load.addresses[node].to_string(), &arguments);
        lock(&self.load.tokens)[node] = server.token(None);
        self.nodes[node] = Some(server);
    }

    /// SIGTERM, and a wait until it has ended.
    fn stop_node(&mut self, node: usize) {
        let mut server = self.nodes[node].take().unwrap();
        assert!(
            std::process::Command::new("kill").arg(server.child.id().to_string()).status().unwrap().success()
        );
        server.child.wait().unwrap();
    }

    fn subscribe(&self, caller: Option<&str>, receiver: SocketAddr) {
        let server = self.nodes[0].as_ref().unwrap();
        let ids: Vec<String> = (0..USERS).map(|user| format!("'{}'", user_id(user))).collect();
        let now = server.send("GET", "/_presenced/v1/clock", &[], b"").json();
        let now: presence::Timestamp = now["time"].as_str().unwrap().parse().unwrap();
        let body = json!({
            "changeType": "updated",
            "resource": format!("communications/presences?$filter=id in ({})", ids.join(",")),
            "notificationUrl": format!("http://{receiver}/notify"),
            "lifecycleNotificationUrl": format!("http://{receiver}/lifecycle"),
            "expirationDateTime": (now + Duration::from_secs(3_000)).to_string(),
        });
        let authorization = format!("Bearer {}", server.token(caller));
        let headers = [("Authorization", &*authorization), JSON];
        let answer = server.send("POST", "/v1.0/subscriptions", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        // Another node knows it at once.
        let path = format!("/v1.0/subscriptions/{id}");
        if caller.is_none() {
            assert_eq!(
                self.load.send(1, "GET", &path, "").unwrap().0,
                200,
                "whoever asks another node finds it"
            );
        }
    }

    /// Does something, waits until everybody writes again, and prints for how long nobody could.
    #[expect(clippy::print_stdout, reason = "what was measured is a part of the result")]
    fn phase(&mut self, name: &str, fault: impl FnOnce(&mut Self)) {
        let begun = lock(&self.load.times).len().saturating_sub(1);
        fault(self);
        let load = self.load.clone();
        let before: Vec<usize> = load.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        wait_for(name, || {
            let counts = load.acknowledged.iter().map(|count| count.load(Ordering::SeqCst));
            counts.zip(&before).all(|(now, before)| now >= before + WRITES_AFTER)
        });
        let times = lock(&load.times);
        let gap = times[begun..].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        println!("{name}: {} writes, none for {} ms at most", times.len() - begun, gap.as_millis());
    }

    /// A master that has a replica.
    fn master(&self) -> usize {
        let is_master = |index: &usize| {
            let told = self.engine.servers[*index].cli(&["INFO", "replication"]);
            told.contains("role:master") && told.contains("connected_slaves:1")
        };
        (0..self.engine.servers.len()).find(is_master).unwrap()
    }

    fn kill_master(&mut self) {
        let master = self.master();
        self.engine.servers[master].kill();
        self.wait_for_failover(master);
        self.engine.servers[master].restart();
        self.wait_for_replica(master);
    }

    fn pause_master(&mut self) {
        let master = self.master();
        self.engine.servers[master].signal("-STOP");
        self.wait_for_failover(master);
        self.engine.servers[master].signal("-CONT");
        self.wait_for_replica(master);
    }

    /// Waits until the others have a master in its place.
    fn wait_for_failover(&self, gone: usize) {
        let port = format!(":{}@", self.engine.servers[gone].port);
        let other = (gone + 1) % self.engine.servers.len();
        wait_for("the failover", || {
            let nodes = self.engine.servers[other].cli(&["CLUSTER", "NODES"]);
            let is_out = nodes.lines().any(|line| line.contains(&port) && line.contains("fail"));
            let masters = nodes.lines().filter(|line| line.contains("master") && !line.contains("fail"));
            is_out && masters.filter(|line| line.split(' ').count() > 8).count() == 3
        });
    }

    fn wait_for_replica(&self, back: usize) {
        wait_for("the replica", || {
            self.engine.servers[back].cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
    }

    fn reshard(&mut self) {
        let nodes = self.engine.servers[0].cli(&["CLUSTER", "NODES"]);
        let masters: Vec<&str> = nodes
            .lines()
            .filter(|line| line.contains("master") && !line.contains("fail") && line.split(' ').count() > 8)
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        let done = std::process::Command::new("redis-cli")
            .args(["--cluster", "reshard", &format!("127.0.0.1:{}", self.engine.servers[0].port)])
            .args([
                "--cluster-from",
                masters[0],
                "--cluster-to",
                masters[1],
                "--cluster-slots",
                "1500",
                "--cluster-yes",
            ])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }

    fn fill_up(&mut self) {
        for server in &self.engine.servers {
            server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
        }
        let retried = self.load.retried.load(Ordering::SeqCst);
        wait_for("a refusal", || self.load.retried.load(Ordering::SeqCst) > retried + USERS);
        let path = format!("/v1.0/users/{}/presence", user_id(0));
        assert_eq!(self.load.send(1, "GET", &path, "").unwrap().0, 200, "reads go on");
        for server in &self.engine.servers {
            server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        }
    }
}

impl Load {
    /// Nobody does anything yet.
    fn at(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            tokens: Mutex::new(vec![String::new(); NODES]),
            stop: AtomicBool::new(false),
            acknowledged: (0..USERS).map(|_| AtomicUsize::new(0)).collect(),
            times: Mutex::default(),
            retried: AtomicUsize::new(0),
            told: Default::default(),
        }
    }

    /// One request to one node.
    fn send(&self, node: usize, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.addresses[node], Duration::from_secs(1))?;
        stream.set_read_timeout(Some(REQUEST_LIMIT))?;
        let token = lock(&self.tokens)[node].clone();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }

    /// Writes one presence after the other, each until some node acknowledges it.
    fn write(&self, user: usize) {
        let path = format!("/v1.0/users/{}/presence/setPresence", user_id(user));
        let mut node = user;
        for number in 0.. {
            let word = if number % 2 == 0 { "Available" } else { "Busy" };
            let body = json!({ "sessionId": APP, "availability": word, "activity": if number % 2 == 0 { "Available" } else { "InACall" },
                "expirationDuration": "PT1H" });
            let body = body.to_string();
            loop {
                node += 1;
                if matches!(self.send(node % NODES, "POST", &path, &body), Ok((200, _))) {
                    break;
                }
                self.retried.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
            lock(&self.times).push(Instant::now());
            self.acknowledged[user].fetch_add(1, Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// A page of changes: where to go on, and each change's user and number.
    fn page(&self, node: usize, from: Option<&str>, wait: u64) -> Option<(String, Vec<(String, String)>)> {
        let from = from.map_or_else(String::new, |from| format!("&from={from}"));
        let path = format!("/_presenced/v1/presences/changes?wait={wait}{from}");
        let (_, body) =
            self.send(node % NODES, "GET", &path, "").ok().filter(|(status, _)| *status == 200)?;
        let page: Value = serde_json::from_str(&body).ok()?;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let changes = page["value"]
            .as_array()?
            .iter()
            .map(|change| (text(&change["id"]), text(&change["sequenceNumber"])));
        Some((text(&page["next"]), changes.collect()))
    }

    /// Follows the log from node to node.
    fn watch(&self, node: usize, mut from: String) -> Vec<(String, String)> {
        let (mut seen, mut node) = (Vec::new(), node);
        while !self.stop.load(Ordering::SeqCst) {
            match self.page(node, Some(&from), 1) {
                Some((next, page)) => {
                    from = next;
                    seen.extend(page);
                }
                None => node += 1,
            }
        }
        seen
    }

    fn all(&self, begin: &str) -> Vec<(String, String)> {
        let (mut all, mut from) = (Vec::new(), begin.to_owned());
        loop {
            let (next, page) = self.page(2, Some(&from), 0).unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
            from = next;
        }
    }
}

/// A receiver that takes everything.
fn receive(load: Arc<Load>, number: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let load = load.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while let Some((target, body)) = read_request(&mut stream) {
                    let reply = match target.split_once("validationToken=") {
                        Some((_, token)) => {
                            percent_encoding::percent_decode_str(token).decode_utf8().unwrap().into_owned()
                        }
                        None => {
                            let body: Value = serde_json::from_slice(&body).unwrap();
                            for item in body["value"].as_array().unwrap() {
                                let told = &load.told[number];
                                if let Some(event) = item["lifecycleEvent"].as_str() {
                                    lock(&told.events).push(event.to_owned());
                                }
                                if let Some(user) = item["resourceData"]["id"].as_str() {
                                    let id = item["id"].as_str().unwrap().parse().unwrap();
                                    lock(&told.changes).push((id, user.to_owned()));
                                }
                            }
                            String::new()
                        }
                    };
                    let _ = write!(
                        stream.get_mut(),
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reply}",
                        reply.len()
                    );
                }
            });
        }
    });
    address
}
