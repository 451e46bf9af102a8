//! Tokens of other people's issuers, in the shape of each product we know: what they say about the caller, and what of
//! them is refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{
    Caller, CallerKind, IssuerSettings, KeySet, People, SettingsProblem, TokenError, Verifier, key_set,
};
use jsonwebtoken::{Algorithm, EncodingKey};
use presence::{TenantId, UserId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{NOW, TENANT, USER, at, now, tenant, unsigned, with, without};

const ISSUER: &str = "https://id.example.org";
const AUDIENCE: &str = "presenced";

/// A key of any kind, with what its issuer publishes of it.
struct Key {
    algorithm: Algorithm,
    private: EncodingKey,
    jwk: Value,
}

impl Key {
    fn new(kid: &str, algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_RSA_SHA256,
        };
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let pem = pair.serialize_pem();
        let public = pair.public_key_raw();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (private, jwk) = match algorithm {
            // An uncompressed point: 4, x, y.
            Algorithm::ES256 => (
                EncodingKey::from_ec_pem(pem.as_bytes()),
                json!({ "kty": "EC", "crv": "P-256", "x": part(&public[1..33]), "y": part(&public[33..]) }),
            ),
            Algorithm::EdDSA => (
                EncodingKey::from_ed_pem(pem.as_bytes()),
                json!({ "kty": "OKP", "crv": "Ed25519", "x": part(public) }),
            ),
            _ => {
                // SEQUENCE { INTEGER n, INTEGER 65537 }: the modulus stands before the last five bytes.
                let n = &public[public.len() - 5 - 256..public.len() - 5];
                (
                    EncodingKey::from_rsa_pem(pem.as_bytes()),
                    json!({ "kty": "RSA", "n": part(n), "e": "AQAB" }),
                )
            }
        };
        Self { algorithm, private: private.unwrap(), jwk: with(jwk, json!({ "kid": kid, "use": "sig" })) }
    }

    fn sign(&self, claims: &Value) -> String {
        let name = format!("{:?}", self.algorithm);
        self.sign_with(&json!({ "alg": name, "kid": self.jwk["kid"] }), claims)
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn published(keys: &[&Key]) -> KeySet {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    key_set(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

thread_local! {
    static KEY: Key = Key::new("k1", Algorithm::ES256);
}

/// A directory of a few.
#[derive(Default)]
struct Known {
    ids: RefCell<Vec<UserId>>,
    external_ids: BTreeMap<String, UserId>,
    names: BTreeMap<String, UserId>,
}

impl People for Known {
    fn has(&self, of: TenantId, user: UserId) -> bool {
        of == tenant() && self.ids.borrow().contains(&user)
    }

    fn by_external_id(&self, of: TenantId, id: &str) -> Option<UserId> {
        self.external_ids.get(id).copied().filter(|_| of == tenant())
    }

    fn by_name(&self, of: TenantId, name: &str) -> Option<UserId> {
        self.names.get(name).copied().filter(|_| of == tenant())
    }
}

fn known() -> Known {
    let user: UserId = USER.parse().unwrap();
    Known {
        ids: RefCell::new(vec![user]),
        external_ids: [("ext-1".to_owned(), user), ("213456789012345678".to_owned(), user)].into(),
        names: [("adele@contoso.example".to_owned(), user)].into(),
    }
}

fn settings(more: Value) -> IssuerSettings {
    let settings = with(json!({ "issuer": ISSUER, "audiences": [AUDIENCE], "algorithms": ["ES256"] }), more);
    serde_json::from_value(settings).unwrap()
}

fn verifier(settings: &IssuerSettings) -> Verifier {
    let mut trusted = settings.trusted(tenant()).unwrap();
    trusted.keys = KEY.with(|key| published(&[key]));
    Verifier::new([trusted])
}

/// Claims that every token has, and these.
fn claims(more: Value) -> Value {
    with(json!({ "iss": ISSUER, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 3600, "azp": "door-sign" }), more)
}

fn read(settings: &IssuerSettings, claims: &Value) -> Result<Arc<Caller>, TokenError> {
    verifier(settings).verify_among(&known(), &KEY.with(|key| key.sign(claims)), now())
}

/// Who a token says calls: kind, user, permissions.
fn told(settings: &IssuerSettings, claims: &Value) -> (CallerKind, Option<String>, String) {
    let caller = read(settings, claims).unwrap();
    let user = caller.user.map(|user| user.to_string());
    (caller.kind, user, caller.permissions.iter().collect::<Vec<_>>().join(" "))
}

fn adele() -> Option<String> {
    Some(USER.to_owned())
}

#[test]
fn entra_tokens_say_who_by_oid_and_what_by_scp_or_roles() {
    let settings = settings(json!({ "recipe": "entra" }));
    let both = json!({ "ver": "2.0", "tid": TENANT, "sub": "pairwise", "oid": USER, "roles": ["Presence.Read.All"] });
    let user = claims(with(both.clone(), json!({ "scp": "Presence.Read User.Read", "idtyp": "user" })));
    assert_eq!(told(&settings, &user), (CallerKind::Delegated, adele(), "Presence.Read User.Read".into()));
    let other = with(both, json!({ "oid": "99990000-aaaa-bbbb-cccc-ddddeeeeffff" }));
    let app = (CallerKind::Application, None, "Presence.Read.All".to_owned());
    assert_eq!(told(&settings, &claims(with(other.clone(), json!({ "idtyp": "app" })))), app);
    assert_eq!(told(&settings, &claims(other.clone())), app);
    // An id token has no `azp`, and is not what an API is to be shown.
    let id_token = without(claims(with(other, json!({ "idtyp": "user" }))), "azp");
    assert_eq!(read(&settings, &id_token), Err(TokenError::MissingClaim("azp")));
}

#[test]
fn keycloak_tokens_say_who_by_sub_and_have_roles_of_realm_and_client() {
    let settings = settings(json!({
        "recipe": "keycloak",
        "permission_map": { "presence-reader": "Presence.Read.All", "presence:own": ["Presence.ReadWrite", "User.Read"] },
    }));
    let roles = json!({
        "typ": "Bearer", "aud": ["account", AUDIENCE], "scope": "openid profile presence:own",
        "realm_access": { "roles": ["offline_access", "presence-reader"] },
        "resource_access": { "presenced": { "roles": ["Presence.ReadWrite.All"] }, "account": { "roles": ["view"] } },
    });
    let user = claims(with(roles.clone(), json!({ "sub": USER, "preferred_username": "adele" })));
    let scopes = "openid profile Presence.ReadWrite User.Read";
    assert_eq!(told(&settings, &user), (CallerKind::Delegated, adele(), scopes.into()));
    let service = json!({ "sub": "0f0f0f0f-0000-4000-8000-000000000001", "client_id": "door-sign" });
    let service = with(service, json!({ "preferred_username": "service-account-door-sign" }));
    let service = claims(with(roles, service));
    let roles = "Presence.ReadWrite.All offline_access Presence.Read.All";
    assert_eq!(told(&settings, &service), (CallerKind::Application, None, roles.into()));
    // A user who is called so is not the client's, and one of the directory never is an application.
    let posing = with(service.clone(), json!({ "preferred_username": "service-account-other" }));
    assert_eq!(told(&settings, &posing).0, CallerKind::Delegated);
    assert_eq!(told(&settings, &with(service, json!({ "sub": USER }))).0, CallerKind::Delegated);
}

#[test]
fn authentik_tokens_say_who_by_a_digest_that_the_directory_knows_as_external_id() {
    let issuer = "https://auth.example.org/application/o/presenced/";
    let settings = settings(json!({
        "recipe": "authentik", "issuer": issuer,
        "permission_map": { "presence-writers": "Presence.ReadWrite.All" },
        "app_only_rule": [{ "claim": "preferred_username", "equals": ["ak-door-sign"] }],
    }));
    let of = |more| with(claims(json!({ "iss": issuer, "scope": "openid Presence.Read" })), more);
    let user = of(json!({ "sub": "ext-1", "groups": ["presence-writers"], "preferred_username": "adele" }));
    assert_eq!(told(&settings, &user), (CallerKind::Delegated, adele(), "openid Presence.Read".into()));
    let service =
        json!({ "sub": "5e1f", "groups": ["presence-writers"], "preferred_username": "ak-door-sign" });
    assert_eq!(
        told(&settings, &of(service)),
        (CallerKind::Application, None, "Presence.ReadWrite.All".into())
    );
    // The slash counts.
    let other = with(user, json!({ "iss": issuer.trim_end_matches('/') }));
    assert_eq!(read(&settings, &other), Err(TokenError::WrongIssuer));
}

#[test]
fn zitadel_tokens_say_who_by_a_number_and_roles_by_the_keys_of_an_object() {
    let settings = settings(json!({
        "recipe": "zitadel", "audiences": ["330001"], "default_scopes": ["Presence.Read"],
        "permission_map": { "presence-reader": "Presence.Read.All" },
        "app_only_rule": [{ "claim": "sub", "equals": ["990000000000000001"] }],
    }));
    let of =
        |more| with(claims(json!({ "aud": ["330001", "330002@presence"], "client_id": "330002" })), more);
    let roles = json!({ "presence-reader": { "110": "acme.id.example.org" } });
    let user = of(json!({ "sub": "213456789012345678", "urn:zitadel:iam:org:project:roles": roles }));
    assert_eq!(told(&settings, &user), (CallerKind::Delegated, adele(), "Presence.Read".into()));
    let of_project =
        json!({ "sub": "990000000000000001", "urn:zitadel:iam:org:project:330001:roles": roles });
    assert_eq!(told(&settings, &of(of_project)), (CallerKind::Application, None, "Presence.Read.All".into()));
}

#[test]
fn dex_tokens_are_id_tokens_whose_client_is_the_audience_and_whose_groups_allow() {
    let settings = settings(json!({
        "recipe": "dex", "issuer": "https://id.example.org/dex", "default_scopes": ["User.Read"],
        "permission_map": { "staff": "Presence.ReadWrite" },
    }));
    let token =
        json!({ "iss": "https://id.example.org/dex", "sub": "CgVhZGVsZRIEbGRhcA", "groups": ["staff"] });
    let token = without(claims(token), "azp");
    let (kind, user, permissions) = told(&settings, &token);
    assert_eq!((kind, &*permissions), (CallerKind::Delegated, "Presence.ReadWrite User.Read"));
    // Nobody of the directory (the id is Python's uuid5 of the same): always the same made-up id, of version 5, and another one for another issuer.
    let made: uuid::Uuid = user.unwrap().parse().unwrap();
    assert_eq!(made.get_version_num(), 5);
    assert_eq!(made.to_string(), "3252f46a-1ab2-56ef-8d70-d07c0d9407e4");
    let caller = read(&settings, &token).unwrap();
    assert_eq!((caller.principal, caller.app.as_uuid().get_version_num()), (made, 5));
    let entered = Known { ids: RefCell::new(vec![UserId::from(made)]), ..known() };
    let again = verifier(&settings).verify_among(&entered, &KEY.with(|key| key.sign(&token)), now());
    assert_eq!(again.unwrap().user, Some(UserId::from(made)));
    let one_of_two = with(token, json!({ "aud": [AUDIENCE, "other"] }));
    assert_eq!(read(&settings, &one_of_two), Err(TokenError::MissingClaim("azp")));
}

#[test]
fn users_are_found_by_name_only_where_that_is_switched_on_and_by_addresses_only_if_verified() {
    let off = settings(json!({}));
    let on = settings(json!({ "user_match": ["id", "externalId", "userPrincipalName"] }));
    let of = |more| claims(with(json!({ "sub": "5e1f" }), more));
    let is_adele = |settings, more| told(settings, &of(more)).1 == adele();
    assert!(is_adele(&on, json!({ "preferred_username": "adele@contoso.example" })));
    assert!(!is_adele(&off, json!({ "preferred_username": "adele@contoso.example" })));
    assert!(!is_adele(&on, json!({ "email": "adele@contoso.example" })));
    assert!(!is_adele(&on, json!({ "email": "adele@contoso.example", "email_verified": false })));
    assert!(!is_adele(&on, json!({ "email": "adele@contoso.example", "email_verified": "true" })));
    assert!(is_adele(&on, json!({ "email": "adele@contoso.example", "email_verified": true })));
    let ids_only = settings(json!({ "user_match": ["id"] }));
    assert!(told(&off, &of(json!({ "sub": "ext-1" }))).1 == adele());
    assert!(told(&ids_only, &of(json!({ "sub": "ext-1" }))).1 != adele());
}

/// SCIM brings users one by one: whoever has a token already need not get another.
#[test]
fn the_directory_counts_as_it_is_at_each_request_also_for_remembered_tokens() {
    let (settings, people) = (settings(json!({})), known());
    let verifier = verifier(&settings);
    let newcomer: UserId = "0f0f0f0f-0000-4000-8000-000000000002".parse().unwrap();
    let claims = claims(
        json!({ "sub": newcomer.to_string(), "azp": newcomer.to_string(), "roles": ["R"], "scp": "S" }),
    );
    let token = KEY.with(|key| key.sign(&claims));
    let kind = || verifier.verify_among(&people, &token, now()).map(|caller| caller.kind);
    assert_eq!(kind(), Ok(CallerKind::Application), "the subject is the client");
    people.ids.borrow_mut().push(newcomer);
    assert_eq!(kind(), Ok(CallerKind::Delegated), "the subject is a user");
    people.ids.borrow_mut().pop();
    assert_eq!(kind(), Ok(CallerKind::Application));
    assert_eq!((verifier.remembrance().hits, verifier.remembrance().misses), (2, 1));
}

#[test]
fn keys_of_all_four_algorithms_verify_where_they_are_allowed_and_no_key_serves_another_one() {
    let algorithms = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
    let keys = algorithms.map(|algorithm| Key::new(&format!("{algorithm:?}"), algorithm));
    let token = claims(json!({ "sub": USER }));
    let trust = |allowed: &[&str]| {
        let mut trusted = settings(json!({ "algorithms": allowed })).trusted(tenant()).unwrap();
        trusted.keys = published(&keys.each_ref());
        Verifier::new([trusted])
    };
    let all = trust(&["RS256", "PS256", "ES256", "EdDSA"]);
    for key in &keys {
        assert!(all.verify(&key.sign(&token), now()).is_ok(), "{:?}", key.algorithm);
        let name = format!("{:?}", key.algorithm);
        assert!(trust(&[&name]).verify(&key.sign(&token), now()).is_ok(), "{name}");
        let only_rs256 = trust(&[]).verify(&key.sign(&token), now());
        assert_eq!(only_rs256.is_ok(), name == "RS256", "{name}");
        // The header names another algorithm than the key is for, whichever signed.
        for other in ["none", "HS256", "RS256", "PS256", "ES256", "EdDSA", "ES384", "rs256", ""] {
            let header = json!({ "alg": other, "kid": key.jwk["kid"] });
            let is_ours = other == name;
            assert_eq!(
                all.verify(&key.sign_with(&header, &token), now()).is_ok(),
                is_ours,
                "{name} as {other}"
            );
        }
        let unsigned = unsigned(&json!({ "alg": "none", "kid": key.jwk["kid"] }), &token);
        assert_eq!(all.verify(&format!("{unsigned}."), now()), Err(TokenError::WrongAlgorithm));
    }
    // A key published for RS256 does not verify PS256, and one published without purpose both.
    for (alg, ps256) in [(json!("RS256"), false), (json!("PS256"), true), (Value::Null, true)] {
        let jwk = with(keys[1].jwk.clone(), json!({ "alg": alg }));
        let mut trusted = settings(json!({ "algorithms": ["RS256", "PS256"] })).trusted(tenant()).unwrap();
        trusted.keys = key_set(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        assert_eq!(Verifier::new([trusted]).verify(&keys[1].sign(&token), now()).is_ok(), ps256, "{alg}");
    }
}

#[test]
fn a_public_key_is_no_secret_of_hs256() {
    let key = Key::new("k1", Algorithm::RS256);
    let mut trusted = settings(json!({ "algorithms": ["RS256"] })).trusted(tenant()).unwrap();
    trusted.keys = published(&[&key]);
    let verifier = Verifier::new([trusted]);
    let message = unsigned(&json!({ "alg": "HS256", "kid": "k1" }), &claims(json!({ "sub": USER })));
    for secret in [key.jwk["n"].as_str().unwrap(), &key.jwk.to_string()] {
        let secret = EncodingKey::from_secret(secret.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        let refused = verifier.verify(&format!("{message}.{signature}"), now());
        assert_eq!(refused, Err(TokenError::WrongAlgorithm));
    }
}

#[test]
fn times_audience_and_tenant_are_checked_and_five_minutes_forgiven() {
    let settings = settings(json!({}));
    let of = |more| read(&settings, &claims(with(json!({ "sub": USER }), more))).map(|_| ());
    for (more, outcome) in [
        (json!({ "exp": NOW - 300 }), Ok(())),
        (json!({ "exp": NOW - 301 }), Err(TokenError::Expired)),
        (json!({ "nbf": NOW + 300 }), Ok(())),
        (json!({ "nbf": NOW + 301 }), Err(TokenError::NotYetValid)),
        (json!({ "exp": null }), Err(TokenError::MissingClaim("exp"))),
        (json!({ "aud": "account" }), Err(TokenError::WrongAudience)),
        (json!({ "aud": [] }), Err(TokenError::WrongAudience)),
        (json!({ "aud": null }), Err(TokenError::WrongAudience)),
        (json!({ "aud": "presenced/" }), Err(TokenError::WrongAudience)),
        (json!({ "aud": ["account", "presenced"] }), Ok(())),
        (json!({ "iss": "https://id.example.org/" }), Err(TokenError::WrongIssuer)),
        (json!({ "tid": TENANT.to_uppercase() }), Ok(())),
        (json!({ "tid": "84bd8158-6d4d-4958-8b9f-9d6445542f95" }), Err(TokenError::WrongTenant)),
        (json!({ "tid": 7 }), Err(TokenError::WrongTenant)),
        (json!({ "sub": "" }), Err(TokenError::MissingClaim("sub"))),
        (json!({ "sub": ["x"] }), Err(TokenError::MissingClaim("sub"))),
    ] {
        assert_eq!(of(more.clone()), outcome, "{more}");
    }
}

#[test]
fn of_one_issuer_for_several_tenants_a_claim_says_which_and_no_other_may() {
    let other_tenant = TenantId::from_u128(2);
    let of = |value: &str| settings(json!({ "tenant_claim": "org.id", "tenant_value": value }));
    let issuers = [(tenant(), "one"), (other_tenant, "two")].map(|(tenant, value)| {
        let mut trusted = of(value).trusted(tenant).unwrap();
        trusted.keys = KEY.with(|key| published(&[key]));
        trusted
    });
    let verifier = Verifier::new(issuers);
    let tenant_of = |more| {
        let token = KEY.with(|key| key.sign(&claims(with(json!({ "sub": "x", "roles": [] }), more))));
        verifier.verify(&token, now()).map(|caller| caller.tenant)
    };
    assert_eq!(tenant_of(json!({ "org": { "id": "one" } })), Ok(tenant()));
    assert_eq!(tenant_of(json!({ "org": { "id": "two" } })), Ok(other_tenant));
    assert_eq!(tenant_of(json!({ "org.id": "two", "tid": TENANT })), Ok(other_tenant));
    for neither in
        [json!({ "org": { "id": "three" } }), json!({}), json!({ "tid": other_tenant.to_string() })]
    {
        assert_eq!(tenant_of(neither), Err(TokenError::WrongTenant));
    }
}

#[test]
fn a_withdrawn_key_forgets_its_tokens_and_nobody_elses_and_so_does_an_issuer() {
    let (old, new) = (Key::new("k1", Algorithm::ES256), Key::new("k2", Algorithm::ES256));
    let mut trusted = settings(json!({})).trusted(tenant()).unwrap();
    trusted.keys = published(&[&old, &new]);
    let verifier = Verifier::new([trusted.clone()]);
    let token = claims(json!({ "sub": USER }));
    let (by_old, by_new) = (old.sign(&token), new.sign(&token));
    for token in [&by_old, &by_new] {
        assert!(verifier.verify(token, now()).is_ok());
    }
    assert!(verifier.replace_keys(ISSUER, published(&[&new])));
    assert_eq!(verifier.verified_tokens(), 1);
    assert_eq!(verifier.verify(&by_old, now()), Err(TokenError::UnknownKey));
    assert_eq!(verifier.issuer_lacking_key(&by_old).as_deref(), Some(ISSUER));
    assert_eq!(verifier.issuer_lacking_key(&by_new), None);
    // Another key under the same name is another key.
    let impostor = Key::new("k2", Algorithm::ES256);
    assert!(verifier.replace_keys(ISSUER, published(&[&impostor])));
    assert_eq!(verifier.verified_tokens(), 0);
    assert_eq!(verifier.verify(&by_new, now()), Err(TokenError::BadSignature));

    let by_impostor = impostor.sign(&token);
    assert!(verifier.verify(&by_impostor, now()).is_ok());
    verifier.replace_issuers(tenant(), vec![trusted.clone()]);
    assert_eq!(verifier.verified_tokens(), 1, "the same issuer keeps its keys and tokens");
    verifier.replace_issuers(TenantId::from_u128(2), vec![]);
    assert!(verifier.verify(&by_impostor, now()).is_ok());
    verifier.replace_issuers(tenant(), vec![]);
    assert_eq!(verifier.verified_tokens(), 0);
    assert_eq!(verifier.verify(&by_impostor, now()), Err(TokenError::WrongIssuer));
    assert_eq!(verifier.issuer_lacking_key(&by_old), None);
}

#[test]
fn settings_that_cannot_be_are_told_all_at_once() {
    let told = |settings: Value| {
        let settings: IssuerSettings = serde_json::from_value(settings).unwrap();
        let problems = settings.trusted(tenant()).err().unwrap_or_default();
        problems.iter().map(|SettingsProblem { setting, .. }| *setting).collect::<Vec<_>>()
    };
    assert_eq!(told(json!({ "issuer": ISSUER, "audiences": ["a"] })), [""; 0]);
    assert_eq!(told(json!({})), ["issuer", "audiences"]);
    let url = |url: &str| told(json!({ "issuer": url, "audiences": ["a"] })).is_empty();
    assert!(url("https://id.example.org:8443/realms/x/") && url("http://localhost:5556/dex"));
    for bad in [
        "id.example.org",
        "http://id.example.org",
        "https://",
        "https://u:p@x",
        "https://x?a=b",
        "https://x#y",
    ] {
        assert!(!url(bad), "{bad}");
    }
    let wrong = json!({
        "issuer": ISSUER, "audiences": ["a", " "], "algorithms": ["RS256", "HS256", "none"],
        "user_id_claim": [], "roles_claim": "a..b", "tenant_claim": "x",
        "app_only_rule": [{ "claim": "a" }, { "claim": ".", "prefix": "" }, "idtyp"],
    });
    let mut settings = told(wrong);
    settings.dedup();
    let all = ["audiences", "algorithms", "roles_claim", "user_id_claim", "app_only_rule", "tenant_claim"];
    assert_eq!(settings, all);
    for unknown in
        [json!({ "recipe": "okta" }), json!({ "audience": "x" }), json!({ "user_match": ["email"] })]
    {
        assert!(serde_json::from_value::<IssuerSettings>(unknown).is_err());
    }
    // What is kept is read again, in either spelling.
    let given: IssuerSettings = super::foreign::settings(json!({
        "recipe": "dex", "rolesClaim": ["a"], "app_only_rule": ["subject-is-client", { "claim": "a", "equals": ["b"] }],
    }));
    let kept = serde_json::to_value(&given).unwrap();
    assert_eq!(kept["appOnlyRule"][0], "subject-is-client");
    assert_eq!(serde_json::from_value::<IssuerSettings>(kept).unwrap(), given);
}

fn some_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(Value::from(USER)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a trusted issuer signs: nothing panics, the caller is of the tenant that is configured, who is not in the
    /// directory is nobody of it, and the same token says the same thing twice.
    #[test]
    fn no_claims_panic_or_lead_to_another_tenant(
        recipe in prop::sample::select(vec![None, Some("entra"), Some("keycloak"), Some("authentik"), Some("zitadel"), Some("dex")]),
        odd in prop::collection::btree_map(
            prop::sample::select(vec!["sub", "oid", "azp", "appid", "client_id", "scp", "scope", "roles", "groups", "tid",
                "idtyp", "preferred_username", "realm_access", "resource_access", "email"]), some_json(), 0..8),
    ) {
        let settings = settings(json!({ "recipe": recipe }));
        let token = claims(with(json!({ "sub": "nobody" }), json!(odd)));
        let token = KEY.with(|key| key.sign(&token));
        let verifier = verifier(&settings);
        let first = verifier.verify_among(&known(), &token, at(NOW));
        prop_assert_eq!(&first, &verifier.verify_among(&known(), &token, at(NOW)));
        if let Ok(caller) = first {
            prop_assert_eq!(caller.tenant, tenant());
            prop_assert_eq!(caller.user.is_some(), caller.kind == CallerKind::Delegated);
            let says_so = odd.values().any(|value| *value == USER || *value == "ext-1");
            prop_assert!(says_so || caller.user != Some(USER.parse().unwrap()));
        }
    }
}
