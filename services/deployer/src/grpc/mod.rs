//! `slipway.deployer.v1.DeployerService`: requests to use cases, answers to messages. Protos end here.
//!
//! A handler collects every field violation of its request before anything is done.

mod endpoint_message;
mod endpoints;
mod environments;
mod fields;
mod overview;
mod revisions;
mod rollout_message;
mod rollouts;
mod rules;
mod run_message;
mod status_message;
mod strategy_message;
mod traffic;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use slipway_proto::deployer::v1::deployer_service_server::{
    DeployerService, DeployerServiceServer,
};
use slipway_proto::deployer::v1::*;
use tonic::{Request, Response, Status};

use crate::service::Service;

/// The largest request: an endpoint with a long environment.
const REQUEST_BYTES_MAX: usize = 1 << 20;

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, ready to be served.
pub fn service(service: Arc<Service>) -> DeployerServiceServer<Grpc> {
    DeployerServiceServer::new(Grpc { service }).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// The handlers.
pub struct Grpc {
    service: Arc<Service>,
}

fn answer<T>(result: slipway_platform::Result<T>) -> Answer<T> {
    Ok(Response::new(result?))
}

#[tonic::async_trait]
impl DeployerService for Grpc {
    type WatchEndpointStatusStream = Streamed<EndpointStatus>;
    type WatchRolloutStream = Streamed<WatchRolloutResponse>;

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Answer<Environment> {
        answer(environments::create(&self.service, request.into_inner()).await)
    }

    async fn get_environment(
        &self,
        request: Request<GetEnvironmentRequest>,
    ) -> Answer<Environment> {
        answer(environments::get(&self.service, request.into_inner()).await)
    }

    async fn update_environment(
        &self,
        request: Request<UpdateEnvironmentRequest>,
    ) -> Answer<Environment> {
        answer(environments::update(&self.service, request.into_inner()).await)
    }

    async fn list_environments(
        &self,
        request: Request<ListEnvironmentsRequest>,
    ) -> Answer<ListEnvironmentsResponse> {
        answer(environments::list(&self.service, request.into_inner()).await)
    }

    async fn create_endpoint(&self, request: Request<CreateEndpointRequest>) -> Answer<Endpoint> {
        answer(endpoints::create(&self.service, request.into_inner()).await)
    }

    async fn get_endpoint(&self, request: Request<GetEndpointRequest>) -> Answer<Endpoint> {
        answer(endpoints::get(&self.service, request.into_inner()).await)
    }

    async fn update_endpoint(&self, request: Request<UpdateEndpointRequest>) -> Answer<Endpoint> {
        answer(endpoints::update(&self.service, request.into_inner()).await)
    }

    async fn list_endpoints(
        &self,
        request: Request<ListEndpointsRequest>,
    ) -> Answer<ListEndpointsResponse> {
        answer(endpoints::list(&self.service, request.into_inner()).await)
    }

    async fn get_endpoint_status(
        &self,
        request: Request<GetEndpointStatusRequest>,
    ) -> Answer<EndpointStatus> {
        answer(endpoints::status(&self.service, request.into_inner()).await)
    }

    async fn get_revision(&self, request: Request<GetRevisionRequest>) -> Answer<Revision> {
        answer(revisions::get(&self.service, request.into_inner()).await)
    }

    async fn list_revisions(
        &self,
        request: Request<ListRevisionsRequest>,
    ) -> Answer<ListRevisionsResponse> {
        answer(revisions::list(&self.service, request.into_inner()).await)
    }

    async fn tag_revision(&self, request: Request<TagRevisionRequest>) -> Answer<Revision> {
        answer(revisions::tag(&self.service, request.into_inner()).await)
    }

    async fn start_rollout(&self, request: Request<StartRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::start(&self.service, request.into_inner()).await)
    }

    async fn get_rollout(&self, request: Request<GetRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::get(&self.service, request.into_inner()).await)
    }

    async fn list_rollouts(
        &self,
        request: Request<ListRolloutsRequest>,
    ) -> Answer<ListRolloutsResponse> {
        answer(rollouts::list(&self.service, request.into_inner()).await)
    }

    async fn pause_rollout(&self, request: Request<PauseRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::pause(&self.service, request.into_inner()).await)
    }

    async fn resume_rollout(&self, request: Request<ResumeRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::resume(&self.service, request.into_inner()).await)
    }

    async fn promote_rollout(&self, request: Request<PromoteRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::promote(&self.service, request.into_inner()).await)
    }

    async fn abort_rollout(&self, request: Request<AbortRolloutRequest>) -> Answer<Rollout> {
        answer(rollouts::abort(&self.service, request.into_inner()).await)
    }

    async fn get_traffic(&self, request: Request<GetTrafficRequest>) -> Answer<Traffic> {
        answer(traffic::get(&self.service, request.into_inner()).await)
    }

    async fn set_traffic(&self, request: Request<SetTrafficRequest>) -> Answer<Traffic> {
        answer(traffic::set(&self.service, request.into_inner()).await)
    }

    async fn unpin(&self, request: Request<UnpinRequest>) -> Answer<Traffic> {
        answer(traffic::unpin(&self.service, request.into_inner()).await)
    }

    async fn list_traffic_history(
        &self,
        request: Request<ListTrafficHistoryRequest>,
    ) -> Answer<ListTrafficHistoryResponse> {
        answer(traffic::history(&self.service, request.into_inner()).await)
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<RollbackResponse> {
        answer(rollouts::rollback(&self.service, request.into_inner()).await)
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Answer<ListBlocksResponse> {
        answer(overview::list_blocks(&self.service, request.into_inner()).await)
    }

    async fn lift_block(&self, request: Request<LiftBlockRequest>) -> Answer<Block> {
        answer(overview::lift_block(&self.service, request.into_inner()).await)
    }

    async fn apply_rule(&self, request: Request<ApplyRuleRequest>) -> Answer<Rule> {
        answer(rules::apply(&self.service, request.into_inner()).await)
    }

    async fn get_rule(&self, request: Request<GetRuleRequest>) -> Answer<Rule> {
        answer(rules::get(&self.service, request.into_inner()).await)
    }

    async fn list_rules(&self, request: Request<ListRulesRequest>) -> Answer<ListRulesResponse> {
        answer(rules::list(&self.service, request.into_inner()).await)
    }

    async fn delete_rule(&self, request: Request<DeleteRuleRequest>) -> Answer<DeleteRuleResponse> {
        answer(rules::delete(&self.service, request.into_inner()).await)
    }

    async fn explain_rule(
        &self,
        request: Request<ExplainRuleRequest>,
    ) -> Answer<ExplainRuleResponse> {
        answer(rules::explain(&self.service, request.into_inner()).await)
    }

    async fn list_audit_records(
        &self,
        request: Request<ListAuditRecordsRequest>,
    ) -> Answer<ListAuditRecordsResponse> {
        answer(overview::list_audit(&self.service, request.into_inner()).await)
    }

    async fn list_proxies(
        &self,
        request: Request<ListProxiesRequest>,
    ) -> Answer<ListProxiesResponse> {
        answer(overview::list_proxies(&self.service, request.into_inner()).await)
    }

    async fn watch_endpoint_status(
        &self,
        request: Request<GetEndpointStatusRequest>,
    ) -> Answer<Self::WatchEndpointStatusStream> {
        answer(watch::endpoint_status(&self.service, request.into_inner()).await)
    }

    async fn watch_rollout(
        &self,
        request: Request<WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        answer(watch::rollout(&self.service, request.into_inner()).await)
    }
}
