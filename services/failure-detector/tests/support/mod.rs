//! A real detector on a free port, a proxy that sends it access logs, and a receiver of webhooks.

#![allow(dead_code)]

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpResponseProperties, ResponseFlags,
};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use slipway_failure_detector::{Config, DEFAULTS, Deps, run};
use slipway_platform::clock::SystemClock;
use slipway_platform::events::{EmbeddedLog, Event, EventBus};
use slipway_proto::detector::v1::failure_detector_service_client::FailureDetectorServiceClient;
use slipway_proto::detector::v1::*;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel as Transport;

pub mod receiver;
pub mod replica;

pub type Client = FailureDetectorServiceClient<Transport>;

pub const ENDPOINT: &str = "environments/production/endpoints/tumor";
pub const OLD: &str = "tumor-00001";
pub const NEW: &str = "tumor-00002";

/// Long enough for anything that happens at all on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn revision(id: &str) -> String {
    format!("{ENDPOINT}/revisions/{id}")
}

pub fn rollout(number: u32) -> String {
    format!("{ENDPOINT}/rollouts/018f0000-0000-7000-8000-{number:012}")
}

/// Waits for `future`, and says what was waited for when it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// A detector that runs.
pub struct Detector {
    pub client: Client,
    pub address: String,
    pub bus: EmbeddedLog,
    shutdown: CancellationToken,
    running: JoinHandle<slipway_platform::Result<()>>,
}

/// Settings with short times, so that tests wait for little.
pub fn settings(folder: &Path) -> Config {
    let env = [
        ("JUDGEMENT__REPORT_EVERY_MS", "100".to_owned()),
        ("JUDGEMENT__CHECKPOINT_EVERY_MS", "50".to_owned()),
        ("JUDGEMENT__LOOK_EVERY_MS", "20".to_owned()),
        ("JUDGEMENT__STARVED_AFTER_MS", "200".to_owned()),
        ("NOTIFICATIONS__WAITS_MS", "[0, 20, 20, 20]".to_owned()),
    ];
    let env = env.map(|(key, value)| (format!("SLIPWAY__FAILURE_DETECTOR__{key}"), value));
    let mut config: Config =
        slipway_platform::config::load(DEFAULTS, Some("failure_detector"), None, env).unwrap();
    config.storage = slipway_platform::testing::storage(folder);
    config
}

impl Detector {
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, settings(folder)).await
    }

    pub async fn start_with(folder: &Path, config: Config) -> Self {
        let clock = SystemClock::shared();
        let retention = Duration::from_secs(3600);
        let bus = EmbeddedLog::open(&folder.join("events.db"), clock.clone(), retention)
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let deps = Deps {
            bus: Arc::new(bus.clone()),
            clock,
        };
        let running = tokio::spawn(run(config, deps, listener, shutdown.clone()));
        let connecting = async {
            loop {
                match Client::connect(address.clone()).await {
                    Ok(client) => break client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let client = within("the detector", connecting).await;
        slipway_platform::testing::serving(&address).await;
        Self {
            client,
            address,
            bus,
            shutdown,
            running,
        }
    }

    pub async fn stop(self) {
        let Self {
            client,
            bus,
            shutdown,
            running,
            ..
        } = self;
        drop(client);
        shutdown.cancel();
        within("the stop", running).await.unwrap().unwrap();
        drop(bus);
    }

    pub async fn watch(&self, request: WatchVerdictRequest) -> Streaming<VerdictReport> {
        self.client
            .clone()
            .watch_verdict(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// The next event of this type on the topic, read as a new consumer group.
    pub async fn event(&self, group: &str, topic: &str, kind: &str) -> Event {
        let mut subscription = self.bus.subscribe(group, &[topic]).await.unwrap();
        within(kind, async {
            loop {
                let event = subscription.next().await.unwrap().into_event().unwrap();
                if event.r#type == kind {
                    return event;
                }
            }
        })
        .await
    }
}

/// A rollout of `NEW` over `OLD`.
pub fn compared(number: u32) -> WatchVerdictRequest {
    WatchVerdictRequest {
        subject: Some(Subject {
            endpoint: ENDPOINT.into(),
            rollout: rollout(number),
            candidate: revision(NEW),
            stable: revision(OLD),
        }),
        judgement: None,
        generation: 2,
        concurrent: true,
    }
}

/// Reads reports until one fits.
pub async fn report_where(
    reports: &mut Streaming<VerdictReport>,
    what: &str,
    fits: impl Fn(&VerdictReport) -> bool,
) -> VerdictReport {
    let mut last = None;
    let reading = async {
        loop {
            let report = reports
                .message()
                .await
                .unwrap()
                .expect("the stream goes on");
            if fits(&report) {
                return report;
            }
            last = Some(report);
        }
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(report) => report,
        Err(_) => panic!("waited in vain for {what}; last: {last:#?}"),
    }
}

pub async fn health(reports: &mut Streaming<VerdictReport>, health: Health) -> VerdictReport {
    report_where(reports, health.as_str_name(), |report| {
        report.health() == health
    })
    .await
}

pub fn counts(report: &VerdictReport) -> (i64, i64, i64, i64) {
    let evidence = report.evidence.clone().unwrap();
    let (candidate, stable) = (evidence.candidate.unwrap(), evidence.stable.unwrap());
    (
        candidate.observations,
        candidate.failures,
        stable.observations,
        stable.failures,
    )
}

/// A proxy with one open access-log stream.
pub struct Proxy {
    messages: mpsc::Sender<StreamAccessLogsMessage>,
    call: JoinHandle<Result<(), tonic::Status>>,
    wire: JoinHandle<()>,
}

/// A wire to `address` that carries one connection, and that can be cut.
async fn wire(address: &str) -> (String, JoinHandle<()>) {
    let target = address.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = format!("http://{}", listener.local_addr().unwrap());
    let carrying = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    (near, carrying)
}

impl Proxy {
    pub async fn connect(address: &str, node: &str) -> Self {
        let (address, wire) = wire(address).await;
        let mut client = AccessLogServiceClient::connect(address).await.unwrap();
        let (messages, outgoing) = mpsc::channel(16);
        let identifier = Identifier {
            node: Some(Node {
                id: node.into(),
                ..Node::default()
            }),
            log_name: "slipway".into(),
        };
        let hello = StreamAccessLogsMessage {
            identifier: Some(identifier),
            log_entries: None,
        };
        messages.send(hello).await.unwrap();
        let call = tokio::spawn(async move {
            client
                .stream_access_logs(ReceiverStream::new(outgoing))
                .await
                .map(drop)
        });
        Self {
            messages,
            call,
            wire,
        }
    }

    pub async fn send(&self, log_entry: Vec<HttpAccessLogEntry>) {
        let log_entries = Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry }));
        let message = StreamAccessLogsMessage {
            identifier: None,
            log_entries,
        };
        self.messages.send(message).await.unwrap();
    }

    /// Breaks the stream off in the middle, as a crash or a cable does.
    pub async fn break_off(self) {
        let Self {
            messages,
            call,
            wire,
        } = self;
        wire.abort();
        assert!(within("the broken stream", call).await.unwrap().is_err());
        // Only then: the end of the messages would be the proper end of the stream.
        drop(messages);
    }

    /// Ends the stream as the protocol asks.
    pub async fn end(self) {
        let Self {
            messages,
            call,
            wire: _wire,
        } = self;
        drop(messages);
        within("the end of the stream", call)
            .await
            .unwrap()
            .unwrap();
    }
}

