//! When more is asked for than can be served: who is admitted, and what the others are told.
//!
//! What is admitted waits in bounded queues only, so it is answered in bounded time and memory. The rest is told at once, in
//! a connection of its own that lives for one request: a client that is told nothing tries again at once. Health checks are
//! answered on such a connection too; otherwise a server that is merely busy would be taken for dead and ended.

use std::future::Future;
use std::sync::Arc;

use graph::GraphError;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::http::connection::{Handler, Peer};
use crate::limits::{
    ACCEPT_BACKOFF, CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, OVERLOAD_RETRY_SECS, STREAMS_MAX,
    TURN_AWAY_TIMEOUT, TURNED_AWAY_MAX,
};

/// How much is served at a time, and how the others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections open at a time, over all listeners.
    pub connections: u32,
    /// HTTP/2 requests in flight at a time, over all connections. Of HTTP/1.1 there is one to a connection.
    pub streams: u32,
    /// With what status the others are told.
    pub refusal: OverloadStatus,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX, streams: STREAMS_MAX, refusal: OverloadStatus::default() }
    }
}

/// The status of an answer to a request there is no room for. Both come with a `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverloadStatus {
    /// 503, as Graph says when it is the service's fault.
    #[default]
    Unavailable,
    /// 429, which every SDK of Graph waits for and tries again.
    TooManyRequests,
}

impl OverloadStatus {
    pub(crate) fn error(self) -> GraphError {
        match self {
            Self::Unavailable => GraphError::unavailable(OVERLOAD_RETRY_SECS),
            Self::TooManyRequests => GraphError::too_many_requests(OVERLOAD_RETRY_SECS),
        }
    }
}

/// The places of a server.
pub(super) struct Room {
    pub(super) bounds: Bounds,
    pub(super) connections: Arc<Semaphore>,
    pub(super) streams: Semaphore,
    /// For those who are told that there is none.
    turned_away: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            connections: Arc::new(Semaphore::new(bounds.connections as usize)),
            streams: Semaphore::new(bounds.streams as usize),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
        }
    }

    /// Tells a client for whom there is no connection, in an answer to its request if there is a place for that.
    pub(super) fn turn_away<H: Handler>(
        &self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        handler: Arc<H>,
    ) -> impl Future<Output = ()> + Send + use<H> {
        let place = self.turned_away.clone().try_acquire_owned();
        async move {
            match place {
                Ok(_place) => {
                    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, answer_once(stream, tls, handler)).await;
                }
                Err(_) => refuse(stream, tls.is_some()).await,
            }
        }
    }
}

/// Reads one request and answers it, as long as the client waits for nothing else.
async fn answer_once<H: Handler>(stream: TcpStream, tls: Option<TlsAcceptor>, handler: Arc<H>) {
    let (Ok(address), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let _ = stream.set_nodelay(true);
    let peer = Peer { address, local, tls: tls.is_some() };
    match tls {
        None => answer_http1(stream, handler, peer).await,
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                answer_http2(stream, handler, peer).await;
            } else {
                answer_http1(stream, handler, peer).await;
            }
        }
    }
}

async fn answer_http1<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    handler: Arc<H>,
    peer: Peer,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, std::convert::Infallible>(handler.turn_away(&request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TURN_AWAY_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

async fn answer_http2<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<H>,
    peer: Peer,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, std::convert::Infallible>(handler.turn_away(&request, peer).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(1).max_header_list_size(HEADER_BYTES_MAX as u32);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Says so without reading anything; the client may never see it. Under TLS there is no room even for that.
async fn refuse(mut stream: TcpStream, tls: bool) {
    if !tls {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = tokio::time::timeout(ACCEPT_BACKOFF, stream.write_all(answer)).await;
    }
}
