//! Serves one port until it is told to stop.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::config::GrpcConfig;
use super::guard::{GuardLayer, Stop};
use super::incoming::incoming;
use super::late::Late;
use super::probes::probes;
use super::retry::Retry;
use super::standard;
use crate::error::{Error, Result};
use crate::metrics;
use crate::tasks::Readiness;

const HEADERS_BYTES_MAX: u32 = 32 * 1024;
/// Calls on one connection at once; more wait in the client.
const CONNECTION_STREAMS_MAX: u32 = 1024;
/// A connection that is probed and does not answer is closed by then, and so is one that cannot be probed.
const CONNECTION_IDLE_FACTOR: u32 = 3;
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

/// Serves `routes`, with health, reflection and `/readyz`, and the plain HTTP of `http` on the same port.
///
/// Marks the service ready, and returns after the shutdown: readiness fails, no connection is accepted any
/// more, streams without an end are ended with `UNAVAILABLE`, and other calls get the drain time to
/// finish. `http` must not have a fallback of its own.
pub async fn serve(
    options: ServeOptions,
    routes: Routes,
    http: Option<axum::Router>,
) -> Result<()> {
    let port = Port::new(options)?;
    port.opening().open(routes, http, 0);
    port.serve().await
}

/// A port that listens before its service is there: until it is [opened](Opening::open), health says
/// NOT_SERVING, and calls are answered `UNAVAILABLE` with the reason `STARTING` and what is waited for.
pub struct Port {
    options: ServeOptions,
    address: std::net::SocketAddr,
    opening: Opening,
    health: BoxFuture<'static, ()>,
}

/// Opens a [`Port`].
#[derive(Clone)]
pub struct Opening {
    standard: axum::Router,
    late: Late,
    ready: Readiness,
}

impl Opening {
    /// Serves `routes` and `http` from now on, and marks the service ready. Has an effect once.
    ///
    /// A unary call that met contended storage is made again up to `contention_retries_max` times.
    pub fn open(&self, routes: Routes, http: Option<axum::Router>, contention_retries_max: u32) {
        let mut router = routes.into_axum_router().merge(self.standard.clone());
        if let Some(http) = http {
            router = router.merge(http);
        }
        let routes = Routes::from(router).prepare();
        self.late.serve(Retry::new(routes, contention_retries_max));
        self.ready.ready();
    }
}

impl Port {
    /// A port that does not serve yet. Fails when the listener has no address.
    pub fn new(options: ServeOptions) -> Result<Self> {
        let address = options
            .listener
            .local_addr()
            .map_err(|error| Error::internal("read the listener's address", error))?;
        let (name, ready) = (options.name, options.ready.clone());
        let services = standard::own_services(name);
        let routes = Routes::from(probes(name, ready.clone()).merge(metrics::router()));
        let routes = standard::add_reflection(routes, &services)?;
        let (routes, health) = standard::add_health(routes, services, ready.clone());
        let standard = routes.into_axum_router();
        let late = Late::new(standard.clone(), ready.clone());
        Ok(Self {
            options,
            address,
            opening: Opening {
                standard,
                late,
                ready,
            },
            health: Box::pin(health),
        })
    }

    /// What opens it.
    pub fn opening(&self) -> Opening {
        self.opening.clone()
    }

    /// Answers until the shutdown, as [`serve`] does.
    pub async fn serve(self) -> Result<()> {
        let Self {
            options,
            address,
            opening,
            health,
        } = self;
        let ServeOptions {
            name,
            listener,
            config,
            shutdown,
            ready,
        } = options;
        let stop = Stop::default();
        let guard = GuardLayer::new(config.clone(), stop.clone());
        let service = tower::ServiceBuilder::new()
            .layer(guard.clone())
            .service(opening.late);
        let server = Server::builder()
            .accept_http1(true)
            .max_concurrent_streams(CONNECTION_STREAMS_MAX)
            .http2_max_header_list_size(HEADERS_BYTES_MAX)
            .http2_keepalive_interval(Some(config.keepalive()))
            .http2_keepalive_timeout(Some(config.keepalive()))
            .serve_with_incoming_shutdown(
                service,
                incoming(
                    listener,
                    config.connections_max,
                    config.keepalive() * CONNECTION_IDLE_FACTOR,
                ),
                stop.begun.clone().cancelled_owned(),
            );
        tracing::info!(service = name, %address, "listening");
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
            () = guard.look_after() => {}
        }
        tracing::info!(service = name, "stopped serving");
        Ok(())
    }
}
