//! A bare hyper server: accepts, serves, nothing else.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header::HeaderMap, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Bodies above this are answered 413.
const BODY_MAX: usize = 2 << 20;

/// A request, read whole.
pub struct Post {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a server does.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a POST.
    fn post(&self, post: Post) -> impl Future<Output = StatusCode> + Send;
    /// The text that any GET shows; `path` is the request's.
    fn show(&self, path: &str) -> String;
}

/// A runtime of as many threads as asked for.
pub fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// Serves for ever. Says on stderr when it listens.
pub async fn serve<H: Handler>(listen: SocketAddr, handler: Arc<H>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    eprintln!("floor: listening on {}", listener.local_addr()?);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(handler.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer<H: Handler>(handler: Arc<H>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == hyper::Method::GET {
        return Ok(Response::new(Full::new(handler.show(request.uri().path()).into())));
    }
    let (head, body) = request.into_parts();
    let status = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => handler.post(Post { headers: head.headers, body: body.to_bytes() }).await,
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

/// A header's value as a number; nothing if it has none.
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
