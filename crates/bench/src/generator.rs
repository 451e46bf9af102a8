//! The load generator: connections that each keep one request (HTTP/2: a few) in flight, and count what comes back.
//!
//! It runs in this process on threads of its own, each with a single-threaded runtime, and looks at answers no more than
//! it must: status and length. Its CPU time is reported with every measurement.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::traffic::{Ask, Client};

/// Threads of the generator.
const THREADS: usize = 2;
/// HTTP/2 requests in flight on one connection.
pub(crate) const STREAMS: usize = 8;
/// Headers of an answer, at most.
const ANSWER_HEADERS_MAX: usize = 32;
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Window for HTTP/2 answers: no stream waits for the generator.
const WINDOW: u32 = 16 * 1024 * 1024;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1 on plain sockets.
    Http1,
    /// HTTP/2 over TLS 1.3.
    Http2Tls,
}

/// How long to load a server, after what warm-up, and for how many requests at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Ends the measurement earlier.
    pub(crate) requests_max: u64,
    /// How long each connection over HTTP/1.1 waits between an answer and the next request.
    pub(crate) pause: Duration,
}

impl Span {
    /// As many requests as can be made in a time.
    pub(crate) const fn of(measured: Duration) -> Self {
        Self { warm_up: Duration::ZERO, measured, requests_max: u64::MAX, pause: Duration::ZERO }
    }
}

/// What a measurement found.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Answers other than 200.
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    /// Microseconds.
    pub(crate) latency: Histogram<u64>,
}

/// What the connections of a measurement share.
struct Shared {
    stop: AtomicBool,
    recording: AtomicBool,
    requests: AtomicU64,
    refused: AtomicU64,
    requests_max: u64,
    pause: Duration,
}

/// Loads `address` with one connection a client and calls `at` when the warm-up is over and when the measurement is.
pub(crate) fn load(
    address: SocketAddr,
    transport: Transport,
    clients: Vec<Client>,
    span: Span,
    at: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Load> {
    load_until(address, transport, clients, span, at, &AtomicBool::new(false))
}

/// The same, which also ends when somebody says so.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
pub(crate) fn load_until(
    address: SocketAddr,
    transport: Transport,
    clients: Vec<Client>,
    span: Span,
    mut at: impl FnMut() -> anyhow::Result<()>,
    is_over: &AtomicBool,
) -> anyhow::Result<Load> {
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        recording: AtomicBool::new(false),
        requests: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        requests_max: span.requests_max,
        pause: span.pause,
    });
    let mut parts: Vec<Vec<Client>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (number, client) in clients.into_iter().enumerate() {
        parts[number % THREADS].push(client);
    }
    let threads = parts.into_iter().map(|clients| {
        let shared = shared.clone();
        std::thread::spawn(move || drive(address, transport, clients, &shared))
    });
    let threads: Vec<_> = threads.collect();
    std::thread::sleep(span.warm_up);
    at()?;
    let began = Instant::now();
    shared.recording.store(true, Ordering::Relaxed);
    let goes_on = || !shared.stop.load(Ordering::Relaxed) && !is_over.load(Ordering::Relaxed);
    while began.elapsed() < span.measured && goes_on() {
        std::thread::sleep(Duration::from_millis(5).min(span.measured));
    }
    shared.recording.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed();
    at()?;
    shared.stop.store(true, Ordering::Relaxed);
    let mut latency = new_histogram()?;
    for thread in threads {
        latency.add(thread.join().ok().context("a thread of the generator ended early")??)?;
    }
    let requests = shared.requests.load(Ordering::Relaxed);
    Ok(Load { requests, refused: shared.refused.load(Ordering::Relaxed), elapsed, latency })
}

