//! `PeerService`: what this replica's proxies report, for the replica that judges.

use std::time::Duration;

use slipway_platform::{Error, Result};
use slipway_proto::detector::v1::{
    WatchCountsRequest, WatchCountsResponse, peer_service_server::PeerService,
};
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Request, Response, Status, Streaming};

use super::{Answer, Answers};
use crate::peers::words;
use crate::service::{BookReader, FailureDetector};

/// A reader hears something at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What comes close together is said together.
const TOGETHER: Duration = Duration::from_millis(3);
const INSTANCE_LENGTH_MAX: usize = 128;

/// The service.
pub struct Peers {
    detector: FailureDetector,
}

impl Peers {
    /// The service over a detector.
    pub fn new(detector: FailureDetector) -> Self {
        Self { detector }
    }

    fn reader(&self, instance: &str) -> Result<BookReader> {
        let named = !instance.is_empty() && instance.len() <= INSTANCE_LENGTH_MAX;
        if !named {
            return Err(Error::invalid("instance", "must name the caller"));
        }
        let alone = || {
            let why =
                "the database is a file of this process alone, so there are no other replicas";
            Error::precondition("NOT_SHARED", "storage", why)
        };
        self.detector.reader(instance).ok_or_else(alone)
    }
}

#[tonic::async_trait]
impl PeerService for Peers {
    type WatchCountsStream = Answers<WatchCountsResponse>;

    async fn watch_counts(
        &self,
        request: Request<Streaming<WatchCountsRequest>>,
    ) -> Answer<Self::WatchCountsStream> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap_or_default();
        let mut reader = self.reader(&first.instance)?;
        apply(&mut reader, first)?;
        reader.ready();
        let stream = answers(self.detector.clone(), reader, requests);
        Ok(Response::new(Box::pin(stream)))
    }
}

fn answers(
    detector: FailureDetector,
    mut reader: BookReader,
    mut requests: Streaming<WatchCountsRequest>,
) -> impl futures::Stream<Item = Result<WatchCountsResponse, Status>> {
    async_stream::try_stream! {
        let instance = detector.replicas().leases().instance().id.clone();
        let mut written = reader.written();
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = true;
        loop {
            written.borrow_and_update();
            let news = reader.read();
            let more = news.more;
            if due || !news.is_empty() {
                yield words::news(&instance, news, detector.now());
                due = false;
                heartbeat.reset();
                if more {
                    continue;
                }
                tokio::time::sleep(TOGETHER).await;
            }
            let said = tokio::select! {
                message = requests.message() => Some(message),
                // Its sender lives as long as the detector.
                _ = written.changed() => None,
                _ = heartbeat.tick() => {
                    due = true;
                    None
                }
            };
            match said {
                None => {}
                Some(message) => match message? {
                    Some(message) => apply(&mut reader, message)?,
                    None => return,
                },
            }
        }
    }
}

fn apply(reader: &mut BookReader, message: WatchCountsRequest) -> Result<()> {
    for wanted in &message.wanted {
        let (endpoint, from) = words::parse_position(wanted)?;
        reader.want(endpoint, from);
    }
    for endpoint in &message.done {
        reader.finish(&endpoint.parse()?);
    }
    for endpoint in &message.left {
        reader.leave(&endpoint.parse()?);
    }
    for stored in &message.stored {
        if let (endpoint, Some(position)) = words::parse_position(stored)? {
            reader.stored(&endpoint, position);
        }
    }
    Ok(())
}
