//! The walk-through of docs/operate.md, as its script does it.

use std::process::Command;

use crate::support::BINARY;

#[test]
fn a_node_behind_a_load_balancer_is_killed_and_no_client_notices_more_than_a_retry() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/three-nodes/run");
    let output = Command::new(script).env("PRESENCED", BINARY).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(2) {
        eprintln!("skipped: {err}");
        return;
    }
    println!("{out}");
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("60 writes and reads, 0 failed, 0 read something else"), "{out}");
}
