//! The admin listener: few connections, small requests, one answer or one stream each.

use super::api::Api;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; the next ones wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// Bytes of a request's body; the rest is answered 413.
const BODY_MAX: usize = 1 << 20;
/// To read a request's head and body in.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// For answers under way when the daemon stops.
const GRACE: Duration = Duration::from_secs(2);

/// An answer: whole, or a stream of lines.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Serves until stopped; ends when the answers under way are out, or after a short grace.
pub async fn serve(listener: TcpListener, api: Arc<Api>, stop: CancellationToken) {
    let (room, all) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let socket = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (api, stop) = (Arc::clone(&api), stop.clone());
        all.spawn(async move {
            let _permit = permit;
            let answer = service_fn(move |request| {
                let api = Arc::clone(&api);
                async move { Ok::<_, Infallible>(respond(&api, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIME)
                .serve_connection(TokioIo::new(socket), answer);
            tokio::pin!(connection);
            // A caller that breaks off is its own affair.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, connection).await;
                }
            }
        });
    }
    all.close();
    let _ = tokio::time::timeout(GRACE, all.wait()).await;
}

async fn respond(api: &Api, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(REQUEST_TIME, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => api.answer(&head, &body.to_bytes()).await,
        Ok(Err(_)) => super::api::error(413, "the request is too large"),
        Err(_) => super::api::error(408, "the request took too long"),
    }
}

/// A whole answer.
pub fn whole(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(BodyExt::boxed_unsync(Full::new(body.into())));
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(content_type));
    headers.insert("x-content-type-options", hyper::header::HeaderValue::from_static("nosniff"));
    headers.insert("cache-control", hyper::header::HeaderValue::from_static("no-store"));
    answer
}
