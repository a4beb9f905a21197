//! The calls that the replica answers that judges the endpoint; any other hands them on to it.

use std::collections::HashMap;
use std::time::Duration;

use slipway_platform::{Error, lease::Instance, names::EndpointName};
use slipway_proto::detector::v1::*;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::{Answer, Answers, Handlers, answer, observations, verdicts};
use crate::config::millis;
use crate::peers::passing::{self, Client};
use crate::service::{Judge, Reported};

/// `WatchVerdict`. The replica that is asked becomes the judge when there is none.
pub async fn watch(
    handlers: &Handlers,
    request: Request<WatchVerdictRequest>,
) -> Answer<Answers<VerdictReport>> {
    let (metadata, _, message) = request.into_parts();
    let wish = verdicts::parse_watch(message.clone())?;
    let endpoint = wish.subject.endpoint.clone();
    let to = match handlers.detector.take_up(&endpoint).await? {
        Judge::Here => return answer(verdicts::watch(&handlers.detector, wish).await),
        Judge::There(to) => to,
    };
    let call = |mut client: Client, request| async move { client.watch_verdict(request).await };
    let reports = hand_on(handlers, &metadata, &to, &endpoint, message, call).await?;
    let config = handlers.detector.config();
    let takeover_ms = config.replicas.takeover_ms;
    // Something is said at each period; a replica that says nothing for so long is lost.
    let silence = millis(takeover_ms.max(config.judgement.report_every_ms * 3));
    let stream = relay(reports.into_inner(), to, endpoint, silence, takeover_ms);
    Ok(Response::new(Box::pin(stream)))
}

/// `GetVerdict`.
pub async fn verdict(
    handlers: &Handlers,
    request: Request<GetVerdictRequest>,
) -> Answer<VerdictReport> {
    let (metadata, _, message) = request.into_parts();
    let key = verdicts::parse_key(message.clone())?;
    let endpoint = key.endpoint().clone();
    match handlers.detector.judge_of(&endpoint).await? {
        Some(Judge::There(to)) => {
            let call =
                |mut client: Client, request| async move { client.get_verdict(request).await };
            hand_on(handlers, &metadata, &to, &endpoint, message, call).await
        }
        _ => answer(verdicts::get(&handlers.detector, &key).await),
    }
}

/// `GetMonitor`.
pub async fn monitor(handlers: &Handlers, request: Request<GetMonitorRequest>) -> Answer<Monitor> {
    let (metadata, _, message) = request.into_parts();
    let endpoint = verdicts::parse_endpoint(&message.endpoint)?;
    match handlers.detector.judge_of(&endpoint).await? {
        Some(Judge::There(to)) => {
            let call =
                |mut client: Client, request| async move { client.get_monitor(request).await };
            hand_on(handlers, &metadata, &to, &endpoint, message, call).await
        }
        _ => answer(verdicts::monitor(&handlers.detector, &endpoint).await),
    }
}

/// `ReportObservations`: each observation goes to the judge of its endpoint. When one cannot be reached, or is changing,
/// the call fails, and may be repeated: what was counted elsewhere is known by its id.
pub async fn report(
    handlers: &Handlers,
    request: Request<ReportObservationsRequest>,
) -> Answer<ReportObservationsResponse> {
    let (metadata, _, message) = request.into_parts();
    let observations = observations::parse(&message)?;
    let detector = &handlers.detector;
    let mut here = Vec::new();
    let mut elsewhere: HashMap<String, (Instance, EndpointName, ReportObservationsRequest)> =
        HashMap::new();
    let mut sum = Reported::default();
    for (message, (id, observation)) in message.observations.into_iter().zip(observations) {
        let endpoint = &observation.place.endpoint;
        match detector.judge_of_lately(endpoint).await? {
            Some(Judge::Here) => here.push((id, observation)),
            Some(Judge::There(to)) => {
                let batch = elsewhere.entry(to.id.clone());
                let empty = || (to, endpoint.clone(), ReportObservationsRequest::default());
                batch.or_insert_with(empty).2.observations.push(message);
            }
            None => sum.unwatched += 1,
        }
    }
    for (to, endpoint, message) in elsewhere.into_values() {
        let call =
            |mut client: Client, request| async move { client.report_observations(request).await };
        let counted = hand_on(handlers, &metadata, &to, &endpoint, message, call).await?;
        let counted = counted.into_inner();
        sum.accepted += counted.accepted;
        sum.duplicates += counted.duplicates;
        sum.unwatched += counted.unwatched;
    }
    let counted = detector.engine().report(&here, detector.now())?;
    Ok(Response::new(ReportObservationsResponse {
        accepted: sum.accepted + counted.accepted,
        duplicates: sum.duplicates + counted.duplicates,
        unwatched: sum.unwatched + counted.unwatched,
    }))
}

async fn hand_on<T, R, F>(
    handlers: &Handlers,
    metadata: &MetadataMap,
    to: &Instance,
    endpoint: &EndpointName,
    message: T,
    call: impl FnOnce(Client, Request<T>) -> F,
) -> Answer<R>
where
    F: Future<Output = Answer<R>>,
{
    passing::check_first_hop(metadata, endpoint)?;
    let takeover_ms = handlers.detector.config().replicas.takeover_ms;
    let client = handlers.passing.client(to)?;
    let calling = call(client, passing::marked(message));
    match tokio::time::timeout(millis(takeover_ms), calling).await {
        Ok(Ok(response)) => Ok(Response::new(response.into_inner())),
        Ok(Err(status)) => Err(passing::refusal(status, to, endpoint, takeover_ms)),
        Err(_) => Err(passing::unreachable(to, endpoint, takeover_ms).into()),
    }
}

/// Passes the reports on, until the other replica ends them or is not heard for `silence`.
fn relay(
    mut reports: Streaming<VerdictReport>,
    to: Instance,
    endpoint: EndpointName,
    silence: Duration,
    takeover_ms: u64,
) -> impl futures::Stream<Item = Result<VerdictReport, Status>> {
    async_stream::try_stream! {
        loop {
            match tokio::time::timeout(silence, reports.message()).await {
                Ok(Ok(Some(report))) => yield report,
                Ok(Ok(None)) => return,
                Ok(Err(status)) => {
                    Err(passing::refusal(status, &to, &endpoint, takeover_ms))?;
                }
                Err(_) => {
                    let lost: Error = passing::unreachable(&to, &endpoint, takeover_ms);
                    Err(Status::from(lost))?;
                }
            }
        }
    }
}