/// An entry of a revision with this status, under generation 2.
pub fn entry(revision: &str, status: u32) -> HttpAccessLogEntry {
    HttpAccessLogEntry {
        response: Some(HttpResponseProperties {
            response_code: Some(UInt32Value { value: status }),
            response_code_details: "via_upstream".into(),
            ..HttpResponseProperties::default()
        }),
        common_properties: Some(AccessLogCommon {
            upstream_cluster: format!("production/tumor/{revision}"),
            route_name: "production/tumor@2".into(),
            upstream_request_attempt_count: 1,
            ..AccessLogCommon::default()
        }),
        ..HttpAccessLogEntry::default()
    }
}

/// The same with other flags.
pub fn flagged(
    revision: &str,
    status: u32,
    details: &str,
    flags: ResponseFlags,
) -> HttpAccessLogEntry {
    let mut entry = entry(revision, status);
    entry.response.as_mut().unwrap().response_code_details = details.into();
    entry.common_properties.as_mut().unwrap().response_flags = Some(flags);
    entry
}

/// `count` entries of each revision, interleaved; every `period`-th of the candidate's fails.
pub fn traffic(count: usize, period: usize) -> Vec<HttpAccessLogEntry> {
    let candidate = |number: usize| {
        if period > 0 && number % period == period - 1 {
            500
        } else {
            200
        }
    };
    (0..count)
        .flat_map(|number| [entry(OLD, 200), entry(NEW, candidate(number))])
        .collect()
}

/// Marks a batch as the gateway does.
pub fn numbered(
    mut entries: Vec<HttpAccessLogEntry>,
    boot: &str,
    sequence: u64,
) -> Vec<HttpAccessLogEntry> {
    let tags = HashMap::from([
        ("slipway-boot".to_owned(), boot.to_owned()),
        ("slipway-sequence".to_owned(), sequence.to_string()),
        ("slipway-dropped".to_owned(), "0".to_owned()),
    ]);
    entries[0].common_properties.as_mut().unwrap().custom_tags = tags;
    entries
}

/// A signing secret of a webhook.
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Makes the candidate of a rollout degraded.
pub async fn degrade(detector: &Detector, number: u32) -> VerdictReport {
    let proxy = Proxy::connect(&detector.address, "p1").await;
    let mut reports = detector.watch(compared(number)).await;
    proxy.send(traffic(100, 4)).await;
    let report = health(&mut reports, Health::Degraded).await;
    proxy.end().await;
    report
}

/// A wish for a webhook channel.
pub fn webhook(name: &str, url: &str) -> ApplyChannelRequest {
    let kind = channel::Kind::Webhook(WebhookChannel {
        url: url.into(),
        secret: WEBHOOK_SECRET.into(),
    });
    ApplyChannelRequest {
        channel: Some(Channel {
            name: name.into(),
            kind: Some(kind),
            ..Channel::default()
        }),
        request_id: String::new(),
    }
}

/// All deliveries, newest first.
pub async fn deliveries(detector: &Detector) -> Vec<Delivery> {
    let request = ListDeliveriesRequest::default();
    detector
        .client
        .clone()
        .list_deliveries(request)
        .await
        .unwrap()
        .into_inner()
        .deliveries
}
