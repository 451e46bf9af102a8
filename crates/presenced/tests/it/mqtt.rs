//! A real Mosquitto with TLS and passwords, its own clients at the other end, and the server between them and HTTP.

use std::io::Write;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::site::{LOOK_AGAIN, Process, SECRET, Site, eventually};
use crate::support::{BINARY, USER_A, USER_B};

const PASSWORD: &str = "a-password-of-the-broker";
/// What Debian calls the programs these tests need.
const PACKAGES: &str = "mosquitto and mosquitto_pub: install the packages mosquitto and mosquitto-clients";

/// A site with a broker.
struct Wired {
    site: Site,
    broker: Option<Process>,
}

impl Deref for Wired {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Wired {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Wired {
    /// A broker that is up, and a server with these lines in its `[tenant.mqtt]`.
    fn start(mqtt: &str) -> Self {
        let mut site = Self { site: Site::new(), broker: None };
        site.write("password", &format!("{PASSWORD}\n"));
        let in_tenant = format!(
            "[tenant.mqtt]\nhost = \"{}\"\nport = 8883\nauthorities = \"ca.pem\"\nusername = \"presenced\"\n\
             password_file = \"password\"\n{mqtt}",
            site.address
        );
        site.configure("outbound.allow = [\"127.0.0.0/8\"]", &in_tenant);
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
                "listener 8883 {}\ncafile {}\ncertfile {}\nkeyfile {}\nallow_anonymous false\npassword_file {passwords}\n\
                 persistence true\npersistence_location {}/\nmax_queued_messages 100000\nuser root\n",
                site.address,
                site.path("ca.pem"),
                site.path("certificate.pem"),
                site.path("key.pem"),
                site.folder.path().display(),
            ),
        );
        site.start_broker();
        site.start_server();
        site
    }

    fn start_broker(&mut self) {
        // Where Debian keeps it, which is not where everybody looks.
        let debian = "/usr/sbin/mosquitto";
        let mut command = Command::new(if Path::new(debian).exists() { debian } else { "mosquitto" });
        command.args(["-c", &self.path("mosquitto.conf")]).stdout(Stdio::null()).stderr(Stdio::null());
        self.broker = Some(Process(command.spawn().expect(PACKAGES)));
        let broker_at = (self.address, 8883);
        eventually("the broker listens", || TcpStream::connect(broker_at).ok());
    }

    fn stop_broker(&mut self) {
        self.broker.take().unwrap().terminate();
    }

    /// A client of the broker's own kind, signed in.
    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", &self.address.to_string(), "-p", "8883"]);
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
    let mut site = Wired::start("discovery = \"homeassistant\"");
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
    let log = site.log();
    assert!(log.contains("connected to the MQTT broker") && !log.contains(PASSWORD), "{log}");
}

#[test]
fn a_broker_that_was_gone_is_told_every_change_in_order_even_if_the_server_was_killed_meanwhile() {
    const CHANGES: usize = 40;
    let mut site = Wired::start("");
    let token = site.token();
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    // Somebody who misses nothing the broker has: a session of the broker's, which outlives it.
    let topic = format!("presenced/users/{USER_A}");
    let listen = ["-t", &*topic, "-q", "1", "-c", "-i", "listener", "-F", "%p"];
    let once = site.client("mosquitto_sub", &[&listen[..], &["-C", "1"]].concat()).output().unwrap();
    assert!(once.status.success());
    let change = |site: &Wired, token: &str, at: usize| {
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
    let mut site = Wired::start(DEVICES);
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
    let site = Wired::start(DEVICES);
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
    let log = site.log();
    assert!(log.matches("more of that is only counted").count() <= 3, "a flood is not one of lines");
    assert!(!log.contains("shouting") && !log.contains("nonsense"), "nobody's words are logged");
}

#[test]
fn nobody_speaks_to_a_broker_that_is_not_allowed_or_is_another() {
    let mut site = Wired::start("");
    eventually("the connection", || (site.metric("presenced_mqtt_connected") == 1.0).then_some(()));
    site.server = None;
    let good = std::fs::read_to_string(site.path("presenced.toml")).unwrap();
    let doctor = Command::new(BINARY).args(["doctor", "--config", &site.path("presenced.toml")]).output();
    let doctor = String::from_utf8(doctor.unwrap().stdout).unwrap();
    assert!(
        doctor.contains(&format!("good     mqtt {}:8883: the broker welcomes us", site.address)),
        "{doctor}"
    );
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
        let doctor = Command::new(BINARY).args(["doctor", "--config", &site.path("presenced.toml")]).output();
        let doctor = String::from_utf8(doctor.unwrap().stdout).unwrap();
        let subject = format!("FAILURE  mqtt {}:", site.address);
        let found =
            doctor.lines().find(|line| line.starts_with(&subject)).unwrap_or_else(|| panic!("{doctor}"));
        // The stranger is the server itself, which does not run yet.
        assert!(found.contains(words) || place == "stranger", "{doctor}");
        assert!(!doctor.contains(PASSWORD), "{doctor}");
        site.forget_log();
        site.start_server();
        eventually(place, || (site.metric("presenced_mqtt_failures_total") >= 2.0).then_some(()));
        let log = site.log();
        assert!(log.contains(words), "{place}: {log}");
        assert_eq!(log.matches("no conversation with the MQTT broker;").count(), 1, "{log}");
        assert!(!log.contains(PASSWORD) && !log.contains(SECRET), "{log}");
        assert_eq!(site.metric("presenced_mqtt_connected"), 0.0);
        site.server = None;
    }
    assert!(Path::new(&site.path("data")).exists());
}
