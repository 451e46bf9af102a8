//! Identity A.1, rule by rule.

use identity::{CallerKind, TOKEN_BYTES_MAX, TokenError, TrustedIssuer, Verifier};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::world::*;

fn check(claims: Value, expected: TokenError) {
    assert_eq!(verify(&token(&claims)), Err(expected), "{claims}");
}

fn is_good(claims: Value) {
    if let Err(error) = verify(&token(&claims)) {
        panic!("{error}: {claims}");
    }
}

#[test]
fn an_application_token_is_a_caller_with_roles_and_no_user() {
    let caller = verify(&token(&app_claims())).unwrap();
    assert_eq!(caller.kind, CallerKind::Application);
    assert_eq!(caller.tenant, tenant());
    assert_eq!(caller.app.to_string(), APP);
    assert_eq!(caller.principal.to_string(), SERVICE_PRINCIPAL);
    assert_eq!(caller.user, None);
    assert_eq!(caller.permissions.iter().collect::<Vec<_>>(), ["Presence.ReadWrite.All"]);
    assert_eq!(caller.token_expires_at, at(NOW + 3600));
}

#[test]
fn a_delegated_token_is_a_caller_with_scopes_and_a_user() {
    let caller = verify(&token(&user_claims())).unwrap();
    assert_eq!(caller.kind, CallerKind::Delegated);
    assert_eq!(caller.user.unwrap().to_string(), USER);
    assert_eq!(caller.permissions.iter().collect::<Vec<_>>(), ["Presence.Read", "User.Read"]);
    assert!(caller.permissions.has("presence.read"));
    assert!(!caller.permissions.has("Presence.Read.All"));
    assert!(!caller.permissions.has("Presence"));
}

#[test]
fn scopes_make_a_token_delegated_even_beside_roles() {
    let caller = verify(&token(&with(app_claims(), json!({"scp": "Presence.Read"})))).unwrap();
    assert_eq!(caller.kind, CallerKind::Delegated);
    assert!(
        !caller.permissions.has("Presence.ReadWrite.All"),
        "a role counts for nothing in a delegated token"
    );
}

#[test]
fn without_scopes_idtyp_decides_and_then_the_roles() {
    let kind = |claims: Value| verify(&token(&claims)).map(|caller| caller.kind);
    assert_eq!(kind(without(app_claims(), "idtyp")), Ok(CallerKind::Application));
    assert_eq!(kind(without(app_claims(), "roles")), Ok(CallerKind::Application));
    assert_eq!(kind(with(app_claims(), json!({"idtyp": "user"}))), Ok(CallerKind::Delegated));
    let neither = without(without(app_claims(), "idtyp"), "roles");
    assert_eq!(kind(neither), Err(TokenError::MissingClaim("scp")));
}

#[test]
fn empty_is_empty_and_garbage_is_not_a_jwt() {
    assert_eq!(verify(""), Err(TokenError::Empty));
    let good = token(&app_claims());
    let two_parts = good.rsplit_once('.').unwrap().0.to_owned();
    let five_parts = format!("{good}.a.b");
    let padded = good.replacen('.', "=.", 1);
    for garbage in
        ["x", ".", "..", "...", "a.b.c", "🦀.🦀.🦀", "eyJh.eyJh.AAAA", &two_parts, &five_parts, &padded]
    {
        assert_eq!(verify(garbage), Err(TokenError::NotAJwt), "{garbage}");
    }
    for claims in [json!([]), json!("x"), json!(null), with(app_claims(), json!({"exp": "soon"}))] {
        assert_eq!(verify(&token(&claims)), Err(TokenError::NotAJwt), "{claims}");
    }
}

#[test]
fn an_oversized_token_is_refused_before_anything_is_parsed() {
    assert_eq!(verify(&"x".repeat(TOKEN_BYTES_MAX)), Err(TokenError::NotAJwt));
    assert_eq!(verify(&"x".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLarge));
    let padding = "x".repeat(TOKEN_BYTES_MAX);
    assert_eq!(verify(&token(&with(app_claims(), json!({"padding": padding})))), Err(TokenError::TooLarge));
}

#[test]
fn a_claim_given_twice_is_not_a_jwt() {
    let twice = app_claims().to_string().replacen('{', "{\"oid\":\"x\",", 1);
    assert!(serde_json::from_str::<Value>(&twice).is_ok());
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let message = format!(
        "{}.{}",
        encode(&format!("{{\"alg\":\"RS256\",\"kid\":\"{}\"}}", key().signing.kid())),
        encode(&twice)
    );
    let private = EncodingKey::from_rsa_pem(key().pem.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &private, Algorithm::RS256).unwrap();
    assert_eq!(verify(&format!("{message}.{signature}")), Err(TokenError::NotAJwt));
}

