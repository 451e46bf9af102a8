//! Listeners and connections: accept, handshake, serve, and finish what is in flight when told to stop.
//!
//! Plain listeners speak HTTP/1.1; TLS listeners speak what ALPN agreed on. Asking the first bytes instead would let a
//! client that sends nothing hold a connection outside every timeout.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::http::overload::{Bounds, Room};
use crate::http::reply::{ResponseBody, full};
use crate::limits::{
    ACCEPT_BACKOFF, ACCEPT_QUEUE_MAX, HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, HEADERS_MAX,
    HTTP2_KEEP_ALIVE_INTERVAL, OVERLOAD_RETRY_SECS, SHUTDOWN_TIMEOUT, STREAMS_PER_CONNECTION_MAX,
    TLS_HANDSHAKE_TIMEOUT,
};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// Whatever answers requests. It never fails: every failure is an answer.
pub trait Handler: Send + Sync + 'static {
    /// What is remembered of a connection from one request to the next.
    type Memory: Default + Send + Sync + 'static;

    /// The answer to one request.
    fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        memory: &Self::Memory,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;

    /// How much is served at a time.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    /// The answer to a request for which there is no room. It reads no body.
    fn turn_away(
        self: &Arc<Self>,
        _request: &Request<Incoming>,
        _peer: Peer,
    ) -> impl Future<Output = Response<ResponseBody>> + Send {
        let error = self.bounds().refusal.error();
        let mut response = Response::new(full(bytes::Bytes::new()));
        *response.status_mut() =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        response.headers_mut().insert(RETRY_AFTER, OVERLOAD_RETRY_SECS.into());
        std::future::ready(response)
    }
}

/// What the requests of one connection share. They count their references to this and not to the handler: that counter
/// would be written by all processors for every request.
struct Conversation<H: Handler> {
    handler: Arc<H>,
    peer: Peer,
    memory: H::Memory,
}

impl<H: Handler> Conversation<H> {
    fn new(handler: Arc<H>, peer: Peer) -> Arc<Self> {
        Arc::new(Self { handler, peer, memory: H::Memory::default() })
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        Ok(self.handler.handle(request, self.peer, &self.memory).await)
    }
}

/// A socket bound to an address, on which [`ACCEPT_QUEUE_MAX`] connections can wait to be accepted.
///
/// # Errors
/// Those of the machine: the address is taken, or not one of its own.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that was just stopped leaves connections behind that would keep the address for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE_MAX)
}

/// A socket to accept on, with TLS or without.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listener {
    /// A listener on a bound socket.
    pub fn new(socket: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self { socket, tls }
    }
}

/// Serves `handler` on every listener until `stop` turns true, then finishes the requests in flight, for at most
/// [`SHUTDOWN_TIMEOUT`].
pub async fn serve<H: Handler>(listeners: Vec<Listener>, handler: Arc<H>, stop: watch::Receiver<bool>) {
    let room = Arc::new(Room::new(handler.bounds()));
    let accepting =
        listeners.into_iter().map(|listener| accept(listener, handler.clone(), room.clone(), stop.clone()));
    futures_util::future::join_all(accepting).await;
    // Each connection holds a slot: who has them all knows that no connection is left.
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, room.connections.acquire_many(room.bounds.connections))
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

async fn accept<H: Handler>(
    listener: Listener,
    handler: Arc<H>,
    room: Arc<Room>,
    mut stop: watch::Receiver<bool>,
) {
    let tls = listener.tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely. Those who are connected go on; new ones wait.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Ok(slot) = room.connections.clone().try_acquire_owned() else {
            spawn(room.turn_away(stream, tls.clone(), handler.clone()));
            continue;
        };
        let (handler, room, tls, stop) = (handler.clone(), room.clone(), tls.clone(), stop.clone());
        spawn(async move {
            if let Err(error) = converse(stream, tls, handler, room, stop).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(slot);
        });
    }
}

async fn converse<H: Handler>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handler: Arc<H>,
    room: Arc<Room>,
    stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut peer = Peer { address: stream.peer_addr()?, local: stream.local_addr()?, tls: tls.is_some() };
    // A dual-stack socket names IPv4 peers in IPv6 form; rules about loopback want the plain one.
    peer.address.set_ip(peer.address.ip().to_canonical());
    match tls {
        None => speak_http1(stream, handler, peer, stop).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                speak_http2(stream, handler, peer, room, stop).await
            } else {
                speak_http1(stream, handler, peer, stop).await
            }
        }
    }
}

