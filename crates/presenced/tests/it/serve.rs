//! `presenced serve`: the server an organisation runs.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::support::{APP, Answer, BINARY, USER_A, engine_lines, parse_answer, read_answer};

const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
const SECRET: &str = "a-secret-of-the-test";
const OTHER_APP: &str = "22553876-f5ab-4529-bffb-cfe50aa89f88";

pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) http: SocketAddr,
    https: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A certificate for `localhost` that is its own authority, under a serial number that tells it from others.
fn write_certificate(folder: &Path, serial: u64) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.serial_number = Some(serial.into());
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), &certificate).unwrap();
    certificate
}

impl Serving {
    /// The port of HTTPS, and the certificate that is shown there.
    pub(crate) fn https(&self) -> (u16, std::path::PathBuf) {
        (self.https.port(), self.folder.path().join("certificate.pem"))
    }

    pub(crate) fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), 1);
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        std::fs::write(
            folder.path().join("users.csv"),
            format!("id,userPrincipalName,displayName\n{USER_A},ana@presence.example,Ana\n"),
        )
        .unwrap();
        let (http, https) = (free_address(), free_address());
        let config = format!(
            r#"
            data_dir = "data"
            public_url = "https://localhost:{port}"
            listen = {{ http = ["{http}"], https = ["{https}"] }}
            tls = {{ certificate = "certificate.pem", key = "key.pem" }}
            issuer = {{ embedded = true }}
            {engine}
            {more}

            [[tenant]]
            id = "{TENANT}"
            user_files = ["users.csv"]

            [[tenant.application]]
            id = "{APP}"
            secret_file = "secret"
            roles = ["Presence.ReadWrite.All", "User.Read.All"]

            [[tenant.application]]
            id = "{OTHER_APP}"
            secret_file = "secret"
            roles = ["Presence.Read.All"]
            "#,
            engine = engine_lines(folder.path()),
            port = https.port()
        );
        std::fs::write(folder.path().join("presenced.toml"), config).unwrap();
        let child = Self::spawn(folder.path());
        Self { child, http, https, folder }
    }

    /// Starts it again, with what it has kept.
    fn restart(&mut self) {
        self.child = Self::spawn(self.folder.path());
    }

    fn spawn(folder: &Path) -> Child {
        let mut child = Self::command(folder).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "presenced ended early");
            let _: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        // The log is read to its end, so that the server never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        child
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--config").arg(folder.join("presenced.toml"));
        command
    }

    /// A token of the application.
    pub(crate) fn app_token(&self) -> String {
        self.token(&self.agent(&self.ca()), SECRET).unwrap()
    }

    fn agent(&self, ca: &str) -> ureq::Agent {
        let certificate = Certificate::from_pem(ca.as_bytes()).unwrap();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(vec![certificate])))
            .build();
        ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
    }

    fn ca(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("certificate.pem")).unwrap()
    }

    fn token(&self, agent: &ureq::Agent, secret: &str) -> Option<String> {
        self.token_of(APP, agent, secret)
    }

    fn token_of(&self, app: &str, agent: &ureq::Agent, secret: &str) -> Option<String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app),
            ("client_secret", secret),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        let url = format!("https://localhost:{}/{TENANT}/oauth2/v2.0/token", self.https.port());
        let body: Value = agent.post(url).send_form(form).unwrap().body_mut().read_json().unwrap();
        body["access_token"].as_str().map(str::to_owned)
    }

    pub(crate) fn plain(&self, request: &str) -> Answer {
        let mut stream = std::net::TcpStream::connect(self.http).unwrap();
        stream
            .write_all(format!("{request}Host: localhost\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        read_answer(&mut stream)
    }
}

#[test]
fn a_server_with_tls_secrets_and_user_files_serves_presence() {
    let server = Serving::start("");
    let agent = server.agent(&server.ca());
    let base = format!("https://localhost:{}/v1.0", server.https.port());
    assert_eq!(server.token(&agent, "wrong"), None);
    let token = server.token(&agent, SECRET).unwrap();
    let authorization = format!("Bearer {token}");
    let body = json!({ "sessionId": APP, "availability": "Busy", "activity": "InACall" });
    let set = agent
        .post(format!("{base}/users/{USER_A}/presence/setPresence"))
        .header("Authorization", &authorization);
    let set = set.send_json(body).unwrap();
    assert_eq!(set.status(), 200);
    assert_eq!(set.headers()["strict-transport-security"], "max-age=31536000");
    let get = agent
        .get(format!("{base}/users/ana@presence.example/presence"))
        .header("Authorization", &authorization);
    let presence: Value = get.call().unwrap().body_mut().read_json().unwrap();
    crate::schema::check(200, presence.to_string().as_bytes());
    assert_eq!(presence["activity"], "InACall");
    let context = format!("{base}/$metadata#users('{USER_A}')/presence/$entity");
    assert_eq!(presence["@odata.context"], context, "links name the public URL");
}

#[test]
fn no_history_is_kept_unless_asked_for_and_then_it_survives_a_kill_and_a_backup() {
    let ask = |server: &Serving, what: &str| {
        let agent = server.agent(&server.ca());
        let authorization = format!("Bearer {}", server.token(&agent, SECRET).unwrap());
        let url =
            format!("https://localhost:{}/_presenced/v1/users/{USER_A}/presence/{what}", server.https.port());
        let mut answer = agent.get(url).header("Authorization", &authorization).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json::<Value>().unwrap())
    };
    let set = |server: &Serving, activity: &str| {
        let agent = server.agent(&server.ca());
        let authorization = format!("Bearer {}", server.token(&agent, SECRET).unwrap());
        let url =
            format!("https://localhost:{}/v1.0/users/{USER_A}/presence/setPresence", server.https.port());
        let body = json!({ "sessionId": APP, "availability": "Busy", "activity": activity });
        let answer = agent.post(url).header("Authorization", &authorization).send_json(body);
        assert_eq!(answer.unwrap().status(), 200);
    };
    let without = Serving::start("");
    set(&without, "InACall");
    let (status, told) = ask(&without, "history");
    assert_eq!(status, 404, "{told}");
    assert!(!without.folder.path().join("data/history").exists());
    let (status, told) = ask(&without, "explanation?at=2020-01-01T00:00:00Z");
    assert_eq!((status, &told["error"]["code"]), (400, &json!("InvalidArgument")));

    let mut server = Serving::start("history = { enabled = true, days = 7 }");
    set(&server, "InACall");
    set(&server, "InAConferenceCall");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    server.restart();
    set(&server, "InACall");
    let writes = |server: &Serving| {
        let (status, told) = ask(server, "history");
        assert_eq!(status, 200, "{told}");
        let writes = told["writes"].as_array().unwrap().iter();
        writes.map(|write| write["activity"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(writes(&server), ["InACall", "InAConferenceCall", "InACall"]);
    let (status, told) = ask(&server, "explanation?at=2020-01-01T00:00:00Z");
    assert_eq!((status, &told["rule"]), (200, &json!("noSession")), "nobody had written anything");

    let backup = tempfile::tempdir().unwrap();
    let config = server.folder.path().join("presenced.toml");
    let run = |arguments: [&str; 3]| {
        let output = Command::new(BINARY).args(arguments).arg("--config").arg(&config).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(["backup", "--to", backup.path().to_str().unwrap()]);
    set(&server, "InAConferenceCall");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    std::fs::remove_dir_all(server.folder.path().join("data")).unwrap();
    run(["restore", "--from", backup.path().to_str().unwrap()]);
    server.restart();
    assert_eq!(writes(&server), ["InACall", "InAConferenceCall", "InACall"], "as it was then");

    // Whoever is taken out of the configuration is gone from the history, too.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let users = server.folder.path().join("users.csv");
    let ana = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, ana.replace(USER_A, "66825e03-7ef5-42da-9069-724602c31f6b")).unwrap();
    server.restart();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    std::fs::write(&users, &ana).unwrap();
    server.restart();
    assert_eq!(writes(&server), [""; 0]);
}

#[test]
fn a_backup_made_while_the_server_runs_is_restored_elsewhere_with_keys_and_presence() {
    let server = Serving::start("");
    let agent = server.agent(&server.ca());
    let authorization = format!("Bearer {}", server.token(&agent, SECRET).unwrap());
    let url = |server: &Serving, path: &str| {
        format!("https://localhost:{}/v1.0/users/{USER_A}/presence{path}", server.https.port())
    };
    let body = json!({ "sessionId": APP, "availability": "Busy", "activity": "InACall" });
    let set =
        agent.post(url(&server, "/setPresence")).header("Authorization", &authorization).send_json(body);
    assert_eq!(set.unwrap().status(), 200);
    let run = |command: &str, folder: &Path, place: [&str; 2]| {
        let config = folder.join("presenced.toml");
        Command::new(BINARY).arg(command).arg("--config").arg(config).args(place).output().unwrap()
    };
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().to_str().unwrap();
    let made = run("backup", server.folder.path(), ["--to", backup]);
    assert!(made.status.success(), "{made:?}");
    let again = run("backup", server.folder.path(), ["--to", backup]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is not empty"));
    // The server that made it is still there; another takes the copy over, and the token with it.
    let other = Serving::start("");
    let refused = run("restore", other.folder.path(), ["--from", backup]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("already"));
    let mut other = other;
    other.child.kill().unwrap();
    other.child.wait().unwrap();
    std::fs::remove_dir_all(other.folder.path().join("data")).unwrap();
    let restored = run("restore", other.folder.path(), ["--from", backup]);
    assert!(restored.status.success(), "{restored:?}");
    let key = |folder: &Path| std::fs::read(folder.join("data/keys/signing-key.pem")).unwrap();
    assert_eq!(key(other.folder.path()), key(server.folder.path()));
    let mut child = Serving::command(other.folder.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"ready\"") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "presenced ended early");
    }
    other.child = child;
    let agent = other.agent(&other.ca());
    let authorization = format!("Bearer {}", other.token(&agent, SECRET).unwrap());
    let presence = agent.get(url(&other, "")).header("Authorization", &authorization).call();
    let presence: Value = presence.unwrap().body_mut().read_json().unwrap();
    crate::schema::check(200, presence.to_string().as_bytes());
    assert_eq!(presence["activity"], "InACall");
}

#[test]
fn the_doctor_finds_a_running_server_ready_and_in_time() {
    let server = Serving::start("");
    let folder = server.folder.path();
    let mut doctor = Command::new(BINARY);
    doctor.arg("doctor").arg("--config").arg(folder.join("presenced.toml"));
    let output = doctor.arg("--ca").arg(folder.join("certificate.pem")).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    for line in ["good     public_url: the server is ready", "good     clock: ", "warning  listen "] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[test]
fn health_is_told_and_the_emulators_resources_do_not_exist() {
    let server = Serving::start("");
    for path in ["/healthz", "/readyz"] {
        let answer = server.plain(&format!("GET {path} HTTP/1.1\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"), "{path}");
    }
    for path in ["clock", "clock/advance", "token", "users"] {
        let (status, code, _) = server.plain(&format!("GET /_presenced/v1/{path} HTTP/1.1\r\n")).error();
        assert_eq!((status, code.as_str()), (400, "BadRequest"), "{path}");
    }
}

#[test]
fn a_throttled_application_is_told_when_to_come_back_and_harms_nobody_by_not_waiting() {
    let server = Serving::start("throttle = { requests_per_30_seconds = 2 }");
    let agent = server.agent(&server.ca());
    let get = |token: &str| {
        server.plain(&format!(
            "GET /v1.0/users/{USER_A}/presence HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
        ))
    };
    let [hasty, patient] = [APP, OTHER_APP].map(|app| server.token_of(app, &agent, SECRET).unwrap());
    assert_eq!([get(&hasty).status, get(&hasty).status], [200, 200]);
    let mut waits = Vec::new();
    for _ in 0..100 {
        let answer = get(&hasty);
        assert_eq!((answer.error().0, answer.error().1.as_str()), (429, "TooManyRequests"));
        waits.push(answer.header("retry-after").unwrap().parse::<u32>().unwrap());
    }
    // Not waiting makes the wait no longer.
    assert!(
        waits.is_sorted_by(|before, after| before >= after) && waits.iter().all(|s| (1..=30).contains(s))
    );
    assert_eq!([get(&patient).status, get(&patient).status], [200, 200], "an application has its own count");
}

#[test]
fn who_is_further_behind_than_changes_are_kept_is_told_so_and_from_where_to_go_on() {
    let server = Serving::start("changes = { keep_hours = 1, keep_entries = 5 }");
    let agent = server.agent(&server.ca());
    let token = server.token(&agent, SECRET).unwrap();
    let get = |path: &str| {
        server.plain(&format!(
            "GET /_presenced/v1/presences/{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
        ))
    };
    let write = |activity: &str| {
        let body = json!({ "sessionId": APP, "availability": "Busy", "activity": activity });
        let url =
            format!("https://localhost:{}/v1.0/users/{USER_A}/presence/setPresence", server.https.port());
        let set = agent.post(url).header("Authorization", format!("Bearer {token}")).send_json(body);
        assert_eq!(set.unwrap().status(), 200);
    };
    let begin = get("changes").json()["next"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        write("InACall");
        write("InAConferenceCall");
    }
    let page = get(&format!("changes?from={begin}")).json();
    assert_eq!(page["value"].as_array().unwrap().len(), 4, "as many as are kept: no gap");
    let later = page["next"].as_str().unwrap();
    write("InACall");
    write("InAConferenceCall");
    assert_eq!(get(&format!("changes?from={later}")).json()["value"].as_array().unwrap().len(), 2);
    let behind = get(&format!("changes?from={begin}"));
    assert_eq!((behind.status, &*behind.error().1), (410, "resyncRequired"));
    let stream = get(&format!("stream?from={begin}"));
    let text = stream.text();
    assert!(stream.status == 200 && text.contains("event: behind") && text.contains("\"oldest\""), "{text}");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let server = Serving::start("");
    let url = format!("https://localhost:{}/healthz", server.https.port());
    assert_eq!(server.agent(&server.ca()).get(&url).call().unwrap().status(), 200);
    let renewed = write_certificate(server.folder.path(), 2);
    // New connections, until one is shown the new certificate; a server that never reloads fails here.
    let tries = (0..100_000).find(|_| server.agent(&renewed).get(&url).call().is_ok());
    assert!(tries.is_some(), "the new certificate was never shown");
}

#[test]
fn a_stopping_server_finishes_the_request_in_flight_and_keeps_what_it_answered() {
    let mut server = Serving::start("");
    let agent = server.agent(&server.ca());
    let token = server.token(&agent, SECRET).unwrap();
    let body = json!({ "sessionId": APP, "availability": "Away", "activity": "Away" }).to_string();
    let (first, second) = body.split_at(10);
    let mut stream = std::net::TcpStream::connect(server.http).unwrap();
    let head = format!(
        "POST /v1.0/users/{USER_A}/presence/setPresence HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The interim answer shows that the request is in flight.
    let mut interim = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    stream.write_all(first.as_bytes()).unwrap();
    Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    // Once it stops listening, it is stopping.
    while std::net::TcpStream::connect(server.http).is_ok() {}
    stream.write_all(second.as_bytes()).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert_eq!(parse_answer(&answer).status, 200);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bad_configuration_is_refused_with_every_problem_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"
        public_url = "presence.example/path"
        colour = "blue"
        [listen]
        https = ["0.0.0.0:443"]
        http = "no"
        [[tenant]]
        id = "not-a-guid"
        [[tenant.application]]
        id = "22553876-f5ab-4529-bffb-cfe50aa89f87"
        roles = ["Presence.Everything"]
        secret_sha256 = "abc"
    "#;
    std::fs::write(folder.path().join("presenced.toml"), config).unwrap();
    let output = Serving::command(folder.path()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    for problem in [
        "data_dir",
        "public_url",
        "line 3: unknown field `colour`",
        "line 6: ",
        "[tls]",
        "not-a-guid",
        "Presence.Everything",
        "secret_sha256",
    ] {
        assert!(said.contains(problem), "{problem} is missing in: {said}");
    }
}

#[test]
fn users_are_imported_while_the_server_is_not_running_and_refused_while_it_is() {
    let mut server = Serving::start("");
    let folder = server.folder.path();
    let file = folder.join("more.json");
    let user =
        json!([{ "id": uuid::Uuid::from_u128(7).to_string(), "userPrincipalName": "eva@presence.example" }]);
    std::fs::write(&file, user.to_string()).unwrap();
    let import = || {
        let arguments = ["users", "import", file.to_str().unwrap(), "--config"];
        Command::new(BINARY).args(arguments).arg(folder.join("presenced.toml")).output().unwrap()
    };
    let refused = import();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&server.child.id().to_string()), "the holder is named: {said}");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let imported = import();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert!(import().status.success(), "importing again replaces");
}
