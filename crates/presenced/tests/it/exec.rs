//! `presenced exec`: what the command finds in its environment, which signals reach it, and what is left of it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{BINARY, HUNG};

/// `presenced exec -- sh -c SCRIPT`, with its output to be read.
fn shell(script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(BINARY)
        .args(["exec", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// What a script prints under `presenced exec`.
#[track_caller]
fn said(script: &str) -> String {
    let output = Command::new(BINARY).args(["exec", "--", "sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn azure_identity_finds_its_authority_and_application() {
    let said = said(
        "echo $AZURE_AUTHORITY_HOST $AZURE_TENANT_ID $AZURE_CLIENT_ID $AZURE_CLIENT_SECRET; \
         echo $PRESENCED_URL $PRESENCED_TENANT $PRESENCED_CLIENT_ID $PRESENCED_CLIENT_SECRET",
    );
    let (azure, own) = said.split_once('\n').unwrap();
    assert_eq!(azure, own);
    assert!(azure.starts_with("https://localhost:"), "{azure}");
}

#[test]
fn clients_that_know_only_their_variables_trust_the_emulator() {
    // curl by CURL_CA_BUNDLE, Python's ssl by SSL_CERT_FILE, Node by NODE_EXTRA_CA_CERTS, openssl by SSL_CERT_FILE.
    said("curl -sf $PRESENCED_URL/healthz");
    said(
        "python3 -c 'import os, urllib.request as r; r.urlopen(os.environ[\"PRESENCED_URL\"] + \"/healthz\").read()'",
    );
    said("node -e 'fetch(process.env.PRESENCED_URL + \"/healthz\").then(r => process.exit(r.ok ? 0 : 1))'");
    said("openssl s_client -connect ${PRESENCED_URL#https://} -verify_return_error </dev/null");
}

#[test]
fn php_trusts_the_emulator_by_the_folder_of_settings() {
    if Command::new("php").arg("-v").output().is_err() {
        println!("skipped: no php on this machine");
        return;
    }
    let got = said(
        r#"php -r 'echo file_get_contents(getenv("PRESENCED_URL") . "/healthz"), " ", get_cfg_var("curl.cainfo");'"#,
    );
    assert!(got.starts_with("ok") && got.ends_with("/ca-bundle.pem"), "{got}");
}

#[test]
fn what_was_trusted_before_is_trusted_still() {
    let count = "grep -c BEGIN.CERTIFICATE";
    let bundle = said(&format!("{count} $SSL_CERT_FILE"));
    assert!(bundle.parse::<u32>().unwrap() > 1, "the machine's own authorities and ours: {bundle}");
    assert_eq!(said(&format!("{count} $PRESENCED_CA")), "1");
    said("tail -c $(wc -c <$PRESENCED_CA) $SSL_CERT_FILE | cmp - $PRESENCED_CA");
    let output = Command::new(BINARY)
        .args(["exec", "--", "sh", "-c", "echo $JAVA_TOOL_OPTIONS"])
        .env("JAVA_TOOL_OPTIONS", "-Xmx64m")
        .output()
        .unwrap();
    assert!(output.stdout.starts_with(b"-Xmx64m -Djavax.net.ssl.trustStore"), "{output:?}");
}

#[test]
fn java_reads_the_trust_store_and_checks_its_digest() {
    if Command::new("keytool").arg("-help").output().is_err() {
        println!("skipped: no keytool on this machine");
        return;
    }
    let listed = said(
        "store=${JAVA_TOOL_OPTIONS##*trustStore=}; unset JAVA_TOOL_OPTIONS; \
         keytool -list -keystore $store -storetype JKS -storepass changeit -v | grep -c 'presenced development CA'",
    );
    assert!(listed.parse::<u32>().unwrap() > 0, "{listed}");
}

#[test]
fn the_status_of_the_command_is_that_of_exec() {
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 128 + 9), ("kill -INT $$", 128 + 2)]
    {
        let (mut child, _out) = shell(script);
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{script}");
    }
    let missing = Command::new(BINARY).args(["exec", "--", "no-such-program-here"]).output().unwrap();
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-program-here"), "{missing:?}");
}

#[test]
fn a_signal_reaches_the_command_which_may_clean_up_with_the_emulator_still_there() {
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let script = format!(
            "trap 'curl -sf $PRESENCED_HTTP_URL/healthz; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let (mut child, mut out) = shell(&script);
        assert_eq!(line(&mut out), "ready");
        send(&child, signal);
        assert_eq!(line(&mut out), "ok", "the emulator answers while the command cleans up");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    // One that ends when asked, and one that does not listen.
    let (mut child, mut out) = shell(
        "sleep 600 & echo $!; sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 0.05; done' & echo $!; sleep 0.2; exit 3",
    );
    let printed: Vec<String> = (0..3).map(|_| line(&mut out)).collect();
    let left: Vec<_> =
        printed.iter().filter_map(|text| text.parse().ok()).filter_map(Pid::from_raw).collect();
    assert_eq!(left.len(), 2, "{printed:?}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    // The killed one may wait a moment for a processor or for its new parent; a zombie runs no more.
    let has_ended = |pid: Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        status.is_ok_and(|status| status.contains(") Z")) || test_kill_process(pid).is_err()
    };
    let look = Duration::from_millis(20);
    for pid in left {
        let looks = 0..HUNG.as_millis() / look.as_millis();
        let mut looks = looks.map(|_| {
            has_ended(pid) || {
                std::thread::sleep(look);
                false
            }
        });
        assert!(looks.any(|ended| ended), "{pid:?} is left");
    }
}

#[test]
fn a_record_has_each_graph_request_with_its_answer_and_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record.jsonl");
    let script = "curl -sf -H \"Authorization: Bearer $PRESENCED_APP_TOKEN\" \
        $PRESENCED_URL/v1.0/users/$PRESENCED_USER_A/presence; curl -s $PRESENCED_URL/v1.0/me; \
        curl -s -d client_id=$PRESENCED_CLIENT_ID -d client_secret=$PRESENCED_CLIENT_SECRET \
        -d grant_type=client_credentials $PRESENCED_URL/$PRESENCED_TENANT/oauth2/v2.0/token";
    let status = Command::new(BINARY)
        .arg("exec")
        .arg("--record")
        .arg(&record)
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let recorded = std::fs::read_to_string(record).unwrap();
    let lines: Vec<serde_json::Value> =
        recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines.iter().map(|line| (line["method"].as_str(), line["status"].as_u64())).collect();
    assert_eq!(seen, [(Some("GET"), Some(200)), (Some("GET"), Some(401))], "and nothing of signing in");
    assert!(lines[0]["body"].as_str().unwrap().contains("\"availability\":\"Offline\""));
    assert!(!recorded.to_ascii_lowercase().contains("bearer e"), "{recorded}");
}

#[test]
fn an_emulator_tells_the_next_requests_to_come_back_later() {
    let server = crate::support::Server::dev();
    let app = crate::support::Caller::application(&server);
    let throttle =
        |body: &str| server.send("POST", "/_presenced/v1/throttle", &[crate::support::JSON], body.as_bytes());
    assert_eq!(throttle(r#"{"requests":2,"retryAfterSeconds":7}"#).status, 200);
    for left in [1, 0] {
        let answer = app.get("/v1.0/users");
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
        let state = server.send("GET", "/_presenced/v1/throttle", &[], b"").json();
        assert_eq!(state["requests"], left);
    }
    assert_eq!(app.get("/v1.0/users").status, 200);
    for bad in
        ["{}", r#"{"requests":-1,"retryAfterSeconds":1}"#, r#"{"requests":1,"retryAfterSeconds":0}"#, "x"]
    {
        assert_eq!(throttle(bad).status, 400, "{bad}");
    }
}
