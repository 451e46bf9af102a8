//! The program at a shell: what it prints, what it understands, and what it leaves behind.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{APP, BINARY, Caller, JSON, Server, USER_A, USER_B, exec};

fn presenced(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = presenced(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = presenced(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_printed_lines_work_as_printed() {
    let server = Server::dev();
    let lines: Vec<&str> = server.banner.split("Try it:").nth(1).unwrap().lines().map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 6, "{}", server.banner);
    let script = format!("set -e\n{}\n", lines.join("\necho\n"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(r#""availability":"Available","activity":"Available""#), "{said}");
    assert!(said.contains(r#""time":""#), "{said}");
    assert!(said.contains(r#""rule":"strongestSession""#), "{said}");
    assert_eq!(Caller::application(&server).pair(USER_A), "Offline/Offline", "the last line clears");
}

#[test]
fn ids_and_secret_are_the_same_on_every_start() {
    let ids = |banner: &str| {
        let lines = banner.lines().filter(|line| {
            ["tenant", "client", "secret", "user"].contains(&line.split_whitespace().next().unwrap_or(""))
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, second) = (Server::dev(), Server::dev());
    assert_eq!(ids(&first.banner), ids(&second.banner));
    for id in [APP, USER_A, USER_B] {
        assert!(first.banner.contains(id), "{id}");
    }
}

#[test]
fn presence_users_clock_and_certificate_authority_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ca = ["ca", "--data-dir", folder.path().to_str().unwrap()];
    let made = succeeds(&ca);
    assert!(made.starts_with("-----BEGIN CERTIFICATE-----"), "{made}");

    let server = Server::dev_in(folder.path());
    let caller = Caller::application(&server);
    assert_eq!(caller.set(USER_A, "Busy", "InACall", "PT4H").status, 200);
    server.advance("PT1H");
    let users = format!("id,userPrincipalName\n{},eva@presenced.example\n", uuid::Uuid::from_u128(42));
    let answer =
        server.send("POST", "/_presenced/v1/users", &[("Content-Type", "text/csv")], users.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let before = server.send("GET", "/_presenced/v1/clock", &[], b"").json();
    let before = before["time"].as_str().unwrap().to_owned();
    server.kill();

    let server = Server::dev_in(folder.path());
    let caller = Caller::application(&server);
    assert_eq!(caller.pair(USER_A), "Busy/InACall");
    assert_eq!(caller.get("/v1.0/users/eva@presenced.example").status, 200);
    let after = server.send("GET", "/_presenced/v1/clock", &[], b"").json();
    assert!(after["time"].as_str().unwrap() >= before.as_str(), "{after} is before {before}");
    server.advance("PT3H");
    assert_eq!(caller.pair(USER_A), "Offline/Offline");
    assert_eq!(succeeds(&ca), made, "the authority is trusted once");
}

#[test]
fn one_process_at_a_time_and_the_message_names_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let said = fails(&[
        "dev",
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
        "--data-dir",
        folder.path().to_str().unwrap(),
    ]);
    assert!(said.contains(&server.child.id().to_string()), "{said}");
}

#[test]
fn the_emulator_refuses_to_listen_beyond_loopback() {
    let said = fails(&["dev", "--in-memory", "--http", "0.0.0.0:0", "--https", "127.0.0.1:0"]);
    assert!(said.contains("loopback"), "{said}");
}

#[test]
fn exec_gives_the_command_its_environment_and_exits_with_its_status() {
    let script = r#"
        set -e
        test "$PRESENCED_CLIENT_ID" = 22553876-f5ab-4529-bffb-cfe50aa89f87
        test "$PRESENCED_USER_A" = fa8bf3dc-eca7-46b7-bad1-db199b62afc3
        test -n "$PRESENCED_USER_B" -a -n "$PRESENCED_TENANT" -a -n "$PRESENCED_CLIENT_SECRET"
        grep -q CERTIFICATE "$PRESENCED_CA"
        case "$PRESENCED_URL" in https://*/*/*) exit 90;; https://*) ;; *) exit 91;; esac
        me=$(curl -sf --cacert "$PRESENCED_CA" -H "Authorization: Bearer $PRESENCED_USER_A_TOKEN" "$PRESENCED_URL/v1.0/me")
        case "$me" in *"$PRESENCED_USER_A"*) ;; *) exit 92;; esac
        curl -sf -H "Authorization: Bearer $PRESENCED_APP_TOKEN" "$PRESENCED_HTTP_URL/v1.0/users" > /dev/null
        exit 7
    "#;
    let (output, exchanges) = exec(Command::new("bash").args(["-c", script]));
    assert_eq!(exchanges.len(), 2);
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(presenced(&["exec", "--", "bash", "-c", "kill -9 $$"]).status.code(), Some(137));
    let said = fails(&["exec", "--", "no-such-command-anywhere"]);
    assert!(said.contains("no-such-command-anywhere"), "{said}");
}

#[test]
fn exec_passes_a_termination_on_and_waits_for_the_command() {
    let script = "trap 'echo stopped; exit 3' TERM; echo started; while :; do sleep 0.05; done";
    let mut child = Command::new(BINARY)
        .args(["exec", "--", "bash", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "stopped");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn presence_can_be_set_read_explained_and_cleared_from_the_shell() {
    let server = Server::dev();
    let url = server.url();
    let on_server = |arguments: &[&str]| succeeds(&[arguments, &["--url", &url]].concat());
    let set = on_server(&["set", "ana.fuentes@presenced.example", "Busy/InACall", "--for", "PT1H"]);
    assert_eq!(set, "ana.fuentes@presenced.example  Busy/InACall\n");
    let explained = on_server(&["explain", USER_A]);
    assert!(
        explained.contains("because the only presence session, of Demo application (22553876"),
        "{explained}"
    );
    assert!(explained.contains("next: Offline/Offline at "), "{explained}");
    let history = on_server(&["history", USER_A]);
    assert!(history.contains("setPresence by Demo application (22553876"), "{history}");
    let json: Value = serde_json::from_str(&on_server(&["history", USER_A, "--json"])).unwrap();
    assert!(json["totals"][0]["seconds"].is_number(), "{json}");
    let get: Value = serde_json::from_str(&on_server(&["get", USER_A, "--json"])).unwrap();
    assert_eq!(get["activity"], "InACall");
    assert_eq!(on_server(&["clear", USER_A]), format!("{USER_A}  Offline/Offline\n"));
    let said = fails(&["clear", USER_A, "--url", &url]);
    assert!(said.contains("NotFound: Presence session not found."), "{said}");
    let token = on_server(&["token", "--client-id", APP, "--client-secret", "presenced-dev-secret"]);
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    assert!(on_server(&["token", "--user", USER_B]).len() > 100);
    assert!(fails(&["get", USER_A, "--url", "http://127.0.0.1:9"]).contains("is `presenced dev` running?"));
}

#[test]
fn the_clock_is_moved_from_the_shell() {
    let server = Server::dev();
    let url = server.url();
    let clock = |arguments: &[&str]| succeeds(&[&["clock"], arguments, &["--url", &url]].concat());
    assert!(clock(&["freeze"]).ends_with(", frozen\n"));
    let shown = clock(&[]);
    assert_eq!(clock(&["show"]), shown, "a frozen clock stands still");
    assert!(clock(&["advance", "PT5M"]) > shown);
    assert!(clock(&["set", "2099-01-01T00:00:00Z"]).starts_with("2099-01-01T00:00:00"));
    assert!(!clock(&["resume"]).contains("frozen"));
    assert!(fails(&["clock", "advance", "yesterday", "--url", &url]).contains("out of range"));
}

#[test]
fn users_are_imported_into_a_running_emulator() {
    let server = Server::dev();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    let row = |n: u128| format!("{},user{n}@presenced.example,User {n}\n", uuid::Uuid::from_u128(n));
    let csv = "id,userPrincipalName,displayName\n".to_owned() + &(0..2_500).map(row).collect::<String>();
    std::fs::write(&file, csv).unwrap();
    let url = server.url();
    assert_eq!(
        succeeds(&["users", "import", file.to_str().unwrap(), "--url", &url]),
        "2500 users imported\n"
    );
    let listed = succeeds(&["users", "list", "--url", &url]);
    assert_eq!(listed.lines().count(), 2_504, "every page was followed");
    std::fs::write(&file, "id,userPrincipalName\nnobody,x\n").unwrap();
    assert!(fails(&["users", "import", file.to_str().unwrap(), "--url", &url]).contains("line 2"));
    let answer = server.send("POST", "/_presenced/v1/users", &[JSON], b"[{}]");
    assert_eq!(answer.error().0, 400);
}

/// The worked example of the contract, from standard input; the library's tests tell each way of tampering apart.
#[test]
fn a_notification_is_decrypted_at_the_shell_and_a_changed_one_is_told_apart() {
    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../identity/tests/vectors");
    let vector = |name: &str| std::fs::read_to_string(format!("{VECTORS}/{name}")).unwrap().trim().to_owned();
    let thumbprint = "DE6A74DA17C63F41B25B56FB827508067215A154";
    let body = serde_json::json!({
        "value": [{ "subscriptionId": "s", "changeType": "updated", "encryptedContent": {
            "data": vector("data.base64"), "dataKey": vector("data-key.base64"),
            "dataSignature": "tlnqWAln+S6b1WOFHpeTZpvE2QngBP9OZ/UPsqwVI5U=",
            "encryptionCertificateId": "cert-1", "encryptionCertificateThumbprint": thumbprint,
        } }],
        "validationTokens": [vector("validation-token.jwt")],
    })
    .to_string();
    let file = |name: &str| format!("{VECTORS}/{name}");
    let arguments = [
        ["decrypt", "--key"].map(str::to_owned).to_vec(),
        vec![file("private-key.pem"), "--certificate".to_owned(), file("certificate.base64")],
        vec!["--jwks".to_owned(), file("validation-keys.json")],
    ]
    .concat();
    let decrypt = |body: &str, more: &[&str]| {
        let mut child = Command::new(BINARY)
            .args(&arguments)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (is_right, said) = decrypt(&body, &[]);
    assert!(is_right && said.contains("Busy/InACall") && said.contains("token 1: verified"), "{said}");
    let (is_right, said) = decrypt(&body, &["-", "--json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert!(is_right && shown["value"][0]["content"]["activity"] == "InACall", "{said}");
    let (is_right, said) = decrypt(&body.replace("tlnqWAln", "tlnqWAlm"), &[]);
    assert!(!is_right && said.contains("WRONG: dataSignature is wrong"), "{said}");
}

#[test]
fn subscriptions_and_deliveries_are_looked_at_from_the_shell() {
    let server = Server::dev();
    let url = server.url();
    let on_server = |arguments: &[&str]| succeeds(&[arguments, &["--url", &url]].concat());
    assert_eq!(on_server(&["subscriptions"]), "");
    assert_eq!(on_server(&["subscriptions", "--json"]).trim(), "[]");
    let nobody = uuid::Uuid::from_u128(1).to_string();
    for more in [&[][..], &["--replay-from", "x"]] {
        let said = fails(&[&["deliveries", &nobody, "--url", &url], more].concat());
        assert!(said.contains("ResourceNotFound"), "{said}");
    }
}

#[test]
fn help_and_completions_are_there() {
    let help = succeeds(&["--help"]);
    for command in [
        "dev",
        "serve",
        "exec",
        "ca",
        "clock",
        "token",
        "get",
        "set",
        "clear",
        "explain",
        "history",
        "watch",
        "decrypt",
        "users",
        "subscriptions",
        "deliveries",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(succeeds(&["completions", "bash"]).contains("_presenced"));
}
