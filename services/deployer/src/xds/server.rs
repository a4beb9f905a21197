//! The aggregated discovery service over gRPC: a loop per stream around its [`Session`].
//!
//! The loop runs inside of the answer's own stream: it takes the next step only when the proxy can take
//! the next answer, so nothing is queued, and it is gone as soon as the connection is.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::Stream as FutureStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::hub::{Stream, XdsHub};
use super::resources::{Built, Kind};
use super::session::{Heard, Session};

/// How long a stream waits until what is stored was read, before a proxy that has nothing gets what is known here.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);
/// A node id is shown in statuses and kept for as long as the proxy counts.
const NODE_ID_BYTES_MAX: usize = 256;

/// The service for `hub`, to be added to a gRPC server.
pub fn service(hub: Arc<XdsHub>) -> AggregatedDiscoveryServiceServer<AdsServer> {
    AggregatedDiscoveryServiceServer::new(AdsServer { hub })
}

/// Serves the aggregated stream in its state-of-the-world form.
pub struct AdsServer {
    hub: Arc<XdsHub>,
}

type Answers<T> = Pin<Box<dyn FutureStream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for AdsServer {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let stream = self
            .hub
            .open()
            .ok_or_else(|| Status::resource_exhausted("too many streams, or shutting down"))?;
        Ok(Response::new(Box::pin(answers(
            self.hub.clone(),
            stream,
            request.into_inner(),
        ))))
    }

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "set api_type to GRPC: the incremental form is not served yet",
        ))
    }
}

fn answers(
    hub: Arc<XdsHub>,
    mut stream: Stream,
    mut requests: Streaming<DiscoveryRequest>,
) -> impl FutureStream<Item = Result<DiscoveryResponse, Status>> {
    async_stream::try_stream! {
        let mut snapshots = hub.snapshots();
        let mut session = Session::default();
        let mut trust = Trust::new(&hub);
        let mut target: Option<Arc<Built>> = trust.filter(&mut snapshots);
        let end = stream.end().clone();
        loop {
            while let Some(response) = target.as_ref().and_then(|target| session.next(target)) {
                yield response;
            }
            match step(&end, &mut snapshots, &mut trust, &mut requests).await? {
                Step::End => break,
                Step::Known => {
                    target = trust.filter(&mut snapshots);
                    stream.heard(None, Heard::Nothing, synced(&session, target.as_deref()));
                }
                Step::Request(request) => {
                    if stream.node_id().is_none() {
                        stream.identify(node_id(&request)?);
                        trust.comes_with(&request);
                        target = trust.filter(&mut snapshots);
                    }
                    let kind = Kind::from_type_url(&request.type_url);
                    let heard = session.hear(*request);
                    stream.heard(kind, heard, synced(&session, target.as_deref()));
                }
            }
        }
    }
}

/// Whether what is known here may be sent on a stream: it may be older than what the proxy has from another replica.
/// A proxy that comes with nothing has nothing newer, so while nobody can tell what is stored, it gets what is known.
struct Trust {
    ticket: u64,
    confirmed: watch::Receiver<u64>,
    is_newest: bool,
    deadline: Instant,
    has_waited: bool,
    has_nothing: bool,
}

impl Trust {
    fn new(hub: &XdsHub) -> Self {
        let (ticket, mut confirmed) = (hub.want(), hub.confirmed());
        let is_newest = *confirmed.borrow_and_update() >= ticket;
        Self {
            ticket,
            confirmed,
            is_newest,
            deadline: Instant::now() + CONFIRMED_WITHIN,
            has_waited: false,
            has_nothing: false,
        }
    }

    /// The first request says whether the proxy has accepted something already.
    fn comes_with(&mut self, request: &DiscoveryRequest) {
        self.has_nothing = request.version_info.is_empty();
    }

    fn filter(&self, snapshots: &mut watch::Receiver<Option<Arc<Built>>>) -> Option<Arc<Built>> {
        let may_send = self.is_newest || (self.has_waited && self.has_nothing);
        snapshots.borrow_and_update().clone().filter(|_| may_send)
    }

    /// Waits until more may be sent; false: the hub is gone.
    async fn grows(&mut self) -> bool {
        if self.is_newest {
            return std::future::pending().await;
        }
        let deadline = (!self.has_waited).then_some(self.deadline);
        let waiting = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.confirmed.changed() => {
                self.is_newest = *self.confirmed.borrow_and_update() >= self.ticket;
                changed.is_ok()
            }
            () = waiting => {
                self.has_waited = true;
                tracing::debug!("what is stored cannot be read yet: a proxy that has nothing gets what is known here");
                true
            }
        }
    }
}

/// What the loop goes on with.
enum Step {
    Request(Box<DiscoveryRequest>),
    /// Something else is known, or may be sent.
    Known,
    End,
}

async fn step(
    end: &CancellationToken,
    snapshots: &mut watch::Receiver<Option<Arc<Built>>>,
    trust: &mut Trust,
    requests: &mut Streaming<DiscoveryRequest>,
) -> Result<Step, Status> {
    tokio::select! {
        biased;
        () = end.cancelled() => Err(Status::unavailable("this stream has ended; open another")),
        goes_on = trust.grows() => Ok(if goes_on { Step::Known } else { Step::End }),
        changed = snapshots.changed() => Ok(changed.map_or(Step::End, |()| Step::Known)),
        request = requests.message() => Ok(request?.map_or(Step::End, |request| Step::Request(Box::new(request)))),
    }
}

/// The version of `target` if the proxy has all of it.
fn synced(session: &Session, target: Option<&Built>) -> Option<u64> {
    target
        .filter(|target| session.is_synced(target))
        .map(|target| target.version)
}

fn node_id(request: &DiscoveryRequest) -> Result<&str, Status> {
    let id = request
        .node
        .as_ref()
        .map(|node| node.id.as_str())
        .unwrap_or_default();
    if id.is_empty() || id.len() > NODE_ID_BYTES_MAX {
        return Err(Status::invalid_argument(
            "the first request must have a node.id of 1 to 256 bytes",
        ));
    }
    Ok(id)
}
