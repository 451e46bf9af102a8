//! `presenced doctor` with set-ups that are broken in one way each.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::engines::Engine;
use crate::support::BINARY;

const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";

/// A set-up that is as it should be, in a folder of its own.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Self { folder: tempfile::tempdir().unwrap() };
        setup.certificate(&["presence.example.invalid"], (2020, 4000));
        setup.configure("");
        setup
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for these names that counts between the beginnings of two years.
    fn certificate(&self, names: &[&str], (from, until): (i32, i32)) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.path().join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(self.path().join("certificate.pem"), certificate).unwrap();
    }

    fn configure(&self, more: &str) {
        let config = format!(
            "data_dir = \"data\"\npublic_url = \"https://presence.example.invalid\"\n\
             listen = {{ https = [\"127.0.0.1:0\"] }}\n\
             tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n{more}\n\
             [[tenant]]\nid = \"{TENANT}\"\n"
        );
        std::fs::write(self.path().join("presenced.toml"), config).unwrap();
    }

    /// Whether it says that all is well, and its findings by subject: severity, message, remedy.
    fn examine(&self) -> (bool, Vec<(String, String, String)>) {
        let mut command = Command::new(BINARY);
        command.arg("doctor").arg("--json").arg("--config").arg(self.path().join("presenced.toml"));
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["ok"], output.status.success(), "{told}");
        let findings = told["findings"].as_array().unwrap().iter().map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(text("remedy").is_empty(), text("severity") == "good", "{finding}");
            (text("subject"), text("severity"), text("message"))
        });
        (output.status.success(), findings.collect())
    }

    /// The severity and message of the one finding about this.
    #[track_caller]
    fn finding(&self, subject: &str) -> (bool, String, String) {
        let (is_well, findings) = self.examine();
        let found = findings.iter().find(|(about, ..)| about == subject);
        let (_, severity, message) = found.unwrap_or_else(|| panic!("{subject}: {findings:?}"));
        (is_well, severity.clone(), message.clone())
    }
}

