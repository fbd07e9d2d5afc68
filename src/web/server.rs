//! The HTTP server's thread and its routes.
//! Owns: [`WebServer`]. Called by: the command line (start, stop); axum on `rm-http` (routes).
//! Does not: keep connections alive: every answer closes its own, so that a deadline bounds one request.
//! Invariant: after [`WebServer::stop`] the thread has ended.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::health::{Condition, Health};
use super::listener::BoundedListener;
use crate::config::HttpSettings;
use crate::metrics::{EXPOSITION_TYPE, Metrics};

/// Longest wait for requests under way, when stopping.
const STOP_MAX: Duration = Duration::from_secs(2);

/// What the routes read.
#[derive(Clone)]
pub struct Sources {
    /// Published numbers.
    pub metrics: Metrics,
    /// What the runtime says of itself; called on `rm-http` per request, so it must not block.
    pub condition: Arc<dyn Fn() -> Condition + Send + Sync>,
}

impl core::fmt::Debug for Sources {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Why the HTTP door did not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebError {
    /// The address is taken, or not ours.
    #[error("cannot listen on http.address {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start thread rm-http: {0}")]
    Thread(io::Error),
}

/// The running HTTP door.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Opens the door. When this returns, connections are accepted.
    ///
    /// # Errors
    /// The address cannot be listened on; no thread.
    pub fn start(settings: HttpSettings, sources: Sources) -> Result<Self, WebError> {
        let failed = |source| WebError::Listen { address: settings.address, source };
        let listener = std::net::TcpListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WebError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("rm-http".to_owned())
            .spawn(move || {
                let result = runtime.block_on(serve(listener, settings, sources, stopped));
                if let Err(error) = result {
                    tracing::error!(%error, "the HTTP door closed by itself");
                }
            })
            .map_err(WebError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; with port 0 in the settings, the port the kernel gave.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets requests under way end (at most two seconds), and waits for that.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended before.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("thread rm-http panicked");
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(
    listener: std::net::TcpListener,
    settings: HttpSettings,
    sources: Sources,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let listener = BoundedListener::new(listener, settings.requests_max, settings.request_timeout);
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(sources);
    let (told, telling) = oneshot::channel::<()>();
    let graceful = async move {
        // A dropped sender means stop as well.
        let _ = stopped.await;
        let _ = told.send(());
    };
    let serving = axum::serve(listener, routes).with_graceful_shutdown(graceful);
    tokio::select! {
        result = serving => result,
        () = async { let _ = telling.await; tokio::time::sleep(STOP_MAX).await } => Ok(()),
    }
}

async fn metrics(State(sources): State<Sources>) -> Response {
    match sources.metrics.exposition() {
        Ok(text) => closing((StatusCode::OK, [(header::CONTENT_TYPE, EXPOSITION_TYPE)], text)),
        Err(error) => closing((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))),
    }
}

async fn health(State(sources): State<Sources>) -> Response {
    let health = Health::judge((sources.condition)(), &sources.metrics);
    let status = if health.is_serving() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    closing((status, [(header::CACHE_CONTROL, "no-store")], Json(health)))
}

async fn not_found() -> Response {
    closing((StatusCode::NOT_FOUND, "there are /metrics and /health\n"))
}

async fn not_allowed() -> Response {
    closing((StatusCode::METHOD_NOT_ALLOWED, "accepted are GET and HEAD\n"))
}

fn closing(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
