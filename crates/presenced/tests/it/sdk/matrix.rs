//! The matrix: every client carries out every scenario, and the table says how it went.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

use crate::sdk::clients::{CLIENTS, Client};
use crate::sdk::compare::{Outcome, complaint};
use crate::sdk::receiver::Receiver;
use crate::sdk::{install, scenarios};
use crate::support::exec;

/// How a client did.
#[derive(Default)]
struct Row {
    passed: usize,
    failures: Vec<String>,
    /// Scenarios, and what of them the client cannot express.
    unsupported: Vec<String>,
    /// Why the client was not run at all.
    absent: Option<String>,
    /// Requests whose bodies came compressed.
    compressed: usize,
    seconds: f64,
}

#[test]
fn every_official_client_carries_out_the_scenarios() {
    let folder = install::cache("run");
    std::fs::create_dir_all(&folder).unwrap();

    let rows: Vec<_> = CLIENTS.iter().map(|client| (client, run(client))).collect();
    let scenarios = scenarios::all("").len();
    let table = table(&rows, scenarios);
    // Past the test harness, which shows only what failing tests print.
    std::io::stderr().write_all(table.as_bytes()).unwrap();
    std::fs::write(folder.join("table.txt"), &table).unwrap();

    for (client, row) in &rows {
        assert!(row.failures.is_empty(), "{}: {:#?}", client.name, row.failures);
        assert_eq!(row.absent.as_ref().filter(|_| client.must_run), None, "{} must run", client.name);
        if row.absent.is_none() {
            let cannot = row.unsupported.len();
            let is_known = client.cannot.as_ref().is_none_or(|known| known.contains(&cannot));
            assert!(is_known, "{}: {:#?}", client.name, row.unsupported);
            assert_eq!(row.passed + cannot, scenarios, "{}", client.name);
            assert!(row.compressed > 0 || !client.compresses, "{} compresses no more", client.name);
        }
    }
}

fn run(client: &Client) -> Row {
    let mut runner = match (client.runner)() {
        Ok(runner) => runner,
        Err(reason) => return Row { absent: Some(reason), ..Row::default() },
    };
    // Each has a receiver of its own: nothing that one has left behind comes to the next.
    let receiver = Receiver::new();
    let scenarios = scenarios::all(&receiver.url);
    let plan = install::cache("run").join("scenarios.json");
    std::fs::write(&plan, serde_json::to_vec(&scenarios).unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long a client takes is shown, and decides nothing")]
    let started = std::time::Instant::now();
    let (output, exchanges) = exec(runner.arg(plan));
    let mut row = judge(&scenarios, &String::from_utf8_lossy(&output.stdout));
    row.seconds = started.elapsed().as_secs_f64();
    let is_compressed = |exchange: &&Value| exchange["requestHeaders"]["content-encoding"] == "gzip";
    row.compressed = exchanges.iter().filter(is_compressed).count();
    if !output.status.success() {
        row.failures.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    row
}

/// Compares what a runner printed, a line for each step, with the scenarios.
fn judge(scenarios: &[Value], printed: &str) -> Row {
    let lines: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut row = Row::default();
    for (index, scenario) in scenarios.iter().enumerate() {
        let name = scenario["name"].as_str().unwrap();
        let (mut failed, mut unsupported) = (false, None);
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            if step.get("control").is_some() {
                continue;
            }
            let said = lines.iter().find(|line| line["scenario"] == index && line["step"] == number);
            let outcome = said.map(Outcome::of);
            let wrong = match &outcome {
                None => Some("the runner said nothing".to_owned()),
                Some(Outcome::Unsupported(reason)) => {
                    // What comes after builds on it.
                    unsupported = Some(format!("{name}: {reason}"));
                    break;
                }
                Some(outcome) => complaint(step, outcome),
            };
            if let Some(wrong) = wrong {
                failed = true;
                row.failures.push(format!("{name}, step {number} ({}): {wrong}", step["do"]));
            }
        }
        match unsupported {
            _ if failed => {}
            Some(reason) => row.unsupported.push(reason),
            None => row.passed += 1,
        }
    }
    row
}

fn table(rows: &[(&Client, Row)], scenarios: usize) -> String {
    let mut table = format!(
        "\n{:<42} {:>9} {:>6} {:>6} {:>7} {:>5} {:>8}\n",
        "client", "scenarios", "passed", "failed", "skipped", "gzip", "seconds"
    );
    for (client, row) in rows {
        let run = if row.absent.is_some() { 0 } else { scenarios };
        let failed = run - row.passed - row.unsupported.len();
        let skipped = scenarios - row.passed - failed;
        writeln!(
            table,
            "{:<42} {:>9} {:>6} {:>6} {:>7} {:>5} {:>8.1}",
            client.name, run, row.passed, failed, skipped, row.compressed, row.seconds
        )
        .unwrap();
        for reason in row.absent.iter().chain(&row.unsupported) {
            writeln!(table, "    skipped: {reason}").unwrap();
        }
    }
    table
}
