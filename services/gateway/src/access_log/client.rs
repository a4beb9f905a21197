//! The client of the Access Log Service: batches records and keeps one stream open.
//!
//! The service never answers on the stream, so what was handed to a stream that breaks may or may not
//! have arrived; the sequence numbers show the receiver what is missing. While there is no stream,
//! records stay in the queue until it is full.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::data::accesslog::v3::HttpAccessLogEntry;
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::{Counts, Numbered, TAG_BOOT, TAG_DROPPED, TAG_SEQUENCE, entry};
use crate::backoff::Backoff;

/// Messages on the way to the transport; more would only hide from the queue that the service is slow.
const MESSAGES_IN_FLIGHT: usize = 4;

/// How records are sent.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The replicas of the service, at least one; after a failure the next is tried.
    pub endpoints: Vec<Endpoint>,
    /// Who sends.
    pub node: Node,
    /// The log's name.
    pub log_name: String,
    /// How long a record waits for others to go with it.
    pub flush_interval: Duration,
    /// Records in one message at most.
    pub batch_max: usize,
    /// Pauses between attempts to open the stream.
    pub backoff: Backoff,
    /// How long the end of the stream may take at the shutdown.
    pub close_timeout: Duration,
}

/// Sends what comes out of the queue.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    queue: mpsc::Receiver<Box<Numbered>>,
    counts: Arc<Counts>,
    boot: String,
    unsent: Vec<Numbered>,
    more_is_due: bool,
    dropped_reported: u64,
    /// Which replica's turn it is.
    turn: usize,
}

/// Why a stream ended.
enum End {
    Shutdown,
    Broken { worked: bool, reason: String },
}

impl Client {
    /// A client for this queue.
    pub fn new(
        settings: ClientSettings,
        queue: mpsc::Receiver<Box<Numbered>>,
        counts: Arc<Counts>,
    ) -> Self {
        let boot = uuid::Uuid::now_v7().to_string();
        Self {
            settings,
            queue,
            counts,
            boot,
            unsent: Vec::new(),
            more_is_due: false,
            dropped_reported: 0,
            turn: 0,
        }
    }

    /// Sends until `shutdown`, and then what is left in the queue.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = self.settings.backoff.clone();
        let mut silent = false;
        loop {
            let End::Broken { worked, reason } = self.stream(&shutdown).await else {
                return;
            };
            if worked {
                backoff.reset();
            }
            if worked || !silent {
                tracing::warn!(reason, "no access log stream; records wait in the queue");
            }
            silent = !worked;
            self.turn = self.turn.wrapping_add(1);
            if shutdown
                .run_until_cancelled(backoff.pause())
                .await
                .is_none()
            {
                break;
            }
        }
        // One more attempt, for what is left.
        if let End::Broken { reason, .. } = self.stream(&shutdown).await {
            let lost = self.unsent.len() + self.queue.len();
            tracing::warn!(reason, lost, "access log records were not delivered");
        }
    }

    async fn stream(&mut self, shutdown: &CancellationToken) -> End {
        // Connected before a record is taken, so that none is lost to a service that is not there.
        let endpoints = &self.settings.endpoints;
        let channel = match endpoints[self.turn % endpoints.len()].connect().await {
            Ok(channel) => channel,
            Err(error) => {
                return End::Broken {
                    worked: false,
                    reason: crate::chain(&error),
                };
            }
        };
        let (messages, outgoing) = mpsc::channel(MESSAGES_IN_FLIGHT);
        if messages.try_send(self.hello()).is_err() {
            return End::Broken {
                worked: false,
                reason: "the stream is closed".into(),
            };
        }
        let mut client = AccessLogServiceClient::new(channel);
        let call = client.stream_access_logs(ReceiverStream::new(outgoing));
        tokio::pin!(call);
        let mut worked = false;
        loop {
            let last = tokio::select! {
                end = &mut call => return broken(worked, end),
                last = self.fill(shutdown) => last,
            };
            if !self.unsent.is_empty() {
                tokio::select! {
                    end = &mut call => return broken(worked, end),
                    permit = messages.reserve() => match permit {
                        Ok(permit) => permit.send(self.take_message()),
                        Err(_) => return End::Broken { worked, reason: "the stream is closed".into() },
                    },
                }
                worked = true;
            }
            if last {
                drop(messages);
                return match tokio::time::timeout(self.settings.close_timeout, call).await {
                    Ok(Ok(_)) => End::Shutdown,
                    Ok(Err(status)) => End::Broken {
                        worked,
                        reason: status.to_string(),
                    },
                    Err(_) => End::Broken {
                        worked,
                        reason: "the service did not end the stream".into(),
                    },
                };
            }
        }
    }

    /// Collects the next batch, and tells whether it is the last one before the end.
    ///
    /// Records are left alone for the flush interval after the first, so that serving does not wake
    /// this task for each; what came in the meantime then goes out at once, in batches of the maximum.
    async fn fill(&mut self, shutdown: &CancellationToken) -> bool {
        let max = self.settings.batch_max;
        if self.unsent.is_empty() {
            tokio::select! {
                biased;
                first = self.queue.recv() => self.unsent.extend(first.map(|numbered| *numbered)),
                () = shutdown.cancelled() => {}
            }
        }
        if self.unsent.len() < max && !self.more_is_due {
            let _ = shutdown
                .run_until_cancelled(tokio::time::sleep(self.settings.flush_interval))
                .await;
        }
        while self.unsent.len() < max
            && let Ok(next) = self.queue.try_recv()
        {
            self.unsent.push(*next);
        }
        self.more_is_due = !self.queue.is_empty();
        (shutdown.is_cancelled() || self.queue.is_closed()) && !self.more_is_due
    }

    fn take_message(&mut self) -> StreamAccessLogsMessage {
        let sequence = self.unsent.first().map_or(0, |numbered| numbered.sequence);
        let dropped = self.counts.dropped();
        if dropped > self.dropped_reported {
            let new = dropped - self.dropped_reported;
            tracing::warn!(
                dropped = new,
                total = dropped,
                "access log records were dropped"
            );
            self.dropped_reported = dropped;
        }
        let mut entries: Vec<_> = self
            .unsent
            .drain(..)
            .map(|numbered| entry::of(numbered.record))
            .collect();
        if let Some(common) = entries
            .first_mut()
            .and_then(|entry| entry.common_properties.as_mut())
        {
            let tags = [
                (TAG_SEQUENCE, sequence.to_string()),
                (TAG_DROPPED, dropped.to_string()),
                (TAG_BOOT, self.boot.clone()),
            ];
            common
                .custom_tags
                .extend(tags.map(|(name, value)| (name.to_owned(), value)));
        }
        logs(None, entries)
    }

    /// The stream's first message: who sends, and no entries yet.
    fn hello(&self) -> StreamAccessLogsMessage {
        let identifier = Identifier {
            node: Some(self.settings.node.clone()),
            log_name: self.settings.log_name.clone(),
        };
        logs(Some(identifier), Vec::new())
    }
}

fn logs(
    identifier: Option<Identifier>,
    log_entry: Vec<HttpAccessLogEntry>,
) -> StreamAccessLogsMessage {
    StreamAccessLogsMessage {
        identifier,
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })),
    }
}

fn broken<T>(worked: bool, end: Result<T, tonic::Status>) -> End {
    let reason = match end {
        Ok(_) => "the service ended the stream".to_owned(),
        Err(status) => status.to_string(),
    };
    End::Broken { worked, reason }
}
