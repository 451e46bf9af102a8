//! `presenced serve` with an issuer that is not its own: a process of keys and configuration behind real TLS, and tokens in
//! the shapes of the products. What it does wrong, and what a stranger tries, is refused soon and without a storm.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::Clock;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, BINARY, USER_A, parse_answer};

const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
const AUDIENCE: &str = "presenced";

/// What the issuer answers with.
#[derive(Clone)]
enum Manner {
    Keys(Vec<Key>),
    Down,
    Huge,
    Redirect,
    OtherName,
}

/// An issuer on a socket of its own.
struct Provider {
    url: String,
    manner: Arc<Mutex<Manner>>,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    /// Listens, and writes its certificate to `folder`.
    fn start(folder: &Path, manner: Manner) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("issuer.pem"), certificate.pem()).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.unwrap().with_no_client_auth();
        let tls = Arc::new(tls.with_single_cert(vec![certificate.der().clone()], private).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/realms/main", listener.local_addr().unwrap().port());
        let (manner, fetches) = (Arc::new(Mutex::new(manner)), Arc::new(AtomicUsize::new(0)));
        let this = Self { url: url.clone(), manner: manner.clone(), fetches: fetches.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let manner = manner.lock().unwrap().clone();
                let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                // Who hangs up has got what it wanted.
                let _ = answer(rustls::StreamOwned::new(connection, stream), &url, &manner, &fetches);
            }
        });
        this
    }

    fn become_(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn claims(&self, more: Value) -> Value {
        let now = engine::SystemClock::new(None).now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": ["account", AUDIENCE], "iat": now, "exp": now + 3600, "azp": "door-sign",
            "sub": USER_A, "preferred_username": "ana", "scope": "openid Presence.ReadWrite",
            "resource_access": { "presenced": { "roles": ["Presence.Read.All"] } },
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }
}

