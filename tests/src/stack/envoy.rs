//! Envoys: a bootstrap that names the control plane and the access log service, and what they count themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use slipway_deployer::xds::names::ACCESS_LOG_CLUSTER;

use super::http;
use super::ports;
use crate::plane::path_text;
use crate::process::Process;
use crate::until;

/// An Envoy on a busy machine has its first configuration by then.
const READY: Duration = Duration::from_secs(40);
/// The cluster of the control plane in the bootstrap.
const CONTROL_PLANE: &str = "slipway-xds";

/// An Envoy that takes its routes from the deployers and reports to the failure-detectors.
pub struct Envoy {
    node_id: String,
    admin: String,
    process: Process,
}

/// What an Envoy is told before it asks the control plane.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap<'a> {
    /// Who it is for the deployer.
    pub node_id: &'a str,
    /// Any of them tells it its routes.
    pub deployers: &'a [SocketAddr],
    /// Any of them hears what it served.
    pub detectors: &'a [SocketAddr],
    /// A listener of its own, beside those that the control plane tells.
    pub own_listener: Option<SocketAddr>,
}

impl Envoy {
    /// Starts an Envoy and waits until it has its first configuration.
    pub async fn start(binary: &Path, bootstrap: &Bootstrap<'_>, home: &Path) -> Result<Self> {
        let node_id = bootstrap.node_id;
        let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let bootstrap = bootstrap.json(admin);
        let file = home.join(format!("{node_id}.json"));
        std::fs::write(&file, serde_json::to_vec_pretty(&bootstrap)?)?;
        let arguments = [
            "--config-path",
            &path_text(&file)?,
            // Several at once on one machine: none of them hands over to the next.
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]
        .map(str::to_owned);
        let log = home.join(format!("{node_id}.log"));
        let process = Process::spawn(node_id, binary, &arguments, &[], log)?;
        let mut envoy = Self {
            node_id: node_id.to_owned(),
            admin: format!("http://{admin}"),
            process,
        };
        envoy.ready().await?;
        Ok(envoy)
    }

    /// Who it is for the deployer.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Waits until it has its first configuration and listens.
    async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/ready", self.admin);
        let process = &mut self.process;
        let waited = until(
            &format!("{} to be ready", self.node_id),
            READY,
            async || {
                if !process.is_running() {
                    bail!("it has ended");
                }
                Ok(http::get(&url).await.ok().map(drop))
            },
        )
        .await;
        waited.with_context(|| process.end_of_log())
    }

    /// Every counter and gauge whose name matches.
    pub async fn stats(&self, pattern: &str) -> Result<BTreeMap<String, u64>> {
        let pattern = pattern.replace('+', "%2B").replace('|', "%7C");
        let text = http::get(&format!(
            "{}/stats?format=json&filter={pattern}",
            self.admin
        ))
        .await?;
        let answer: Value = serde_json::from_str(&text).context("Envoy's statistics")?;
        let stats = answer["stats"].as_array().into_iter().flatten();
        let number = |stat: &Value| {
            let name = stat["name"].as_str()?.to_owned();
            Some((name, stat["value"].as_u64()?))
        };
        Ok(stats.filter_map(number).collect())
    }

    /// One counter or gauge, by its whole name; 0 when Envoy has none of that name.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let found = self
            .stats(&format!("^{}$", name.replace('.', "\\.")))
            .await?;
        Ok(found.get(name).copied().unwrap_or(0))
    }

    /// Stops it.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "{} ended with {status}", self.node_id);
        Ok(())
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Bootstrap<'_> {
    fn json(&self, admin: SocketAddr) -> Value {
        let listeners: Vec<Value> = self.own_listener.into_iter().map(tcp_listener).collect();
        json!({
            "node": { "id": self.node_id, "cluster": "envoy" },
            "admin": { "address": address(admin) },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": CONTROL_PLANE } }],
                },
                "cds_config": { "resource_api_version": "V3", "ads": {} },
                "lds_config": { "resource_api_version": "V3", "ads": {} },
            },
            "static_resources": {
                "listeners": listeners,
                "clusters": [
                    grpc_cluster(CONTROL_PLANE, self.deployers),
                    grpc_cluster(ACCESS_LOG_CLUSTER, self.detectors),
                ],
            },
        })
    }
}

/// A listener that has nothing to do with routes.
fn tcp_listener(at: SocketAddr) -> Value {
    json!({
        "name": "own",
        "address": address(at),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "own",
                "cluster": CONTROL_PLANE,
            },
        }] }],
    })
}

/// A cluster over HTTP/2. Its connections are probed, so that one whose other end is gone without a word is
/// given up within seconds.
fn grpc_cluster(name: &str, addresses: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|one| json!({ "endpoint": { "address": address(*one) } }))
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": { "interval": "2s", "timeout": "2s" },
                    },
                },
            },
        },
    })
}

fn address(address: SocketAddr) -> Value {
    json!({
        "socket_address": { "address": address.ip().to_string(), "port_value": address.port() },
    })
}