#[test]
fn alg_none_is_refused_in_every_spelling() {
    for alg in ["none", "None", "NONE", "", "rs256", "RS384", "ES512"] {
        let header = json!({"alg": alg, "kid": key().signing.kid()});
        let bare = format!("{}.", unsigned(&header, &app_claims()));
        assert_eq!(verify(&bare), Err(TokenError::WrongAlgorithm), "{alg}");
        assert_eq!(
            verify(&token_with(&header, &app_claims(), key())),
            Err(TokenError::WrongAlgorithm),
            "{alg}"
        );
    }
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused() {
    let (_, set) = get(&format!("/{TENANT}/discovery/v2.0/keys"));
    let header = json!({"alg": "HS256", "kid": key().signing.kid()});
    let message = unsigned(&header, &app_claims());
    for public in [&set["keys"][0]["n"], &set["keys"][0]["x5c"][0]] {
        let secret = EncodingKey::from_secret(public.as_str().unwrap().as_bytes());
        let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        assert_eq!(verify(&format!("{message}.{mac}")), Err(TokenError::WrongAlgorithm));
    }
}

#[test]
fn an_algorithm_its_issuer_does_not_use_is_refused() {
    for alg in ["PS256", "ES256", "EdDSA"] {
        let header = json!({"alg": alg, "kid": key().signing.kid()});
        assert_eq!(
            verify(&token_with(&header, &app_claims(), key())),
            Err(TokenError::WrongAlgorithm),
            "{alg}"
        );
    }
    // Allowed for the issuer, but this key is for another one.
    let mut trusted = issuer().trusted();
    trusted.algorithms.push(identity::Algorithm::Ps256);
    let header = json!({"alg": "PS256", "kid": key().signing.kid()});
    let refused = Verifier::new([trusted]).verify(&token_with(&header, &app_claims(), key()), now());
    assert_eq!(refused, Err(TokenError::WrongAlgorithm));
}

#[test]
fn an_unknown_or_missing_kid_is_an_unknown_key() {
    for header in
        [json!({"alg": "RS256"}), json!({"alg": "RS256", "kid": ""}), json!({"alg": "RS256", "kid": "x"})]
    {
        assert_eq!(
            verify(&token_with(&header, &app_claims(), key())),
            Err(TokenError::UnknownKey),
            "{header}"
        );
    }
    let header = json!({"alg": "RS256", "kid": other_key().signing.kid()});
    assert_eq!(verify(&token_with(&header, &app_claims(), other_key())), Err(TokenError::UnknownKey));
}

#[test]
fn a_critical_extension_is_refused() {
    let header = json!({"alg": "RS256", "kid": key().signing.kid(), "crit": ["b64"], "b64": false});
    assert_eq!(verify(&token_with(&header, &app_claims(), key())), Err(TokenError::NotAJwt));
}

#[test]
fn another_key_under_our_kid_is_a_bad_signature() {
    let header = json!({"alg": "RS256", "kid": key().signing.kid()});
    assert_eq!(verify(&token_with(&header, &app_claims(), other_key())), Err(TokenError::BadSignature));
}

#[test]
fn a_tampered_payload_header_or_signature_is_a_bad_signature() {
    let good = token(&app_claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let richer = with(app_claims(), json!({"roles": ["Everything"]}));
    let other = token(&richer);
    let (other_message, other_signature) = other.rsplit_once('.').unwrap();
    let other_header = unsigned(&json!({"kid": key().signing.kid(), "alg": "RS256"}), &json!({}));
    let other_header = other_header.split_once('.').unwrap().0;
    assert_ne!(header, other_header);
    for forged in [
        format!("{other_message}.{signature}"),
        format!("{message}.{other_signature}"),
        format!("{other_header}.{payload}.{signature}"),
        format!("{message}."),
        format!("{message}.{}", &signature[4..]),
        format!("{message}.{signature}AAAA"),
        format!("{message}.not base64"),
    ] {
        assert_eq!(verify(&forged), Err(TokenError::BadSignature), "{forged}");
    }
}

#[test]
fn the_signature_is_judged_before_what_it_signs() {
    let claims = with(app_claims(), json!({"exp": 0, "aud": "x", "tid": "x"}));
    let header = json!({"alg": "RS256", "kid": key().signing.kid()});
    assert_eq!(verify(&token_with(&header, &claims, other_key())), Err(TokenError::BadSignature));
}

#[test]
fn the_issuer_is_compared_to_the_letter() {
    let good = format!("{BASE_URL}/{TENANT}/v2.0");
    for iss in [format!("{good}/"), good.to_uppercase(), good.replace("v2.0", "v1.0"), String::new()] {
        check(with(app_claims(), json!({"iss": iss})), TokenError::WrongIssuer);
    }
    check(without(app_claims(), "iss"), TokenError::MissingClaim("iss"));
    is_good(with(app_claims(), json!({"iss": format!("https://127.0.0.1:8443/{TENANT}/v2.0")})));
}

#[test]
fn the_audience_is_graph_or_our_own_address() {
    for aud in [
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "00000003-0000-0000-c000-000000000000",
        "https://localhost:8443",
        "https://localhost:8443/",
        "https://127.0.0.1:8443",
    ] {
        is_good(with(app_claims(), json!({"aud": aud})));
        is_good(with(app_claims(), json!({"aud": ["https://other.example", aud]})));
    }
    for aud in [
        json!("https://graph.microsoft.com.evil.example"),
        json!("https://graph.windows.net"),
        json!("graph.microsoft.com"),
        json!(""),
        json!([]),
        json!(["https://other.example"]),
    ] {
        check(with(app_claims(), json!({"aud": aud})), TokenError::WrongAudience);
    }
    check(without(app_claims(), "aud"), TokenError::WrongAudience);
}

#[test]
fn a_configured_audience_is_accepted_as_well() {
    let trusted = TrustedIssuer { audiences: vec!["api://presence".to_owned()], ..issuer().trusted() };
    let verifier = Verifier::new([trusted]);
    assert!(verifier.verify(&token(&with(app_claims(), json!({"aud": "api://presence"}))), now()).is_ok());
    assert_eq!(verifier.verify(&token(&app_claims()), now()), Err(TokenError::WrongAudience));
}

#[test]
fn a_token_counts_from_five_minutes_before_to_five_minutes_after() {
    let token = token(&app_claims());
    let at_second = |second: i64| verifier().verify(&token, at(second)).map(|_| ());
    assert_eq!(at_second(NOW - 301), Err(TokenError::NotYetValid));
    assert_eq!(at_second(NOW - 300), Ok(()));
    assert_eq!(at_second(NOW + 3600 + 300), Ok(()));
    assert_eq!(at_second(NOW + 3600 + 301), Err(TokenError::Expired));
}

#[test]
fn times_may_be_fractions_but_not_absurd_and_the_end_may_not_be_missing() {
    is_good(with(app_claims(), json!({"exp": NOW as f64 + 3600.25, "nbf": NOW as f64 - 0.5})));
    is_good(without(app_claims(), "nbf"));
    check(without(app_claims(), "exp"), TokenError::MissingClaim("exp"));
    check(with(app_claims(), json!({"exp": 1e300})), TokenError::MissingClaim("exp"));
    check(with(app_claims(), json!({"nbf": 1e300})), TokenError::MissingClaim("nbf"));
    check(with(app_claims(), json!({"exp": -1e300})), TokenError::MissingClaim("exp"));
}

#[test]
fn the_tenant_must_be_the_issuers_and_may_be_left_out() {
    check(with(app_claims(), json!({"tid": APP})), TokenError::WrongTenant);
    check(with(app_claims(), json!({"tid": "contoso.example"})), TokenError::WrongTenant);
    is_good(with(app_claims(), json!({"tid": TENANT.to_uppercase()})));
    assert_eq!(verify(&token(&without(app_claims(), "tid"))).unwrap().tenant, tenant());
}

#[test]
fn who_and_which_application_must_be_guids() {
    check(without(user_claims(), "oid"), TokenError::MissingClaim("oid"));
    check(with(user_claims(), json!({"oid": "adele"})), TokenError::MissingClaim("oid"));
    check(without(app_claims(), "appid"), TokenError::MissingClaim("appid"));
    check(with(app_claims(), json!({"appid": "robot"})), TokenError::MissingClaim("appid"));
    is_good(with(without(app_claims(), "appid"), json!({"azp": APP})));
}

#[test]
fn two_issuers_do_not_share_keys() {
    let mut foreign = issuer().trusted();
    foreign.issuers = vec!["https://foreign.example/".to_owned()];
    foreign.keys = other_key().signing.public();
    let verifier = Verifier::new([issuer().trusted(), foreign]);
    let claims = with(app_claims(), json!({"iss": "https://foreign.example/"}));
    let header = |kid: &str| json!({"alg": "RS256", "kid": kid});
    let signed_by = |key: &TestKey| token_with(&header(key.signing.kid()), &claims, key);
    assert!(verifier.verify(&signed_by(other_key()), now()).is_ok());
    assert_eq!(verifier.verify(&signed_by(key()), now()), Err(TokenError::UnknownKey));
    assert!(verifier.verify(&token(&app_claims()), now()).is_ok());
}

#[test]
fn minted_tokens_are_good_for_their_lifetime() {
    let (issuer, verifier) = (issuer(), verifier());
    let robot = issuer.mint_application(&application(), now(), 60).unwrap();
    let caller = verifier.verify(&robot, now()).unwrap();
    assert_eq!((caller.kind, caller.token_expires_at), (CallerKind::Application, at(NOW + 60)));
    assert!(caller.permissions.has("Presence.ReadWrite.All"));

    let adele =
        issuer.mint_delegated(&user(), &application(), &["Presence.Read", "User.Read"], now(), 60).unwrap();
    let caller = verifier.verify(&adele, now()).unwrap();
    assert_eq!((caller.kind, caller.user), (CallerKind::Delegated, Some(user().id)));
    assert!(caller.permissions.has("user.read"));
    assert_eq!(verifier.verify(&adele, at(NOW + 361)), Err(TokenError::Expired));
}