fn answer(
    mut stream: rustls::StreamOwned<rustls::ServerConnection, TcpStream>,
    url: &str,
    manner: &Manner,
    fetches: &AtomicUsize,
) -> std::io::Result<()> {
    stream.sock.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut line)?;
    while {
        let mut field = String::new();
        reader.read_line(&mut field)? > 2
    } {}
    let is_keys = line.starts_with("GET /keys ");
    // Each fetch begins with the configuration.
    fetches.fetch_add(usize::from(!is_keys), Ordering::SeqCst);
    let origin = url.trim_end_matches("/realms/main");
    let configuration =
        |issuer: &str| json!({ "issuer": issuer, "jwks_uri": format!("{origin}/keys") }).to_string();
    let (status, body) = match manner {
        Manner::Down => ("503 Service Unavailable", String::new()),
        Manner::Redirect => ("302 Found\r\nLocation: https://localhost/", String::new()),
        Manner::OtherName if !is_keys => ("200 OK", configuration("https://localhost/realms/other")),
        _ if !is_keys => ("200 OK", configuration(url)),
        Manner::Huge => ("200 OK", format!("{{\"keys\":[{}]}}", "[],".repeat(2_000_000))),
        Manner::Keys(keys) => {
            let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
            ("200 OK", json!({ "keys": keys }).to_string())
        }
        Manner::OtherName => ("200 OK", json!({ "keys": [] }).to_string()),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

struct Serving {
    child: Child,
    http: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// A server whose tenant believes the provider, in the manner of Keycloak.
    fn start(folder: tempfile::TempDir, provider: &Provider) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = &provider.url;
        let config = format!(
            r#"
            data_dir = "data"
            public_url = "http://{http}"
            listen.http = ["{http}"]
            issuer.embedded = true
            outbound.extra_roots = ["issuer.pem"]
            [[tenant]]
            id = "{TENANT}"
            [[tenant.issuer]]
            issuer = "{url}"
            recipe = "keycloak"
            audiences = ["{AUDIENCE}"]
            [[tenant.user]]
            id = "{USER_A}"
            userPrincipalName = "ana@presence.example"
            "#
        );
        let path = folder.path().join("presenced.toml");
        std::fs::write(&path, config).unwrap();
        let mut serve = Command::new(BINARY);
        serve
            .args(["serve", "--in-memory", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let this = Self { child: serve.spawn().unwrap(), http, folder };
        this.until("it listens", |this| TcpStream::connect(this.http).is_ok());
        this
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        let mut stream = TcpStream::connect(self.http).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut bytes);
        parse_answer(&bytes)
    }

    fn me(&self, token: &str) -> u16 {
        self.get("/v1.0/me/presence", token).status
    }
}

/// An RSA key.
#[derive(Clone)]
struct Key {
    kid: String,
    pair: Arc<aws_lc_rs::rsa::KeyPair>,
    jwk: Value,
}

impl Key {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        let padding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
        self.pair.sign(padding, &random, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn key(kid: &str) -> Key {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    // SEQUENCE { INTEGER n, INTEGER 65537 }: the modulus stands before the last five bytes.
    let public = pair.public_key_raw();
    let n = URL_SAFE_NO_PAD.encode(&public[public.len() - 5 - 256..public.len() - 5]);
    let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": "AQAB" });
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&pair.serialize_der()).unwrap();
    Key { kid: kid.to_owned(), pair: Arc::new(pair), jwk }
}

#[test]
fn tokens_of_a_foreign_issuer_are_believed_through_rotation_and_outage_and_a_flood_of_keys_makes_no_storm() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), key("one"), key("two"));
    let provider = Provider::start(folder.path(), Manner::Keys(vec![old.clone()]));
    let server = Serving::start(folder, &provider);
    let token = old.sign(&provider.claims(json!({})));
    server.until("the keys are fetched", |server| server.me(&token) == 200);
    assert_eq!(server.get(&format!("/v1.0/users/{USER_A}/presence"), &token).status, 200);
    let service =
        provider.claims(json!({ "sub": "5e1f", "preferred_username": "service-account-door-sign" }));
    let service = old.sign(&service);
    assert_eq!(server.get(&format!("/v1.0/users/{USER_A}/presence"), &service).status, 200);
    assert_eq!(server.me(&service), 400, "an application is nobody");

    for wrong in [
        json!({ "aud": "account" }),
        json!({ "iss": format!("{}/", provider.url) }),
        json!({ "exp": 1 }),
        json!({ "nbf": 4_000_000_000_i64 }),
        json!({ "tid": USER_A }),
        json!({ "sub": "nobody" }),
        json!({ "pad": "x".repeat(64 * 1024) }),
    ] {
        let answer = server.get("/v1.0/me/presence", &old.sign(&provider.claims(wrong.clone())));
        assert_eq!(answer.status, 401, "{:.60}: {answer:?}", wrong.to_string());
    }
    let parts: Vec<&str> = token.split('.').collect();
    for alg in ["none", "HS256", "ES256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": old.kid() }).to_string());
        assert_eq!(server.me(&format!("{header}.{}.{}", parts[1], parts[2])), 401, "{alg}");
    }
    assert_eq!(provider.fetches(), 1, "nothing of that asks for keys");

    // The embedded issuer, which is on, is not this tenant's.
    let body = "grant_type=client_credentials&client_id=x&client_secret=y&scope=https://graph.microsoft.com/.default";
    let mut stream = TcpStream::connect(server.http).unwrap();
    write!(stream, "POST /{TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut bytes);
    assert!(parse_answer(&bytes).status >= 400);

    // A new key counts at the first token that has it; the withdrawn one ends then, from memory too.
    provider.become_(Manner::Keys(vec![new.clone()]));
    let by_new = new.sign(&provider.claims(json!({})));
    assert_eq!(server.me(&token), 200, "remembered");
    assert_eq!(server.me(&by_new), 200, "fetched at once");
    assert_eq!(server.me(&token), 401, "withdrawn");
    assert_eq!(provider.fetches(), 2);

    // A thousand keys nobody has, at once: not one more fetch, and the good are served meanwhile.
    provider.become_(Manner::Down);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (server, provider) = (&server, &provider);
            scope.spawn(move || {
                for number in 0..125 {
                    let header = json!({ "alg": "RS256", "kid": format!("{worker}-{number}") });
                    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
                    let forged = format!("{}.{}.AAAA", part(&header), part(&provider.claims(json!({}))));
                    assert_eq!(server.me(&forged), 401);
                }
            });
        }
    });
    assert_eq!((provider.fetches(), server.me(&by_new)), (2, 200), "{:?}", began.elapsed());
    assert!(server.folder.path().exists());
}

#[test]
fn a_server_starts_without_its_issuer_and_believes_it_once_it_answers_as_it_should() {
    let (folder, key) = (tempfile::tempdir().unwrap(), key("one"));
    let provider = Provider::start(folder.path(), Manner::Down);
    let server = Serving::start(folder, &provider);
    let token = key.sign(&provider.claims(json!({})));
    assert_eq!(server.get("/readyz", "").status, 200);
    for manner in [Manner::Down, Manner::Redirect, Manner::OtherName, Manner::Huge] {
        provider.become_(manner);
        std::thread::sleep(Duration::from_millis(600));
        let answer = server.get("/v1.0/me/presence", &token);
        assert_eq!((answer.status, answer.error().1.as_str()), (401, "InvalidAuthenticationToken"));
    }
    provider.become_(Manner::Keys(vec![key]));
    server.until("it answers", |server| server.me(&token) == 200);
}
