//! Identity B.4, B.5 and B.7: a secret in, a token or an AADSTS error out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response};
use identity::CallerKind;
use serde_json::{Value, json};

use crate::world::*;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PATH: &str = "/common/oauth2/v2.0/token";

/// A good request, as MSAL sends it, with some fields replaced; an empty replacement leaves the field out.
fn form(replaced: &[(&str, &str)]) -> String {
    let fields = [
        ("client_id", APP),
        ("client_secret", SECRET),
        ("grant_type", "client_credentials"),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_info", "1"),
        ("claims", "{\"access_token\":{\"xms_cc\":{\"values\":[\"CP1\"]}}}"),
    ];
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let value = replaced.iter().find(|(field, _)| *field == name).map_or(value, |(_, value)| value);
        if !value.is_empty() {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

fn post(headers: &[(&'static str, &str)], body: &str) -> Response<Vec<u8>> {
    send(Method::POST, PATH, headers, body).unwrap()
}

fn post_form(replaced: &[(&str, &str)]) -> (u16, Value) {
    status_and_json(&post(&[FORM], &form(replaced)))
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[track_caller]
fn check(replaced: &[(&str, &str)], status: u16, error: &str, number: u32) {
    let (found, body) = post_form(replaced);
    assert_eq!(
        (found, &body["error"], &body["error_codes"]),
        (status, &json!(error), &json!([number])),
        "{body}"
    );
}

#[test]
fn a_secret_in_the_body_is_worth_a_token_and_exactly_these_members_and_headers() {
    let response = post(&[FORM], &form(&[]));
    assert_eq!(response.headers().len(), 3);
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["pragma"], "no-cache");
    let (status, body) = status_and_json(&response);
    assert_eq!(status, 200);
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(
        body,
        json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token})
    );
    let caller = verify(token).unwrap();
    assert_eq!((caller.kind, caller.app.to_string().as_str()), (CallerKind::Application, APP));
    assert_eq!(caller.token_expires_at, at(NOW + 3599));
    assert!(caller.permissions.has("Presence.ReadWrite.All"));
}

#[test]
fn a_token_from_any_of_our_addresses_is_accepted() {
    for base_url in ["https://127.0.0.1:8443", "https://unknown.example"] {
        let response = send_to(base_url, Method::POST, PATH, &[FORM], &form(&[])).unwrap();
        let (_, body) = status_and_json(&response);
        assert!(verify(body["access_token"].as_str().unwrap()).is_ok(), "{base_url}");
    }
}

#[test]
fn a_secret_in_http_basic_is_as_good_encoded_or_bare() {
    let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let body = form(&[("client_id", ""), ("client_secret", "")]);
    for secret in [SECRET, encoded.as_str()] {
        let authorization = basic(APP, secret);
        let response = post(&[FORM, ("authorization", &authorization)], &body);
        assert_eq!(response.status(), 200, "{secret}");
    }
    let with_id = form(&[("client_secret", "")]);
    assert_eq!(post(&[FORM, ("authorization", &basic(APP, SECRET))], &with_id).status(), 200);
}

#[test]
fn bad_basic_credentials_are_challenged() {
    let body = form(&[("client_id", ""), ("client_secret", "")]);
    for (authorization, number) in [
        (basic(APP, "wrong"), 7_000_215),
        (basic(APP, ""), 7_000_218),
        ("Basic ???".to_owned(), 7_000_218),
        ("Bearer abc".to_owned(), 7_000_218),
    ] {
        let response = post(&[FORM, ("authorization", &authorization)], &body);
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"\"");
        let (status, body) = status_and_json(&response);
        assert_eq!((status, &body["error_codes"]), (401, &json!([number])), "{authorization}");
    }
}

#[test]
fn two_ways_to_authenticate_at_once_are_refused() {
    for (authorization, body) in
        [(basic(APP, SECRET), form(&[])), (basic(USER, SECRET), form(&[("client_secret", "")]))]
    {
        let (status, body) = status_and_json(&post(&[FORM, ("authorization", &authorization)], &body));
        assert_eq!((status, &body["error_codes"]), (400, &json!([90100])));
    }
}

#[test]
fn any_name_of_ours_is_the_resource() {
    for scope in [
        "https://graph.microsoft.com/.default openid profile offline_access",
        "https://graph.microsoft.com/.default",
        "https://graph.microsoft.com//.default",
        "https://GRAPH.microsoft.com/.default",
        "00000003-0000-0000-c000-000000000000/.default",
        "https://localhost/.default",
        "http://localhost:8080/.default",
        "localhost/.default",
        "https://127.0.0.1/.default",
        " https://graph.microsoft.com/.default ",
    ] {
        assert_eq!(post_form(&[("scope", scope)]).0, 200, "{scope}");
    }
}

#[test]
fn scopes_of_others_and_other_scopes_are_refused() {
    check(&[("scope", "https://vault.example/.default")], 400, "invalid_resource", 500_011);
    check(
        &[("scope", "https://graph.microsoft.com.evil.example/.default")],
        400,
        "invalid_resource",
        500_011,
    );
    check(
        &[("scope", "https://evil.example/graph.microsoft.com/.default")],
        400,
        "invalid_resource",
        500_011,
    );
    check(
        &[("scope", "https://graph.microsoft.com@evil.example/.default")],
        400,
        "invalid_resource",
        500_011,
    );
    check(&[("scope", "https://graph.microsoft.com/Presence.Read")], 400, "invalid_scope", 1_002_012);
    check(&[("scope", ".default")], 400, "invalid_scope", 1_002_012);
    check(&[("scope", "https://localhost/.default Presence.Read")], 400, "invalid_scope", 70011);
    check(&[("scope", "openid profile")], 400, "invalid_scope", 70011);
    check(&[("scope", " ")], 400, "invalid_scope", 70011);
}

#[test]
fn missing_fields_are_named() {
    for name in ["grant_type", "client_id", "scope"] {
        let (status, body) = post_form(&[(name, "")]);
        assert_eq!(
            (status, &body["error"], &body["error_codes"]),
            (400, &json!("invalid_request"), &json!([900_144]))
        );
        let words = format!(
            "AADSTS900144: The request body must contain the following parameter: '{name}'. Trace ID:"
        );
        assert!(body["error_description"].as_str().unwrap().starts_with(&words), "{body}");
    }
}

#[test]
fn a_body_of_another_kind_has_no_fields() {
    let body = r#"{"grant_type":"client_credentials"}"#;
    for headers in [&[("content-type", "application/json")][..], &[]] {
        let (status, found) = status_and_json(&post(headers, body));
        assert_eq!((status, &found["error_codes"]), (400, &json!([900_144])));
        let (status, found) = status_and_json(&post(headers, &form(&[])));
        assert_eq!((status, &found["error_codes"]), (400, &json!([900_144])));
    }
    let charset = ("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8");
    assert_eq!(post(&[charset], &form(&[])).status(), 200);
}

#[test]
fn a_field_given_twice_is_refused() {
    for name in ["client_id", "client_secret", "grant_type", "scope"] {
        let body = format!("{}&{name}=again", form(&[]));
        let (status, found) = status_and_json(&post(&[FORM], &body));
        assert_eq!((status, &found["error_codes"]), (400, &json!([90100])), "{name}");
    }
}

#[test]
fn grants_that_are_not_built_are_unsupported() {
    for grant in [
        "authorization_code",
        "refresh_token",
        "password",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ] {
        check(&[("grant_type", grant)], 400, "unsupported_grant_type", 70003);
    }
}

#[test]
fn unknown_clients_and_wrong_missing_or_expired_secrets_are_told_apart() {
    check(&[("client_id", USER)], 400, "unauthorized_client", 700_016);
    check(&[("client_id", "robot")], 400, "unauthorized_client", 700_016);
    check(&[("client_secret", "")], 401, "invalid_client", 7_000_218);
    check(&[("client_secret", "wrong")], 401, "invalid_client", 7_000_215);
    check(&[("client_secret", &SECRET.to_uppercase())], 401, "invalid_client", 7_000_215);
    check(&[("client_secret", "yesterday")], 401, "invalid_client", 7_000_222);
}

#[test]
fn an_oversized_body_is_refused() {
    let body = format!("{}&padding={}", form(&[]), "x".repeat(64 * 1024));
    assert_eq!(post(&[FORM], &body).status(), 413);
}

#[test]
fn the_error_body_is_complete_and_its_description_says_it_all() {
    let response = post(&[FORM], &form(&[("client_secret", "wrong")]));
    assert_eq!(response.headers().len(), 3);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (status, body) = status_and_json(&response);
    assert_eq!(status, 401);
    assert_eq!(
        body,
        json!({
            "error": "invalid_client",
            "error_description": format!(
                "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the \
                 client secret value, not the client secret ID, for a secret added to app '{APP}'. \
                 Trace ID: 00000000-0000-0000-0000-000000000002 \
                 Correlation ID: 00000000-0000-0000-0000-000000000001 Timestamp: 2026-03-02 08:15:30Z"
            ),
            "error_codes": [7_000_215],
            "timestamp": "2026-03-02 08:15:30Z",
            "trace_id": "00000000-0000-0000-0000-000000000002",
            "correlation_id": "00000000-0000-0000-0000-000000000001",
        })
    );
}

#[test]
fn the_callers_request_id_is_the_correlation_id() {
    let headers = [FORM, ("client-request-id", "AAAAAAAA-0000-0000-0000-000000000001")];
    let (_, body) = status_and_json(&post(&headers, &form(&[("client_id", USER)])));
    assert_eq!(body["correlation_id"], "aaaaaaaa-0000-0000-0000-000000000001");
    assert_eq!(body["trace_id"], "00000000-0000-0000-0000-000000000001");
    let (_, body) =
        status_and_json(&post(&[FORM, ("client-request-id", "<x>")], &form(&[("client_id", USER)])));
    assert_eq!(body["correlation_id"], "00000000-0000-0000-0000-000000000001");
}

#[test]
fn an_error_never_repeats_a_secret() {
    for replaced in [&[("client_id", USER)][..], &[("scope", "x")], &[("grant_type", "x")]] {
        let response = post(&[FORM], &form(replaced));
        assert!(!String::from_utf8_lossy(response.body()).contains(SECRET));
    }
    let response = post(&[FORM], &form(&[("client_secret", "almost-the-secret")]));
    assert!(!String::from_utf8_lossy(response.body()).contains("almost-the-secret"));
}
