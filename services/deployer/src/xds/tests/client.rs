//! A deployer on loopback, and proxies that follow it over real gRPC.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc;
use slipway_platform::clock::{FakeClock, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Status, Streaming};

use super::super::resources::Kind;
use super::super::{Applied, XdsConfig, XdsHub, service};
use super::endpoint;
use super::wire::{kind, names};

/// Far longer than anything here takes; what does not come at all must not hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Deployer {
    pub hub: Arc<XdsHub>,
    pub clock: FakeClock,
    pub address: String,
    _server: JoinSet<()>,
}

pub async fn deployer() -> Deployer {
    let clock = FakeClock::new(Timestamp(1_000_000_000));
    serve(XdsHub::new(XdsConfig::default(), clock.shared()), clock).await
}

/// One of several.
pub async fn replica() -> Deployer {
    let clock = FakeClock::new(Timestamp(1_000_000_000));
    let hub = XdsHub::of_replica(XdsConfig::default(), clock.shared(), "a");
    serve(hub, clock).await
}

async fn serve(hub: Arc<XdsHub>, clock: FakeClock) -> Deployer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    let service = service(hub.clone());
    server.spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    Deployer {
        hub,
        clock,
        address,
        _server: server,
    }
}

impl Deployer {
    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone())
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn proxy(&self, node_id: &str) -> Proxy {
        Proxy::open(self.channel().await, node_id).await
    }

    pub async fn applied(&self, generation: i64, wanted: impl Fn(&Applied) -> bool) -> Applied {
        let mut changed = self.hub.changed();
        let wait = async {
            loop {
                changed.borrow_and_update();
                let applied = self.hub.applied(&endpoint("a"), generation);
                if wanted(&applied) {
                    break applied;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the state is reached")
    }
}

/// One stream, with what a proxy keeps of it.
pub struct Proxy {
    pub node: Option<Node>,
    pub requests: mpsc::Sender<DiscoveryRequest>,
    pub responses: Streaming<DiscoveryResponse>,
    pub clusters: BTreeSet<String>,
}

impl Proxy {
    pub async fn open(channel: Channel, node_id: &str) -> Proxy {
        let (requests, outgoing) = mpsc::channel(64);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client
            .stream_aggregated_resources(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        let node = Node {
            id: node_id.to_owned(),
            cluster: "slipway-gateway".to_owned(),
            ..Default::default()
        };
        Proxy {
            node: Some(node),
            requests,
            responses,
            clusters: BTreeSet::new(),
        }
    }

    pub async fn send(&mut self, kind: Kind, names: &[&str], nonce: &str, error: Option<&str>) {
        let request = DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            node: self.node.take(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            error_detail: error.map(|message| rpc::Status {
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    pub async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message())
            .await
            .expect("an answer comes");
        next.map(|response| response.expect("the stream goes on"))
    }

    pub async fn expect(&mut self, wanted: Kind) -> DiscoveryResponse {
        let response = self.next().await.unwrap();
        assert_eq!(kind(&response), wanted, "{response:?}");
        response
    }

    /// Reads one answer and does what Envoy would: accepts it, and asks for what follows from it.
    pub async fn take(&mut self) -> DiscoveryResponse {
        let response = self.next().await.unwrap();
        let nonce = response.nonce.clone();
        match kind(&response) {
            Kind::Cluster => {
                let before =
                    std::mem::replace(&mut self.clusters, names(&response).into_iter().collect());
                self.send(Kind::Cluster, &[], &nonce, None).await;
                if before.is_empty() {
                    self.send_names("").await;
                    self.send(Kind::Listener, &[], "", None).await;
                }
            }
            Kind::Endpoint => self.send_names(&nonce).await,
            Kind::Listener => {
                self.send(Kind::Listener, &[], &nonce, None).await;
                self.send(Kind::Route, &["slipway"], "", None).await;
            }
            Kind::Route => self.send(Kind::Route, &["slipway"], &nonce, None).await,
        }
        response
    }

    pub async fn send_names(&mut self, nonce: &str) {
        let names = self.clusters.clone();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        self.send(Kind::Endpoint, &names, nonce, None).await;
    }

    pub async fn begin(&mut self) {
        self.begin_with("").await;
    }

    /// Begins as one who has accepted this version before.
    pub async fn begin_with(&mut self, version: &str) {
        let request = DiscoveryRequest {
            type_url: Kind::Cluster.type_url().to_owned(),
            node: self.node.take(),
            version_info: version.to_owned(),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Takes answers until the routes are of this version.
    pub async fn take_routes(&mut self, version: &str) {
        loop {
            let response = self.take().await;
            if kind(&response) == Kind::Route && response.version_info == version {
                return;
            }
        }
    }
}

pub fn is_applied(applied: &Applied) -> bool {
    matches!(applied, Applied::Applied { .. })
}
