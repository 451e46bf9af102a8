//! Bad input in quantities: thousands of slow clients, and large bodies without end.

use std::io::Write;
use std::net::TcpStream;

use crate::bad_input::{FIVE_MEGABYTES, TOO_LARGE, assert_error, explanation, gzip};
use crate::support::{APP, Caller, JSON, Server, USER_A};

/// Connections that send a part of a request and then nothing, ever.
const SLOW_HEADS: usize = 500;

const SLOW_BODIES: usize = 500;

const IDLE: usize = 3_000;

/// What a server may hold in memory, with all of them open and after everything too large was sent: some 30 KiB for
/// each, and room for a debug build.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;

/// A number of KiB from what the kernel says about a process, such as `VmRSS`, or `VmHWM` for the most there ever was.
#[cfg(target_os = "linux")]
fn memory_kib(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(not(target_os = "linux"))]
fn memory_kib(_: &Server, _: &str) -> u64 {
    0
}

#[test]
fn thousands_of_clients_that_send_half_a_request_or_nothing_keep_nobody_waiting() {
    // As many as the machine lets one process have, if that is less.
    let allowed = rlimit::increase_nofile_limit(16_384).unwrap_or(1_024) as usize;
    let scale =
        |count: usize| count.min(count * allowed.saturating_sub(512) / (SLOW_HEADS + SLOW_BODIES + IDLE));
    let server = Server::dev();
    server.freeze_at("2030-01-07T08:00:00Z");
    let me = Caller::user(&server, USER_A);
    assert_eq!(me.set(USER_A, "Busy", "InACall", "PT4H").status, 200);
    let before = explanation(&me, USER_A);
    let (name, token) = me.authorization();
    let head = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 4000000\r\n"
    );
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..scale(SLOW_HEADS) {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        open.push(stream);
    }
    for _ in 0..scale(SLOW_BODIES) {
        let mut stream = server.connect();
        stream.write_all(format!("{head}\r\n{{\"sessionId\":\"{APP}\",").as_bytes()).unwrap();
        open.push(stream);
    }
    for _ in 0..scale(IDLE) {
        open.push(server.connect());
    }
    assert_eq!(explanation(&me, USER_A), before);
    assert_eq!(me.pair(USER_A), "Busy/InACall");
    let resident = memory_kib(&server, "VmRSS");
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB with {} connections", open.len());
    assert_eq!(me.set(USER_A, "Away", "Away", "PT1H").status, 200);
    drop(open);
    assert_eq!(me.pair(USER_A), "Away/Away");
}

#[test]
fn what_is_too_large_does_not_stay_in_memory_however_often_it_is_sent() {
    let server = Server::dev();
    let me = Caller::user(&server, USER_A);
    let huge = vec![b' '; FIVE_MEGABYTES];
    let bomb = gzip(&vec![b' '; 1024 * 1024]).repeat(1024);
    let path = "/v1.0/me/presence/setPresence";
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let answer = me.post_bytes(path, &huge);
                    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "huge");
                    let answer = me.send("POST", path, &[JSON, ("Content-Encoding", "gzip")], &bomb);
                    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "bomb");
                }
            });
        }
    });
    let peak = memory_kib(&server, "VmHWM");
    assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB");
    assert_eq!(me.pair(USER_A), "Offline/Offline");
}
