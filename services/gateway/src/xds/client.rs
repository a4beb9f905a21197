//! The protocol: one aggregated stream, answered, and opened again when it breaks.
//!
//! Routes are acknowledged when they are in force, which may be later than they came; the other kinds
//! as soon as they are taken. While there is no stream the last configuration is served.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::resources::Kind;
use super::saved::Saved;
use super::state::State;
use super::subscriptions::{Subscriptions, Versions};
use crate::backoff::Backoff;

/// Requests on their way; the client sends a few per response.
const REQUESTS_IN_FLIGHT: usize = 64;
/// The version of a configuration that was saved, and is in force before the control plane has said anything.
const SAVED: &str = "saved";

/// How the control plane is reached.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The replicas of the control plane, at least one; after a failure the next is tried.
    pub endpoints: Vec<Endpoint>,
    /// Who asks.
    pub node: Node,
    /// Largest response.
    pub response_bytes_max: usize,
    /// Pauses between attempts to open the stream.
    pub backoff: Backoff,
    /// How long routes wait for their clusters before they go in force without them.
    pub warming_timeout: Duration,
}

/// Keeps the configuration up to date.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    state: State,
    save: Option<watch::Sender<Option<Arc<Saved>>>>,
    /// Said on each new stream.
    accepted: Versions,
    warming_until: Option<Instant>,
    /// Which replica's turn it is.
    turn: usize,
}

/// Why a stream ended.
struct Broken {
    worked: bool,
    reason: String,
}

impl Client {
    /// A client that puts what it gets into `state`, and into `save` what is to survive a restart.
    pub fn new(
        settings: ClientSettings,
        state: State,
        save: Option<watch::Sender<Option<Arc<Saved>>>>,
    ) -> Self {
        let mut accepted = Versions::new();
        if state.routes_in_force() > 0 {
            // What was saved is in force, and its versions are not known any more.
            accepted.insert(Kind::Cluster, SAVED.to_owned());
        }
        Self {
            settings,
            state,
            save,
            accepted,
            warming_until: None,
            turn: 0,
        }
    }

    /// Follows the control plane until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = self.settings.backoff.clone();
        let mut silent = false;
        loop {
            let Some(Broken { worked, reason }) = shutdown.run_until_cancelled(self.stream()).await
            else {
                return;
            };
            if worked {
                backoff.reset();
            }
            if worked || !silent {
                tracing::warn!(
                    reason,
                    "no stream from the control plane; the last configuration is served"
                );
            }
            silent = !worked;
            self.turn = self.turn.wrapping_add(1);
            if shutdown
                .run_until_cancelled(backoff.pause())
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn stream(&mut self) -> Broken {
        let mut worked = false;
        let node = self.settings.node.clone();
        let mut subscriptions = Subscriptions::new(node, std::mem::take(&mut self.accepted));
        let reason = self
            .follow(&mut subscriptions, &mut worked)
            .await
            .unwrap_or_else(|reason| reason);
        self.accepted = subscriptions.versions();
        Broken { worked, reason }
    }

    async fn follow(
        &mut self,
        subscriptions: &mut Subscriptions,
        worked: &mut bool,
    ) -> Result<String, String> {
        let endpoints = &self.settings.endpoints;
        let endpoint = &endpoints[self.turn % endpoints.len()];
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| crate::chain(&error))?;
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(self.settings.response_bytes_max);
        let (requests, outgoing) = mpsc::channel(REQUESTS_IN_FLIGHT);
        for kind in [Kind::Cluster, Kind::Listener] {
            send(
                &requests,
                subscriptions.subscribe(kind, self.state.wanted(kind)),
            )
            .await?;
        }
        let streaming = client
            .stream_aggregated_resources(ReceiverStream::new(outgoing))
            .await;
        let mut responses = streaming.map_err(|status| status.to_string())?.into_inner();
        tracing::info!(control_plane = %endpoint.uri(), "following the control plane");
        loop {
            let warm_at = self.warming_until;
            let answers = tokio::select! {
                response = responses.message() => match response.map_err(|status| status.to_string())? {
                    None => return Ok("the control plane ended the stream".to_owned()),
                    Some(response) => {
                        *worked = true;
                        self.take(response, subscriptions)
                    }
                },
                () = tokio::time::sleep_until(warm_at.unwrap_or_else(Instant::now)), if warm_at.is_some() => {
                    self.stop_waiting(subscriptions)
                }
            };
            for answer in answers {
                send(&requests, Some(answer)).await?;
            }
        }
    }

    /// Takes a response and gives the requests that answer it.
    fn take(
        &mut self,
        response: DiscoveryResponse,
        subscriptions: &mut Subscriptions,
    ) -> Vec<DiscoveryRequest> {
        let Some(kind) = Kind::of(&response.type_url) else {
            tracing::warn!(
                type_url = response.type_url,
                "resources that nobody asked for"
            );
            return Vec::new();
        };
        subscriptions.received(kind, response.version_info.clone(), response.nonce);
        if let Err(problems) = self.state.accept(kind, &response.resources) {
            tracing::error!(?kind, version = response.version_info, %problems, "configuration refused");
            return vec![subscriptions.nack(kind, &problems)];
        }
        let waiting = self.state.settle(false);
        let mut answers = Vec::new();
        if kind != Kind::Routes {
            answers.extend(subscriptions.ack(kind));
        }
        if waiting.is_empty() {
            self.warming_until = None;
            self.note_in_force(&mut answers, subscriptions);
        } else {
            tracing::info!(?waiting, "routes wait for their clusters");
            self.warming_until
                .get_or_insert(Instant::now() + self.settings.warming_timeout);
        }
        for kind in [Kind::Endpoints, Kind::Routes] {
            let wanted = self.state.wanted(kind);
            if !wanted.is_empty() {
                answers.extend(subscriptions.subscribe(kind, wanted));
            }
        }
        answers
    }

    fn stop_waiting(&mut self, subscriptions: &mut Subscriptions) -> Vec<DiscoveryRequest> {
        self.warming_until = None;
        self.state.settle(true);
        tracing::error!(
            "routes name clusters that the control plane does not send; they are in force without them"
        );
        let mut answers = Vec::new();
        self.note_in_force(&mut answers, subscriptions);
        answers
    }

    /// Everything that was accepted is in force: says so, and saves it.
    fn note_in_force(
        &self,
        answers: &mut Vec<DiscoveryRequest>,
        subscriptions: &mut Subscriptions,
    ) {
        let before = subscriptions.accepted_version(Kind::Routes).to_owned();
        if let Some(ack) = subscriptions.ack(Kind::Routes) {
            tracing::info!(
                from = before,
                to = ack.version_info,
                routes = self.state.routes_in_force(),
                "routes in force"
            );
            answers.push(ack);
        }
        if let Some(save) = &self.save
            && self.state.routes_in_force() > 0
        {
            save.send_replace(Some(Arc::new(Saved(self.state.resources()))));
        }
    }
}

async fn send(
    requests: &mpsc::Sender<DiscoveryRequest>,
    request: Option<DiscoveryRequest>,
) -> Result<(), String> {
    match request {
        None => Ok(()),
        Some(request) => requests
            .send(request)
            .await
            .map_err(|_| "the stream is closed".to_owned()),
    }
}
