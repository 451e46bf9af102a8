//! What clients do with connections: many streams on one, two callers in turn, no patience, and worse.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::support::{APP, Caller, JSON, MONDAY, Server, USER_A, parse_answer, shared};

/// Requests on one connection at once: more than the server runs at a time, so that some must wait.
const STREAMS: usize = 400;

#[test]
fn hundreds_of_streams_on_one_http2_connection_get_each_its_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let tls = tls_client(&folder.path().join("keys/ca.pem"));
    let users: Vec<_> = (0..STREAMS).map(|_| server.new_user()).collect();
    let app = Caller::application(&server);
    let (_, token) = app.authorization();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.https_port())).await.unwrap();
        let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let requests = join_all(users.iter().map(|user| {
            let mut sender = sender.clone();
            let request = http::Request::get(format!("https://localhost/v1.0/users/{user}/presence"))
                .header("authorization", token)
                .body(Full::<Bytes>::default())
                .unwrap();
            async move {
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                let status = response.status();
                (status, response.into_body().collect().await.unwrap().to_bytes())
            }
        }));
        tokio::select! {
            answers = requests => answers,
            ended = connection => panic!("the connection ended: {ended:?}"),
        }
    });
    assert_eq!(answers.len(), STREAMS);
    for (user, (status, body)) in users.iter().zip(answers) {
        crate::schema::check(status.as_u16(), &body);
        let seen: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), seen["id"].as_str()), (200, Some(user.as_str())));
    }
}

#[test]
fn two_callers_taking_turns_on_one_connection_stay_two() {
    let server = shared();
    let (app, user) = (Caller::application(&server), server.new_user());
    let own = Caller::user(&server, &user);
    let mut stream = server.connect();
    for turn in 0..20 {
        let (is_app, (_, token)) = match turn % 2 {
            0 => (true, app.authorization()),
            _ => (false, own.authorization()),
        };
        let request = format!(
            "GET /v1.0/me/presence HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n\r\n",
            server.http
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = parse_answer(&one_response(&mut stream));
        match is_app {
            // An application has no self: the connection must not lend it the one before.
            true => assert_eq!((answer.status, answer.error().1.as_str()), (400, "BadRequest")),
            false => assert_eq!(answer.json()["id"], user.as_str()),
        }
    }
}

#[test]
fn a_client_that_does_not_wait_is_told_again_and_then_served() {
    let server = Server::dev();
    let app = Caller::application(&server);
    let refuse = br#"{"requests":50,"retryAfterSeconds":30}"#;
    assert_eq!(server.send("POST", "/_presenced/v1/throttle", &[JSON], refuse).status, 200);
    let path = format!("/v1.0/users/{USER_A}/presence");
    for _ in 0..50 {
        let answer = app.get(&path);
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("30")));
    }
    assert_eq!(app.get(&path).status, 200);
}

/// What the bystander of [`bad_manners_on_connections_are_felt_by_nobody_else`] does meanwhile.
const ROUNDS: usize = 60;

#[test]
fn bad_manners_on_connections_are_felt_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    server.freeze_at(MONDAY);
    let tls = tls_client(&folder.path().join("keys/ca.pem"));
    let [bystander, dying, interleaved, beside, pipelined, streamed] =
        std::array::from_fn(|_| server.new_user());
    let app = Caller::application(&server);
    let (_, token) = app.authorization();
    let set = |user: &str, availability: &str, activity: &str| {
        let body = json!({ "sessionId": APP, "availability": availability, "activity": activity,
            "expirationDuration": "PT4H" })
        .to_string();
        format!(
            "POST /v1.0/users/{user}/presence/setPresence HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let is_over = AtomicBool::new(false);
    let until_over = |mut manners: Box<dyn FnMut() + Send + '_>| {
        while !is_over.load(Ordering::Relaxed) {
            manners();
        }
    };
    std::thread::scope(|scope| {
        // Dies in the middle of a request, each time somewhere else.
        let request = set(&dying, "Busy", "InACall");
        let mut cut = 0;
        scope.spawn({
            let (until_over, server) = (&until_over, &server);
            move || {
                until_over(Box::new(|| {
                    cut = (cut + 37) % (request.len() - 1);
                    server.connect().write_all(&request.as_bytes()[..=cut]).unwrap();
                }));
            }
        });
        // Two sessions by turns on one connection, none waiting for the other's answer.
        let turns =
            [set(&interleaved, "Busy", "InACall"), set(&beside, "DoNotDisturb", "Presenting")].concat();
        scope.spawn({
            let (until_over, server) = (&until_over, &server);
            move || {
                let mut stream = server.connect();
                until_over(Box::new(|| {
                    stream.write_all(turns.as_bytes()).unwrap();
                    for _ in 0..2 {
                        assert_eq!(parse_answer(&one_response(&mut stream)).status, 200);
                    }
                }));
            }
        });
        // A pipeline with rubbish in it, whose answers nobody reads.
        let pipeline = [
            set(&pipelined, "Away", "Away"),
            "GARBAGE\r\n\r\n".to_owned(),
            set(&pipelined, "Busy", "InACall"),
        ];
        scope.spawn({
            let (until_over, server) = (&until_over, &server);
            move || until_over(Box::new(|| server.connect().write_all(pipeline.concat().as_bytes()).unwrap()))
        });
        // Hundreds of streams on one connection, which is dropped with all of them open.
        scope.spawn({
            let (until_over, tls, streamed, port) = (&until_over, &tls, &streamed, server.https_port());
            move || until_over(Box::new(|| drop_streams(tls, port, token, streamed)))
        });

        let pairs = [("Busy", "InACall"), ("DoNotDisturb", "Presenting"), ("Away", "Away")];
        for round in 0..ROUNDS {
            let (availability, activity) = pairs[round % pairs.len()];
            assert_eq!(app.set(&bystander, availability, activity, "PT4H").status, 200);
            assert_eq!(app.pair(&bystander), format!("{availability}/{activity}"));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let seen = [&dying, &interleaved, &beside, &pipelined, &streamed].map(|user| app.pair(user));
    // What came whole counts; of the pipeline, what came before the rubbish.
    assert_eq!(
        seen,
        ["Offline/Offline", "Busy/InACall", "DoNotDisturb/Presenting", "Away/Away", "Offline/Offline"]
    );
}

/// Opens streams on a connection of HTTP/2 and goes away before any is answered.
fn drop_streams(tls: &TlsConnector, port: u16, token: &str, user: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut answers: Vec<_> = (0..STREAMS)
            .map(|_| {
                let request = http::Request::get(format!("https://localhost/v1.0/users/{user}/presence"));
                let request = request.header("authorization", token).body(Full::<Bytes>::default()).unwrap();
                Box::pin(sender.send_request(request))
            })
            .collect();
        // As long as it takes to get the first answer; the others are left where they are.
        tokio::select! {
            _ = &mut answers[0] => {}
            _ = connection => {}
        }
    });
}

/// Speaks HTTP/2, and trusts this authority, or a server with this very certificate.
pub(crate) fn tls_client(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Reads one response with a Content-Length from a connection that goes on.
fn one_response(stream: &mut impl Read) -> Vec<u8> {
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
    bytes
}
