//! The gateway: the embedded data plane, a small reverse proxy.
//!
//! It owns nothing. It takes listener, routes, clusters and addresses from the deployer by xDS, the same
//! resources that an Envoy would take; splits requests over the revisions of an endpoint so that a user
//! stays where he is; streams both ways; and reports each request to the failure-detector by Envoy's
//! gRPC Access Log Service. It does not decide anything about rollouts, check credentials, or speak TLS.
//!
//! The flow of a configuration: [`xds`] reads, checks and accepts resources, builds a [`snapshot`] of
//! [`routing`] table and [`upstream`] clusters, swaps it in as a whole, and only then acknowledges. The
//! flow of a request: [`proxy`] loads the snapshot once, routes, takes a connection from the cluster's
//! next address, streams, and delivers one record to the [`access_log`].
//!
//! When the control plane is away the last snapshot serves on; the last good configuration is also kept
//! in a file, for a gateway that starts while the control plane is away.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access_log;
mod backoff;
pub mod config;
pub mod proxy;
pub mod routing;
pub mod snapshot;
pub mod upstream;
pub mod xds;

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::{Node, node};
use slipway_platform::clock::SystemClock;
use slipway_platform::config::bind;
use slipway_platform::grpc::{GrpcConfig, Port, ServeOptions, addresses};
use slipway_platform::tasks::{Dependency, Nudge, State, Tasks};
use slipway_platform::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Endpoint;

use access_log::AccessLog;
use backoff::Backoff;
pub use config::{Config, DEFAULTS, SECTION};
use proxy::{Proxy, ProxySettings, ServerSettings};
use snapshot::Current;
use upstream::{PoolLimits, Pools};
use xds::Saved;

/// How often a gateway without a configuration looks whether it has one, to say that it is ready.
const CONFIGURED_CHECK: Duration = Duration::from_millis(100);
/// How often idle upstream connections are looked through.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long one connect to the control plane or the access log service may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the background tasks may take to end; the access log sends its last records in it.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Serves the listener until `shutdown`, then drains: requests in flight are finished up to the
/// configured deadline, and their records are sent.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
    let address = listener
        .local_addr()
        .map_err(|error| Error::internal("read the listener's address", error))?;
    // The tasks outlive the listener: a draining gateway still needs its configuration and its log.
    let tasks = Tasks::new(CancellationToken::new());
    let current = Current::default();
    let pools = pools(&config);
    let log = start_access_log(&config, &tasks)?;
    start_admin(&config, address, current.clone(), &tasks)?;
    start_xds(&config, &tasks, pools.clone(), current.clone())?;
    tasks.every(
        "close-idle-connections",
        IDLE_CHECK,
        Nudge::new(),
        move || {
            pools.close_idle(Instant::now());
            std::future::ready(Ok(()))
        },
    );
    let settings = ProxySettings {
        idle_timeout: config.stream_idle(),
    };
    let proxy = Arc::new(Proxy::new(current, log, Arc::new(SystemClock), settings));
    tracing::info!(%address, node = config.node_id, control_plane = config.control_plane, "gateway listens");
    let lost = tokio::select! {
        () = proxy::serve(listener, proxy, server_settings(&config), shutdown) => None,
        why = failed(&tasks) => Some(why),
    };
    tasks.join(STOP_DEADLINE).await;
    tracing::info!("gateway stopped");
    match lost {
        None => Ok(()),
        Some(why) => Err(Error::internal("run the gateway", why)),
    }
}

