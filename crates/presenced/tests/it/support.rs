//! A real server for a test, and a small client that says exactly what it sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_presenced");
pub(crate) const APP: &str = "22553876-f5ab-4529-bffb-cfe50aa89f87";
pub(crate) const USER_A: &str = "fa8bf3dc-eca7-46b7-bad1-db199b62afc3";
pub(crate) const USER_B: &str = "66825e03-7ef5-42da-9069-724602c31f6b";
/// How long a socket may be silent before a test calls it hung. Only a failure takes so long.
pub(crate) const HUNG: Duration = Duration::from_secs(60);

/// A running `presenced`; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) banner: String,
}

impl Server {
    /// `presenced dev --in-memory` on free ports.
    pub(crate) fn dev() -> Self {
        Self::dev_with(&["--in-memory"])
    }

    /// `presenced dev` on free ports, keeping its data in a folder.
    pub(crate) fn dev_in(folder: &Path) -> Self {
        Self::dev_with(&["--data-dir", folder.to_str().unwrap()])
    }

    pub(crate) fn dev_with(arguments: &[&str]) -> Self {
        Self::dev_at("127.0.0.1:0", arguments)
    }

    /// `presenced dev` at this address.
    pub(crate) fn dev_at(address: &str, arguments: &[&str]) -> Self {
        Self::start(Self::dev_command(address, arguments))
    }

