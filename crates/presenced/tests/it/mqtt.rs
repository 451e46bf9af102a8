//! A real Mosquitto with TLS and passwords, its own clients at the other end, and the server between them and HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{APP, BINARY, HUNG, USER_A, USER_B, read_answer};

const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
const SECRET: &str = "a-secret-of-the-test";
const PASSWORD: &str = "a-password-of-the-broker";
/// How often something is looked at again until it is as expected, and how many times at most.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 1_200;

/// What Debian calls the programs these tests need.
const PACKAGES: &str = "mosquitto and mosquitto_pub: install the packages mosquitto and mosquitto-clients";

/// An address of loopback that no other test of this machine uses, so that ports are free and stay so over a restart.
fn own_address() -> IpAddr {
    static SITES: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = ((process >> 8) as u8 % 128 + 64, process as u8);
    Ipv4Addr::new(127, high, low, SITES.fetch_add(1, Ordering::Relaxed)).into()
}

/// Looks until there is something.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("never: {what}");
}

/// Ended when dropped.
struct Process(Child);

impl Process {
    fn terminate(&mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with a broker's files and a server's, and both of them running or not.
struct Site {
    folder: tempfile::TempDir,
    broker_at: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
    broker: Option<Process>,
    server: Option<Process>,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Site {
    /// A broker that is up, and a server with these lines in its `[tenant.mqtt]`.
    fn start(mqtt: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = own_address();
        let mut site = Self {
            broker_at: (own, 8883).into(),
            http: (own, 8080).into(),
            metrics: (own, 9464).into(),
            folder,
            broker: None,
            server: None,
            log: std::sync::Arc::default(),
        };
        site.write_certificates();
        site.write("secret", SECRET);
        site.write("password", &format!("{PASSWORD}\n"));
        let users = format!(
            "id,userPrincipalName,displayName\n{USER_A},ana@presence.example,Ana\n{USER_B},bo@presence.example,\"Bo \"\"B\"\"\"\n"
        );
        site.write("users.csv", &users);
        site.configure(mqtt);
        let passwords = site.path("passwords");
        for (at, user) in ["presenced", "somebody"].iter().enumerate() {
            let mut make = Command::new("mosquitto_passwd");
            if at == 0 {
                make.arg("-c");
            }
            assert!(make.args(["-b", &passwords, user, PASSWORD]).status().expect(PACKAGES).success());
        }
        site.write(
            "mosquitto.conf",
            &format!(
                "listener {} {}\ncafile {}\ncertfile {}\nkeyfile {}\nallow_anonymous false\npassword_file {passwords}\n\
                 persistence true\npersistence_location {}/\nmax_queued_messages 100000\nuser root\n",
                site.broker_at.port(),
                site.broker_at.ip(),
                site.path("ca.pem"),
                site.path("broker.pem"),
                site.path("broker-key.pem"),
                site.folder.path().display(),
            ),
        );
        site.start_broker();
        site.start_server();
        site
    }

    fn configure(&self, mqtt: &str) {
        let config = format!(
            r#"
            data_dir = "data"
            public_url = "http://{http}"
            listen.http = ["{http}"]
            metrics.listen = "{metrics}"
            issuer.embedded = true
            outbound.allow = ["127.0.0.0/8"]

            [[tenant]]
            id = "{TENANT}"
            user_files = ["users.csv"]

            [[tenant.application]]
            id = "{APP}"
            secret_file = "secret"
            roles = ["Presence.ReadWrite.All", "User.Read.All"]

            [tenant.mqtt]
            host = "{broker}"
            port = 8883
            authorities = "ca.pem"
            username = "presenced"
            password_file = "password"
            {mqtt}
            "#,
            http = self.http,
            metrics = self.metrics,
            broker = self.broker_at.ip(),
        );
        self.write("presenced.toml", &config);
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn write_certificates(&self) {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(rcgen::DnType::CommonName, "authority of the test");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let broker = rcgen::CertificateParams::new([self.broker_at.ip().to_string()]).unwrap();
        self.write("ca.pem", &ca_certificate.pem());
        self.write("broker.pem", &broker.signed_by(&key, &issuer).unwrap().pem());
        self.write("broker-key.pem", &key.serialize_pem());
    }

    fn start_broker(&mut self) {
        // Where Debian keeps it, which is not where everybody looks.
        let debian = "/usr/sbin/mosquitto";
        let mut command = Command::new(if Path::new(debian).exists() { debian } else { "mosquitto" });
        command.args(["-c", &self.path("mosquitto.conf")]).stdout(Stdio::null()).stderr(Stdio::null());
        self.broker = Some(Process(command.spawn().expect(PACKAGES)));
        let broker_at = self.broker_at;
        eventually("the broker listens", || TcpStream::connect(broker_at).ok());
    }

    fn stop_broker(&mut self) {
        self.broker.take().unwrap().terminate();
    }

    fn start_server(&mut self) {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--config").arg(self.path("presenced.toml"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "presenced ended early");
            self.log.lock().unwrap().push_str(&line);
        }
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                log.lock().unwrap().push_str(&line);
            }
        });
        self.server = Some(Process(child));
    }

