//! Against real sockets and real TLS: whatever the other side does, it costs no more than was allowed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use outbound::{Answer, Client, Forbidden, Limits, Policy, Request, SendError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Long enough for what is to succeed on a loaded machine.
const PATIENT: Limits = Limits { time: Duration::from_secs(30), response_bytes: 1_000 };
/// For what never comes.
const BRIEF: Limits = Limits { time: Duration::from_millis(200), response_bytes: 1_000 };
/// In the path of each request; no message may repeat it.
const SECRET: &str = "a-secret-of-the-url";

/// What a receiver does once it has read the head of a request.
#[derive(Clone, Copy)]
enum Then {
    /// Writes this and keeps the connection.
    Say(&'static str),
    /// Writes this and closes.
    SayAndClose(&'static str),
    /// Writes the head of an answer without end, and one byte of it again and again.
    Drip,
    /// Nothing.
    Hang,
}

/// A receiver on loopback, with a certificate of its own for one name.
struct Receiver {
    address: SocketAddr,
    root: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start(name: &str, then: Then) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (connections.clone(), requests.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counts.0.fetch_add(1, Ordering::SeqCst);
                conversations.spawn(converse(acceptor.clone(), stream, counts.1.clone(), then));
            }
        });
        Self { address, root: made.cert.pem(), connections, requests, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/{SECRET}?token={SECRET}", self.address.port())
    }

    /// Posts to it with a client that trusts it and may go to loopback.
    async fn post(&self, limits: Limits) -> Result<Answer, SendError> {
        post(&client(loopback(), &[&self.root]), &self.url(), limits).await
    }

    fn count(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

async fn converse(acceptor: TlsAcceptor, stream: TcpStream, requests: Arc<AtomicUsize>, then: Then) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
            if !received.windows(4).any(|window| window == b"\r\n\r\n") {
                continue;
            }
        } else {
            return;
        }
        received.clear();
        requests.fetch_add(1, Ordering::SeqCst);
        match then {
            // A client that has read enough may be gone.
            Then::Say(answer) => drop(stream.write_all(answer.as_bytes()).await),
            Then::SayAndClose(answer) => {
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Then::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                // Ends when the client goes.
                while stream.write_all(b"1\r\nx\r\n").await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return;
            }
            Then::Hang => std::future::pending().await,
        }
    }
}

fn loopback() -> Policy {
    Policy { loopback: true, ..Policy::default() }
}

fn client(policy: Policy, roots: &[&String]) -> Client {
    let roots: Vec<String> = roots.iter().map(|root| (*root).clone()).collect();
    Client::new(policy, &roots).unwrap()
}

async fn post(client: &Client, url: &str, limits: Limits) -> Result<Answer, SendError> {
    let body = Bytes::from_static(b"{}");
    let answer = client.send(Request { method: Method::POST, url, headers: HeaderMap::new(), body }, limits);
    let answer = answer.await;
    if let Err(error) = &answer {
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?} repeats the URL");
    }
    answer
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_goes_there() {
    let target =
        Receiver::start("localhost", Then::Say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    for status in ["301", "302", "303", "307", "308"] {
        let answer =
            format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url());
        let receiver = Receiver::start("localhost", Then::Say(answer.leak())).await;
        let client = client(loopback(), &[&receiver.root, &target.root]);
        let answer = post(&client, &receiver.url(), PATIENT).await.unwrap();
        assert_eq!(answer.status.as_str(), status);
        assert_eq!(receiver.count(), (1, 1));
    }
    assert_eq!(target.count(), (0, 0), "a redirect was followed");
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_and_no_further() {
    let body = "x".repeat(PATIENT.response_bytes);
    let fits = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let receiver = Receiver::start("localhost", Then::Say(fits.leak())).await;
    assert_eq!(receiver.post(PATIENT).await.unwrap().body.len(), PATIENT.response_bytes);

    let larger = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}x", body.len() + 1);
    let receiver = Receiver::start("localhost", Then::Say(larger.leak())).await;
    let error = receiver.post(PATIENT).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge(limit) if limit == PATIENT.response_bytes), "{error}");
}

#[tokio::test]
async fn whoever_is_silent_or_drips_is_left_when_the_time_is_over() {
    for then in [Then::Hang, Then::Drip, Then::Say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")] {
        let receiver = Receiver::start("localhost", then).await;
        // The connection comes about first: what is measured is the answer.
        let error = receiver.post(BRIEF).await.unwrap_err();
        assert!(matches!(error, SendError::Timeout), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_not_http_does_not_count() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "", "SSH-2.0-OpenSSH_9.6\r\n\r\n"] {
        let receiver = Receiver::start("localhost", Then::SayAndClose(answer)).await;
        let error = receiver.post(PATIENT).await.unwrap_err();
        assert!(matches!(error, SendError::Broken(_)), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_certificate_must_be_of_a_trusted_authority_and_for_the_name() {
    let ok = Then::Say("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::start("localhost", ok).await;
    assert_eq!(receiver.post(PATIENT).await.unwrap().status, 202);
    let stranger = client(loopback(), &[]);
    let error = post(&stranger, &receiver.url(), PATIENT).await.unwrap_err();
    assert!(matches!(error, SendError::Connect(_)), "{error:?}");
    assert_eq!(receiver.count().1, 1, "it was told something before it was known");

    let other = Receiver::start("other.example", ok).await;
    let error = other.post(PATIENT).await.unwrap_err();
    assert!(matches!(error, SendError::Connect(_)), "{error:?}");
    assert_eq!(other.count().1, 0);
}

#[tokio::test]
async fn the_address_behind_a_name_is_checked_when_the_connection_is_made() {
    let ok = Then::Say("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::start("localhost", ok).await;
    // As far as its URL tells it may be called; its name leads to this machine, as a rebound one would.
    let public = client(Policy::default(), &[&receiver.root]);
    assert!(public.policy().check_url(&receiver.url().parse().unwrap()).is_ok());
    let error = post(&public, &receiver.url(), PATIENT).await.unwrap_err();
    assert!(matches!(error, SendError::Forbidden(Forbidden::Address(_))), "{error:?}");
    assert_eq!(receiver.count(), (0, 0), "a connection was made before the address was checked");

    let networks = Policy {
        allow: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        only_listed: true,
        loopback: false,
    };
    assert_eq!(
        post(&client(networks, &[&receiver.root]), &receiver.url(), PATIENT).await.unwrap().status,
        202
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_as_such() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let url = format!("https://localhost:{}/{SECRET}", unused.port());
    let error = post(&client(loopback(), &[]), &url, PATIENT).await.unwrap_err();
    assert!(matches!(error, SendError::Connect(_)), "{error:?}");
}
