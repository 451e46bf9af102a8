//! `presenced serve` with `passwordless_sign_in`: two tenants whose codes and tokens are worth nothing to each other, and
//! pages of registered origins.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{APP, Answer, BINARY, Caller, Server, USER_A, USER_B};

const TENANTS: [&str; 2] = ["84bd8158-6d4d-4958-8b9f-9d6445542f95", "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"];
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const BACK: &str = "https://board.example.org/";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A server with the same application and the same user in two tenants. The folder goes with it.
fn serve() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = format!(
        "data_dir = \"data\"\npublic_url = \"http://{http}\"\nlisten.http = [\"{http}\"]\n\
         issuer = {{ embedded = true, passwordless_sign_in = \"loopback\" }}\n"
    );
    for tenant in TENANTS {
        config.push_str(&format!(
            "[[tenant]]\nid = \"{tenant}\"\n[[tenant.application]]\nid = \"{APP}\"\nname = \"<b>Board</b>\"\n\
             spa_redirect_uris = [\"{BACK}\"]\nis_public_client = true\nscopes = [\"Presence.ReadWrite\"]\n\
             [[tenant.user]]\nid = \"{USER_A}\"\nuserPrincipalName = \"ana@x.example\"\n\
             displayName = \"<img src=x onerror=alert(1)>\"\n\
             [[tenant.user]]\nid = \"{USER_B}\"\nuserPrincipalName = \"gone@x.example\"\naccountEnabled = false\n"
        ));
    }
    std::fs::write(folder.path().join("presenced.toml"), config).unwrap();
    let mut child = Command::new(BINARY)
        .args(["serve", "--config"])
        .arg(folder.path().join("presenced.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"ready\"") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "presenced ended early");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (Server { child, http, banner: String::new() }, folder)
}

fn form(server: &Server, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    server.send("POST", path, &[FORM], body.as_bytes())
}

fn page_of(tenant: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", APP),
            ("response_type", "code"),
            ("redirect_uri", BACK),
            ("scope", "Presence.ReadWrite offline_access"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    format!("/{tenant}/oauth2/v2.0/authorize?{query}")
}

fn code_of(server: &Server, tenant: &str) -> String {
    let answer = form(server, &page_of(tenant), &[("user", "ana@x.example"), ("decision", "agree")]);
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").unwrap().strip_prefix(&format!("{BACK}?code=")).unwrap().to_owned()
}

fn token(server: &Server, tenant: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let mut all = vec![("client_id", APP), ("redirect_uri", BACK), ("code_verifier", VERIFIER)];
    all.extend_from_slice(fields);
    let answer = form(server, &format!("/{tenant}/oauth2/v2.0/token"), &all);
    (answer.status, answer.json())
}

#[test]
fn codes_and_refresh_tokens_and_devices_of_one_tenant_are_nothing_in_another() {
    let (server, _folder) = serve();
    let [here, there] = TENANTS;
    let code = code_of(&server, here);
    let redeem = [("grant_type", "authorization_code"), ("code", code.as_str())];
    let (status, body) = token(&server, there, &redeem);
    assert_eq!((status, &body["error_codes"][0]), (400, &70008.into()), "{body}");
    let (status, body) = token(&server, here, &redeem);
    assert_eq!(status, 200, "{body}");
    let access = body["access_token"].as_str().unwrap();
    let refresh = body["refresh_token"].as_str().unwrap();
    let renew = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let (status, body) = token(&server, there, &renew);
    assert_eq!((status, &body["error_codes"][0]), (400, &700_082.into()), "{body}");
    assert_eq!(token(&server, here, &renew).0, 200);
    assert_eq!(Caller::with_token(&server, access).get("/v1.0/me/presence").status, 200);
    assert_eq!(Caller::with_token(&server, refresh).get("/v1.0/me/presence").status, 401);

    let begin = [("client_id", APP), ("scope", "Presence.ReadWrite")];
    let begun = form(&server, &format!("/{here}/oauth2/v2.0/devicecode"), &begin).json();
    let user_code = begun["user_code"].as_str().unwrap();
    let agree = [("user_code", user_code), ("user", "ana@x.example"), ("decision", "agree")];
    let elsewhere = form(&server, &format!("/{there}/oauth2/deviceauth"), &agree);
    assert!(elsewhere.text().contains("not one that a device waits with"));
    let poll = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", begun["device_code"].as_str().unwrap()),
    ];
    assert_eq!(token(&server, there, &poll).1["error"], "bad_verification_code");
    assert_eq!(token(&server, here, &poll).1["error"], "authorization_pending");
}

#[test]
fn pages_of_registered_origins_read_answers_and_no_others() {
    let (server, _folder) = serve();
    let tenant = TENANTS[0];
    for path in [
        format!("/{tenant}/v2.0/.well-known/openid-configuration"),
        format!("/{tenant}/oauth2/v2.0/token"),
        format!("/{tenant}/discovery/v2.0/keys"),
        "/v1.0/me/presence".to_owned(),
    ] {
        for (origin, is_welcome) in [
            ("https://board.example.org", true),
            ("https://board.example.org.evil.example", false),
            ("http://board.example.org", false),
            ("http://localhost:3000", false),
            ("null", false),
        ] {
            let headers = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization, client-request-id, x-client-sku"),
            ];
            let allowed = is_welcome.then_some(origin);
            let preflight = server.send("OPTIONS", &path, &headers, b"");
            assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{path} {origin}");
            let answer = server.send("GET", &path, &headers[..1], b"");
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path} {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
    }
}

#[test]
fn the_page_shows_who_may_sign_in_and_their_names_as_text() {
    let (server, _folder) = serve();
    let answer = server.send("GET", &page_of(TENANTS[0]), &[], b"");
    let html = answer.text();
    assert_eq!(answer.status, 200);
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;") && html.contains("&lt;b&gt;Board&lt;/b&gt;"));
    assert!(!html.contains("<img") && !html.contains("<b>") && !html.contains("<script"));
    // Who is disabled is neither shown nor signed in.
    assert!(!html.contains("gone@x.example"));
    let gone = form(&server, &page_of(TENANTS[0]), &[("name", "gone@x.example"), ("decision", "agree")]);
    assert_eq!((gone.status, gone.header("location")), (200, None));
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none';"));
}

#[test]
fn oversized_and_broken_forms_are_refused_and_the_server_goes_on() {
    let (server, _folder) = serve();
    let path = format!("/{}/oauth2/v2.0/token", TENANTS[0]);
    let large = format!("grant_type={}", "x".repeat(70_000));
    assert_eq!(server.send("POST", &path, &[FORM], large.as_bytes()).status, 413);
    assert_eq!(server.send("POST", &page_of(TENANTS[0]), &[FORM], large.as_bytes()).status, 413);
    for body in
        ["", "grant_type", "%ff%00=%", "grant_type=authorization_code&grant_type=refresh_token", "&&&=&"]
    {
        let answer = server.send("POST", &path, &[FORM], body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    for query in ["", "?", "?client_id=%ff", "?client_id=&redirect_uri=", "?state=%0d%0aSet-Cookie:a=b"] {
        let path = format!("/{}/oauth2/v2.0/authorize{query}", TENANTS[0]);
        let answer = server.send("GET", &path, &[], b"");
        assert_eq!((answer.status, answer.header("set-cookie")), (400, None), "{query}");
    }
    assert_eq!(server.send("GET", &page_of(TENANTS[0]), &[], b"").status, 200);
}
