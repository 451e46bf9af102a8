//! `presenced dev --as-graph`: standing in for the hosts that a program has compiled in.

use std::process::{Command, Output};

use crate::sdk::pages::PAGES;
use crate::support::{APP, BINARY, Server, USER_A};

/// curl, with both hosts pointed here.
fn curl(ca: &str, port: u16, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    // Its own idea of authorities, whatever the machine that tests says.
    command.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command.args(["-s", "-S", "--capath", "/nonexistent", "--cacert", ca]);
    for host in ["graph.microsoft.com", "login.microsoftonline.com"] {
        command.arg("--resolve").arg(format!("{host}:{port}:127.0.0.1"));
    }
    command.args(arguments).output().unwrap()
}

fn write_ca(folder: &str, flags: &[&str]) -> String {
    let path = format!("{folder}/{}.pem", flags.len());
    let mut command = Command::new(BINARY);
    command.args(["ca", "--data-dir", folder, "--out", &path]).args(flags);
    assert!(command.status().unwrap().success());
    path
}

#[test]
fn a_program_with_the_addresses_of_the_cloud_signs_in_and_reads_when_asked_to_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let server = Server::dev_with(&["--data-dir", folder, "--as-graph"]);
    let (port, ca) = (server.https_port(), write_ca(folder, &["--as-graph"]));

    let form = format!(
        "client_id={APP}&client_secret=presenced-dev-secret&grant_type=client_credentials\
         &scope=https://graph.microsoft.com/.default"
    );
    let url = format!("https://login.microsoftonline.com:{port}/presenced.example/oauth2/v2.0/token");
    let answer = curl(&ca, port, &["-d", &form, &url]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let token = format!("Authorization: Bearer {}", answer["access_token"].as_str().unwrap());
    let url = format!("https://graph.microsoft.com:{port}/v1.0/users/{USER_A}/presence");
    let answer = curl(&ca, port, &["-H", &token, &url]);
    crate::schema::check(200, &answer.stdout);
    let seen: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(seen["availability"], "Offline");
    assert!(seen["@odata.context"].as_str().unwrap().starts_with("https://graph.microsoft.com:"));
}

#[test]
fn nobody_who_trusts_the_usual_authority_trusts_the_one_that_stands_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let usual = write_ca(folder, &[]);
    let server = Server::dev_with(&["--data-dir", folder, "--as-graph"]);
    let port = server.https_port();
    let url = format!("https://graph.microsoft.com:{port}/v1.0/$metadata");
    assert!(!curl(&usual, port, &[&url]).status.success());
    drop(server);

    // And a usual server does not show the names, whoever would trust it.
    let server = Server::dev_in(folder.as_ref());
    let port = server.https_port();
    let url = format!("https://graph.microsoft.com:{port}/v1.0/$metadata");
    for ca in [usual, write_ca(folder, &["--as-graph"])] {
        assert!(!curl(&ca, port, &[&url]).status.success());
    }
}

/// The page's commands as they stand there, but for the port, which only root may have, and the data folder.
#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let page = std::fs::read_to_string(format!("{PAGES}/hosts-file.md")).unwrap();
    let mut commands = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().trim());
    let (start, write, show) = (commands.next().unwrap(), commands.next().unwrap(), commands.next().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").to_str().unwrap().to_owned();

    let flags = start.strip_prefix("presenced dev ").unwrap().strip_suffix(" --https 127.0.0.1:443").unwrap();
    let flags: Vec<&str> = flags.split(' ').chain(["--data-dir", &data]).collect();
    let server = Server::dev_with(&flags);
    let port = server.https_port();
    let run = |command: &str| {
        let script = format!("presenced() {{ {BINARY} \"$@\" --data-dir {data}; }}; {command}");
        let mut shell = Command::new("sh");
        shell.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        let output = shell.args(["-c", &script]).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(write);
    let host = "graph.microsoft.com";
    let show = show
        .replace(&format!("{host}:443:"), &format!("{host}:{port}:"))
        .replace(&format!("https://{host}/"), &format!("https://{host}:{port}/"));
    assert!(run(&show).contains("Namespace=\"microsoft.graph\""));
    assert!(page.contains("127.0.0.1 graph.microsoft.com login.microsoftonline.com"));
}
