//! A proxy that accepts every route that it is sent, and remembers them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ASSIGNMENT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

pub struct Proxy {
    seen: Arc<Mutex<Vec<(Instant, RouteConfiguration)>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn connect(address: &str, node_id: &str) -> Self {
        let channel = loop {
            match Channel::from_shared(address.to_owned())
                .unwrap()
                .connect()
                .await
            {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(follow(channel, node_id.to_owned(), seen.clone()));
        Self { seen, task }
    }

    /// One that asks, and accepts nothing of what it is sent.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub async fn stuck(address: &str, node_id: &str) -> Self {
        let channel = Channel::from_shared(address.to_owned()).unwrap();
        let channel = channel.connect().await.unwrap();
        let (seen, node_id) = (Arc::default(), node_id.to_owned());
        let task = tokio::spawn(async move {
            let node = Node {
                id: node_id,
                ..Default::default()
            };
            let request = DiscoveryRequest {
                node: Some(node),
                type_url: CLUSTER.into(),
                ..Default::default()
            };
            let (requests, outgoing) = mpsc::channel(1);
            requests.send(request).await.unwrap();
            let mut client = AggregatedDiscoveryServiceClient::new(channel);
            let outgoing = ReceiverStream::new(outgoing);
            let stream = client.stream_aggregated_resources(outgoing).await;
            let mut stream = stream.unwrap().into_inner();
            while let Ok(Some(_)) = stream.message().await {}
        });
        Self { seen, task }
    }

    /// When a split with these weights of 10,000 was first accepted, by cluster in the route's order.
    pub fn accepted_at(&self, generation: i64) -> Option<Instant> {
        let name = format!("production/tumor@{generation}");
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .find(|(_, routes)| route_names(routes).contains(&name))
            .map(|(at, _)| *at)
    }

    /// The generation of the endpoint in each of the routes that were sent, in their order.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn generations(&self) -> Vec<i64> {
        let seen = self.seen.lock().unwrap();
        let generation = |routes: &RouteConfiguration| {
            let names = route_names(routes).into_iter();
            let mut ours =
                names.filter_map(|name| name.strip_prefix("production/tumor@")?.parse().ok());
            ours.next()
        };
        seen.iter()
            .filter_map(|(_, routes)| generation(routes))
            .collect()
    }

    /// The weights of the newest split, by cluster in the route's order.
    pub fn weights(&self) -> Vec<(String, u32)> {
        let seen = self.seen.lock().unwrap();
        let Some((_, routes)) = seen.last() else {
            return Vec::new();
        };
        weights(routes)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn route_names(routes: &RouteConfiguration) -> Vec<String> {
    routes
        .virtual_hosts
        .iter()
        .flat_map(|host| host.routes.iter().map(|route| route.name.clone()))
        .collect()
}

/// Routes that pin a revision by header have one cluster; the split has them all.
fn weights(routes: &RouteConfiguration) -> Vec<(String, u32)> {
    let weight = |weight: Option<envoy_types::pb::google::protobuf::UInt32Value>| {
        weight.map_or(0, |w| w.value)
    };
    let splits = routes
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes)
        .filter_map(|route| {
            let Some(Action::Route(action)) = &route.action else {
                return None;
            };
            let Some(ClusterSpecifier::WeightedClusters(split)) = &action.cluster_specifier else {
                return None;
            };
            let shares = split
                .clusters
                .iter()
                .map(|cluster| (cluster.name.clone(), weight(cluster.weight)));
            Some(shares.collect::<Vec<_>>())
        });
    splits.max_by_key(Vec::len).unwrap_or_default()
}

async fn follow(
    channel: Channel,
    node_id: String,
    seen: Arc<Mutex<Vec<(Instant, RouteConfiguration)>>>,
) {
    let (requests, outgoing) = mpsc::channel(64);
    let node = Node {
        id: node_id,
        cluster: "slipway-gateway".into(),
        ..Default::default()
    };
    for kind in [CLUSTER, LISTENER] {
        let request = DiscoveryRequest {
            node: Some(node.clone()),
            type_url: kind.into(),
            ..Default::default()
        };
        requests.send(request).await.unwrap();
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let Ok(stream) = client
        .stream_aggregated_resources(ReceiverStream::new(outgoing))
        .await
    else {
        return;
    };
    let mut stream = stream.into_inner();
    let mut asked = Asked::default();
    while let Ok(Some(response)) = stream.message().await {
        if response.type_url == ROUTE
            && let Some(routes) = response.resources.first()
        {
            let routes = RouteConfiguration::decode(routes.value.as_slice()).unwrap();
            seen.lock().unwrap().push((Instant::now(), routes));
        }
        for request in answers(&response, &mut asked) {
            if requests.send(request).await.is_err() {
                return;
            }
        }
    }
}

/// What a stream has asked for so far.
#[derive(Default)]
struct Asked {
    routes: bool,
    clusters: Vec<String>,
    assignments: Option<(String, String)>,
}

/// The acceptance, and what is asked for because of it.
fn answers(response: &DiscoveryResponse, asked: &mut Asked) -> Vec<DiscoveryRequest> {
    let names: Vec<String> = match response.type_url.as_str() {
        ROUTE => vec!["slipway".into()],
        ASSIGNMENT => asked.clusters.clone(),
        _ => vec![],
    };
    if response.type_url == ASSIGNMENT {
        asked.assignments = Some((response.version_info.clone(), response.nonce.clone()));
    }
    let mut answers = vec![DiscoveryRequest {
        type_url: response.type_url.clone(),
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        resource_names: names,
        ..Default::default()
    }];
    if response.type_url == LISTENER && !asked.routes {
        asked.routes = true;
        answers.push(DiscoveryRequest {
            type_url: ROUTE.into(),
            resource_names: vec!["slipway".into()],
            ..Default::default()
        });
    }
    if response.type_url == CLUSTER {
        let name = |any: &envoy_types::pb::google::protobuf::Any| {
            Cluster::decode(any.value.as_slice()).unwrap().name
        };
        asked.clusters = response.resources.iter().map(name).collect();
        let (version_info, response_nonce) = asked.assignments.clone().unwrap_or_default();
        answers.push(DiscoveryRequest {
            type_url: ASSIGNMENT.into(),
            resource_names: asked.clusters.clone(),
            version_info,
            response_nonce,
            ..Default::default()
        });
    }
    answers
}
