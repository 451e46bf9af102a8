//! What clients do with connections: many streams on one, two callers in turn, and no patience.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::support::{Caller, JSON, Server, USER_A, parse_answer, shared};

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

/// Speaks HTTP/2, and trusts the emulator.
fn tls_client(ca: &Path) -> TlsConnector {
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
