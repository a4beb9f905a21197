//! Routes that come later than the port: until then every call is told what the service waits for.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::methods::Kind;
use super::reply;
use super::retry::Retry;
use crate::tasks::Readiness;

/// What a port answers with, before and after its service is there. Clones speak of the same port.
#[derive(Clone)]
pub(super) struct Late {
    starting: Routes,
    serving: Arc<OnceLock<Retry<Routes>>>,
}

impl Late {
    /// Answers what `standard` has, and refuses everything else with what `ready` is waiting for.
    pub(super) fn new(standard: axum::Router, ready: Readiness) -> Self {
        let starting = standard.fallback(move |request: Request<axum::body::Body>| {
            let kind = Kind::of_request(&request);
            let refused = reply::starting(kind, ready.waiting());
            std::future::ready(refused)
        });
        Self {
            starting: Routes::from(starting).prepare(),
            serving: Arc::default(),
        }
    }

    /// From now on answers from `routes`. Has an effect once.
    pub(super) fn serve(&self, routes: Retry<Routes>) {
        if self.serving.set(routes).is_err() {
            tracing::warn!("a port's routes were given twice; the first ones stay");
        }
    }
}

impl Service<Request<Body>> for Late {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.serving.get() {
            Some(serving) => Box::pin(serving.clone().call(request)),
            None => Box::pin(self.starting.clone().call(request)),
        }
    }
}