pub(crate) fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn drive(
    address: SocketAddr,
    transport: Transport,
    clients: Vec<Client>,
    shared: &Shared,
) -> anyhow::Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let latency = RefCell::new(new_histogram()?);
    let all = clients.into_iter().map(|client| {
        let latency = &latency;
        async move {
            match transport {
                Transport::Http1 => http1(connect(address).await?, client, shared, latency).await,
                Transport::Http2Tls => http2(address, client, shared, latency).await,
            }
        }
    });
    runtime.block_on(try_join_all(all))?;
    Ok(latency.into_inner())
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Shared {
    /// Counts an answer. Returns whether to go on.
    fn count(&self, began: Instant, status: u16, latency: &RefCell<Histogram<u64>>) -> bool {
        if self.recording.load(Ordering::Relaxed) {
            latency.borrow_mut().saturating_record(began.elapsed().as_micros() as u64);
            if status != 200 {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            if self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= self.requests_max {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
async fn http1(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut client: Client,
    shared: &Shared,
    latency: &RefCell<Histogram<u64>>,
) -> anyhow::Result<()> {
    let (mut ask, mut out, mut answer) = (Ask::default(), Vec::new(), vec![0; 16 * 1024]);
    while client.ask(&mut ask) {
        ask.write_http1(&mut out, client.token());
        let began = Instant::now();
        stream.write_all(&out).await?;
        let (status, _) = read_answer(&mut stream, &mut answer).await?;
        if !shared.count(began, status, latency) {
            break;
        }
        if !shared.pause.is_zero() {
            tokio::time::sleep(shared.pause).await;
        }
    }
    Ok(())
}

/// A connection that makes one request after another.
pub(crate) struct Caller {
    stream: TcpStream,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { stream: connect(address).await?, out: Vec::new(), answer: vec![0; 16 * 1024] })
    }

    /// Posts, and returns the status of the answer.
    pub(crate) async fn post(&mut self, path: &str, token: &str, body: &str) -> anyhow::Result<u16> {
        self.ask(&Ask { is_post: true, path: path.to_owned(), body: body.to_owned() }, token).await
    }

    /// Asks, and returns the status of the answer.
    pub(crate) async fn ask(&mut self, ask: &Ask, token: &str) -> anyhow::Result<u16> {
        ask.write_http1(&mut self.out, token);
        self.stream.write_all(&self.out).await?;
        Ok(read_answer(&mut self.stream, &mut self.answer).await?.0)
    }
}

/// Sends one request on a new connection: status, and length of the answer with its head and of its body alone.
pub(crate) async fn probe(address: SocketAddr, request: &[u8]) -> anyhow::Result<(u16, usize, usize)> {
    let mut stream = connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; 16 * 1024];
    let (status, (head, body)) = read_answer(&mut stream, &mut answer).await?;
    Ok((status, head + body, body))
}

/// Reads one answer: status, and length of head and body.
async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> anyhow::Result<(u16, (usize, usize))> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the server closed a connection");
        }
        filled += read;
        if let Some((status, head, length)) = parse_head(&buffer[..filled])? {
            if length > ANSWER_BYTES_MAX {
                bail!("an answer of {length} bytes");
            }
            buffer.resize(buffer.len().max(head + length), 0);
            stream.read_exact(&mut buffer[filled..(head + length).max(filled)]).await?;
            return Ok((status, (head, length)));
        }
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
    }
}

fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; ANSWER_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer without a length")?;
    let length = std::str::from_utf8(length.value)?.parse()?;
    Ok(Some((response.code.unwrap_or_default(), head, length)))
}

#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
async fn http2(
    address: SocketAddr,
    client: Client,
    shared: &Shared,
    latency: &RefCell<Histogram<u64>>,
) -> anyhow::Result<()> {
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let stream = tls_connector()?.connect(name, connect(address).await?).await?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await?;
    let connection = server::loops::start(async move {
        // Closing with requests in flight is how a measurement ends.
        let _ = connection.await;
    });
    let client = RefCell::new(client);
    let streams = (0..STREAMS).map(|_| {
        let mut sender = sender.clone();
        let client = &client;
        async move {
            let mut ask = Ask::default();
            while client.borrow_mut().ask(&mut ask) {
                let (request, body) = http2_request(&ask, client.borrow().token())?;
                let began = Instant::now();
                sender = sender.ready().await?;
                let (response, mut sending) = sender.send_request(request, body.is_empty())?;
                if !body.is_empty() {
                    sending.send_data(body, true)?;
                }
                let (head, mut body) = response.await?.into_parts();
                while let Some(data) = body.data().await {
                    body.flow_control().release_capacity(data?.len())?;
                }
                if !shared.count(began, head.status.as_u16(), latency) {
                    break;
                }
            }
            anyhow::Ok(())
        }
    });
    try_join_all(streams).await?;
    connection.abort();
    Ok(())
}

fn http2_request(ask: &Ask, token: &str) -> anyhow::Result<(http::Request<()>, Bytes)> {
    let request = http::Request::builder()
        .method(if ask.is_post { "POST" } else { "GET" })
        .uri(format!("https://localhost{}", ask.path))
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "application/json");
    let request = match ask.is_post {
        true => request.header("content-type", "application/json").header("content-length", ask.body.len()),
        false => request,
    };
    Ok((request.body(())?, Bytes::copy_from_slice(ask.body.as_bytes())))
}

/// TLS 1.3 and HTTP/2, and whatever certificate: both ends are ours.
fn tls_connector() -> anyhow::Result<TlsConnector> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody(Arc<rustls::crypto::CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