    /// A client of the broker's own kind, signed in.
    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", &self.broker_at.ip().to_string(), "-p", "8883"]);
        command.args(["--cafile", &self.path("ca.pem"), "-u", "somebody", "-P", PASSWORD]).args(arguments);
        command
    }

    fn publish(&self, arguments: &[&str]) {
        let status = self.client("mosquitto_pub", arguments).status().expect(PACKAGES);
        assert!(status.success(), "{arguments:?}");
    }

    /// The messages of topics that the broker remembers, until none has come for a second: topic and payload.
    fn remembered(&self, topic: &str) -> Vec<(String, String)> {
        let arguments = ["-t", topic, "--retained-only", "-W", "1", "-F", "%t %p"];
        let Output { stdout, .. } = self.client("mosquitto_sub", &arguments).output().expect(PACKAGES);
        let text = String::from_utf8(stdout).unwrap();
        let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).collect()
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(HUNG)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let answer = crate::support::parse_answer(&text);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    fn token(&self) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={APP}&client_secret={SECRET}&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        );
        let path = format!("/{TENANT}/oauth2/v2.0/token");
        let (_, answer) =
            self.send("POST", &path, "Content-Type: application/x-www-form-urlencoded\r\n", &form);
        format!("Authorization: Bearer {}\r\n", answer["access_token"].as_str().unwrap())
    }

    fn set(&self, token: &str, user: &str, (availability, activity): (&str, &str)) {
        let body = json!({ "sessionId": APP, "availability": availability, "activity": activity,
            "expirationDuration": "PT1H" });
        let path = format!("/v1.0/users/{user}/presence/setPresence");
        let headers = format!("{token}Content-Type: application/json\r\n");
        assert_eq!(self.send("POST", &path, &headers, &body.to_string()).0, 200);
    }

    fn activity(&self, token: &str, user: &str) -> String {
        let (_, presence) = self.send("GET", &format!("/v1.0/users/{user}/presence"), token, "");
        presence["activity"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn shows(&self, token: &str, user: &str, activity: &str) {
        eventually(activity, || (self.activity(token, user) == activity).then_some(()));
    }

    fn metric(&self, sample: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let page = read_answer(&mut stream).text();
        let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("{sample}: {page}"))
    }

    fn messages(&self, outcome: &str) -> f64 {
        self.metric(&format!("presenced_mqtt_messages_total{{outcome=\"{outcome}\"}}"))
    }

    fn state(&self, user: &str) -> Option<Value> {
        let remembered = self.remembered(&format!("presenced/users/{user}"));
        remembered.first().map(|(_, state)| serde_json::from_str(state).unwrap())
    }
}

