//! `slipway.event.v1.EventService`: the events of one service for clients without the event bus, and what
//! its consumers could not handle.
//!
//! Every service mounts it over its own database. It owns nothing: watching reads the outbox by its numbers
//! of publication, and the dead letters have a table of their own.

mod convert;
mod letters;
mod token;
mod watch;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use slipway_proto::event::v1::{
    self as pb, event_service_server as server, event_service_server::EventServiceServer,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{
    clock::SharedClock,
    db::Db,
    events::{Consumer, outbox::RelayOptions},
};

/// How often a stream that has nothing to say says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The service over `db`, to be added to the routes of the service that owns it. Dead letters are replayed
/// through `consumers`: all that the service has.
pub fn routes(
    db: Db,
    clock: SharedClock,
    consumers: Vec<Arc<dyn Consumer>>,
    options: &RelayOptions,
) -> EventServiceServer<EventService> {
    EventServiceServer::new(EventService::new(db, clock, consumers, options))
}

/// The gRPC service.
pub struct EventService {
    db: Db,
    clock: SharedClock,
    consumers: Vec<Arc<dyn Consumer>>,
    watches: Arc<Semaphore>,
    heartbeat: Duration,
}

impl EventService {
    /// The service over `db`.
    pub fn new(
        db: Db,
        clock: SharedClock,
        consumers: Vec<Arc<dyn Consumer>>,
        options: &RelayOptions,
    ) -> Self {
        Self {
            db,
            clock,
            consumers,
            watches: Arc::new(Semaphore::new(options.watches_max as usize)),
            heartbeat: HEARTBEAT,
        }
    }

    /// The service with another time between heartbeats.
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }
}

#[tonic::async_trait]
impl server::EventService for EventService {
    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let stream = self.watch(request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<pb::ReplayDeadLetterRequest>,
    ) -> Result<Response<pb::DeadLetter>, Status> {
        Ok(Response::new(self.replay(request.into_inner()).await?))
    }
}
