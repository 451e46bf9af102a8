//! A real server of an organisation, with a configuration and an address of its own, for tests of what it does besides HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{APP, BINARY, HUNG, USER_A, USER_B, engine_lines, read_answer};

pub(crate) const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
pub(crate) const SECRET: &str = "a-secret-of-the-test";
/// How often something is looked at again until it is as expected, and how many times at most.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 1_200;

/// An address of loopback that no other test of this machine uses, so that ports are free and stay so over a restart.
pub(crate) fn own_address() -> IpAddr {
    static SITES: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = ((process >> 8) as u8 % 128 + 64, process as u8);
    Ipv4Addr::new(127, high, low, SITES.fetch_add(1, Ordering::Relaxed)).into()
}

/// Looks until there is something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("never: {what}");
}

/// Ended when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn terminate(&mut self) {
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

/// A folder with a server's files, and the server, running or not.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: IpAddr,
    http: SocketAddr,
    metrics: SocketAddr,
    pub(crate) server: Option<Process>,
    log: Arc<Mutex<String>>,
}

impl Site {
    /// Files and nothing that runs. Certificate and authority are for the site's address.
    pub(crate) fn new() -> Self {
        let address = own_address();
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            address,
            http: (address, 8080).into(),
            metrics: (address, 9464).into(),
            server: None,
            log: Arc::default(),
        };
        site.write_certificates();
        site.write("secret", SECRET);
        let users = format!(
            "id,userPrincipalName,displayName\n{USER_A},ana@presence.example,Ana\n{USER_B},bo@presence.example,\"Bo \"\"B\"\"\"\n"
        );
        site.write("users.csv", &users);
        site
    }

    /// Writes the configuration, with these lines before and after its tenant.
    pub(crate) fn configure(&self, top: &str, in_tenant: &str) {
        let config = format!(
            r#"
            data_dir = "data"
            public_url = "http://{http}"
            listen.http = ["{http}"]
            metrics.listen = "{metrics}"
            issuer.embedded = true
            {engine}
            {top}

            [[tenant]]
            id = "{TENANT}"
            user_files = ["users.csv"]

            [[tenant.application]]
            id = "{APP}"
            secret_file = "secret"
            roles = ["Presence.ReadWrite.All", "Presence.Read.All", "User.Read.All"]

            {in_tenant}
            "#,
            engine = engine_lines(self.folder.path()),
            http = self.http,
            metrics = self.metrics,
        );
        self.write("presenced.toml", &config);
    }

    /// What it has logged since it was started, or since [`forget_log`](Self::forget_log).
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn forget_log(&self) {
        self.log.lock().unwrap().clear();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
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
        let leaf = rcgen::CertificateParams::new([self.address.to_string()]).unwrap();
        self.write("ca.pem", &ca_certificate.pem());
        self.write("certificate.pem", &leaf.signed_by(&key, &issuer).unwrap().pem());
        self.write("key.pem", &key.serialize_pem());
    }

    pub(crate) fn start_server(&mut self) {
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

    /// Whether it answers, and its store does.
    pub(crate) fn is_ready(&self) -> bool {
        TcpStream::connect(self.http).is_ok() && self.send("GET", "/readyz", "", "").0 == 200
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
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

    pub(crate) fn token(&self) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={APP}&client_secret={SECRET}&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        );
        let path = format!("/{TENANT}/oauth2/v2.0/token");
        let (_, answer) =
            self.send("POST", &path, "Content-Type: application/x-www-form-urlencoded\r\n", &form);
        format!("Authorization: Bearer {}\r\n", answer["access_token"].as_str().unwrap())
    }

    pub(crate) fn set(&self, token: &str, user: &str, (availability, activity): (&str, &str)) {
        let body = json!({ "sessionId": APP, "availability": availability, "activity": activity,
            "expirationDuration": "PT1H" });
        let path = format!("/v1.0/users/{user}/presence/setPresence");
        let headers = format!("{token}Content-Type: application/json\r\n");
        assert_eq!(self.send("POST", &path, &headers, &body.to_string()).0, 200);
    }

    pub(crate) fn activity(&self, token: &str, user: &str) -> String {
        let (_, presence) = self.send("GET", &format!("/v1.0/users/{user}/presence"), token, "");
        presence["activity"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn shows(&self, token: &str, user: &str, activity: &str) {
        eventually(activity, || (self.activity(token, user) == activity).then_some(()));
    }

    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let page = read_answer(&mut stream).text();
        let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("{sample}: {page}"))
    }
}