#[test]
fn each_user_is_a_retained_topic_that_home_assistant_finds_over_tls_and_with_a_password() {
    let mut site = Site::start("discovery = \"homeassistant\"");
    let token = site.token();
    site.set(&token, USER_A, ("Busy", "InACall"));
    let state =
        eventually("the change", || site.state(USER_A).filter(|state| state["activity"] == "InACall"));
    assert_eq!((&state["availability"], &state["sequenceNumber"]), (&json!("Busy"), &json!("A0000000001")));
    assert!(state["at"].as_str().unwrap().ends_with('Z'), "{state}");
    assert_eq!(site.state(USER_B).unwrap()["availability"], "Offline", "whoever never said anything, too");
    assert_eq!(site.remembered("presenced/status"), [("presenced/status".into(), "online".into())]);
    let found = site.remembered("homeassistant/#");
    assert_eq!(found.len(), 2, "{found:?}");
    let of_b = found.iter().find(|(topic, _)| topic.contains(&USER_B.replace('-', ""))).unwrap();
    let sensor: Value = serde_json::from_str(&of_b.1).unwrap();
    assert_eq!(sensor["device"]["name"], "Bo \"B\"");
    assert_eq!(sensor["state_topic"], format!("presenced/users/{USER_B}"));
    assert_eq!(sensor["availability_topic"], "presenced/status");
    assert_eq!(site.metric("presenced_mqtt_connected"), 1.0);
    eventually("all is acknowledged", || (site.metric("presenced_mqtt_behind") == 0.0).then_some(()));

    // A farewell says that nobody follows any more; a user who is gone when it begins again is forgotten, a new one told.
    site.server.take().unwrap().terminate();
    assert_eq!(site.remembered("presenced/status")[0].1, "offline");
    let new = "0e6f3c1a-5d0b-4a77-9a55-2f6c1d3b7e90";
    site.write(
        "users.csv",
        &format!("id,userPrincipalName\n{USER_A},ana@presence.example\n{new},cy@presence.example\n"),
    );
    site.start_server();
    eventually("the new one is told of", || site.state(new));
    eventually("the old one is forgotten", || site.state(USER_B).is_none().then_some(()));
    assert_eq!(site.remembered("homeassistant/#").len(), 2);
    assert_eq!(site.state(USER_A).unwrap()["activity"], "InACall", "what it remembers rightly stays");

    // Nothing that opens anything was logged.
    let log = site.log.lock().unwrap().clone();
    assert!(log.contains("connected to the MQTT broker") && !log.contains(PASSWORD), "{log}");
}

#[test]
fn a_broker_that_was_gone_is_told_every_change_in_order_even_if_the_server_was_killed_meanwhile() {
    const CHANGES: usize = 40;
    let mut site = Site::start("");
    let token = site.token();
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    // Somebody who misses nothing the broker has: a session of the broker's, which outlives it.
    let topic = format!("presenced/users/{USER_A}");
    let listen = ["-t", &*topic, "-q", "1", "-c", "-i", "listener", "-F", "%p"];
    let once = site.client("mosquitto_sub", &[&listen[..], &["-C", "1"]].concat()).output().unwrap();
    assert!(once.status.success());
    let change = |site: &Site, token: &str, at: usize| {
        site.set(token, USER_A, [("Busy", "InACall"), ("Away", "Away")][at % 2]);
    };
    (0..CHANGES / 4).for_each(|at| change(&site, &token, at));
    site.stop_broker();
    (CHANGES / 4..CHANGES / 2).for_each(|at| change(&site, &token, at));
    // Killed, with nothing but what is on its disk.
    site.server = None;
    site.start_server();
    let token = site.token();
    (CHANGES / 2..CHANGES * 3 / 4).for_each(|at| change(&site, &token, at));
    assert!(site.metric("presenced_mqtt_behind") >= (CHANGES / 2) as f64);
    site.start_broker();
    (CHANGES * 3 / 4..CHANGES).for_each(|at| change(&site, &token, at));
    eventually("all is acknowledged", || (site.metric("presenced_mqtt_behind") == 0.0).then_some(()));
    let heard = site.client("mosquitto_sub", &[&listen[..], &["-W", "3"]].concat()).output().unwrap();
    let heard = String::from_utf8(heard.stdout).unwrap();
    let mut told: Vec<u64> = Vec::new();
    for line in heard.lines() {
        let state: Value = serde_json::from_str(line).unwrap();
        let number: u64 = state["sequenceNumber"].as_str().unwrap()[1..].parse().unwrap();
        // After a crash some are told again; each is told for the first time after the one before it.
        if !told.contains(&number) {
            assert_eq!(number, told.last().map_or(number, |last| last + 1), "{heard}");
            told.push(number);
        }
    }
    assert_eq!(told.last(), Some(&(CHANGES as u64)), "{heard}");
    assert!(told.len() >= CHANGES, "from the first to the last: {told:?}");

    // A broker that has forgotten everything is told how everybody is shown.
    site.stop_broker();
    std::fs::remove_file(site.folder.path().join("mosquitto.db")).unwrap();
    site.start_broker();
    let state = eventually("the state", || site.state(USER_A));
    assert_eq!(state["sequenceNumber"], format!("A{CHANGES:010}"));
    assert_eq!(eventually("the other's", || site.state(USER_B))["availability"], "Offline");
}

