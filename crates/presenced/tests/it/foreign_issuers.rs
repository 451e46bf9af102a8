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
    /// It takes notifications, too, in whatever manner: their bodies.
    told: Arc<Mutex<Vec<Value>>>,
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
        let told = Arc::new(Mutex::default());
        let this =
            Self { url: url.clone(), manner: manner.clone(), fetches: fetches.clone(), told: told.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let manner = manner.lock().unwrap().clone();
                let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
                // Who hangs up has got what it wanted.
                let _ = answer(rustls::StreamOwned::new(connection, stream), &url, &manner, &fetches, &told);
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
    told: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    stream.sock.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    let mut reader = BufReader::new(&mut stream);
    reader.read_line(&mut line)?;
    let mut length = 0;
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field)? <= 2 {
            break;
        }
        if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    if let Some(target) = line.strip_prefix("POST /notify") {
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body)?;
        let token = target.split(' ').next().unwrap().strip_prefix("?validationToken=");
        let token = token.map(|token| percent_encoding::percent_decode_str(token).decode_utf8().unwrap());
        let body = match &token {
            Some(token) => token.to_string(),
            None => {
                told.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                String::new()
            }
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        stream.conn.send_close_notify();
        return stream.flush();
    }
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
        Self::start_with(folder, provider, "issuer.embedded = true", &["--in-memory"])
    }

    fn start_with(folder: tempfile::TempDir, provider: &Provider, more: &str, arguments: &[&str]) -> Self {
        let url = &provider.url;
        let tenant = format!(
            r#"
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
        Self::of(folder, &format!("{more}\n{tenant}"), arguments)
    }

    /// A server with this configuration besides addresses and folder.
    fn of(folder: tempfile::TempDir, more: &str, arguments: &[&str]) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            r#"
            data_dir = "data"
            public_url = "http://{http}"
            listen.http = ["{http}"]
            outbound = {{ allow = ["localhost"], extra_roots = ["issuer.pem"] }}
            {more}
            "#
        );
        std::fs::write(folder.path().join("presenced.toml"), config).unwrap();
        Self { child: Self::spawn(folder.path(), arguments), http, folder }.listening()
    }

    fn spawn(folder: &Path, arguments: &[&str]) -> Child {
        let mut serve = Command::new(BINARY);
        serve.arg("serve").args(arguments).arg("--config").arg(folder.join("presenced.toml"));
        serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn listening(self) -> Self {
        self.until("it listens", |this| TcpStream::connect(this.http).is_ok());
        self
    }

    /// Kills it and starts it again where it was.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.folder.path(), &[]);
        self.until("it listens again", |this| TcpStream::connect(this.http).is_ok());
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, token, "")
    }

    fn send(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.http).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut bytes);
        parse_answer(&bytes)
    }

    /// Memory of the process; 0 where nobody tells.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn me(&self, token: &str) -> u16 {
        self.get("/v1.0/me/presence", token).status
    }
}

/// Forged tokens shown one after the other.
const FORGED: u64 = 3_000;

