//! A new split, from the command to a thousand proxies.
//!
//! ```text
//! cargo bench -p slipway-tests --bench xds_many
//! ```
//!
//! The control plane is `slipway up` on SQLite, without its gateway. The proxies are streams in this process, each
//! on a connection of its own, which ask for and accept configuration as an Envoy does. Measured with this process's
//! clock, from sending `SetTraffic`: until each proxy has received the routes of the new generation, and until the
//! deployer says that all of them have acknowledged it. Both programs share the machine's cores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::Message;
use slipway_proto::deployer::v1 as deployer;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{Rollout, applied, rollout::Phase};
use slipway_tests::bench::{self, Spread, Upstream};
use slipway_tests::given::{self, ENDPOINT, ENDPOINT_ID, ENVIRONMENT_ID, Files};
use slipway_tests::{Clients, Plane, until, watch};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const PROXIES: usize = 1_000;
/// Proxies that connect at once.
const CONNECTING: usize = 50;
/// New splits, one after the other.
const SPLITS: usize = 30;
/// What 99 of 100 proxies are to take at most.
const TARGET: Duration = Duration::from_millis(250);
/// What does not come by then does not come at all.
const SOON: Duration = Duration::from_secs(60);

/// The generation of an endpoint that never had traffic.
const NO_TRAFFIC: i64 = 0;

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// When each proxy first had the routes of each generation.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<i64, BTreeMap<usize, Instant>>>>);

impl Seen {
    fn put(&self, generation: i64, proxy: usize, at: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(generation)
            .or_default()
            .entry(proxy)
            .or_insert(at);
    }

    /// Waits until so many proxies have a generation, and says when each of them had it.
    async fn by(&self, proxies: usize, generation: i64) -> Result<Vec<Instant>> {
        let what = format!("{proxies} proxies with generation {generation}");
        until(&what, SOON, async || {
            let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let times = seen.get(&generation).filter(|times| times.len() >= proxies);
            Ok(times.map(|times| times.values().copied().collect()))
        })
        .await
    }
}

fn main() -> Result<()> {
    bench::is_release_build()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure())
}

async fn measure() -> Result<()> {
    let upstream = Upstream::start(2).await?;
    let mut plane = Plane::starting().without_gateway().start().await?;
    let clients = plane.clients().clone();
    let (seen, mut proxies) = (Seen::default(), JoinSet::new());
    let rollout = two_revisions(&clients, &upstream, async || {
        for number in 0..PROXIES {
            proxies.spawn(follow(
                plane.addresses().deployer.clone(),
                number,
                seen.clone(),
            ));
            if (number + 1).is_multiple_of(CONNECTING) {
                seen.by(number + 1, NO_TRAFFIC).await?;
            }
        }
        Ok(())
    })
    .await?;
    let (mut of_proxies, mut of_splits) = (Vec::new(), Vec::new());
    for number in 0..SPLITS {
        let percent = if number % 2 == 0 { 40 } else { 60 };
        let begun = Instant::now();
        let generation = set_traffic(&clients, &rollout, percent).await?;
        is_applied(&clients, generation).await?;
        of_splits.push(begun.elapsed());
        let times = seen.by(PROXIES, generation).await?;
        of_proxies.extend(times.into_iter().map(|at| at.duration_since(begun)));
    }
    let received = Spread::of(of_proxies);
    let verdict = bench::verdict(received.p99 <= TARGET);
    println!("{SPLITS} splits to {PROXIES} proxies, from the command");
    println!(
        "to each proxy's routes   {received}   (target of p99 {} ms: {verdict})",
        TARGET.as_millis()
    );
    println!("to applied everywhere    {}", Spread::of(of_splits));
    proxies.shutdown().await;
    plane.stop().await
}

