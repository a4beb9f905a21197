//! `slipway.detector.v1.FailureDetectorService`, `PeerService` and Envoy's `AccessLogService`: requests to use cases,
//! answers to messages. A handler collects every field violation of its request before anything is done. What another
//! replica has to answer, since it judges the endpoint, is handed on to it.

mod access_log;
mod alerts;
mod channels;
mod judgement;
mod observations;
mod passed;
mod peers;
mod show;
mod verdicts;

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use futures::Stream;
use slipway_platform::Error;
use slipway_proto::detector::v1::{
    failure_detector_service_server::{FailureDetectorService, FailureDetectorServiceServer},
    peer_service_server::PeerServiceServer,
    *,
};
use tonic::{Request, Response, Status, service::Routes};

use crate::peers::passing::Passing;
use crate::service::FailureDetector;

/// The largest request message: ten thousand observations, or a proxy's batch of log entries.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The services over a detector.
pub fn routes(detector: FailureDetector) -> Routes {
    let logs = access_log::AccessLogs::new(detector.clone());
    let logs = AccessLogServiceServer::new(logs).max_decoding_message_size(REQUEST_BYTES_MAX);
    let peers = PeerServiceServer::new(peers::Peers::new(detector.clone()));
    let api = FailureDetectorServiceServer::new(Handlers {
        detector,
        passing: Arc::default(),
    });
    Routes::new(api.max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(logs)
        .add_service(peers)
}

struct Handlers {
    detector: FailureDetector,
    passing: Arc<Passing>,
}

fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl FailureDetectorService for Handlers {
    type WatchVerdictStream = Answers<VerdictReport>;
    type WatchAlertsStream = Answers<WatchAlertsResponse>;

    async fn watch_verdict(
        &self,
        request: Request<WatchVerdictRequest>,
    ) -> Answer<Self::WatchVerdictStream> {
        passed::watch(self, request).await
    }

    async fn get_verdict(&self, request: Request<GetVerdictRequest>) -> Answer<VerdictReport> {
        passed::verdict(self, request).await
    }

    async fn recompute_decision(
        &self,
        request: Request<RecomputeDecisionRequest>,
    ) -> Answer<RecomputeDecisionResponse> {
        answer(verdicts::recompute(&self.detector, request.into_inner()).await)
    }

    async fn report_observations(
        &self,
        request: Request<ReportObservationsRequest>,
    ) -> Answer<ReportObservationsResponse> {
        passed::report(self, request).await
    }

    async fn get_monitor(&self, request: Request<GetMonitorRequest>) -> Answer<Monitor> {
        passed::monitor(self, request).await
    }

    async fn get_alert(&self, request: Request<GetAlertRequest>) -> Answer<Alert> {
        answer(alerts::get(&self.detector, request.into_inner()).await)
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Answer<ListAlertsResponse> {
        answer(alerts::list(&self.detector, request.into_inner()).await)
    }

    async fn watch_alerts(
        &self,
        request: Request<WatchAlertsRequest>,
    ) -> Answer<Self::WatchAlertsStream> {
        answer(alerts::watch(&self.detector, request.into_inner()).await)
    }

    async fn acknowledge_alert(&self, request: Request<AcknowledgeAlertRequest>) -> Answer<Alert> {
        answer(alerts::acknowledge(&self.detector, request.into_inner()).await)
    }

    async fn silence_alert(&self, request: Request<SilenceAlertRequest>) -> Answer<Alert> {
        answer(alerts::silence(&self.detector, request.into_inner()).await)
    }

    async fn resolve_alert(&self, request: Request<ResolveAlertRequest>) -> Answer<Alert> {
        answer(alerts::resolve(&self.detector, request.into_inner()).await)
    }

    async fn apply_channel(&self, request: Request<ApplyChannelRequest>) -> Answer<Channel> {
        answer(channels::apply(&self.detector, request.into_inner()).await)
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Answer<ListChannelsResponse> {
        answer(channels::list(&self.detector, request.into_inner()).await)
    }

    async fn delete_channel(
        &self,
        request: Request<DeleteChannelRequest>,
    ) -> Answer<DeleteChannelResponse> {
        answer(channels::delete(&self.detector, request.into_inner()).await)
    }

    async fn test_channel(&self, request: Request<TestChannelRequest>) -> Answer<Delivery> {
        answer(channels::test(&self.detector, request.into_inner()).await)
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Answer<ListDeliveriesResponse> {
        answer(channels::deliveries(&self.detector, request.into_inner()).await)
    }
}
