//! One link to each live replica: it hears what that one's proxies report of the endpoints that are judged here.
//!
//! A link that breaks is made anew for as long as the database says that the replica lives. In the meantime nothing is
//! measured; afterwards the replica's books say what was missed.

use std::collections::HashMap;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use slipway_platform::{Error, Result, grpc, lease::Instance};
use slipway_proto::detector::v1::{
    WatchCountsRequest, WatchCountsResponse, peer_service_client::PeerServiceClient,
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::words;
use crate::service::{FailureDetector, LinkNews};

/// The pauses between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A replica says something each second; one that is silent for longer than this is not heard any more.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Requests on their way; more wait.
const REQUESTS_MAX: usize = 64;
/// The largest message of another replica.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Keeps the links until the shutdown.
pub async fn run(detector: FailureDetector, shutdown: CancellationToken) -> Result<()> {
    let mut live = detector.replicas().live();
    let mut links: FuturesUnordered<BoxFuture<'static, String>> = FuturesUnordered::new();
    let mut running: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let wanted: Vec<Instance> = live.borrow_and_update().clone();
        running.retain(|id, link| {
            let lives = wanted.iter().any(|instance| instance.id == *id);
            if !lives {
                link.cancel();
            }
            lives
        });
        for instance in wanted {
            if !running.contains_key(&instance.id) {
                let token = shutdown.child_token();
                running.insert(instance.id.clone(), token.clone());
                links.push(keep(detector.clone(), instance, token).boxed());
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = live.changed() => if changed.is_err() { break },
            Some(ended) = links.next() => tracing::debug!(replica = ended, "link ended"),
        }
    }
    while links.next().await.is_some() {}
    Ok(())
}

/// Makes the link anew until it is told to end. Gives the replica's id.
async fn keep(detector: FailureDetector, to: Instance, token: CancellationToken) -> String {
    let mut pause = PAUSE_MIN;
    let mut said = false;
    loop {
        let mut heard = false;
        let outcome = tokio::select! {
            () = token.cancelled() => None,
            outcome = listen(&detector, &to, &mut heard) => Some(outcome),
        };
        detector.engine().out_of_sight(&to.id, detector.now());
        let Some(outcome) = outcome else {
            return to.id;
        };
        if heard {
            (pause, said) = (PAUSE_MIN, false);
        }
        if let Err(error) = outcome
            && !std::mem::replace(&mut said, true)
        {
            tracing::warn!(replica = to.id, address = to.address, %error, "another replica cannot be heard");
        }
        tokio::select! {
            () = token.cancelled() => return to.id,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// One stream, to its end.
async fn listen(detector: &FailureDetector, to: &Instance, heard: &mut bool) -> Result<()> {
    // Before what is wanted is read, so that nothing is wanted unheard.
    let news = detector.replicas().news();
    let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
    let wanted = detector.engine().wanted(&to.id);
    let first = WatchCountsRequest {
        instance: detector.replicas().leases().instance().id.clone(),
        wanted: wanted
            .iter()
            .map(|(endpoint, from)| words::position(endpoint, *from))
            .collect(),
        ..WatchCountsRequest::default()
    };
    let closed = |_| Error::unavailable("the stream is closed");
    requests.send(first).await.map_err(closed)?;
    let channel = grpc::channel(&to.address)?;
    let mut client = PeerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let opening = client.watch_counts(ReceiverStream::new(outgoing));
    let stream = tokio::time::timeout(SILENCE_MAX, opening).await;
    let stream = stream.map_err(|_| silent())??.into_inner();
    let talking = tell(detector, to, news, requests);
    let listening = hear(detector, to, stream, heard);
    tokio::select! {
        told = talking => told,
        heard = listening => heard,
    }
}

fn silent() -> Error {
    Error::DeadlineExceeded {
        what: "the word of another replica".to_owned(),
    }
}

async fn hear(
    detector: &FailureDetector,
    to: &Instance,
    mut stream: Streaming<WatchCountsResponse>,
    heard: &mut bool,
) -> Result<()> {
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
        let Some(message) = message.map_err(|_| silent())?? else {
            return Ok(());
        };
        if message.instance != to.id {
            return Err(Error::unavailable(format!(
                "another run of the replica answers at {}",
                to.address
            )));
        }
        let now = detector.now();
        let news = words::parse_news(message, now)?;
        {
            let mut logs = detector.engine().logs();
            if !*heard {
                logs.begin(&to.id);
            }
            logs.update(&to.id, news.nodes, news.last_entry, now);
        }
        if !std::mem::replace(heard, true) {
            tracing::info!(
                replica = to.id,
                address = to.address,
                "hears another replica"
            );
        }
        let lag = news.last_entry.map(|at| now.since(at));
        for (endpoint, excerpt) in news.counts {
            let engine = detector.engine();
            engine.take_in(&to.id, &endpoint, excerpt, lag, now);
        }
    }
}

async fn tell(
    detector: &FailureDetector,
    to: &Instance,
    mut news: broadcast::Receiver<LinkNews>,
    requests: mpsc::Sender<WatchCountsRequest>,
) -> Result<()> {
    loop {
        let mut request = WatchCountsRequest::default();
        match news.recv().await {
            Ok(LinkNews::Wanted(endpoint)) => {
                let Some(from) = detector.engine().position(&to.id, &endpoint) else {
                    continue;
                };
                request.wanted.push(words::position(&endpoint, from));
            }
            Ok(LinkNews::Done(endpoint)) => request.done.push(endpoint.to_string()),
            Ok(LinkNews::Left(endpoint)) => request.left.push(endpoint.to_string()),
            Ok(LinkNews::Stored(endpoint, positions)) => {
                let Some(position) = positions.get(&to.id) else {
                    continue;
                };
                let stored = words::position(&endpoint, Some(*position));
                request.stored.push(stored);
            }
            Err(RecvError::Lagged(_)) => {
                return Err(Error::unavailable("too much to tell; telling it anew"));
            }
            Err(RecvError::Closed) => return Ok(()),
        }
        if requests.send(request).await.is_err() {
            // The other half sees why.
            return std::future::pending().await;
        }
    }
}
