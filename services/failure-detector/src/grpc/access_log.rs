//! Envoy's gRPC Access Log Service: log entries as observations.
//!
//! The task that reads a stream also judges what it brings, so there is nothing to overflow. TCP entries are
//! ignored, and so are entries of routes and clusters that are not named as the deployer names them.
//!
//! The protocol has no numbers. The gateway puts them into tags of its own; an Envoy does not, so what it drops on its
//! side is not seen here, only that its stream broke.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    Identifier, LogEntries,
};
use envoy_types::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use slipway_platform::Error;
use slipway_platform::names::{EndpointName, EnvironmentName, RevisionName};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::config::millis;
use crate::domain::logs::BatchPlace;
use crate::domain::outcome::{Exchange, Outcome};
use crate::metrics;
use crate::service::{FailureDetector, Observation, Place};

/// The tag of a batch's first entry that holds that entry's number.
const TAG_SEQUENCE: &str = "slipway-sequence";
/// The tag of a batch's first entry that names the run of the proxy within which numbers count.
const TAG_BOOT: &str = "slipway-boot";
/// The header or trailer of a gRPC answer that says how it ended, where the proxy is told to log it.
const GRPC_STATUS: &str = "grpc-status";
/// Clusters that one stream is expected to name; beyond, what is remembered of them starts afresh.
const CLUSTERS_MAX: usize = 10_000;
/// Beyond the time after which a lost replica is known to be lost.
const MEETING_SPARE: Duration = Duration::from_secs(2);
const NODE_LENGTH_MAX: usize = 256;
/// Names longer than this are nobody's, and not remembered.
const NAME_LENGTH_MAX: usize = 256;

/// The service.
pub struct AccessLogs {
    detector: FailureDetector,
    streams: Arc<Semaphore>,
}

impl AccessLogs {
    /// The service over a detector.
    pub fn new(detector: FailureDetector) -> Self {
        let streams = Arc::new(Semaphore::new(detector.config().limits.log_streams_max));
        Self { detector, streams }
    }

    /// Waits until the replicas that judge listen to this one; what was read before then would be judged by nobody.
    async fn meet_the_others(&self) -> Result<(), Error> {
        let mut met = self.detector.replicas().met();
        let patience = millis(self.detector.config().replicas.takeover_ms) + MEETING_SPARE;
        let waiting = tokio::time::timeout(patience, met.wait_for(|met| *met)).await;
        match waiting {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::unavailable(
                "this replica has not been heard by the others yet",
            )),
        }
    }
}

#[tonic::async_trait]
impl AccessLogService for AccessLogs {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        self.meet_the_others().await?;
        let exhausted = |_| Error::Exhausted {
            what: "access-log streams at once".to_owned(),
        };
        let _permit = self
            .streams
            .clone()
            .try_acquire_owned()
            .map_err(exhausted)?;
        let peer = request
            .remote_addr()
            .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let mut messages = request.into_inner();
        let mut log: Option<OpenLog> = None;
        loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    let node = node_of(message.identifier.as_ref());
                    let open = log.get_or_insert_with(|| {
                        OpenLog::begin(self.detector.clone(), node.unwrap_or_else(|| peer.clone()))
                    });
                    open.take(message.log_entries);
                }
                // A stream that the proxy cancels is told from an ended one by nobody, and is meant to end too.
                Ok(None) => {
                    if let Some(open) = log {
                        open.end();
                    }
                    return Ok(Response::new(StreamAccessLogsResponse {}));
                }
                Err(status) => {
                    tracing::debug!(%peer, code = ?status.code(), "access-log stream broke");
                    return Err(status);
                }
            }
        }
    }
}

fn node_of(identifier: Option<&Identifier>) -> Option<String> {
    let id = &identifier?.node.as_ref()?.id;
    (!id.is_empty()).then(|| id.chars().take(NODE_LENGTH_MAX).collect())
}

/// A stream that said who it is. Dropped without [`OpenLog::end`], it is a broken one.
struct OpenLog {
    detector: FailureDetector,
    node: String,
    places: HashMap<String, Option<Arc<Place>>>,
    ended: bool,
}

impl OpenLog {
    fn begin(detector: FailureDetector, node: String) -> Self {
        let now = detector.now();
        detector.engine().logs().own().opened(&node, now);
        detector.engine().wake_readers();
        detector.engine().look(now);
        tracing::info!(node, "access-log stream opened");
        Self {
            detector,
            node,
            places: HashMap::new(),
            ended: false,
        }
    }

    fn end(mut self) {
        self.ended = true;
    }

    fn take(&mut self, entries: Option<LogEntries>) {
        let Some(LogEntries::HttpLogs(http)) = entries else {
            return;
        };
        let entries = http.log_entry;
        let Some(first) = entries.first() else { return };
        let now = self.detector.now();
        let place = batch_place(first);
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.detector
            .engine()
            .logs()
            .own()
            .received(&self.node, place.as_ref(), count, now);
        let mut observations = Vec::with_capacity(entries.len());
        for entry in &entries {
            self.read(entry, &mut observations);
        }
        metrics::observed(observations.len(), "access_log");
        self.detector.engine().observe(&observations, now);
    }

