//! `slipway.evaluator.v1.EvaluatorService`: requests to use cases, answers to messages.
//!
//! A handler collects every field violation of its request before anything is done.

mod evaluation_message;
mod evaluations;
mod suite_message;
mod suites;
mod yaml;

use std::pin::Pin;

use futures::Stream;
use slipway_proto::evaluator::v1::evaluator_service_server::{
    EvaluatorService, EvaluatorServiceServer,
};
use slipway_proto::evaluator::v1::*;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::service::Evaluator;

/// The largest request: a suite as YAML with its envelope.
const REQUEST_BYTES_MAX: usize = 1 << 20;

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, ready to be served.
pub fn routes(evaluator: Evaluator) -> Routes {
    let service = EvaluatorServiceServer::new(Grpc { evaluator })
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    Routes::new(service)
}

struct Grpc {
    evaluator: Evaluator,
}

fn answer<T>(result: slipway_platform::Result<T>) -> Answer<T> {
    Ok(Response::new(result?))
}

#[tonic::async_trait]
impl EvaluatorService for Grpc {
    async fn apply_suite(&self, request: Request<ApplySuiteRequest>) -> Answer<Suite> {
        answer(suites::apply(&self.evaluator, request.into_inner()).await)
    }

    async fn get_suite(&self, request: Request<GetSuiteRequest>) -> Answer<Suite> {
        answer(suites::get(&self.evaluator, request.into_inner()).await)
    }

    async fn list_suites(&self, request: Request<ListSuitesRequest>) -> Answer<ListSuitesResponse> {
        answer(suites::list(&self.evaluator, request.into_inner()).await)
    }

    async fn delete_suite(
        &self,
        request: Request<DeleteSuiteRequest>,
    ) -> Answer<DeleteSuiteResponse> {
        answer(suites::delete(&self.evaluator, request.into_inner()).await)
    }

    async fn create_evaluation(
        &self,
        request: Request<CreateEvaluationRequest>,
    ) -> Answer<Evaluation> {
        answer(evaluations::create(&self.evaluator, request.into_inner()).await)
    }

    async fn get_evaluation(&self, request: Request<GetEvaluationRequest>) -> Answer<Evaluation> {
        answer(evaluations::get(&self.evaluator, request.into_inner()).await)
    }

    async fn list_evaluations(
        &self,
        request: Request<ListEvaluationsRequest>,
    ) -> Answer<ListEvaluationsResponse> {
        answer(evaluations::list(&self.evaluator, request.into_inner()).await)
    }

    type WatchEvaluationStream = Streamed<WatchEvaluationResponse>;

    async fn watch_evaluation(
        &self,
        request: Request<WatchEvaluationRequest>,
    ) -> Answer<Self::WatchEvaluationStream> {
        answer(evaluations::watch(&self.evaluator, request.into_inner()).await)
    }

    async fn cancel_evaluation(
        &self,
        request: Request<CancelEvaluationRequest>,
    ) -> Answer<Evaluation> {
        answer(evaluations::cancel(&self.evaluator, request.into_inner()).await)
    }

    async fn recompute_verdict(
        &self,
        request: Request<RecomputeVerdictRequest>,
    ) -> Answer<RecomputeVerdictResponse> {
        answer(evaluations::recompute(&self.evaluator, request.into_inner()).await)
    }
}
