//! Ten times as many as there is room for: who is in is served, who is not is told when to come again, health checks are
//! answered, memory stays as it was, and when the others go away it is as if they had never been there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use crate::connections::tls_client;
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
/// HTTP/2 requests there is room for, over all connections.
const STREAMS: usize = 4;
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
fn beyond_the_streams_there_is_room_for_a_stream_is_told_503_and_health_checks_go_on() {
    more_streams_than_there_is_room_for("", 503, "ServiceUnavailable");
}

#[test]
fn by_configuration_a_stream_too_many_is_told_429() {
    more_streams_than_there_is_room_for("status = 429\n", 429, "TooManyRequests");
}

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// One connection takes all places with requests whose bodies do not come; another one asks meanwhile, and after.
#[expect(clippy::disallowed_methods, reason = "a test that hangs ends")]
fn more_streams_than_there_is_room_for(setting: &str, status: u16, code: &str) {
    let server = Serving::start(&format!("[overload]\nrequests_max = {STREAMS}\n{setting}"));
    let token = server.app_token();
    let (port, certificate) = server.https();
    let tls = tls_client(&certificate);
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap()
    };
    let request = |method: &str, path: &str, body: Body| {
        let request = http::Request::builder().method(method).uri(format!("https://localhost{path}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/json").body(body).unwrap()
    };
    let path = format!("/v1.0/users/{USER_A}/presence");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ((mut full, fulls), (mut other, others)) = (connect().await, connect().await);
        let work = async {
            let mut ask = async |path: &str| {
                let empty = Full::default().boxed_unsync();
                let (head, body) =
                    other.send_request(request("GET", path, empty)).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
            };
            assert_eq!(ask(&path).await.0, 200);
            let (mut ends, mut answers) = (Vec::new(), Vec::new());
            // One more each time: one of them may find the place taken that a read had for a moment.
            let began = Instant::now();
            let (headers, body) = loop {
                assert!(began.elapsed() < HUNG, "there is room for more than {STREAMS}");
                let (end, rest) = oneshot::channel::<Bytes>();
                let body = futures_util::stream::once(rest).map(|rest| Ok(Frame::data(rest.unwrap())));
                let body = StreamBody::new(body).boxed_unsync();
                let post = request("POST", "/v1.0/communications/getPresencesByUserId", body);
                answers.push(full.send_request(post));
                ends.push(end);
                let (seen, headers, body) = ask(&path).await;
                if seen != 200 {
                    assert_eq!(seen, status, "{body}");
                    break (headers, body);
                }
            };
            assert!(body.contains(&format!("\"code\":\"{code}\"")), "{body}");
            assert_eq!(headers["retry-after"], "1");
            assert_eq!(ask("/healthz").await.0, 200);
            // Those who are in are served, and then there is room again.
            for end in ends {
                // Nobody reads that of a request that was told to come again.
                let _ = end.send(Bytes::from(format!("{{\"ids\":[\"{USER_A}\"]}}")));
            }
            let seen: Vec<u16> =
                join_all(answers).await.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
            assert_eq!(seen.iter().filter(|seen| **seen == 200).count(), STREAMS, "{seen:?}");
            assert!(seen.iter().all(|seen| [200, status].contains(seen)), "{seen:?}");
            let began = Instant::now();
            while ask(&path).await.0 != 200 {
                assert!(began.elapsed() < HUNG, "they are gone, and nobody is let in");
            }
        };
        tokio::select! {
            () = work => {}
            ended = join(fulls, others) => panic!("the connections ended: {ended:?}"),
        }
    });
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
