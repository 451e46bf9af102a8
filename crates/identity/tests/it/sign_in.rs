//! Identity B.4, B.5 and B.7 with a user: pages, codes, refresh tokens, devices, and what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Response};
use identity::{CallerKind, Issuer};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::world::*;

const TOKEN: &str = "/common/oauth2/v2.0/token";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "http://localhost:51234/";

/// A good request for the page, with some fields replaced; an empty replacement leaves the field out.
fn page(replaced: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("client_id", PUBLIC_APP),
        ("response_type", "code"),
        ("redirect_uri", BACK),
        ("scope", "Presence.Read https://graph.microsoft.com/User.Read openid profile offline_access"),
        ("state", "a state"),
        ("nonce", "a nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("client_info", "1"),
    ];
    for (name, value) in replaced {
        fields.retain(|(field, _)| field != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!("/{TENANT}/oauth2/v2.0/authorize?{query}")
}

const AGREE: [(&str, &str); 2] = [("user", "adele@contoso.example"), ("decision", "agree")];

fn location(response: &Response<Vec<u8>>) -> String {
    assert_eq!(response.status(), 302, "{}", String::from_utf8_lossy(response.body()));
    response.headers()["location"].to_str().unwrap().to_owned()
}

fn field(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once(['?', '#']).unwrap();
    let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

fn sign_in(issuer: &Issuer, replaced: &[(&str, &str)]) -> String {
    let response = ask(issuer, NOW, Method::POST, &page(replaced), &[], &AGREE);
    field(&location(&response), "code").unwrap()
}

fn redeem(issuer: &Issuer, now: i64, code: &str, replaced: &[(&str, &str)]) -> (u16, Value) {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", PUBLIC_APP),
        ("code", code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
        ("client_info", "1"),
    ];
    for (name, value) in replaced {
        fields.retain(|(field, _)| field != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    status_and_json(&ask(issuer, now, Method::POST, TOKEN, &[], &fields))
}

#[track_caller]
fn refused(answer: &(u16, Value), status: u16, error: &str, number: u32) {
    let found = (answer.0, &answer.1["error"], &answer.1["error_codes"]);
    assert_eq!(found, (status, &json!(error), &json!([number])), "{}", answer.1);
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[test]
fn a_user_who_agrees_is_signed_in_with_exactly_these_members() {
    let issuer = sign_in_issuer();
    let response = ask(&issuer, NOW, Method::POST, &page(&[]), &[], &AGREE);
    let back = location(&response);
    assert!(back.starts_with("http://localhost:51234/?code="), "{back}");
    assert_eq!(field(&back, "state").as_deref(), Some("a state"));
    let (status, body) = redeem(&issuer, NOW + 1, &field(&back, "code").unwrap(), &[]);
    assert_eq!(status, 200, "{body}");
    let mut names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "access_token",
        "client_info",
        "expires_in",
        "ext_expires_in",
        "id_token",
        "refresh_token",
        "scope",
        "token_type",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        body["scope"],
        "Presence.Read https://graph.microsoft.com/User.Read openid profile offline_access"
    );
    let info = URL_SAFE_NO_PAD.decode(body["client_info"].as_str().unwrap()).unwrap();
    assert_eq!(info, format!("{{\"uid\":\"{USER}\",\"utid\":\"{TENANT}\"}}").into_bytes());
    let caller = verifier().verify(body["access_token"].as_str().unwrap(), at(NOW + 1)).unwrap();
    assert_eq!((caller.kind, caller.principal.to_string().as_str()), (CallerKind::Delegated, USER));
    assert!(caller.permissions.has("Presence.Read") && caller.permissions.has("User.Read"));
    assert!(!caller.permissions.has("Presence.ReadWrite"));
    let id_token = body["id_token"].as_str().unwrap();
    assert_eq!(
        claims(id_token),
        json!({ "aud": PUBLIC_APP, "iss": format!("{BASE_URL}/{TENANT}/v2.0"), "iat": NOW + 1, "nbf": NOW + 1,
            "exp": NOW + 1 + 3599, "sub": USER, "oid": USER, "tid": TENANT, "nonce": "a nonce", "ver": "2.0",
            "preferred_username": "adele@contoso.example", "name": "Adele" })
    );
    // Who one is is no permission to do anything.
    assert!(verifier().verify(id_token, at(NOW + 1)).is_err());
    assert!(verifier().verify(body["refresh_token"].as_str().unwrap(), at(NOW + 1)).is_err());
}

#[test]
fn a_code_counts_once_and_for_five_minutes_and_only_for_whom_it_was_made() {
    let issuer = sign_in_issuer();
    let code = sign_in(&issuer, &[]);
    assert_eq!(redeem(&issuer, NOW + 1, &code, &[]).0, 200);
    refused(&redeem(&issuer, NOW + 2, &code, &[]), 400, "invalid_grant", 54005);

    let late = sign_in(&issuer, &[]);
    refused(&redeem(&issuer, NOW + 300, &late, &[]), 400, "invalid_grant", 70008);
    refused(&redeem(&issuer, NOW, "never given out", &[]), 400, "invalid_grant", 70008);

    let wrong = "x".repeat(43);
    for (replaced, error, number) in [
        (("code_verifier", wrong.as_str()), "invalid_grant", 501_481),
        (("code_verifier", ""), "invalid_grant", 501_481),
        (("redirect_uri", "http://localhost:51235/"), "invalid_grant", 500_112),
    ] {
        let code = sign_in(&issuer, &[]);
        refused(&redeem(&issuer, NOW, &code, &[replaced]), 400, error, number);
        // Guessing on is of no use.
        refused(&redeem(&issuer, NOW, &code, &[]), 400, "invalid_grant", 54005);
    }
    let code = sign_in(&issuer, &[]);
    let other = [("client_id", APP), ("client_secret", SECRET)];
    refused(&redeem(&issuer, NOW, &code, &other), 400, "invalid_grant", 70000);
    // Another issuer, such as that of another tenant, knows nothing of it.
    let code = sign_in(&issuer, &[]);
    refused(&redeem(&sign_in_issuer(), NOW, &code, &[]), 400, "invalid_grant", 70008);
    // Plain challenges count as well, and a code without one only for who shows a secret.
    let plain = "p".repeat(43);
    let code = sign_in(&issuer, &[("code_challenge", &plain), ("code_challenge_method", "plain")]);
    assert_eq!(redeem(&issuer, NOW, &code, &[("code_verifier", &plain)]).0, 200);
    let bare = [("code_challenge", ""), ("code_challenge_method", "")];
    let code = sign_in(&issuer, &bare);
    refused(&redeem(&issuer, NOW, &code, &[("code_verifier", "")]), 400, "invalid_request", 9_002_325);
}

#[test]
fn a_confidential_client_shows_its_secret_and_a_page_needs_none() {
    let issuer = sign_in_issuer();
    let confidential = [("client_id", APP)];
    let code = sign_in(&issuer, &confidential);
    refused(&redeem(&issuer, NOW, &code, &confidential), 401, "invalid_client", 7_000_218);
    // It is not used up by that.
    let shown = [("client_id", APP), ("client_secret", SECRET)];
    assert_eq!(redeem(&issuer, NOW, &code, &shown).0, 200);
    let page_uri = "https://page.example.org/";
    let page = [("client_id", APP), ("redirect_uri", page_uri), ("response_mode", "fragment")];
    let code = sign_in(&issuer, &page);
    let (status, body) = redeem(&issuer, NOW, &code, &page[..2]);
    assert_eq!(status, 200, "{body}");
    // A page's refresh token ends a day after the sign-in, however often it is renewed.
    let renewed = refresh(&issuer, NOW + 86_000, &body, APP, &[]);
    assert_eq!(renewed.0, 200, "{}", renewed.1);
    refused(&refresh(&issuer, NOW + 86_400, &renewed.1, APP, &[]), 400, "invalid_grant", 700_082);
}

fn refresh(issuer: &Issuer, now: i64, body: &Value, client: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let token = body["refresh_token"].as_str().unwrap();
    let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)];
    fields.extend_from_slice(more);
    status_and_json(&ask(issuer, now, Method::POST, TOKEN, &[], &fields))
}

#[test]
fn a_refresh_token_brings_new_tokens_of_what_was_agreed_to_and_nothing_else() {
    let issuer = sign_in_issuer();
    let first = redeem(&issuer, NOW, &sign_in(&issuer, &[]), &[]).1;
    let (status, second) = refresh(&issuer, NOW + 5_000, &first, PUBLIC_APP, &[]);
    assert_eq!(status, 200, "{second}");
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert!(verifier().verify(second["access_token"].as_str().unwrap(), at(NOW + 5_000)).is_ok());
    let (_, less) = refresh(&issuer, NOW, &first, PUBLIC_APP, &[("scope", "user.read")]);
    assert_eq!(
        (&less["scope"], &claims(less["access_token"].as_str().unwrap())["scp"]),
        (&json!("user.read"), &json!("User.Read"))
    );
    // Less for once is not less for ever.
    let again = refresh(&issuer, NOW, &less, PUBLIC_APP, &[("scope", "Presence.Read")]);
    assert_eq!(again.0, 200, "{}", again.1);
    let more = refresh(&issuer, NOW, &first, PUBLIC_APP, &[("scope", "Presence.ReadWrite")]);
    refused(&more, 400, "invalid_grant", 65001);
    assert_eq!(more.1["suberror"], "consent_required");
    refused(&refresh(&issuer, NOW, &first, APP, &[("client_secret", SECRET)]), 400, "invalid_grant", 70000);
    refused(&refresh(&issuer, NOW + 90 * 86_400, &first, PUBLIC_APP, &[]), 400, "invalid_grant", 700_082);
    let forged = json!({ "refresh_token": "AAAA" });
    refused(&refresh(&issuer, NOW, &forged, PUBLIC_APP, &[]), 400, "invalid_grant", 700_082);
    // It outlives the process that made it.
    assert_eq!(refresh(&sign_in_issuer(), NOW, &first, PUBLIC_APP, &[]).0, 200);
}

#[test]
fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let issuer = sign_in_issuer();
    for uri in [
        "https://evil.example/",
        "http://localhost@evil.example/",
        "http://localhost.evil.example/",
        "//evil.example",
        "javascript:alert(1)",
        "http://localhost:51234/\r\nLocation: https://evil.example",
        "https://app.example.org/back/../../evil",
    ] {
        for method in [Method::GET, Method::POST] {
            let response = ask(&issuer, NOW, method, &page(&[("redirect_uri", uri)]), &[], &AGREE);
            assert_eq!(response.status(), 400, "{uri}");
            assert!(!response.headers().contains_key("location"), "{uri}");
            assert!(String::from_utf8_lossy(response.body()).contains("AADSTS50011"), "{uri}");
        }
    }
    let logout = |uri: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("post_logout_redirect_uri", uri)
            .append_pair("state", "s")
            .finish();
        ask(&issuer, NOW, Method::GET, &format!("/common/oauth2/v2.0/logout?{query}"), &[], &[])
    };
    assert_eq!(logout("https://evil.example/").status(), 200);
    assert_eq!(location(&logout("https://page.example.org/")), "https://page.example.org/?state=s");
}

#[test]
fn refusals_go_back_to_the_application_once_its_address_is_known() {
    let issuer = sign_in_issuer();
    for (replaced, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "Presence.ReadWrite.All"), "invalid_scope"),
        (("scope", "https://other.example/.default"), "invalid_resource"),
        (("prompt", "none"), "login_required"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", "S512"), "invalid_request"),
        (("scope", ""), "invalid_request"),
    ] {
        let response = ask(&issuer, NOW, Method::GET, &page(&[replaced]), &[], &[]);
        let back = location(&response);
        assert!(back.starts_with(BACK), "{back}");
        assert_eq!(field(&back, "error").as_deref(), Some(error), "{back}");
        assert_eq!(field(&back, "state").as_deref(), Some("a state"));
        assert!(field(&back, "error_description").unwrap().starts_with("AADSTS"));
        assert_eq!(field(&back, "code"), None);
    }
    let canceled = ask(&issuer, NOW, Method::POST, &page(&[]), &[], &[("decision", "cancel")]);
    assert_eq!(field(&location(&canceled), "error").as_deref(), Some("access_denied"));
    for (name, value) in
        [("client_id", APP.replace('1', "9").as_str()), ("client_id", ""), ("redirect_uri", "")]
    {
        let response = ask(&issuer, NOW, Method::GET, &page(&[(name, value)]), &[], &[]);
        assert_eq!(response.status(), 400, "{name}={value}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    }
}

#[test]
fn names_on_a_page_are_text_and_the_page_runs_nothing() {
    let issuer = sign_in_issuer();
    let hint = "\"><script>alert(1)</script>";
    let response = ask(&issuer, NOW, Method::GET, &page(&[("login_hint", hint), ("state", hint)]), &[], &[]);
    let html = String::from_utf8(response.body().clone()).unwrap();
    assert_eq!(response.status(), 200);
    assert!(!html.contains("<script"), "{html}");
    assert!(
        html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;Desk&quot;"),
        "{html}"
    );
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self' http://localhost:51234;",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    assert_eq!(response.headers()["x-frame-options"], "DENY");
    assert!(html.contains("<legend>") && html.contains("lang=\"en\"") && html.contains("<label"));
    // A form that was sent by another site is not an answer.
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(ask(&issuer, NOW, Method::POST, &page(&[]), &foreign, &AGREE).status(), 403);
    // Nor is one of nobody's.
    let nobody = [("name", "nobody@contoso.example"), ("decision", "agree")];
    assert_eq!(ask(&issuer, NOW, Method::POST, &page(&[]), &[], &nobody).status(), 200);
    let large = "x".repeat(70_000);
    assert_eq!(ask(&issuer, NOW, Method::POST, &page(&[]), &[], &[("user", &large)]).status(), 413);
    assert_eq!(ask(&issuer, NOW, Method::POST, TOKEN, &[], &[("code", &large)]).status(), 413);
    assert_eq!(ask(&issuer, NOW, Method::PUT, &page(&[]), &[], &[]).headers()["allow"], "GET, HEAD, POST");
}

#[test]
fn answers_come_as_query_fragment_or_form_and_an_id_token_never_in_a_query() {
    let issuer = sign_in_issuer();
    let fragment = [("response_mode", "fragment")];
    let back = location(&ask(&issuer, NOW, Method::POST, &page(&fragment), &[], &AGREE));
    assert!(back.starts_with("http://localhost:51234/#code="), "{back}");
    let both = [("response_type", "code id_token")];
    let back = location(&ask(&issuer, NOW, Method::POST, &page(&both), &[], &AGREE));
    assert!(back.contains('#') && field(&back, "id_token").is_some() && field(&back, "code").is_some());
    let query = [("response_type", "id_token"), ("response_mode", "query")];
    assert_eq!(ask(&issuer, NOW, Method::POST, &page(&query), &[], &AGREE).status(), 400);
    let form = [("response_mode", "form_post"), ("state", "<\"'&>")];
    let response = ask(&issuer, NOW, Method::POST, &page(&form), &[], &AGREE);
    let html = String::from_utf8(response.body().clone()).unwrap();
    assert!(html.contains("<form method=\"post\" action=\"http://localhost:51234/\">"), "{html}");
    assert!(html.contains("value=\"&lt;&quot;&#39;&amp;&gt;\""), "{html}");
}

fn device(issuer: &Issuer, now: i64, code: &str) -> (u16, Value) {
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let fields = [("grant_type", grant), ("client_id", PUBLIC_APP), ("device_code", code), ("code", code)];
    status_and_json(&ask(issuer, now, Method::POST, TOKEN, &[], &fields))
}

fn begin(issuer: &Issuer) -> Value {
    begin_at(issuer, NOW)
}

fn begin_at(issuer: &Issuer, now: i64) -> Value {
    let path = format!("/{TENANT}/oauth2/v2.0/devicecode");
    let fields = [("client_id", PUBLIC_APP), ("scope", "Presence.Read openid offline_access")];
    let (status, body) = status_and_json(&ask(issuer, now, Method::POST, &path, &[], &fields));
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn a_device_waits_until_its_user_answers() {
    let issuer = sign_in_issuer();
    let begun = begin(&issuer);
    assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(900), &json!(5)));
    let uri = begun["verification_uri"].as_str().unwrap();
    assert_eq!(uri, format!("{BASE_URL}/{TENANT}/oauth2/deviceauth"));
    let (code, user_code) = (begun["device_code"].as_str().unwrap(), begun["user_code"].as_str().unwrap());
    assert!(begun["message"].as_str().unwrap().contains(user_code));
    refused(&device(&issuer, NOW + 5, code), 400, "authorization_pending", 70016);
    refused(&device(&issuer, NOW + 6, code), 400, "slow_down", 70016);
    // From then on it waits five seconds longer.
    refused(&device(&issuer, NOW + 12, code), 400, "slow_down", 70016);
    refused(&device(&issuer, NOW + 60, code), 400, "authorization_pending", 70016);
    let path = uri.strip_prefix(BASE_URL).unwrap();
    let typed = format!(" {}-{} ", &user_code[..4].to_lowercase(), &user_code[4..]);
    let shown = ask(&issuer, NOW + 61, Method::POST, path, &[], &[("user_code", &typed)]);
    assert!(String::from_utf8_lossy(shown.body()).contains("Presence.Read"));
    let agree = [("user_code", typed.as_str()), AGREE[0], AGREE[1]];
    let done = ask(&issuer, NOW + 62, Method::POST, path, &[], &agree);
    assert!(String::from_utf8_lossy(done.body()).contains("You have signed in"));
    let (status, body) = device(&issuer, NOW + 63, code);
    assert_eq!((status, &body["scope"]), (200, &json!("Presence.Read openid offline_access")), "{body}");
    refused(&device(&issuer, NOW + 80, code), 400, "bad_verification_code", 70018);
    let again = ask(&issuer, NOW + 81, Method::POST, path, &[], &agree);
    assert!(String::from_utf8_lossy(again.body()).contains("not one that a device waits with"));
}

#[test]
fn a_device_is_told_that_its_user_declined_or_took_too_long() {
    let issuer = sign_in_issuer();
    let begun = begin(&issuer);
    let (code, user_code) = (begun["device_code"].as_str().unwrap(), begun["user_code"].as_str().unwrap());
    let decline = [("user_code", user_code), ("decision", "cancel")];
    ask(&issuer, NOW, Method::POST, "/common/oauth2/deviceauth", &[], &decline);
    refused(&device(&issuer, NOW + 1, code), 400, "authorization_declined", 70022);
    let begun = begin(&issuer);
    refused(&device(&issuer, NOW + 900, begun["device_code"].as_str().unwrap()), 400, "expired_token", 70020);
    refused(&device(&issuer, NOW, "never given out"), 400, "bad_verification_code", 70018);
    let path = "/common/oauth2/v2.0/devicecode";
    // MSAL for Java names no type; another one is refused.
    let fields = [("client_id", PUBLIC_APP), ("scope", "Presence.Read")];
    let asked =
        |media: &str| ask(&issuer, NOW, Method::POST, path, &[("content-type", media)], &fields).status();
    assert_eq!((asked("").as_u16(), asked("application/json").as_u16()), (200, 400));
    let confidential = [("client_id", APP), ("scope", "Presence.Read")];
    refused(
        &status_and_json(&ask(&issuer, NOW, Method::POST, path, &[], &confidential)),
        401,
        "invalid_client",
        7_000_218,
    );
}

#[test]
fn codes_are_bounded_whoever_asks_for_them() {
    let issuer = sign_in_issuer();
    let first = begin_at(&issuer, NOW - 1);
    for _ in 0..identity::GRANTS_MAX {
        begin(&issuer);
    }
    refused(
        &device(&issuer, NOW, first["device_code"].as_str().unwrap()),
        400,
        "bad_verification_code",
        70018,
    );
}

/// An assertion as MSAL writes it, with some header members and claims replaced.
fn assertion(header: Value, replaced: Value, algorithm: Algorithm, key: &TestKey) -> String {
    let claims = with(
        json!({ "aud": format!("{BASE_URL}/{TENANT}/oauth2/v2.0/token"), "iss": APP, "sub": APP, "jti": "1",
            "exp": NOW as f64 + 600.5, "iat": NOW as f64 + 0.5, "nbf": NOW }),
        replaced,
    );
    let message = unsigned(&header, &claims);
    let private = EncodingKey::from_rsa_pem(key.pem.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &private, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn show(assertion: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    fields.extend_from_slice(more);
    status_and_json(&ask(&sign_in_issuer(), NOW, Method::POST, TOKEN, &[], &fields))
}

#[test]
fn an_assertion_by_a_registered_certificate_is_worth_a_token_and_by_another_is_not() {
    use aws_lc_rs::digest;
    let (key, _, der) = client_certificate();
    let x5t = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der));
    let x5t256 = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der));
    let padded = format!("{x5t}=");
    let rs256 = || json!({ "alg": "RS256", "typ": "JWT", "x5t": padded });
    let good = assertion(rs256(), json!({}), Algorithm::RS256, key);
    for _ in 0..2 {
        // MSAL shows one again and again while it is valid.
        let (status, body) = show(&good, &[("client_id", APP)]);
        assert_eq!(status, 200, "{body}");
        assert!(verify(body["access_token"].as_str().unwrap()).is_ok());
    }
    assert_eq!(show(&good, &[]).0, 200);
    let ps256 = json!({ "alg": "PS256", "x5t#S256": x5t256 });
    assert_eq!(show(&assertion(ps256, json!({}), Algorithm::PS256, key), &[]).0, 200);
    for (claims, number) in [
        (json!({ "aud": "https://login.microsoftonline.com/common/oauth2/v2.0/token" }), 700_023),
        (json!({ "aud": format!("{BASE_URL}/evil/oauth2/v2.0/token") }), 700_023),
        (json!({ "exp": NOW - 301 }), 700_024),
        (json!({ "exp": NOW + 3_600 }), 700_024),
        (json!({ "nbf": NOW + 301 }), 700_024),
        (json!({ "iss": PUBLIC_APP }), 700_021),
        (json!({ "sub": PUBLIC_APP }), 700_021),
        (json!({ "exp": "soon" }), 50027),
    ] {
        let bad = assertion(rs256(), claims.clone(), Algorithm::RS256, key);
        refused(&show(&bad, &[("client_id", APP)]), 401, "invalid_client", number);
    }
    let foreign = assertion(rs256(), json!({}), Algorithm::RS256, other_key());
    refused(&show(&foreign, &[("client_id", APP)]), 401, "invalid_client", 700_027);
    let unnamed = assertion(json!({ "alg": "RS256", "x5t": "AAAA" }), json!({}), Algorithm::RS256, key);
    refused(&show(&unnamed, &[("client_id", APP)]), 401, "invalid_client", 700_027);
    let none = format!(
        "{}.",
        unsigned(&json!({ "alg": "none" }), &json!({ "iss": APP, "sub": APP, "aud": "x", "exp": NOW }))
    );
    refused(&show(&none, &[("client_id", APP)]), 401, "invalid_client", 50027);
    refused(&show("rubbish", &[("client_id", APP)]), 401, "invalid_client", 50027);
    refused(&show(&good, &[("client_id", PUBLIC_APP)]), 401, "invalid_client", 700_027);
    refused(&show(&good, &[("client_secret", SECRET), ("client_id", APP)]), 400, "invalid_request", 90100);
}

