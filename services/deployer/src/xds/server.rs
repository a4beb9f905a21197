//! The aggregated discovery service over gRPC: a loop per stream around its [`Session`].
//!
//! The loop runs inside of the answer's own stream: it takes the next step only when the proxy can take
//! the next answer, so nothing is queued, and it is gone as soon as the connection is.

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::Stream as FutureStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::hub::{Stream, XdsHub};
use super::resources::{Built, Kind};
use super::session::{Heard, Session};

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
        let (ticket, mut confirmed) = (hub.want(), hub.confirmed());
        // What is known here may be older than what the proxy has from another replica.
        let mut is_newest = *confirmed.borrow_and_update() >= ticket;
        let mut target: Option<Arc<Built>> = snapshots.borrow_and_update().clone().filter(|_| is_newest);
        let end = stream.end().clone();
        loop {
            while let Some(response) = target.as_ref().and_then(|target| session.next(target)) {
                yield response;
            }
            let waits = (!is_newest).then_some(&mut confirmed);
            match step(&end, &mut snapshots, waits, &mut requests).await? {
                Step::End => break,
                Step::Confirmed(up_to) => {
                    is_newest = up_to >= ticket;
                    target = snapshots.borrow_and_update().clone().filter(|_| is_newest);
                    stream.heard(None, Heard::Nothing, synced(&session, target.as_deref()));
                }
                Step::Snapshot(built) => {
                    target = built.filter(|_| is_newest);
                    stream.heard(None, Heard::Nothing, synced(&session, target.as_deref()));
                }
                Step::Request(request) => {
                    if stream.node_id().is_none() {
                        stream.identify(node_id(&request)?);
                    }
                    let kind = Kind::from_type_url(&request.type_url);
                    let heard = session.hear(*request);
                    stream.heard(kind, heard, synced(&session, target.as_deref()));
                }
            }
        }
    }
}

/// What the loop goes on with.
enum Step {
    Request(Box<DiscoveryRequest>),
    Snapshot(Option<Arc<Built>>),
    Confirmed(u64),
    End,
}

async fn step(
    end: &CancellationToken,
    snapshots: &mut watch::Receiver<Option<Arc<Built>>>,
    confirmed: Option<&mut watch::Receiver<u64>>,
    requests: &mut Streaming<DiscoveryRequest>,
) -> Result<Step, Status> {
    let confirmation = async {
        let Some(confirmed) = confirmed else {
            return std::future::pending().await;
        };
        let changed = confirmed.changed().await;
        changed.map(|()| *confirmed.borrow_and_update())
    };
    tokio::select! {
        biased;
        () = end.cancelled() => Err(Status::unavailable("this stream has ended; open another")),
        up_to = confirmation => Ok(up_to.map_or(Step::End, Step::Confirmed)),
        changed = snapshots.changed() => match changed {
            Ok(()) => Ok(Step::Snapshot(snapshots.borrow_and_update().clone())),
            Err(_) => Ok(Step::End),
        },
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
