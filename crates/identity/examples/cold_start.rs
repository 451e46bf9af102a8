//! What a first start costs: `cargo run --release -p identity --example cold_start`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a stopwatch that prints")]

use std::error::Error;
use std::time::Instant;

use identity::{Application, Issuer, IssuerConfig, LocalCa, LocalCertificate, SigningKey, Verifier};
use presence::{AppId, TenantId, Timestamp};
use uuid::Uuid;

const KEYS: usize = 40;
const TOKENS: u32 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let now = Timestamp::from_second(1_772_439_330)?;
    let mut millis = Vec::new();
    for _ in 0..KEYS {
        let start = Instant::now();
        SigningKey::generate()?;
        millis.push(start.elapsed().as_secs_f64() * 1e3);
    }
    millis.sort_by(f64::total_cmp);
    println!(
        "RSA-2048 key: median {:.0} ms, mean {:.0} ms, 90% {:.0} ms, worst of {KEYS} {:.0} ms",
        millis[KEYS / 2],
        millis.iter().sum::<f64>() / KEYS as f64,
        millis[KEYS * 9 / 10],
        millis[KEYS - 1]
    );

    let directory = tempfile::tempdir()?;
    for round in ["first start", "second start"] {
        let start = Instant::now();
        let ca = LocalCa::load_or_generate(directory.path(), &[], now)?;
        LocalCertificate::new(ca, Vec::new(), now)?;
        let tls = start.elapsed();
        SigningKey::load_or_generate(directory.path())?;
        println!("{round}: authority and certificate {tls:?}, with signing key {:?}", start.elapsed());
    }

    let key = SigningKey::load_or_generate(directory.path())?;
    let issuer = Issuer::new(IssuerConfig::new(TenantId::from_u128(1), "https://localhost:8443", key));
    let app = Application {
        id: AppId::from_u128(2),
        display_name: String::new(),
        service_principal: Uuid::from_u128(3),
        secrets: Vec::new(),
        certificates: Vec::new(),
        redirects: identity::Redirects::default(),
        roles: vec!["Presence.ReadWrite.All".to_owned()],
        scopes: Vec::new(),
    };
    let start = Instant::now();
    let tokens = (0..TOKENS)
        .map(|lifetime| issuer.mint_application(&app, now, 3600 + lifetime))
        .collect::<Result<Vec<_>, _>>()?;
    println!("minting a token: {:?}", start.elapsed() / TOKENS);
    let verifier = Verifier::new([issuer.trusted()]);
    for round in ["verifying a new token", "verifying a known token"] {
        let start = Instant::now();
        for token in &tokens {
            verifier.verify(token, now)?;
        }
        println!("{round}: {:?} ({} bytes)", start.elapsed() / TOKENS, tokens[0].len());
    }
    Ok(())
}