    /// As [`dev_at`](Self::dev_at), not started yet.
    pub(crate) fn dev_command(address: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["dev", "--http", address, "--https", "127.0.0.1:0", "--log", "warn"]).args(arguments);
        command.args(engine_arguments(arguments));
        command
    }

    /// Starts it and waits until it says where it is.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut banner = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !banner.contains("/clearPresence\n") {
            assert!(lines.read_line(&mut banner).unwrap() > 0, "presenced ended early: {banner}");
        }
        let http = banner.lines().find_map(|line| line.trim().strip_prefix("HTTP ")).unwrap();
        let port = http.trim().trim_end_matches("/v1.0").rsplit(':').next().unwrap();
        let http = format!("127.0.0.1:{port}").parse().unwrap();
        Self { child, http, banner }
    }

    pub(crate) fn https_port(&self) -> u16 {
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix("HTTPS ")).unwrap();
        line.trim().split("/v1.0").next().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// An application token, or the delegated token of a user.
    pub(crate) fn token(&self, user: Option<&str>) -> String {
        let query = user.map_or_else(String::new, |user| format!("?user={user}"));
        let answer = self.send("GET", &format!("/_presenced/v1/token{query}"), &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    pub(crate) fn advance(&self, duration: &str) {
        let body = json!({ "duration": duration }).to_string();
        let answer = self.send("POST", "/_presenced/v1/clock/advance", &[JSON], body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Stops the clock at a time to come: nothing fades or ends unless a test says so.
    pub(crate) fn freeze_at(&self, time: &str) {
        for (action, body) in [("freeze", "{}".to_owned()), ("set", json!({ "time": time }).to_string())] {
            let answer =
                self.send("POST", &format!("/_presenced/v1/clock/{action}"), &[JSON], body.as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    /// A user whom no other test knows: the object id. The user principal name is [`name_of`] it.
    pub(crate) fn new_user(&self) -> String {
        self.new_user_in("UTC")
    }

    /// As [`new_user`](Self::new_user), living in a time zone.
    pub(crate) fn new_user_in(&self, zone: &str) -> String {
        static USERS: AtomicU64 = AtomicU64::new(1);
        let id = format!("00000000-0000-4000-8000-{:012}", USERS.fetch_add(1, Ordering::Relaxed));
        let user = json!([{ "id": id, "userPrincipalName": name_of(&id), "timeZone": zone }]);
        let answer = self.send("POST", "/_presenced/v1/users", &[JSON], user.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        id
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.http);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send_raw(&[head.as_bytes(), body].concat())
    }

    /// Sends bytes as they are, and reads what comes back until the connection ends.
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that has answered may close before it has read everything.
        let _ = stream.write_all(bytes);
        read_answer(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(HUNG)).unwrap();
        stream.set_write_timeout(Some(HUNG)).unwrap();
        stream
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With `PRESENCED_TEST_STORE=redis` every server of the tests keeps presence in one `redis-server` that they share, each under
/// names of its own; those of one folder under the same. Answers where, and what the names begin with. `tests/over-redis`
/// says which tests that is for.
#[expect(clippy::disallowed_methods, reason = "whoever starts the tests chooses the store")]
fn engine(folder: Option<&str>) -> Option<(String, String)> {
    static ENGINE: OnceLock<crate::engines::Engine> = OnceLock::new();
    static PREFIXES: AtomicU64 = AtomicU64::new(0);
    if std::env::var("PRESENCED_TEST_STORE").as_deref() != Ok("redis") {
        return None;
    }
    let engine = ENGINE.get_or_init(crate::engines::Engine::single);
    let prefix = match folder {
        Some(folder) => format!("folder{}", folder.replace(|c: char| !c.is_ascii_alphanumeric(), "-")),
        None => format!("memory-{}", PREFIXES.fetch_add(1, Ordering::Relaxed)),
    };
    Some((format!("redis://127.0.0.1:{}", engine.servers[0].port), prefix))
}

fn engine_arguments(arguments: &[&str]) -> Vec<String> {
    let folder = arguments.iter().skip_while(|argument| **argument != "--data-dir").nth(1);
    match engine(folder.copied()).filter(|_| !arguments.contains(&"--store")) {
        Some((url, prefix)) => ["--store", &url, "--store-prefix", &prefix].map(str::to_owned).to_vec(),
        None => Vec::new(),
    }
}

/// The same as lines of a configuration in this folder.
pub(crate) fn engine_lines(folder: &Path) -> String {
    engine(folder.to_str())
        .map(|(url, prefix)| format!("store = \"{url}\"\nredis.prefix = \"{prefix}\"\n"))
        .unwrap_or_default()
}

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The user principal name of a [`new_user`](Server::new_user).
pub(crate) fn name_of(user: &str) -> String {
    format!("user.{user}@presenced.example")
}

/// When it is on the [`shared`] server: a Monday morning.
pub(crate) const MONDAY: &str = "2030-01-07T08:00:00Z";

/// A server for all tests that have users of their own and leave the clock alone. It ends with the last of them.
pub(crate) fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::dev());
        server.freeze_at(MONDAY);
        *shared = Arc::downgrade(&server);
        server
    })
}

/// A caller with a token, on connections of its own.
pub(crate) struct Caller<'s> {
    server: &'s Server,
    authorization: String,
}

impl<'s> Caller<'s> {
    pub(crate) fn application(server: &'s Server) -> Self {
        Self { server, authorization: format!("Bearer {}", server.token(None)) }
    }

    pub(crate) fn user(server: &'s Server, user: &str) -> Self {
        Self { server, authorization: format!("Bearer {}", server.token(Some(user))) }
    }

    /// A caller who shows this token.
    pub(crate) fn with_token(server: &'s Server, token: &str) -> Self {
        Self { server, authorization: format!("Bearer {token}") }
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = [&[self.authorization()], headers].concat();
        self.server.send(method, path, &headers, body)
    }

    pub(crate) fn authorization(&self) -> (&str, &str) {
        ("Authorization", &self.authorization)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.server.send("GET", path, &[self.authorization()], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        self.server.send("POST", path, &[self.authorization(), JSON], body)
    }

    /// `availability/activity` of a user.
    pub(crate) fn pair(&self, user: &str) -> String {
        let presence = self.get(&format!("/v1.0/users/{user}/presence")).json();
        let text = |name: &str| presence[name].as_str().unwrap().to_owned();
        format!("{}/{}", text("availability"), text("activity"))
    }

    pub(crate) fn set(&self, user: &str, availability: &str, activity: &str, expiration: &str) -> Answer {
        self.post(
            &format!("/v1.0/users/{user}/presence/setPresence"),
            &json!({ "sessionId": APP, "availability": availability, "activity": activity,
                "expirationDuration": expiration }),
        )
    }

    pub(crate) fn clear(&self, user: &str) -> Answer {
        self.post(&format!("/v1.0/users/{user}/presence/clearPresence"), &json!({ "sessionId": APP }))
    }
}

/// Runs a command to its end under `presenced exec`. What it was answered is held against the schema, and comes back, too.
pub(crate) fn exec(command: &Command) -> (Output, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record.jsonl");
    let mut exec = Command::new(BINARY);
    exec.arg("exec").arg("--record").arg(&record).arg("--");
    exec.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => exec.env(name, value),
            None => exec.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        exec.current_dir(folder);
    }
    let output = exec.stdin(Stdio::null()).output().unwrap();
    let recorded = std::fs::read_to_string(&record).unwrap_or_default();
    let exchanges: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for exchange in &exchanges {
        let status = exchange["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
        crate::schema::check(status, exchange["body"].as_str().unwrap_or_default().as_bytes());
    }
    (output, exchanges)
}

/// An HTTP response, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a Graph error whose envelope is whole: every member there, ids equal to the headers'.
    pub(crate) fn error(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let body = self.json();
        let error = &body["error"];
        let inner = &error["innerError"];
        assert_eq!(inner["request-id"].as_str(), self.header("request-id"), "{self:?}");
        assert_eq!(inner["client-request-id"].as_str(), self.header("client-request-id"), "{self:?}");
        assert_eq!(inner["date"].as_str().map(str::len), Some("2026-03-02T08:15:30".len()), "{self:?}");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        (self.status, text(&error["code"]), text(&error["message"]))
    }
}

/// Reads one response to the end of the connection.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let is_hung = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!is_hung, "the server hangs after {:?}", String::from_utf8_lossy(&bytes));
    }
    parse_answer(&bytes)
}

/// Takes the last response of a connection apart; interim ones such as 100 come before it.
pub(crate) fn parse_answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        return parse_answer(&bytes[end + 4..]);
    }
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned()));
    let answer = Answer { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() };
    if answer.header("content-encoding").is_none() {
        crate::schema::check(answer.status, &answer.body);
    }
    answer
}
