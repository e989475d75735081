//! `switchyard echo`: a far side to try outputs with. Answers every request with 200 (or what is asked) and prints it.

use super::{Exit, block_on, show};
use crate::model::printable::Printable;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

/// The most of a body that is read; the rest is answered 413.
const BODY_MAX: usize = 8 << 20;
/// The most of a body that is printed.
const SHOWN_MAX: usize = 400;

/// Answers every request and prints it, until interrupted.
#[derive(Debug, Clone, clap::Args)]
pub struct Echo {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// What to answer.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// With which body; JSON where it is JSON.
    #[arg(long, default_value = "ok")]
    answer: String,
    /// Prints nothing.
    #[arg(long, short)]
    quiet: bool,
}

impl Echo {
    pub fn run(self) -> anyhow::Result<Exit> {
        use anyhow::Context;
        block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen).await.with_context(|| format!("can't listen on {}", self.listen))?;
            show::say(&format!("echo answers {} on http://{}", self.status, listener.local_addr()?));
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let echo = self.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| {
                        let echo = echo.clone();
                        async move { Ok::<_, Infallible>(echo.answer(request).await) }
                    });
                    // A caller that breaks off is its own affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(Duration::from_mins(1))
                        .serve_connection(TokioIo::new(socket), answer)
                        .await;
                });
            }
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
            return respond(StatusCode::PAYLOAD_TOO_LARGE, "too large");
        };
        if !self.quiet {
            let body = body.to_bytes();
            let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_MAX)]).into_owned();
            let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("–").to_owned();
            show::say(&format!(
                "{} {}  {} attempt {}  {}",
                head.method,
                Printable(head.uri.path()),
                Printable(&header("switchyard-delivery")),
                Printable(&header("switchyard-attempt")),
                Printable(&text)
            ));
        }
        respond(StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK), &self.answer)
    }
}

fn respond(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let kind = if serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok() { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::from(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