/// A desk, and a telephone exchange that names extensions.
const DEVICES: &str = r#"
    [[tenant.mqtt.session]]
    topic = "desk/17/motion"
    application = "22553876-f5ab-4529-bffb-cfe50aa89f87"
    user = "ana@presence.example"
    keep_alive_secs = 5
    states = { ON = "Available", OFF = "clear" }

    [[tenant.mqtt.session]]
    topic = "pbx/{user}/call"
    will = "pbx/{user}/status"
    application = "22553876-f5ab-4529-bffb-cfe50aa89f87"
    users = { 201 = "bo@presence.example" }
    value = "/state"
    states = { talking = "Busy/InACall", idle = "clear" }
"#;

#[test]
fn devices_hold_presence_sessions_until_they_are_silent_or_their_last_will_says_so() {
    let mut site = Site::start(DEVICES);
    let token = site.token();
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    site.publish(&["-t", "desk/17/motion", "-m", "ON"]);
    site.shows(&token, USER_A, "Available");
    site.shows(&token, USER_A, "Offline"); // Nobody has moved for a while.
    site.publish(&["-t", "desk/17/motion", "-m", "ON"]);
    site.shows(&token, USER_A, "Available");
    site.publish(&["-t", "desk/17/motion", "-m", "OFF"]);
    site.shows(&token, USER_A, "Offline");

    // The exchange says what is the matter, and the broker says when the exchange is gone.
    let will =
        ["-t", "nothing", "--will-topic", "pbx/201/status", "--will-payload", "offline", "--will-retain"];
    let exchange = Process(site.client("mosquitto_sub", &will).spawn().unwrap());
    site.publish(&["-r", "-t", "pbx/201/call", "-m", "{\"state\":\"talking\"}"]);
    site.shows(&token, USER_B, "InACall");
    assert_eq!(site.metric("presenced_mqtt_sessions"), 1.0);
    drop(exchange);
    site.shows(&token, USER_B, "Offline");
    // What the broker remembers counts once the exchange is back, and not before.
    site.stop_broker();
    site.start_broker();
    eventually("it has reconnected", || (site.metric("presenced_mqtt_connects_total") == 2.0).then_some(()));
    eventually("it was told", || (site.messages("stale") >= 1.0).then_some(()));
    assert_eq!(site.activity(&token, USER_B), "Offline");
    site.publish(&["-r", "-t", "pbx/201/status", "-m", "online"]);
    site.shows(&token, USER_B, "InACall");
    // It goes on over a restart of the server.
    site.server.take().unwrap().terminate();
    site.start_server();
    let token = site.token();
    eventually("it is held again", || (site.metric("presenced_mqtt_sessions") == 1.0).then_some(()));
    assert_eq!(site.activity(&token, USER_B), "InACall");
    site.publish(&["-r", "-t", "pbx/201/call", "-m", "{\"state\":\"idle\"}"]);
    site.shows(&token, USER_B, "Offline");
}