/// Drives a connection to its end; told to stop, it finishes what is in flight and takes nothing new. The connection
/// types share no trait for it, hence a macro.
///
/// The connection is a task by itself, so it is enough to ask once to be woken for the stop; asking with every request
/// takes a lock that all connections share.
macro_rules! finish {
    ($connection:ident, $stop:ident) => {{
        let mut connection = $connection;
        let news = $stop.clone();
        let mut told = pin!($stop.wait_for(|stop| *stop));
        let mut has_asked = false;
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            let is_told = !(has_asked && matches!(news.has_changed(), Ok(false)))
                && told.as_mut().poll(context).is_ready();
            has_asked = true;
            if is_told { Poll::Ready(None) } else { Poll::Pending }
        });
        match ended.await {
            Some(ended) => return Ok(ended?),
            None => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }};
}

/// The settings of every HTTP/1.1 connection. The benchmark's reference has them too.
pub fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// The settings of every HTTP/2 connection, as [`http1_builder`].
pub fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_KEEP_ALIVE_INTERVAL)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    builder
}

async fn speak_http1<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<H>,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let conversation = Conversation::new(handler, peer);
    let service = service_fn(move |request| conversation.clone().answer(request));
    let connection = pin!(http1_builder().serve_connection(TokioIo::new(stream), service).with_upgrades());
    finish!(connection, stop)
}

async fn speak_http2<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<H>,
    peer: Peer,
    room: Arc<Room>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let conversation = Conversation::new(handler, peer);
    let service = service_fn(move |request| answer_if_room(conversation.clone(), room.clone(), request));
    let connection = pin!(http2_builder().serve_connection(TokioIo::new(stream), service));
    finish!(connection, stop)
}

/// A connection may bring many streams, and many connections more than there is room for.
async fn answer_if_room<H: Handler>(
    conversation: Arc<Conversation<H>>,
    room: Arc<Room>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    match room.streams.try_acquire() {
        Ok(_place) => conversation.answer(request).await,
        Err(_) => Ok(conversation.handler.turn_away(&request, conversation.peer).await),
    }
}

#[expect(clippy::disallowed_methods, reason = "one task for each connection, bounded by CONNECTIONS_MAX")]
fn spawn(connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(connection);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::http::body::BodySource;
    use crate::limits::BODY_READ_TIMEOUT;

    /// Reads every body, and answers with what came of it.
    struct Reader;

    impl Handler for Reader {
        type Memory = ();

        async fn handle(
            self: &Arc<Self>,
            request: Request<Incoming>,
            _peer: Peer,
            _memory: &(),
        ) -> Response<ResponseBody> {
            let (head, body) = request.into_parts();
            let read = BodySource::Stream(body).read(&head.headers).await;
            Response::new(crate::http::reply::full(format!("{:?}", read.err())))
        }
    }

    /// What a client that sends this and then nothing reads, and how long that takes.
    async fn after_silence(bytes: &[u8]) -> (Duration, String) {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let address = "127.0.0.1:7080".parse().unwrap();
        let peer = Peer { address, local: address, tls: false };
        client.write_all(bytes).await.unwrap();
        let started = Instant::now();
        let mut answer = String::new();
        let (_stop, stopped) = watch::channel(false);
        let serving = speak_http1(server, Arc::new(Reader), peer, stopped);
        let (_, read) = tokio::join!(serving, client.read_to_string(&mut answer));
        read.unwrap();
        (started.elapsed(), answer)
    }

    /// The limit counts from the last byte, which is a little before the client begins to wait.
    fn is_about(waited: Duration, limit: Duration) -> bool {
        let slack = Duration::from_millis(500);
        (limit - slack..limit + slack).contains(&waited)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_no_head_or_half_of_one_is_closed_after_its_time() {
        for half in [&b""[..], b"GET /v1.0/me", b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bea"] {
            let (waited, answer) = after_silence(half).await;
            assert!(is_about(waited, HEADER_READ_TIMEOUT), "{waited:?}");
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_idles_after_a_request_is_closed_after_its_time() {
        let (waited, answer) = after_silence(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(is_about(waited, HEADER_READ_TIMEOUT), "{waited:?}");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("None"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_half_way_is_given_up_after_its_time_and_answered() {
        let half = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{\"a\"";
        let (waited, answer) = after_silence(half).await;
        assert!(is_about(waited, BODY_READ_TIMEOUT), "{waited:?}");
        assert!(answer.ends_with("Some(TooSlow)"), "{answer}");
    }

    #[tokio::test]
    async fn a_crowd_that_comes_at_once_waits_to_be_accepted_and_nobodys_first_packet_is_dropped() {
        let socket = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = socket.local_addr().unwrap();
        // Nobody accepts. Twice as many as the 128 that there is room for unless a program asks for more.
        let mut crowd = Vec::new();
        for _ in 0..256 {
            let connecting = TcpStream::connect(address);
            crowd.push(tokio::time::timeout(BODY_READ_TIMEOUT, connecting).await.unwrap().unwrap());
        }
        for stream in &crowd {
            assert_eq!(socket.accept().await.unwrap().1, stream.local_addr().unwrap());
        }
    }
}