/// Waits until one of the tasks that the gateway needs is lost, and says which.
async fn failed(tasks: &Tasks) -> String {
    let mut states = tasks.readiness().subscribe();
    loop {
        if let State::Failed(why) = &*states.borrow_and_update() {
            return why.clone();
        }
        if states.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Serves `/metrics`, `/healthz` and `/readyz` where the settings say. Ready is a gateway that has a configuration.
fn start_admin(
    config: &Config,
    address: SocketAddr,
    current: Current,
    tasks: &Tasks,
) -> Result<()> {
    if config.admin_listen.is_empty() {
        return Ok(());
    }
    // Who lets everybody reach the proxy has said --insecure.
    let insecure = !address.ip().is_loopback();
    let listener = bind(&config.admin_listen, "gateway.admin_listen", insecure)?;
    let ready = tasks.readiness();
    ready.depend(
        "control_plane",
        Dependency::Waiting("waiting for a first configuration".to_owned()),
    );
    let port = Port::new(ServeOptions {
        name: SECTION,
        listener,
        config: GrpcConfig::default(),
        shutdown: tasks.token(),
        ready: ready.clone(),
    })?;
    let opening = port.opening();
    tasks.spawn("admin", port.serve());
    let token = tasks.token();
    tasks.spawn("readiness", async move {
        while !token.is_cancelled() && !current.load().configured {
            let _ = token
                .run_until_cancelled(tokio::time::sleep(CONFIGURED_CHECK))
                .await;
        }
        ready.depend("control_plane", Dependency::Ok);
        opening.open(Routes::default(), None, 0);
        token.cancelled().await;
    });
    Ok(())
}

fn pools(config: &Config) -> Arc<Pools> {
    let limits = PoolLimits {
        connections_max: config.limits.upstream_connections_max,
        waiting_max: config.limits.upstream_waiting_max,
    };
    Arc::new(Pools::new(
        limits,
        config.upstream_idle(),
        TaskTracker::new(),
    ))
}

fn server_settings(config: &Config) -> ServerSettings {
    ServerSettings {
        connections_max: config.limits.connections_max,
        request_head_bytes_max: config.limits.request_head_bytes_max,
        client_idle_timeout: Duration::from_millis(config.timeouts.client_idle_ms),
        streams_max: config.limits.streams_max,
        drain_grace: Duration::from_millis(config.timeouts.drain_grace_ms),
        drain_deadline: Duration::from_millis(config.timeouts.drain_deadline_ms),
    }
}

fn start_access_log(config: &Config, tasks: &Tasks) -> Result<AccessLog> {
    if config.access_log_service.is_empty() {
        tracing::warn!("no access log service is configured: nobody learns what is served");
        return Ok(AccessLog::disabled());
    }
    let (log, queue) = AccessLog::bounded(config.access_log.buffer_max);
    let settings = access_log::ClientSettings {
        endpoints: endpoints(&config.access_log_service, config)?,
        node: node(config),
        log_name: config.access_log.name.clone(),
        flush_interval: Duration::from_millis(config.access_log.flush_interval_ms),
        batch_max: config.access_log.batch_max,
        backoff: backoff(config),
        close_timeout: STOP_DEADLINE / 2,
    };
    let client = access_log::Client::new(settings, queue, log.counts().clone());
    tasks.spawn("access-log", client.run(tasks.token()));
    Ok(log)
}

fn start_xds(config: &Config, tasks: &Tasks, pools: Arc<Pools>, current: Current) -> Result<()> {
    let mut state = xds::State::new(config.listener_name.clone(), pools, current);
    let save = (!config.saved_configuration.is_empty()).then(|| {
        let path = PathBuf::from(&config.saved_configuration);
        restore(&path, &mut state);
        let (save, saved) = watch::channel(None);
        tasks.spawn("save-configuration", xds::keep(path, saved, tasks.token()));
        save
    });
    let settings = xds::ClientSettings {
        endpoints: endpoints(&config.control_plane, config)?,
        node: node(config),
        response_bytes_max: config.control.response_bytes_max,
        backoff: backoff(config),
        warming_timeout: Duration::from_millis(config.control.warming_ms),
    };
    tasks.spawn(
        "xds",
        xds::Client::new(settings, state, save).run(tasks.token()),
    );
    Ok(())
}

fn restore(path: &std::path::Path, state: &mut xds::State) {
    let restored = match Saved::read(path) {
        Ok(None) => return,
        Ok(Some(saved)) => saved.restore(state),
        Err(error) => Err(error.to_string()),
    };
    match restored {
        Ok(()) => tracing::info!(
            ?path,
            routes = state.routes_in_force(),
            "serving the saved configuration"
        ),
        Err(reason) => tracing::warn!(?path, reason, "the saved configuration is not used"),
    }
}

fn node(config: &Config) -> Node {
    Node {
        id: config.node_id.clone(),
        cluster: config.node_cluster.clone(),
        user_agent_name: "slipway-gateway".into(),
        user_agent_version_type: Some(node::UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").into(),
        )),
        ..Node::default()
    }
}

fn endpoints(list: &str, config: &Config) -> Result<Vec<Endpoint>> {
    addresses(list).map(|url| endpoint(url, config)).collect()
}

fn endpoint(url: &str, config: &Config) -> Result<Endpoint> {
    let keepalive = Duration::from_millis(config.control.keepalive_ms);
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Error::internal("read an address", error))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(keepalive)
        .keep_alive_timeout(keepalive)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

fn backoff(config: &Config) -> Backoff {
    let min = Duration::from_millis(config.control.reconnect_min_ms);
    Backoff::new(min, Duration::from_millis(config.control.reconnect_max_ms))
}

/// An error and its causes on one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