    fn read(&mut self, entry: &HttpAccessLogEntry, observations: &mut Vec<Observation>) {
        let Some(common) = &entry.common_properties else {
            return;
        };
        let Some(place) = self.place(&common.upstream_cluster) else {
            return;
        };
        let generation = generation(&common.route_name, &place.endpoint);
        let exchange = exchange(entry, common);
        let observation = |outcome| Observation {
            place: place.clone(),
            generation,
            outcome,
        };
        for _ in 0..exchange.failed_attempts_before() {
            observations.push(observation(Outcome::Failure));
        }
        if let Some(outcome) = exchange.outcome() {
            observations.push(observation(outcome));
        }
    }

    fn place(&mut self, cluster: &str) -> Option<Arc<Place>> {
        if cluster.len() > NAME_LENGTH_MAX {
            return None;
        }
        if let Some(known) = self.places.get(cluster) {
            return known.clone();
        }
        if self.places.len() >= CLUSTERS_MAX {
            self.places.clear();
        }
        let place = parse_cluster(cluster).map(Arc::new);
        self.places.insert(cluster.to_owned(), place.clone());
        place
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        let now = self.detector.now();
        self.detector
            .engine()
            .logs()
            .own()
            .closed(&self.node, self.ended, now);
        self.detector.engine().wake_readers();
        self.detector.engine().look(now);
        tracing::info!(
            node = self.node,
            cleanly = self.ended,
            "access-log stream ended"
        );
    }
}

/// The place that a cluster `{environment}/{endpoint}/{revision id}` stands for.
fn parse_cluster(cluster: &str) -> Option<Place> {
    let mut parts = cluster.split('/');
    let (environment, endpoint, revision) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let environment = EnvironmentName::new(environment).ok()?;
    let endpoint = EndpointName::new(&environment, endpoint).ok()?;
    let revision = RevisionName::from_id(&endpoint, revision).ok()?;
    Some(Place { endpoint, revision })
}

/// The generation in a route's name `{environment}/{endpoint}@{generation}`; 0 when it is not one of the endpoint.
fn generation(route: &str, endpoint: &EndpointName) -> i64 {
    let parse = || {
        let (name, generation) = route.rsplit_once('@')?;
        let (environment, id) = name.split_once('/')?;
        (environment == endpoint.environment().id() && id == endpoint.id())
            .then(|| generation.parse().ok())?
    };
    parse().filter(|generation| *generation > 0).unwrap_or(0)
}

fn batch_place(first: &HttpAccessLogEntry) -> Option<BatchPlace> {
    let tags = &first.common_properties.as_ref()?.custom_tags;
    let boot = tags.get(TAG_BOOT)?;
    Some(BatchPlace {
        boot: (boot.len() <= NAME_LENGTH_MAX).then(|| boot.clone())?,
        sequence: tags.get(TAG_SEQUENCE)?.parse().ok()?,
    })
}

fn exchange<'a>(entry: &'a HttpAccessLogEntry, common: &'a AccessLogCommon) -> Exchange<'a> {
    let response = entry.response.as_ref();
    let flags = common.response_flags.as_ref();
    Exchange {
        status: response
            .and_then(|response| response.response_code.as_ref())
            .map_or(0, |code| code.value),
        details: response.map_or("", |response| response.response_code_details.as_str()),
        grpc_status: response.and_then(|response| {
            let named = response.response_trailers.get(GRPC_STATUS);
            named
                .or_else(|| response.response_headers.get(GRPC_STATUS))?
                .parse()
                .ok()
        }),
        client_left: flags.is_some_and(client_left),
        proxy_refused: flags.is_some_and(proxy_refused),
        upstream_fault: flags.is_some_and(upstream_fault),
        attempts: common.upstream_request_attempt_count,
    }
}

fn client_left(flags: &ResponseFlags) -> bool {
    flags.downstream_connection_termination || flags.downstream_remote_reset
}

fn proxy_refused(flags: &ResponseFlags) -> bool {
    flags.upstream_overflow
        || flags.no_route_found
        || flags.no_cluster_found
        || flags.no_filter_config_found
        || flags.rate_limited
        || flags.rate_limit_service_error
        || flags.unauthorized_details.is_some()
        || flags.invalid_envoy_request_headers
        || flags.downstream_protocol_error
        || flags.overload_manager
        || flags.fault_injected
        || flags.response_from_cache_filter
        || flags.failed_local_healthcheck
        || flags.local_reset
        || flags.duration_timeout
}

fn upstream_fault(flags: &ResponseFlags) -> bool {
    flags.no_healthy_upstream
        || flags.upstream_request_timeout
        || flags.upstream_remote_reset
        || flags.upstream_connection_failure
        || flags.upstream_connection_termination
        || flags.upstream_retry_limit_exceeded
        || flags.upstream_max_stream_duration_reached
        || flags.upstream_protocol_error
        || flags.dns_resolution_failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_and_routes_are_read_as_the_deployer_names_them() {
        let place = parse_cluster("production/tumor/tumor-00002").unwrap();
        assert_eq!(
            place.revision.to_string(),
            "environments/production/endpoints/tumor/revisions/tumor-00002"
        );
        for wrong in [
            "",
            "slipway-als",
            "production/tumor",
            "production/tumor/other-00002",
            "a/b/b-00001/c",
        ] {
            assert_eq!(parse_cluster(wrong), None, "{wrong}");
        }
        assert_eq!(generation("production/tumor@17", &place.endpoint), 17);
        for wrong in [
            "",
            "production/tumor",
            "production/other@17",
            "production/tumor@-1",
            "production/tumor@x",
        ] {
            assert_eq!(generation(wrong, &place.endpoint), 0, "{wrong}");
        }
    }
}
