//! The worked example of change-notifications §13, and what must be refused.

use super::*;

const CERTIFICATE: &str = include_str!("../../tests/vectors/certificate.base64");
const PRIVATE_KEY: &str = include_str!("../../tests/vectors/private-key.pem");
const DATA: &str = include_str!("../../tests/vectors/data.base64");
const DATA_KEY: &str = include_str!("../../tests/vectors/data-key.base64");
const SIGNATURE: &str = "tlnqWAln+S6b1WOFHpeTZpvE2QngBP9OZ/UPsqwVI5U=";
const SIGNATURE_OF_THE_TEXT: &str = "yCG2iCcwCOhivwR8QOuisXsiMKzflUXiqm5NXR9it2c=";
const PLAINTEXT: &str = r##"{"@odata.id":"users/11111111-2222-3333-4444-555555555555/presence","@odata.type":"#microsoft.graph.presence","id":"11111111-2222-3333-4444-555555555555","availability":"Busy","activity":"InACall"}"##;

fn key() -> [u8; CONTENT_KEY_BYTES] {
    std::array::from_fn(|place| place as u8)
}

fn vector() -> EncryptedContent {
    EncryptedContent {
        data: DATA.trim().to_owned(),
        data_signature: SIGNATURE.to_owned(),
        data_key: DATA_KEY.trim().to_owned(),
    }
}

#[test]
fn the_worked_example_comes_out_byte_for_byte() {
    let certificate = ContentCertificate::parse(CERTIFICATE).unwrap();
    assert_eq!(certificate.thumbprint(), "DE6A74DA17C63F41B25B56FB827508067215A154");
    let content = certificate.encrypt_with(PLAINTEXT.as_bytes(), &key()).unwrap();
    assert_eq!(content.data, DATA.trim());
    assert_eq!(content.data_signature, SIGNATURE);
    assert_ne!(content.data_signature, SIGNATURE_OF_THE_TEXT);
    assert_eq!(content.data_key.len(), DATA_KEY.trim().len(), "as long as the modulus");

    // OAEP is randomised: both the sheet's wrapping of the key and ours open to the same content.
    let private = ContentKey::from_pem(PRIVATE_KEY).unwrap();
    assert_eq!(private.decrypt(&vector()).unwrap(), PLAINTEXT.as_bytes());
    assert_eq!(private.decrypt(&content).unwrap(), PLAINTEXT.as_bytes());
}

#[test]
fn every_item_has_a_key_of_its_own() {
    let certificate = ContentCertificate::parse(CERTIFICATE).unwrap();
    let (one, other) = (certificate.encrypt(b"same").unwrap(), certificate.encrypt(b"same").unwrap());
    assert!(
        one.data != other.data
            && one.data_key != other.data_key
            && one.data_signature != other.data_signature
    );
}

#[test]
fn a_certificate_is_read_in_every_form_clients_send() {
    let plain = CERTIFICATE.trim();
    let lines: Vec<&str> =
        plain.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    let der = ContentCertificate::parse(plain).unwrap().der().to_vec();
    for text in [plain.to_owned(), lines.join("\r\n"), pem.clone(), STANDARD.encode(&pem)] {
        assert_eq!(ContentCertificate::parse(&text).unwrap().der(), der);
    }
}

#[test]
fn what_is_no_certificate_for_encryption_is_refused_by_its_reason() {
    use CertificateProblem as P;
    let private = format!("{PRIVATE_KEY}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----");
    let elliptic = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert;
    let small = {
        // 1024 bits: openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /CN=small
        include_str!("../../tests/vectors/small-certificate.base64")
    };
    let mut longer = ContentCertificate::parse(CERTIFICATE).unwrap().der().to_vec();
    longer.push(0);
    for (text, problem) in [
        (PRIVATE_KEY.to_owned(), P::PrivateKey),
        (private.clone(), P::PrivateKey),
        (STANDARD.encode(private), P::PrivateKey),
        (String::new(), P::Unreadable),
        ("not base64!".to_owned(), P::Unreadable),
        (STANDARD.encode("hello"), P::Unreadable),
        (STANDARD.encode(longer), P::Unreadable),
        ("A".repeat(100_000), P::Unreadable),
        (STANDARD.encode(elliptic.der()), P::NotRsa),
        (small.to_owned(), P::WrongSize),
    ] {
        assert_eq!(ContentCertificate::parse(&text).unwrap_err(), problem, "{text:.60}");
    }
}

#[test]
fn what_was_changed_on_its_way_is_refused() {
    let private = ContentKey::from_pem(PRIVATE_KEY).unwrap();
    let wrong = EncryptedContent { data_signature: SIGNATURE_OF_THE_TEXT.to_owned(), ..vector() };
    assert_eq!(private.decrypt(&wrong), Err(ContentError::WrongSignature));
    let mut data = STANDARD.decode(DATA.trim()).unwrap();
    data[20] ^= 1;
    let changed = EncryptedContent { data: STANDARD.encode(data), ..vector() };
    assert_eq!(private.decrypt(&changed), Err(ContentError::WrongSignature));
    let garbled = EncryptedContent { data_key: STANDARD.encode([7; 256]), ..vector() };
    assert_eq!(private.decrypt(&garbled), Err(ContentError::WrongKey));
    let text = EncryptedContent { data: "?".to_owned(), ..vector() };
    assert_eq!(private.decrypt(&text), Err(ContentError::NotBase64("data")));
    assert!(
        ContentKey::from_pem("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----").is_err()
    );
}

/// What `openssl rsa -traditional` writes: within PKCS#8 the same bytes stand after an algorithm of 26 bytes.
#[test]
fn a_private_key_is_read_in_both_forms_of_pem() {
    let body: String = PRIVATE_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let pkcs1 = STANDARD.encode(&STANDARD.decode(body).unwrap()[26..]);
    let lines: Vec<&str> =
        pkcs1.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem =
        format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n"));
    let private = ContentKey::from_pem(&pem).unwrap();
    assert_eq!(private.decrypt(&vector()).unwrap(), PLAINTEXT.as_bytes());
    let encrypted = pem.replace("RSA PRIVATE", "ENCRYPTED PRIVATE");
    assert_eq!(ContentKey::from_pem(&encrypted).err(), Some(ContentError::PrivateKey));
}
