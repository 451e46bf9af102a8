//! The reference: hyper as bare as it comes, answering constants. What it costs is what HTTP costs on this machine, with
//! the settings of connections, the runtime and the allocator of the server it is compared with.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use identity::ReloadableCertificate;
use server::http::connection::{http1_builder, http2_builder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the reference answers, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct ReferenceArgs {
    /// Where to listen.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Bytes of the answer to a GET.
    #[arg(long, default_value_t = 0)]
    pub(crate) get_bytes: usize,
    /// Bytes of the answer to a batch read.
    #[arg(long, default_value_t = 0)]
    pub(crate) batch_bytes: usize,
    /// Bytes of the answer to every other POST.
    #[arg(long, default_value_t = 0)]
    pub(crate) post_bytes: usize,
    /// PEM files of certificate and key: TLS.
    #[arg(long, num_args = 2)]
    pub(crate) tls: Vec<PathBuf>,
}

/// The constants.
struct Answers {
    get: Bytes,
    batch: Bytes,
    post: Bytes,
}

/// Serves until the process is ended.
pub(crate) fn run(args: &ReferenceArgs) -> anyhow::Result<()> {
    let constant = |bytes| Bytes::from(vec![b'x'; bytes]);
    let answers = Arc::new(Answers {
        get: constant(args.get_bytes),
        batch: constant(args.batch_bytes),
        post: constant(args.post_bytes),
    });
    let tls = match &args.tls[..] {
        [certificate, key] => {
            let certificate = Arc::new(ReloadableCertificate::open(certificate, key)?);
            Some(TlsAcceptor::from(identity::server_config(certificate)?))
        }
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.address).await.context("the reference cannot listen")?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (answers, tls) = (answers.clone(), tls.clone());
            server::loops::start(async move {
                // A connection that ends early is the generator's doing.
                let _ = converse(stream, tls, answers).await;
            });
        }
    })
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, answers: Arc<Answers>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = tls else { return speak_http1(stream, answers).await };
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = service_fn(move |request| answer(answers.clone(), request));
        return Ok(http2_builder().serve_connection(TokioIo::new(stream), service).await?);
    }
    speak_http1(stream, answers).await
}

async fn speak_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answers: Arc<Answers>,
) -> anyhow::Result<()> {
    let service = service_fn(move |request| answer(answers.clone(), request));
    Ok(http1_builder().serve_connection(TokioIo::new(stream), service).await?)
}

/// Takes the body, as every server must, and answers the constant.
async fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let constant = match head.method {
        Method::GET => &answers.get,
        _ if head.uri.path().ends_with("ByUserId") => &answers.batch,
        _ => &answers.post,
    };
    Ok(Response::new(Full::new(constant.clone())))
}
