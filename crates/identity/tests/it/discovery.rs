//! Identity B.1 and B.3: what a client finds, and where.

use http::Method;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::json;

use crate::world::*;

#[test]
fn the_configuration_names_what_exists_and_the_endpoint_msal_demands() {
    let (status, found) = get(&format!("/{TENANT}/v2.0/.well-known/openid-configuration"));
    assert_eq!(status, 200);
    assert_eq!(
        found,
        json!({
            "issuer": format!("{BASE_URL}/{TENANT}/v2.0"),
            "authorization_endpoint": format!("{BASE_URL}/{TENANT}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{BASE_URL}/{TENANT}/oauth2/v2.0/token"),
            "jwks_uri": format!("{BASE_URL}/{TENANT}/discovery/v2.0/keys"),
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        })
    );
}

#[test]
fn every_tenant_alias_has_both_versions_and_both_key_paths() {
    let upper = TENANT.to_uppercase();
    for (asked, written) in [
        (TENANT, TENANT),
        (&upper, TENANT),
        ("contoso.example", TENANT),
        ("Contoso.Example", TENANT),
        ("common", "common"),
        ("organizations", "organizations"),
        ("Consumers", "consumers"),
    ] {
        for (version, keys) in [("v2.0/", "discovery/v2.0/keys"), ("", "discovery/keys")] {
            let (status, found) = get(&format!("/{asked}/{version}.well-known/openid-configuration"));
            assert_eq!(status, 200, "{asked}");
            assert_eq!(
                found["issuer"],
                format!("{BASE_URL}/{TENANT}/v2.0"),
                "the real tenant, also for an alias"
            );
            assert_eq!(found["jwks_uri"], format!("{BASE_URL}/{written}/{keys}"));
            assert_eq!(found["token_endpoint"], format!("{BASE_URL}/{written}/oauth2/v2.0/token"));
            assert_eq!(get(&format!("/{asked}/{keys}")).1["keys"][0]["kid"], key().signing.kid());
        }
    }
}

#[test]
fn the_address_in_use_is_the_address_in_the_answer() {
    let path = "/common/v2.0/.well-known/openid-configuration";
    for base_url in ["https://127.0.0.1:8443", "https://127.0.0.1:8443/"] {
        let (_, found) = status_and_json(&send_to(base_url, Method::GET, path, &[], "").unwrap());
        assert_eq!(found["issuer"], format!("https://127.0.0.1:8443/{TENANT}/v2.0"));
        assert_eq!(found["token_endpoint"], "https://127.0.0.1:8443/common/oauth2/v2.0/token");
    }
}

#[test]
fn an_address_we_do_not_know_never_becomes_an_issuer() {
    let path = "/common/v2.0/.well-known/openid-configuration";
    let (_, found) = status_and_json(&send_to("https://evil.example", Method::GET, path, &[], "").unwrap());
    assert_eq!(found["issuer"], format!("{BASE_URL}/{TENANT}/v2.0"));
}

#[test]
fn the_published_key_has_the_members_of_entra_less_the_issuer() {
    let (_, set) = get("/common/discovery/v2.0/keys");
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    let found = &set["keys"][0];
    let mut members: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use", "x5c", "x5t"]);
    assert_eq!(
        (&found["kty"], &found["use"], &found["alg"]),
        (&json!("RSA"), &json!("sig"), &json!("RS256"))
    );
    assert_eq!(found["e"], "AQAB");
    assert_eq!(found["x5t"].as_str().unwrap().len(), 27, "SHA-1 in base64url");
    assert_eq!(found["n"].as_str().unwrap().len(), 342, "2048 bits in base64url");
}

#[test]
fn the_published_certificate_holds_the_published_key() {
    use base64::Engine as _;
    let (_, set) = get("/common/discovery/keys");
    let encoded = set["keys"][0]["x5c"][0].as_str().unwrap();
    let certificate = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let x509_parser::public_key::PublicKey::RSA(public) = certificate.public_key().parsed().unwrap() else {
        panic!("not an RSA key")
    };
    let n =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(public.modulus.strip_prefix(&[0]).unwrap());
    assert_eq!(set["keys"][0]["n"], n);
}