#[test]
fn a_set_up_as_it_should_be_is_well_though_the_server_is_not_running() {
    let setup = Setup::new();
    let (is_well, findings) = setup.examine();
    assert!(is_well, "{findings:?}");
    for subject in ["configuration", "data_dir", "disk", "users", "certificate", "certificate's names"] {
        assert!(findings.iter().any(|(about, ..)| about == subject), "{subject}: {findings:?}");
    }
    assert_eq!(setup.finding("public_url").1, "warning", "nobody answers there");
    assert!(!setup.path().join("data").exists(), "it changes nothing");
    let left: Vec<_> =
        std::fs::read_dir(setup.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn every_problem_of_a_configuration_is_a_finding() {
    let setup = Setup::new();
    setup.configure("nonsense = 1\nhost_tenant = \"nobody\"");
    let (is_well, findings) = setup.examine();
    assert!(!is_well);
    assert!(findings.len() >= 2, "{findings:?}");
    assert!(
        findings.iter().all(|(subject, severity, _)| subject == "configuration" && severity == "failure")
    );
}

#[test]
fn a_certificate_that_has_ended_is_early_or_is_for_somebody_else_is_named() {
    let setup = Setup::new();
    setup.certificate(&["presence.example.invalid"], (2020, 2021));
    let (is_well, severity, message) = setup.finding("certificate");
    assert!(!is_well && severity == "failure" && message.contains("has ended 2021-01-01"), "{message}");
    setup.certificate(&["presence.example.invalid"], (3000, 4000));
    assert!(setup.finding("certificate").2.contains("begins 3000-01-01"));
    setup.certificate(&["other.example.invalid"], (2020, 4000));
    let (is_well, severity, message) = setup.finding("certificate's names");
    assert!(!is_well && severity == "failure" && message.contains("other.example.invalid"), "{message}");
    std::fs::write(setup.path().join("certificate.pem"), "no certificate").unwrap();
    assert_eq!(setup.finding("certificate").1, "failure");
    setup.certificate(&["presence.example.invalid"], (2020, 4000));
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(setup.path().join("key.pem"), other).unwrap();
    assert_eq!(setup.finding("certificate").1, "failure", "the key of another certificate");
}

#[test]
fn a_folder_that_keeps_nothing_and_a_key_that_others_may_read_are_failures() {
    let setup = Setup::new();
    // Where a file is, no folder can be made; a proc file system keeps nothing even for root.
    let config = setup.path().join("presenced.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"data\"", "\"/proc/presenced\"")).unwrap();
    let (is_well, severity, message) = setup.finding("data_dir");
    assert!(!is_well && severity == "failure", "{message}");

    let setup = Setup::new();
    let keys = setup.path().join("data/keys");
    std::fs::create_dir_all(&keys).unwrap();
    let key = keys.join("signing-key.pem");
    std::fs::write(&key, "secret").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let (is_well, severity, message) = setup.finding("signing key");
    assert!(!is_well && severity == "failure" && !message.contains("secret"), "{message}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(setup.finding("signing key").1, "good");
}

#[test]
fn an_engine_that_is_gone_would_lose_something_or_is_full_is_found_and_nothing_is_made_in_it() {
    if crate::engines::is_missing() {
        return;
    }
    let engine = Engine::single();
    let cli = |arguments: &[&str]| engine.servers[0].cli(arguments);
    let setup = Setup::new();
    let of_engine = |more: &str| {
        setup.configure(&format!("store = \"redis://127.0.0.1:{}\"\n{more}", engine.servers[0].port));
    };
    of_engine("");
    let (is_well, findings) = setup.examine();
    assert!(is_well, "{findings:?}");
    for subject in ["engine", "engine's promise", "engine's store", "engine's clock"] {
        let (_, severity, message) = setup.finding(subject);
        assert_eq!(severity, "good", "{subject}: {message}");
    }
    assert!(setup.finding("engine").2.contains("Redis "), "{findings:?}");
    assert_eq!(cli(&["DBSIZE"]), "0", "it changes nothing");

    assert_eq!(cli(&["HSET", "presenced:layout", "format", "1", "buckets", "64"]), "2");
    of_engine("redis.buckets = 128");
    let (is_well, severity, message) = setup.finding("engine's store");
    assert!(!is_well && severity == "failure" && message.contains("64 buckets, not 128"), "{message}");

    assert_eq!(cli(&["CONFIG", "SET", "appendfsync", "everysec"]), "OK");
    of_engine("");
    let (is_well, severity, message) = setup.finding("engine's promise");
    assert!(!is_well && severity == "failure" && message.contains("everysec"), "{message}");
    of_engine("redis.accept_loss = \"second\"");
    assert_eq!(setup.finding("engine's promise").1, "good");

    assert_eq!(cli(&["CONFIG", "SET", "maxmemory", "1mb"]), "OK");
    assert_eq!(setup.finding("engine's memory").1, "warning");

    engine.servers[0].kill();
    let (is_well, severity, _) = setup.finding("engine");
    assert!(!is_well && severity == "failure");
}

#[test]
fn a_port_that_is_taken_and_a_user_file_that_cannot_be_read_are_found() {
    let setup = Setup::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    setup.configure(&format!("metrics = {{ listen = \"{address}\" }}"));
    assert_eq!(setup.finding(&format!("listen {address}")).1, "warning");

    let setup = Setup::new();
    std::fs::write(setup.path().join("users.csv"), "id,userPrincipalName\nnobody,a@b\n").unwrap();
    let config = setup.path().join("presenced.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}user_files = [\"users.csv\"]\n")).unwrap();
    let (is_well, severity, message) = setup.finding("users");
    assert!(!is_well && severity == "failure" && message.contains("users.csv"), "{message}");
}
