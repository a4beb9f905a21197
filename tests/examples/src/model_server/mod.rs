//! A model server: one model file, served by the Open Inference Protocol v2 over HTTP/1.1.
//!
//! - `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models/{name}`, `/v2/models/{name}/ready`
//! - `POST /v2/models/{name}/infer` with one input `features` of shape `[rows, columns]`
//!
//! The caller's mistakes are 400 and name the field; what the model cannot answer is 500 with the reason; before
//! the server is ready an inference is 503. Limits: [`protocol::MAX_ROWS`] rows a request, [`MAX_BODY_BYTES`] a body,
//! [`MAX_CONNECTIONS`] at once. On shutdown it stops accepting and finishes what it has begun.

mod command;
pub mod protocol;
mod routes;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::model::Model;

pub use command::{Args, Startup, find_model_file, run};
pub use routes::MAX_BODY_BYTES;

/// The connections that are served at once; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 1024;

const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves `model`, ready from the first moment, until `shutdown` ends.
pub async fn serve(
    model: Model,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    serve_when(model, listener, std::future::ready(()), shutdown).await
}

/// As [`serve`], but answers "not ready" until `ready` ends.
pub async fn serve_when(
    model: Model,
    listener: TcpListener,
    ready: impl Future<Output = ()>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let server = Arc::new(routes::Server {
        model,
        ready: AtomicBool::new(false),
    });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut ready = std::pin::pin!(ready);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let is_ready = server.ready.load(Ordering::Relaxed);
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = &mut ready, if !is_ready => {
                server.ready.store(true, Ordering::Relaxed);
                continue;
            }
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Answers are small and written at once; waiting to fill a packet only adds latency.
        let _ = stream.set_nodelay(true);
        let server = server.clone();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                }),
            );
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still open at the end of the drain");
    }
    Ok(())
}