#[test]
fn the_published_key_verifies_a_minted_token_in_the_hands_of_others() {
    let (_, set) = get("/common/discovery/v2.0/keys");
    let set: JwkSet = serde_json::from_value(set).unwrap();
    let token = issuer().mint_application(&application(), now(), 3600).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let public = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_audience(&["https://graph.microsoft.com"]);
    let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &public, &validation).unwrap().claims;
    assert_eq!(
        claims,
        json!({
            "aud": "https://graph.microsoft.com", "iss": format!("{BASE_URL}/{TENANT}/v2.0"),
            "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "tid": TENANT,
            "oid": SERVICE_PRINCIPAL, "sub": SERVICE_PRINCIPAL, "appid": APP, "azp": APP,
            "ver": "2.0", "idtyp": "app", "roles": ["Presence.ReadWrite.All"],
        })
    );
    let token = issuer().mint_delegated(&user(), &application(), &["Presence.Read"], now(), 60).unwrap();
    let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &public, &validation).unwrap().claims;
    assert_eq!(
        claims,
        json!({
            "aud": "https://graph.microsoft.com", "iss": format!("{BASE_URL}/{TENANT}/v2.0"),
            "iat": NOW, "nbf": NOW, "exp": NOW + 60, "tid": TENANT,
            "oid": USER, "sub": USER, "appid": APP, "azp": APP, "ver": "2.0", "idtyp": "user",
            "scp": "Presence.Read", "upn": "adele@contoso.example",
            "name": "Adele", "preferred_username": "adele@contoso.example",
        })
    );
}

#[test]
fn instance_discovery_leads_to_the_configuration() {
    let expected = |tenant: &str| {
        json!({
            "tenant_discovery_endpoint": format!("{BASE_URL}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": "localhost:8443", "preferred_cache": "localhost:8443",
                "aliases": ["localhost:8443", "127.0.0.1:8443"],
            }],
        })
    };
    let ask = |endpoint: &str| {
        get(&format!("/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}"))
    };
    assert_eq!(get("/common/discovery/instance"), (200, expected("common")));
    assert_eq!(
        ask(&format!("https%3A%2F%2Flocalhost%3A8443%2F{TENANT}%2Foauth2%2Fv2.0%2Fauthorize")),
        (200, expected(TENANT))
    );
    assert_eq!(
        ask("https://localhost/common/oauth2/v2.0/authorize"),
        (200, expected("common")),
        "MSAL drops the port"
    );
    let (status, refused) = ask("https://login.evil.example/common/oauth2/v2.0/authorize");
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_instance")));
    assert_eq!(ask("http://localhost/common/oauth2/v2.0/authorize").0, 400);
}

#[test]
fn an_unknown_tenant_is_a_bad_request_everywhere() {
    for path in [
        "/other.example/v2.0/.well-known/openid-configuration",
        "/other.example/.well-known/openid-configuration",
        "/other.example/discovery/keys",
        "/other.example/oauth2/v2.0/token",
    ] {
        let (status, refused) = get(path);
        assert_eq!(
            (status, &refused["error"], &refused["error_codes"]),
            (400, &json!("invalid_request"), &json!([90002]))
        );
        assert!(
            refused["error_description"]
                .as_str()
                .unwrap()
                .starts_with("AADSTS90002: Tenant 'other.example' not found.")
        );
    }
}

#[test]
fn other_paths_are_not_the_issuers() {
    for path in [
        "/",
        "",
        "/common",
        "//discovery/keys",
        "/v1.0/me/presence",
        "/.well-known/openid-configuration",
        "/common/oauth2/token",
        "/common/oauth2/v2.0/token/",
        "/common/oauth2/v2.0/authorize/",
        "/organizations/userrealm/a@b",
        "/common/userrealm/",
        "/organizations/discovery/instance",
    ] {
        assert!(send(Method::GET, path, &[], "").is_none(), "{path}");
    }
}

#[test]
fn the_wrong_method_is_told_the_right_one() {
    for (method, path, allowed) in [
        (Method::GET, "/common/oauth2/v2.0/token", "POST"),
        (Method::POST, "/common/discovery/keys", "GET, HEAD"),
        (Method::DELETE, "/common/v2.0/.well-known/openid-configuration", "GET, HEAD"),
    ] {
        let response = send(method, path, &[], "").unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], allowed);
    }
    assert_eq!(send(Method::HEAD, "/common/discovery/keys", &[], "").unwrap().status(), 200);
}