#[test]
fn malformed_messages_and_floods_cost_little_and_the_next_good_message_counts() {
    const FLOOD: usize = 50_000;
    let site = Site::start(DEVICES);
    let token = site.token();
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    let large = site.path("large");
    std::fs::write(&large, vec![b'x'; 1024 * 1024]).unwrap();
    std::fs::write(site.path("binary"), [0, 0xff, 0xfe, b'{', 0xc3]).unwrap();
    let call = "pbx/201/call";
    for payload in ["", "{", "null", "[]", "{\"state\":{}}", "{\"state\":\"shouting\"}", "talking"] {
        site.publish(&["-q", "1", "-t", call, "-m", payload]);
    }
    site.publish(&["-q", "1", "-t", call, "-f", &large]);
    site.publish(&["-q", "1", "-t", call, "-f", &site.path("binary")]);
    site.publish(&["-q", "1", "-t", "pbx/nobody@presence.example/call", "-m", "{\"state\":\"talking\"}"]);
    eventually("all are counted", || (site.messages("malformed") == 9.0).then_some(()));
    eventually("and the stranger", || (site.messages("unknown_user") == 1.0).then_some(()));
    site.publish(&["-t", call, "-m", "{\"state\":\"talking\"}"]);
    site.shows(&token, USER_B, "InACall");

    let before = site.metric("process_resident_memory_bytes");
    let changes = site.metric("presenced_log_position");
    let mut flood = site.client("mosquitto_pub", &["-q", "1", "-t", "desk/17/motion", "-l"]);
    let mut flood = flood.stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = flood.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for at in 0..FLOOD {
            writeln!(lines, "{}", ["ON", "OFF", "nonsense"][at % 3]).unwrap();
        }
    });
    // Everybody else is served meanwhile.
    while flood.try_wait().unwrap().is_none() {
        assert_eq!(site.activity(&token, USER_B), "InACall");
    }
    writer.join().unwrap();
    let seen =
        || ["applied", "unchanged", "malformed"].iter().map(|outcome| site.messages(outcome)).sum::<f64>();
    let mut last = -1.0;
    eventually("the flood is over", || {
        let now = seen();
        std::thread::sleep(LOOK_AGAIN * 10);
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
    let grown = site.metric("process_resident_memory_bytes") - before;
    let changes = site.metric("presenced_log_position") - changes;
    println!(
        "{FLOOD} messages: {last} looked at, {changes} changes, {:.1} MiB more memory",
        grown / 1048576.0
    );
    assert!(grown < 64.0 * 1048576.0, "{grown} bytes more");
    site.publish(&["-t", "desk/17/motion", "-m", "ON"]);
    site.shows(&token, USER_A, "Available");
    let log = site.log.lock().unwrap().clone();
    assert!(log.matches("more of that is only counted").count() <= 3, "a flood is not one of lines");
    assert!(!log.contains("shouting") && !log.contains("nonsense"), "nobody's words are logged");
}

#[test]
fn nobody_speaks_to_a_broker_that_is_not_allowed_or_is_another() {
    let mut site = Site::start("");
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    site.server = None;
    let good = std::fs::read_to_string(site.path("presenced.toml")).unwrap();
    let refused = |config: &str| {
        site.write("presenced.toml", config);
        let check = ["serve", "--check", "--config", &site.path("presenced.toml")];
        let output = Command::new(BINARY).args(check).output().unwrap();
        assert!(!output.status.success(), "{config}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&good.replace("[\"127.0.0.0/8\"]", "[]"));
    assert!(told.contains("may not be called: the host is not in the list"), "{told}");
    let told = refused(&good.replace("\"password\"", "\"nothing\""));
    assert!(told.contains("password_file"), "{told}");
    // Another authority, a wrong password, and somebody who does not speak MQTT: said once, and tried again.
    for (place, (from, to), words) in [
        ("authority", ("ca.pem", "other.pem"), "no TLS"),
        ("password", ("\"password\"", "\"secret\""), "the broker refuses"),
        ("stranger", ("", ""), "no TLS"),
    ] {
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        site.write("other.pem", &other.cert.pem());
        let mut config = good.replace(from, to);
        if place == "stranger" {
            config = good.replace("port = 8883", "port = 9464");
        }
        site.write("presenced.toml", &config);
        site.log.lock().unwrap().clear();
        site.start_server();
        eventually(place, || (site.metric("presenced_mqtt_failures_total") >= 2.0).then_some(()));
        let log = site.log.lock().unwrap().clone();
        assert!(log.contains(words), "{place}: {log}");
        assert_eq!(log.matches("no conversation with the MQTT broker;").count(), 1, "{log}");
        assert!(!log.contains(PASSWORD) && !log.contains(SECRET), "{log}");
        assert_eq!(site.metric("presenced_mqtt_connected"), 0.0);
        site.server = None;
    }
    assert!(Path::new(&site.path("data")).exists());
}
