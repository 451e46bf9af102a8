//! Ten times as many as there is room for: who is in is served, who is not is told when to come again, health checks are
//! answered, memory stays as it was, and when the others go away it is as if they had never been there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::serve::Serving;
use crate::support::{Answer, HUNG, USER_A, parse_answer, read_answer};

/// Connections there is room for.
const ROOM: usize = 40;
/// Who comes besides them, one after the other.
const CROWD: usize = 10;
/// Requests each of them makes, on a connection each: together many times as many as there is room for.
const CROWD_REQUESTS: usize = 100;
/// What memory may grow by, in KiB, while they come: nothing of them is kept.
const GROWTH_KIB_MAX: u64 = 48 * 1024;
/// Large bodies there is room for, and how many more come.
const LARGE_BODIES: usize = server::limits::LARGE_BODIES_MAX;
const BODIES_TOO_MANY: usize = 8;

fn resident_kib(server: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn connect(server: &Serving) -> TcpStream {
    let stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(HUNG)).unwrap();
    stream
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n")
}

/// Sends a request on a connection that stays, and reads its answer.
fn ask(stream: &mut TcpStream, path: &str, token: &str) -> Answer {
    stream.write_all(format!("{}\r\n", get(path, token)).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes.clone()).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    bytes.extend(body);
    parse_answer(&bytes)
}

/// Sends a request on a connection of its own.
fn ask_once(server: &Serving, path: &str, token: &str) -> Answer {
    let mut stream = connect(server);
    stream.write_all(format!("{}Connection: close\r\n\r\n", get(path, token)).as_bytes()).unwrap();
    read_answer(&mut stream)
}

fn assert_turned_away(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.error().0, answer.error().1.as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long those who are in waited is printed, and not asserted"
)]
#[test]
fn who_is_in_is_served_and_the_others_are_told_to_come_again_while_health_checks_go_on() {
    let server = Serving::start(&format!("[overload]\nconnections_max = {ROOM}\n"));
    let token = server.app_token();
    let path = format!("/v1.0/users/{USER_A}/presence");
    // The connection of the token may still be open for a moment.
    let mut inside: Vec<TcpStream> = Vec::new();
    let began = Instant::now();
    while inside.len() < ROOM {
        assert!(began.elapsed() < HUNG, "there is room for {} only", inside.len());
        let mut stream = connect(&server);
        if ask(&mut stream, &path, &token).status == 200 {
            inside.push(stream);
        }
    }
    assert_turned_away(&ask_once(&server, &path, &token), 503, "ServiceUnavailable");
    let before = resident_kib(&server);
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut waited: Vec<Duration> = std::thread::scope(|scope| {
        let (server, is_over, served, path, token) = (&server, &is_over, &served, &path, &token);
        let in_turn = inside.iter_mut().map(|stream| {
            scope.spawn(move || {
                let mut waited = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = ask(stream, path, token);
                    waited.push(began.elapsed());
                    assert_eq!(answer.status, 200, "{answer:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
                waited
            })
        });
        let in_turn: Vec<_> = in_turn.collect();
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..CROWD_REQUESTS {
                        assert_turned_away(&ask_once(server, path, token), 503, "ServiceUnavailable");
                    }
                })
            })
            .collect();
        for _ in 0..CROWD_REQUESTS / 2 {
            for health in ["/healthz", "/readyz"] {
                assert_eq!(ask_once(server, health, "").status, 200);
            }
        }
        crowd.into_iter().for_each(|one| one.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        in_turn.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    waited.sort_unstable();
    let after = resident_kib(&server);
    println!(
        "{} served, p99 {:?}, while {} were turned away; {before} KiB before, {after} KiB after",
        served.load(Ordering::Relaxed),
        waited[waited.len() * 99 / 100],
        CROWD * CROWD_REQUESTS,
    );
    assert!(served.load(Ordering::Relaxed) > ROOM as u64, "those who are in are served meanwhile");
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB before, {after} KiB after");
    drop(inside);
    let began = Instant::now();
    while ask_once(&server, &path, &token).status != 200 {
        assert!(began.elapsed() < HUNG, "they are gone, and nobody is let in");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn by_configuration_the_others_are_told_429() {
    let server = Serving::start("[overload]\nconnections_max = 1\nstatus = 429\n");
    let mut inside = connect(&server);
    assert_eq!(ask(&mut inside, "/healthz", "").status, 200);
    let path = format!("/v1.0/users/{USER_A}/presence");
    assert_turned_away(&ask_once(&server, &path, ""), 429, "TooManyRequests");
    assert_eq!(ask_once(&server, "/healthz", "").status, 200);
    assert_eq!(ask(&mut inside, &path, "").status, 401, "whoever is in is heard");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that hangs ends")]
fn of_many_large_bodies_at_once_some_are_told_to_come_again_and_usual_ones_are_read() {
    let server = Serving::start("");
    let token = server.app_token();
    let large = vec![b' '; 2 * server::limits::LARGE_BODY_BYTES];
    let post = |stream: &mut TcpStream, length: usize| {
        let head = format!(
            "POST /v1.0/communications/getPresencesByUserId HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
    };
    // Bodies that do not end: each has its place as soon as the server has read more than is usual. Whoever has none is told
    // after a while, in case the rest is still to come.
    let open = |_| {
        let mut stream = connect(&server);
        post(&mut stream, large.len() + 1);
        stream.write_all(&large).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..LARGE_BODIES + BODIES_TOO_MANY).map(open).collect();
    let mut refused = 0;
    let began = Instant::now();
    while refused < BODIES_TOO_MANY {
        assert!(began.elapsed() < HUNG, "there is room for {} large bodies", streams.len());
        streams.retain_mut(|stream| {
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).is_err() {
                return true;
            }
            assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 503");
            refused += 1;
            false
        });
    }
    assert_eq!(streams.len(), LARGE_BODIES, "the others have their places");
    let body = format!("{{\"ids\":[\"{USER_A}\"]}}");
    let mut usual = connect(&server);
    post(&mut usual, body.len());
    usual.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut usual).status, 200);
    drop(streams);
}
