//! The worked example of change-notifications §13, whole and tampered with.

use super::*;

const CERTIFICATE: &str = include_str!("../../../identity/tests/vectors/certificate.base64");
const PRIVATE_KEY: &str = include_str!("../../../identity/tests/vectors/private-key.pem");
const DATA: &str = include_str!("../../../identity/tests/vectors/data.base64");
const DATA_KEY: &str = include_str!("../../../identity/tests/vectors/data-key.base64");
const TOKEN: &str = include_str!("../../../identity/tests/vectors/validation-token.jwt");
const JWKS: &[u8] = include_bytes!("../../../identity/tests/vectors/validation-keys.json");
const APP: &str = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f";

fn body() -> Value {
    json!({
        "value": [{
            "subscriptionId": "76222963-cc7b-42d2-882d-8aaa69cb2ba3", "changeType": "updated", "clientState": "secret",
            "subscriptionExpirationDateTime": "2026-01-01T01:00:00.0000000Z",
            "resource": "communications/presences/11111111-2222-3333-4444-555555555555",
            "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
            "encryptedContent": {
                "data": DATA.trim(), "dataSignature": "tlnqWAln+S6b1WOFHpeTZpvE2QngBP9OZ/UPsqwVI5U=",
                "dataKey": DATA_KEY.trim(), "encryptionCertificateId": "cert-1",
                "encryptionCertificateThumbprint": "DE6A74DA17C63F41B25B56FB827508067215A154",
            },
        }],
        "validationTokens": [TOKEN.trim()],
    })
}

fn receiver() -> Receiver {
    Receiver {
        keys: vec![ContentKey::from_pem(PRIVATE_KEY).unwrap()],
        certificate: Some(ContentCertificate::parse(CERTIFICATE).unwrap()),
        issuer: Some(identity::validation_keys(JWKS).unwrap()),
        app: Some(APP.to_owned()),
    }
}

fn read(receiver: &Receiver, body: &Value) -> Report {
    receiver.read(body.to_string().as_bytes(), "2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
}

/// The one thing that is wrong after a member was put in the place of another.
#[track_caller]
fn with(pointer: &str, value: Value) -> String {
    let mut body = body();
    *body.pointer_mut(pointer).unwrap() = value;
    let report = read(&receiver(), &body);
    assert_eq!(report.problems(), 1, "{report:?}");
    let of_items = report.items.into_iter().filter_map(|item| item.problem);
    let of_tokens = report.tokens.into_iter().filter_map(|token| token.problem);
    of_items.chain(of_tokens).next().unwrap_or_else(|| report.problem.unwrap().to_owned())
}

#[test]
fn the_worked_example_is_decrypted_and_its_token_verified() {
    let report = read(&receiver(), &body());
    assert_eq!(report.problems(), 0, "{report:?}");
    let shown = report.to_json();
    assert_eq!(shown["value"][0]["content"]["activity"], "InACall");
    assert_eq!(shown["value"][0]["clientState"], "secret");
    assert!(shown["value"][0].get("encryptedContent").is_none());
    assert_eq!(shown["validationTokens"][0]["verified"], true);
    assert_eq!(shown["validationTokens"][0]["claims"]["aud"], APP);

    let without_keys = Receiver { issuer: None, ..receiver() };
    let shown = read(&without_keys, &body()).to_json();
    assert_eq!(shown["validationTokens"][0]["verified"], Value::Null, "shown and not believed");
}

#[test]
fn each_way_of_tampering_is_told_in_its_own_words() {
    let content = "/value/0/encryptedContent";
    let at = |name: &str| format!("{content}/{name}");
    let mut flipped = DATA.trim().to_owned();
    flipped.replace_range(10..11, if flipped.as_bytes()[10] == b'A' { "B" } else { "A" });
    let of_the_text = json!("yCG2iCcwCOhivwR8QOuisXsiMKzflUXiqm5NXR9it2c=");
    let token = TOKEN.trim();
    let forged = format!("{}x{}", &token[..token.len() - 10], &token[token.len() - 9..]);
    for (pointer, value, words) in [
        (at("data"), json!(flipped), "dataSignature is wrong"),
        (at("data"), json!("?"), "data is not base64"),
        (at("dataSignature"), of_the_text, "dataSignature is wrong"),
        (at("dataKey"), json!("AAAA"), "another certificate"),
        (at("dataKey"), Value::Null, "has no dataKey"),
        (at("encryptionCertificateThumbprint"), json!("00"), "that of --certificate is DE6A"),
        (content.to_owned(), json!("text"), "has no data"),
        ("/validationTokens/0".to_owned(), json!(forged), "signature is wrong"),
        ("/validationTokens/0".to_owned(), json!(7), "not a signed JWT"),
        ("/validationTokens".to_owned(), json!([]), "no validation token"),
        ("/value/0".to_owned(), json!(7), "no object"),
    ] {
        let problem = with(&pointer, value);
        assert!(problem.contains(words), "{pointer}: {problem}");
    }
}

#[test]
fn of_several_keys_the_one_that_fits_is_taken() {
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
    let other = || ContentKey::from_pem(&other).unwrap();
    let [right] = <[ContentKey; 1]>::try_from(receiver().keys).ok().unwrap();
    let several = Receiver { keys: vec![other(), right], ..receiver() };
    assert_eq!(read(&several, &body()).problems(), 0);
    let wrong = Receiver { keys: vec![other()], ..receiver() };
    assert_eq!(read(&wrong, &body()).problems(), 1);
}

#[test]
fn a_basic_notification_needs_neither_token_nor_key_and_what_is_none_is_refused() {
    let basic = json!({ "value": [{ "subscriptionId": "s", "changeType": "updated" }] });
    assert_eq!(read(&receiver(), &basic).problems(), 0);
    for text in ["", "[]", "{}", r#"{"value":{}}"#, r#"{"value":[],"validationTokens":"t"}"#] {
        assert!(receiver().read(text.as_bytes(), Timestamp::UNIX_EPOCH).is_err(), "{text}");
    }
}
