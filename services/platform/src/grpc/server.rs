//! Serves one port until it is told to stop.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::ServiceExt;

use super::config::GrpcConfig;
use super::guard::{GuardLayer, Stop};
use super::standard;
use crate::error::{Error, Result};
use crate::tasks::Readiness;

const HEADERS_BYTES_MAX: u32 = 32 * 1024;
/// Calls on one connection at once; more wait in the client.
const CONNECTION_STREAMS_MAX: u32 = 1024;
/// After everything was given up, connections get this long to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What to serve, and where.
pub struct ServeOptions {
    /// The service's name, such as `registry`. Health and reflection name the services of its package.
    pub name: &'static str,
    /// The listener; it is bound before anything starts, so that a taken port is found at once.
    pub listener: TcpListener,
    /// The limits.
    pub config: GrpcConfig,
    /// Cancelled to stop.
    pub shutdown: CancellationToken,
    /// What health checks are answered from.
    pub ready: Readiness,
}

/// Serves `routes`, with health and reflection, and the plain HTTP of `http` on the same port.
///
/// Marks the service ready, and returns after the shutdown: readiness fails, no connection is accepted any
/// more, streams without an end are ended with `UNAVAILABLE`, and other calls get the drain time to
/// finish. `http` must not have a fallback of its own.
pub async fn serve(
    options: ServeOptions,
    routes: Routes,
    http: Option<axum::Router>,
) -> Result<()> {
    let ServeOptions {
        name,
        listener,
        config,
        shutdown,
        ready,
    } = options;
    let address = listener
        .local_addr()
        .map_err(|error| Error::internal("read the listener's address", error))?;
    let services = standard::own_services(name);
    let routes = standard::add_reflection(routes, &services)?;
    let (routes, health) = standard::add_health(routes, services, ready.clone());
    let routes = match http {
        Some(http) => Routes::from(routes.into_axum_router().merge(http)),
        None => routes,
    };
    let stop = Stop::default();
    let service = tower::ServiceBuilder::new()
        .layer(GuardLayer::new(config.clone(), stop.clone()))
        .service(
            routes
                .prepare()
                .map_request(|request: http::Request<Body>| request),
        );
    let server = Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(config.keepalive()))
        .http2_keepalive_timeout(Some(config.keepalive()))
        .serve_with_incoming_shutdown(
            service,
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.begun.clone().cancelled_owned(),
        );
    ready.ready();
    tracing::info!(service = name, %address, "serving");
    let stopping = async {
        shutdown.cancelled().await;
        ready.stop();
        // Watchers of the health service hear of it before the connections are told to close.
        tokio::task::yield_now().await;
        stop.begun.cancel();
        tokio::time::sleep(config.drain()).await;
        stop.over.cancel();
        tokio::time::sleep(CLOSE_TIMEOUT).await;
        tracing::warn!(service = name, "connections were left open at the stop");
    };
    tokio::select! {
        served = server => served.map_err(|error| Error::internal("serve gRPC", error))?,
        () = stopping => {}
        () = health => {}
    }
    tracing::info!(service = name, "stopped serving");
    Ok(())
}