/// The status of the next answer of a connection, whose body is read.
fn next_status(answers: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        assert!(answers.read_line(&mut line).unwrap() > 0, "the connection ended");
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line == "\r\n" {
            std::io::Read::read_exact(answers, &mut vec![0; length]).unwrap();
            return status;
        }
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

    // Each way of being wrong, in the words and with the header of the sheet (A.2).
    let refused = |what: &str, token: &str, message: &str| {
        let answer = server.get("/v1.0/me/presence", token);
        let told = answer.error();
        assert_eq!((told.0, &*told.2), (401, message), "{what}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer realm=\"\", authorization_uri=\""), "{what}: {challenge}");
        assert!(!challenge.contains("claims="), "{what}: {challenge}");
        told.1
    };
    let invalid = "Access token validation failure.";
    let over = "Access token has expired or is not yet valid.";
    for (wrong, message) in [
        (json!({ "aud": "account" }), "Access token validation failure. Invalid audience."),
        (json!({ "aud": null }), "Access token validation failure. Invalid audience."),
        (json!({ "iss": format!("{}/", provider.url) }), invalid),
        (json!({ "exp": 1 }), over),
        (json!({ "exp": null }), invalid),
        (json!({ "nbf": 4_000_000_000_i64 }), over),
        (json!({ "tid": USER_A }), invalid),
        (json!({ "pad": "x".repeat(64 * 1024) }), invalid),
    ] {
        let what = format!("{:.60}", wrong.to_string());
        let code = refused(&what, &old.sign(&provider.claims(wrong)), message);
        assert_eq!(code, "InvalidAuthenticationToken", "{what}");
    }
    let nobody = old.sign(&provider.claims(json!({ "sub": "nobody" })));
    let words = "The identity of the calling application could not be established.";
    assert_eq!(refused("nobody", &nobody, words), "Authorization_IdentityNotFound");
    let parts: Vec<&str> = token.split('.').collect();
    let with_header = |alg: &str| URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": old.kid() }).to_string());
    for alg in ["none", "None", "HS256", "ES256", "PS256"] {
        refused(alg, &format!("{}.{}.{}", with_header(alg), parts[1], parts[2]), invalid);
        refused(alg, &format!("{}.{}.", with_header(alg), parts[1]), invalid);
    }
    // The public key as the secret, in the forms in which libraries were once fooled by it.
    let message = format!("{}.{}", with_header("HS256"), parts[1]);
    let modulus = old.jwk["n"].as_str().unwrap();
    for secret in [old.jwk.to_string().into_bytes(), modulus.into(), URL_SAFE_NO_PAD.decode(modulus).unwrap()]
    {
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let signature = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
        refused("HS256", &format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)), invalid);
    }
    let stranger = key(old.kid());
    refused("a key of another issuer", &stranger.sign(&provider.claims(json!({}))), invalid);
    let tampered = URL_SAFE_NO_PAD.encode(provider.claims(json!({ "azp": "somebody-else" })).to_string());
    refused("changed", &format!("{}.{tampered}.{}", parts[0], parts[2]), invalid);
    for garbage in ["x", "a.b.c", "..", &parts[..2].join(".")] {
        refused(garbage, garbage, "CompactToken parsing failed with error code: 80049217");
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

    // Thousands of tokens, each signed well once and then changed: refused one like the other, and none is remembered.
    let before = server.resident_kib();
    let mut stream = TcpStream::connect(server.http).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let claims = "x".repeat(4 * 1024);
    for number in 0..FORGED {
        let claims =
            URL_SAFE_NO_PAD.encode(provider.claims(json!({ "pad": claims, "jti": number })).to_string());
        let forged = format!("{}.{claims}.{}", by_new.split('.').next().unwrap(), parts[2]);
        // As one piece: what comes in two waits for an acknowledgement between them.
        let head =
            format!("GET /v1.0/me/presence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {forged}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(next_status(&mut answers), 401);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < FORGED * 6 / 2, "{grown} KiB for {FORGED} tokens of 6 KiB each");
    println!("{FORGED} forged tokens: {grown} KiB more than before");
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

#[test]
fn keys_that_an_issuer_gave_outlive_a_restart_in_which_it_is_down() {
    let (folder, known) = (tempfile::tempdir().unwrap(), key("one"));
    let provider = Provider::start(folder.path(), Manner::Keys(vec![known.clone()]));
    let mut server = Serving::start_with(folder, &provider, "", &[]);
    let token = known.sign(&provider.claims(json!({})));
    server.until("the keys are fetched", |server| server.me(&token) == 200);
    provider.become_(Manner::Down);
    server.restart();
    assert_eq!(server.me(&token), 200, "from the first request on");
    let other = key("two");
    assert_eq!(server.me(&other.sign(&provider.claims(json!({})))), 401, "and no others");
    assert_eq!(server.me(&key("one").sign(&provider.claims(json!({})))), 401, "of the same name neither");
    // Once it answers again, what it says counts, also at the start after that.
    provider.become_(Manner::Keys(vec![other.clone()]));
    let by_other = other.sign(&provider.claims(json!({})));
    server.until("the new keys are fetched", |server| server.me(&by_other) == 200);
    provider.become_(Manner::Down);
    server.restart();
    assert_eq!((server.me(&by_other), server.me(&token)), (200, 401));
}

/// Keys of notifications where receivers look, and nothing else, of a server without an issuer of its own.
#[test]
fn a_tenant_with_an_issuer_of_its_own_is_told_with_content_and_can_check_by_whom() {
    const CERTIFICATE: &str = include_str!("../../../identity/tests/vectors/certificate.base64");
    for embedded in ["", "issuer.embedded = true"] {
        let (folder, theirs) = (tempfile::tempdir().unwrap(), key("one"));
        let provider = Provider::start(folder.path(), Manner::Keys(vec![theirs.clone()]));
        let mut server = Serving::start_with(folder, &provider, embedded, &[]);
        let token = theirs.sign(&provider.claims(json!({ "scope": "Presence.Read.All Presence.ReadWrite" })));
        server.until("the keys are fetched", |server| server.me(&token) == 200);
        let expires = engine::SystemClock::new(None).now() + jiff::SignedDuration::from_mins(50);
        let body = json!({
            "changeType": "updated", "resource": format!("communications/presences/{USER_A}"),
            "notificationUrl": format!("{}/notify", provider.url.trim_end_matches("/realms/main")),
            "includeResourceData": true, "encryptionCertificate": CERTIFICATE.trim(),
            "encryptionCertificateId": "vector", "expirationDateTime": expires.to_string(),
        });
        let created = server.send("POST", "/v1.0/subscriptions", &token, &body.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        let app = created.json()["applicationId"].as_str().unwrap().to_owned();
        // Its keys are those of before a restart.
        server.restart();
        let set = json!({ "sessionId": app, "availability": "Busy", "activity": "InACall" }).to_string();
        assert_eq!(server.send("POST", "/v1.0/me/presence/setPresence", &token, &set).status, 200);
        server.until("it is told", |_| !provider.told.lock().unwrap().is_empty());
        let told = provider.told.lock().unwrap()[0].clone();
        assert!(told["value"][0]["encryptedContent"]["data"].is_string(), "{told}");

        let proof = told["validationTokens"][0].as_str().unwrap();
        for place in ["common/discovery/keys", "common/discovery/v2.0/keys"] {
            for place in [place.to_owned(), place.replace("common", TENANT)] {
                let keys = server.get(&format!("/{place}"), "");
                let keys = identity::validation_keys(&keys.body).unwrap_or_else(|_| panic!("{keys:?}"));
                let now = engine::SystemClock::new(None).now();
                let checked = identity::ValidationToken::read(proof).unwrap().check(&keys, Some(&app), now);
                assert_eq!(checked, Ok(()), "{place}");
            }
        }
        let found = server.get(&format!("/{TENANT}/v2.0/.well-known/openid-configuration"), "").json();
        assert_eq!(found["issuer"], format!("http://{}/{TENANT}/v2.0", server.http));
        assert!(found["token_endpoint"].is_null(), "{found}");
        // What proves where a notification comes from opens nothing, and nobody gets a token for this tenant.
        assert_eq!(server.me(proof), 401);
        for place in ["oauth2/v2.0/token", "oauth2/v2.0/devicecode"] {
            let refused = server.send("POST", &format!("/{TENANT}/{place}"), "", "{}");
            assert!(refused.status >= 400 && refused.status < 500, "{refused:?}");
        }
    }
}

/// Runs a command of the program and answers what it printed, or with what it failed.
fn presenced(server: &Serving, arguments: &[&str]) -> Result<String, String> {
    let url = format!("http://{}", server.http);
    let output = Command::new(BINARY).args(arguments).args(["--url", &url]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A tenant that comes while the server runs, from its first user to its end: by the commands alone, against the real server.
#[test]
fn a_tenant_is_brought_up_changed_and_taken_away_from_the_shell_while_the_server_runs() {
    const ADMIN: &str = "0b1c8a5e-0000-4000-8000-000000000001";
    let (folder, theirs) = (tempfile::tempdir().unwrap(), key("one"));
    let provider = Provider::start(folder.path(), Manner::Keys(vec![theirs.clone()]));
    std::fs::write(folder.path().join("secret"), "of-the-administrator").unwrap();
    let users = folder.path().join("users.csv");
    let csv = format!(
        "id,userPrincipalName,displayName\n{USER_A},ana@sub.example,Ana\n{ADMIN},bo@sub.example,Bo\n"
    );
    std::fs::write(&users, csv).unwrap();
    let issuers = folder.path().join("issuers.toml");
    let none = folder.path().join("none.toml");
    std::fs::write(&none, "").unwrap();
    std::fs::write(
        &issuers,
        format!(
            "[[issuer]]\nissuer = \"{}\"\nrecipe = \"keycloak\"\naudiences = [\"{AUDIENCE}\"]\n",
            provider.url
        ),
    )
    .unwrap();
    let config = format!(
        r#"
        host_tenant = "{TENANT}"
        issuer.embedded = true
        [[tenant]]
        id = "{TENANT}"
        [[tenant.application]]
        id = "{ADMIN}"
        secret_file = "secret"
        roles = ["Presenced.Admin"]
        "#
    );
    let mut server = Serving::of(folder, &config, &[]);
    let as_admin = ["--tenant", TENANT, "--client-id", ADMIN, "--client-secret", "of-the-administrator"];
    let admin = |server: &Serving, arguments: &[&str]| {
        presenced(server, &[arguments, &as_admin[..]].concat())
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    let refused = |server: &Serving, arguments: &[&str]| {
        presenced(server, &[arguments, &as_admin[..]].concat()).unwrap_err()
    };

    let added = admin(&server, &["tenant", "add", "Subsidiary", "--domain", "sub.example"]);
    let sub = added.trim();
    assert!(admin(&server, &["tenant", "list"]).contains("Subsidiary"));
    let app = ["app", "add", "Door", "--role", "Presence.ReadWrite.All", "--role", "User.ReadBasic.All"];
    let app = admin(&server, &[&app[..], &["--of-tenant", sub, "--json"]].concat());
    let app: Value = serde_json::from_str(&app).unwrap();
    let (id, secret) = (app["id"].as_str().unwrap(), app["clientSecret"].as_str().unwrap());
    let users = users.to_str().unwrap();
    assert_eq!(admin(&server, &["users", "import", users, "--of-tenant", sub]), "2 users imported\n");

    // It has its issuer at once, by its id and by its domain.
    let door = |server: &Serving, tenant: &str, secret: &str, arguments: &[&str]| {
        let who = ["--tenant", tenant, "--client-id", id, "--client-secret", secret];
        presenced(server, &[arguments, &who[..]].concat())
    };
    for tenant in [sub, "sub.example"] {
        let seen = door(&server, tenant, secret, &["get", "ana@sub.example"]).unwrap();
        assert!(seen.contains("Offline"), "{seen}");
    }
    door(&server, sub, secret, &["set", "ana@sub.example", "Busy/InACall"]).unwrap();
    assert!(door(&server, sub, secret, &["users", "list"]).unwrap().contains("bo@sub.example"));
    assert!(door(&server, TENANT, secret, &["get", "ana@sub.example"]).is_err(), "nobody in another tenant");
    assert!(
        door(&server, sub, secret, &["app", "list"]).unwrap_err().contains("nsufficient"),
        "no administrator"
    );
    assert!(admin(&server, &["app", "list", "--of-tenant", sub]).contains("Door"));

    // Everything is there after a kill.
    server.restart();
    assert!(
        door(&server, "sub.example", secret, &["get", "ana@sub.example"]).unwrap().contains("Busy/InACall")
    );
    let rotated =
        admin(&server, &["app", "rotate-secret", id, "--overlap", "PT0S", "--of-tenant", sub, "--json"]);
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    let new = rotated["clientSecret"].as_str().unwrap();
    assert!(door(&server, sub, secret, &["get", "ana@sub.example"]).is_err(), "the old secret is over");
    door(&server, sub, new, &["get", "ana@sub.example"]).unwrap();

    // A limit of its own, which is nobody else's.
    admin(&server, &["tenant", "set", sub, "--requests-per-30-seconds", "1"]);
    let statuses: Vec<bool> =
        (0..3).map(|_| door(&server, sub, new, &["get", "ana@sub.example"]).is_ok()).collect();
    assert!(statuses.contains(&false), "{statuses:?}");
    (0..3).for_each(|_| drop(admin(&server, &["tenant", "list"])));
    admin(&server, &["tenant", "set", sub, "--requests-per-30-seconds", "0", "--domain", "other.example"]);
    door(&server, "other.example", new, &["get", "ana@sub.example"]).unwrap();
    assert!(door(&server, "sub.example", new, &["get", "ana@sub.example"]).is_err(), "no longer its name");

    // An issuer of its own takes the place of the embedded one, also over a restart, and gives it back.
    let token = theirs.sign(&provider.claims(json!({})));
    assert_eq!(server.me(&token), 401);
    let (issuers, none) = (issuers.to_str().unwrap(), none.to_str().unwrap());
    provider.become_(Manner::Down);
    let why = refused(&server, &["tenant", "set", sub, "--issuers", issuers]);
    assert!(why.contains("503"), "{why}");
    provider.become_(Manner::Keys(vec![theirs.clone()]));
    let mine =
        presenced(&server, &["token", "--tenant", sub, "--client-id", id, "--client-secret", new]).unwrap();
    assert_eq!(server.get(&format!("/v1.0/users/{USER_A}/presence"), mine.trim()).status, 200);
    admin(&server, &["tenant", "set", sub, "--issuers", issuers]);
    assert_eq!(server.me(&token), 200, "at once");
    assert_eq!(server.get(&format!("/v1.0/users/{USER_A}/presence"), mine.trim()).status, 401, "over");
    assert!(door(&server, sub, new, &["get", "ana@sub.example"]).is_err());
    provider.become_(Manner::Down);
    server.restart();
    assert_eq!(server.me(&token), 200, "its keys were kept");
    admin(&server, &["tenant", "set", sub, "--issuers", none]);
    assert_eq!(server.me(&token), 401);
    door(&server, sub, new, &["get", "ana@sub.example"]).unwrap();

    admin(&server, &["users", "remove", "bo@sub.example", "--of-tenant", sub]);
    assert!(!door(&server, sub, new, &["users", "list"]).unwrap().contains("bo@"));
    let mine = presenced(&server, &["token", "--tenant", sub, "--client-id", id, "--client-secret", new]);
    admin(&server, &["app", "remove", id, "--of-tenant", sub]);
    assert!(door(&server, sub, new, &["get", "ana@sub.example"]).is_err());
    assert!(refused(&server, &["tenant", "remove", TENANT]).contains("declared"));
    admin(&server, &["tenant", "remove", sub]);
    assert!(!admin(&server, &["tenant", "list"]).contains("Subsidiary"));
    let gone = server.get(&format!("/v1.0/users/{USER_A}/presence"), mine.unwrap().trim());
    assert_eq!(gone.status, 401, "its tokens end with it");
    server.restart();
    assert!(!admin(&server, &["tenant", "list"]).contains("Subsidiary"));
}
