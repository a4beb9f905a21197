//! The listener: accepts, limits and drains connections.
//!
//! Draining goes in three steps, so that no client loses a request: nothing new is accepted; for a
//! grace period each HTTP/1.1 answer says `connection: close`, so that clients leave by themselves;
//! then idle connections are closed and busy ones may finish until the deadline.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use http::Version;
use http::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::{Ends, Proxy};

/// After an error of accept, such as too many open files, the listener rests for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to notice that they are aborted.
const ABORT_WAIT: Duration = Duration::from_millis(500);

/// Limits on clients, and the times of draining.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Connections at most; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest head of a request.
    pub request_head_bytes_max: usize,
    /// How long a client may take to send the next request's head.
    pub client_idle_timeout: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// How long clients are told to leave before idle connections are closed.
    pub drain_grace: Duration,
    /// How long requests in flight may take after the shutdown.
    pub drain_deadline: Duration,
}

/// What ends connections.
#[derive(Debug, Clone)]
struct Ending {
    draining: CancellationToken,
    aborted: CancellationToken,
}

/// Serves the listener's connections until `shutdown`, then drains them.
pub async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    settings: ServerSettings,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(settings.connections_max));
    let ending = Ending {
        draining: shutdown.clone(),
        aborted: CancellationToken::new(),
    };
    let serve_one = |stream, remote, permit| {
        let (proxy, settings, ending) = (proxy.clone(), settings.clone(), ending.clone());
        connections.spawn(connection(stream, remote, proxy, settings, ending, permit));
    };
    while let Some(permit) = free_place(&permits, &shutdown).await {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => serve_one(stream, remote, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Clients whose connection the kernel has accepted already may have sent a request.
    while let Some(Ok((stream, remote))) = listener.accept().now_or_never() {
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            break;
        };
        serve_one(stream, remote, permit);
    }
    drop(listener);
    drain(&connections, &proxy, &settings, &ending).await;
}

async fn free_place(
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<OwnedSemaphorePermit> {
    if permits.available_permits() == 0 {
        tracing::warn!("as many connections as allowed are open; new ones wait");
    }
    shutdown
        .run_until_cancelled(permits.clone().acquire_owned())
        .await?
        .ok()
}

async fn drain(
    connections: &TaskTracker,
    proxy: &Proxy,
    settings: &ServerSettings,
    ending: &Ending,
) {
    connections.close();
    if tokio::time::timeout(settings.drain_deadline, connections.wait())
        .await
        .is_ok()
    {
        return;
    }
    tracing::warn!(
        connections = connections.len(),
        "requests did not finish in time and are aborted"
    );
    proxy.aborting().store(true, Ordering::Relaxed);
    ending.aborted.cancel();
    let _ = tokio::time::timeout(ABORT_WAIT, connections.wait()).await;
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    proxy: Arc<Proxy>,
    settings: ServerSettings,
    ending: Ending,
    _permit: OwnedSemaphorePermit,
) {
    let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
        Ok(local) => local,
        Err(error) => return tracing::debug!(%error, %remote, "connection was gone at once"),
    };
    let ends = Ends { remote, local };
    let asked = AtomicBool::new(false);
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let (proxy, draining) = (proxy.clone(), ending.draining.clone());
        async move {
            let version = request.version();
            let mut response = proxy.handle(request, ends).await;
            if draining.is_cancelled() && version < Version::HTTP_2 {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder(&settings);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_request_due = pin!(tokio::time::sleep(settings.client_idle_timeout));
    let mut waiting_for_first = true;
    let mut leaving = pin!(async {
        ending.draining.cancelled().await;
        tokio::time::sleep(settings.drain_grace).await;
    });
    let mut left = false;
    loop {
        tokio::select! {
            biased;
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error = crate::chain(&*error), %remote, "connection ended with an error");
                }
                return;
            }
            () = ending.aborted.cancelled() => return,
            () = &mut leaving, if !left => {
                left = true;
                served.as_mut().graceful_shutdown();
            }
            () = &mut first_request_due, if waiting_for_first => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                waiting_for_first = false;
            }
        }
    }
}

fn builder(settings: &ServerSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.client_idle_timeout)
        .max_buf_size(settings.request_head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.request_head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(settings.client_idle_timeout);
    builder
}