#[test]
fn an_issuer_without_sign_in_neither_shows_pages_nor_takes_grants_of_users() {
    for path in ["oauth2/v2.0/authorize", "oauth2/deviceauth", "oauth2/v2.0/logout"] {
        let response = ask(&issuer(), NOW, Method::GET, &format!("/common/{path}?client_id={APP}"), &[], &[]);
        assert_eq!(response.status(), 400, "{path}");
    }
    for grant in
        ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "password"]
    {
        let form = [("grant_type", grant), ("client_id", APP), ("client_secret", SECRET)];
        let answer = status_and_json(&ask(&issuer(), NOW, Method::POST, TOKEN, &[], &form));
        refused(&answer, 400, "unsupported_grant_type", 70003);
    }
}

#[test]
fn the_configuration_names_what_is_there_and_the_realm_of_a_user_is_ours() {
    let path = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
    let (_, with) = status_and_json(&ask(&sign_in_issuer(), NOW, Method::GET, &path, &[], &[]));
    let (_, without) = status_and_json(&ask(&issuer(), NOW, Method::GET, &path, &[], &[]));
    for (member, segment) in
        [("device_authorization_endpoint", "devicecode"), ("end_session_endpoint", "logout")]
    {
        assert_eq!(with[member], format!("{BASE_URL}/{TENANT}/oauth2/v2.0/{segment}"));
        assert!(without[member].is_null());
    }
    for (user, kind) in [("adele%40contoso.example", "Managed"), ("a@elsewhere.example", "Unknown")] {
        let path = format!("/common/userrealm/{user}?api-version=1.0");
        let (status, body) = status_and_json(&ask(&sign_in_issuer(), NOW, Method::GET, &path, &[], &[]));
        assert_eq!((status, &body["account_type"]), (200, &json!(kind)), "{body}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_asked_of_the_page_leads_to_a_registered_address_or_nowhere(
        redirect in "(http://localhost[:/a-z0-9@.?#*%-]{0,12}|https://[a-z.@/-]{0,20}|[ -~]{0,20})",
        other in proptest::collection::vec(("(state|scope|response_type|response_mode|prompt|nonce|code_challenge|login_hint)", "[ -~]{0,50}"), 0..5),
    ) {
        let issuer = sign_in_issuer();
        let mut replaced = vec![("redirect_uri", redirect.as_str())];
        let other: Vec<(String, String)> = other;
        replaced.extend(other.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let response = ask(&issuer, NOW, Method::POST, &page(&replaced), &[], &AGREE);
        proptest::prop_assert!(!response.status().is_server_error());
        if let Some(location) = response.headers().get("location") {
            let location = location.to_str().unwrap();
            let uri: http::Uri = location.parse().unwrap();
            proptest::prop_assert!(
                matches!(uri.host(), Some("localhost" | "app.example.org" | "page.example.org")), "{}", location
            );
            proptest::prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
        }
    }

    #[test]
    fn no_form_makes_the_token_endpoint_fail(fields in proptest::collection::vec(
        ("(grant_type|client_id|code|scope|refresh_token|client_assertion|device_code|redirect_uri)",
            "(authorization_code|refresh_token|device_code|client_credentials|22223333-4444-5555-6666-777788889999|[ -~]{0,40})"), 0..8),
    ) {
        let fields: Vec<(String, String)> = fields;
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, body) = status_and_json(&ask(&sign_in_issuer(), NOW, Method::POST, TOKEN, &[], &fields));
        proptest::prop_assert!((400..500).contains(&status), "{body}");
        proptest::prop_assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS"));
    }
}