/// An endpoint with two revisions that have traffic. `connect` is called when there is the first of them.
async fn two_revisions(
    clients: &Clients,
    upstream: &Upstream,
    mut connect: impl AsyncFnMut() -> Result<()>,
) -> Result<Rollout> {
    given::model(clients).await?;
    given::environment(clients, false).await?;
    let request = deployer::CreateEndpointRequest {
        parent: given::ENVIRONMENT.to_owned(),
        endpoint_id: ENDPOINT_ID.to_owned(),
        endpoint: Some(deployer::Endpoint {
            model: given::MODEL.to_owned(),
            run: Some(upstream.run()),
            strategy: Some(deployer::Strategy {
                name: "bench".to_owned(),
                steps: vec![
                    given::step(50, 1, 3_600, OnInsufficient::Pause),
                    given::step(100, 1, 3_600, OnInsufficient::Pause),
                ],
                soak: Some(given::seconds(0)),
                drain: Some(given::seconds(1)),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    clients.deployer.clone().create_endpoint(request).await?;
    connect().await?;
    let first = rollout(clients, given::all_at_once()).await?;
    watch::until_phase(clients, &first.name, Phase::Succeeded, SOON).await?;
    let second = rollout(clients, Vec::new()).await?;
    watch::until_phase(clients, &second.name, Phase::Shifting, SOON).await?;
    let status = watch::until_applied(clients).await?;
    is_applied(clients, status.generation).await?;
    Ok(second)
}

/// Registers a version and starts its rollout, by these steps or else the endpoint's.
async fn rollout(clients: &Clients, steps: Vec<deployer::Step>) -> Result<Rollout> {
    let bytes = rand::random::<[u8; 32]>().to_vec();
    let files = Files {
        model: bytes.clone(),
        predictions: bytes,
    };
    let version = given::register(clients, files).await?;
    let strategy = (!steps.is_empty()).then(|| deployer::Strategy {
        name: "at once".to_owned(),
        steps,
        soak: Some(given::seconds(0)),
        drain: Some(given::seconds(1)),
    });
    let request = deployer::StartRolloutRequest {
        endpoint: ENDPOINT.to_owned(),
        version: version.name,
        strategy,
        reason: "to be measured".to_owned(),
        ..Default::default()
    };
    Ok(clients
        .deployer
        .clone()
        .start_rollout(request)
        .await?
        .into_inner())
}

/// Gives the candidate so much of the traffic; the new generation.
async fn set_traffic(clients: &Clients, rollout: &Rollout, percent: i32) -> Result<i64> {
    let target = |revision: &String, percent| deployer::TrafficTarget {
        revision: revision.clone(),
        percent,
    };
    let request = deployer::SetTrafficRequest {
        endpoint: ENDPOINT.to_owned(),
        targets: vec![
            target(&rollout.stable, 100 - percent),
            target(&rollout.candidate, percent),
        ],
        reason: "to be measured".to_owned(),
        ..Default::default()
    };
    let traffic = clients.deployer.clone().set_traffic(request).await?;
    Ok(traffic.into_inner().generation)
}

/// Waits until all proxies have acknowledged this generation.
async fn is_applied(clients: &Clients, generation: i64) -> Result<()> {
    until("the split to be applied", SOON, async || {
        let applied = watch::status(clients).await?.applied;
        let is_applied = applied.is_some_and(|applied| {
            applied.state() == applied::State::Applied && applied.generation == generation
        });
        Ok(is_applied.then_some(()))
    })
    .await
}

/// A proxy: asks for everything, accepts everything, and notes the routes that it receives. Ends with its stream.
async fn follow(address: String, number: usize, seen: Seen) -> Result<()> {
    let channel = Endpoint::from_shared(address)?
        .tcp_nodelay(true)
        .connect()
        .await?;
    let (ask, asked) = mpsc::channel(16);
    let mut node = Some(Node {
        id: format!("proxy-{number:04}"),
        cluster: "bench".to_owned(),
        ..Default::default()
    });
    let mut request = |url: &str, names: Vec<String>, nonce: String| DiscoveryRequest {
        type_url: url.to_owned(),
        node: node.take(),
        resource_names: names,
        response_nonce: nonce,
        ..Default::default()
    };
    let routes = || vec!["slipway".to_owned()];
    ask.send(request(CLUSTERS, Vec::new(), String::new()))
        .await?;
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let answers = client
        .stream_aggregated_resources(ReceiverStream::new(asked))
        .await?;
    let mut answers = answers.into_inner();
    let (mut clusters, mut endpoints_nonce) = (None, String::new());
    while let Some(answer) = answers.message().await? {
        let DiscoveryResponse {
            type_url,
            nonce,
            resources,
            ..
        } = answer;
        match type_url.as_str() {
            CLUSTERS => {
                let names: BTreeSet<String> = resources
                    .iter()
                    .filter_map(|any| Cluster::decode(any.value.as_slice()).ok())
                    .map(|cluster| cluster.name)
                    .collect();
                let names: Vec<String> = names.into_iter().collect();
                ask.send(request(CLUSTERS, Vec::new(), nonce)).await?;
                if clusters.as_ref() != Some(&names) && !names.is_empty() {
                    ask.send(request(ENDPOINTS, names.clone(), endpoints_nonce.clone()))
                        .await?;
                }
                if clusters.is_none() {
                    ask.send(request(LISTENERS, Vec::new(), String::new()))
                        .await?;
                }
                clusters = Some(names);
            }
            ENDPOINTS => {
                endpoints_nonce.clone_from(&nonce);
                ask.send(request(
                    ENDPOINTS,
                    clusters.clone().unwrap_or_default(),
                    nonce,
                ))
                .await?;
            }
            LISTENERS => {
                ask.send(request(LISTENERS, Vec::new(), nonce)).await?;
                ask.send(request(ROUTES, routes(), String::new())).await?;
            }
            ROUTES => {
                let at = Instant::now();
                ask.send(request(ROUTES, routes(), nonce)).await?;
                let generation = resources.iter().find_map(|any| generation(&any.value));
                seen.put(
                    generation.context("routes without the endpoint")?,
                    number,
                    at,
                );
            }
            other => bail!("a resource of another type: {other}"),
        }
    }
    Ok(())
}

/// The generation in the name of the endpoint's routes, `production/tumor@7`, wherever it stands in them.
fn generation(routes: &[u8]) -> Option<i64> {
    let before = format!("{ENVIRONMENT_ID}/{ENDPOINT_ID}@");
    let at = routes
        .windows(before.len())
        .position(|part| part == before.as_bytes())?;
    let digits = routes[at + before.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.map(|digit| char::from(*digit)).collect();
    digits.parse().ok()
}
