//! Sending one request upstream, and what a failure means.
//!
//! A request is tried a second time only when no byte of it was sent: the connect failed, or the kept
//! connection turned out to be closed before it took the request. Everything else is answered with the
//! failure, flagged with whose failure it is.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::reply::LocalReply;
use super::request_body::{RequestBody, RequestProgress};
use crate::access_log::{Flag, Ticket};
use crate::upstream::{Cluster, ConnectError, Lease};

/// Why an exchange ended before the head of an answer.
enum ExchangeError {
    /// The connection did not take the request; here it is.
    NotSent(Box<Request<RequestBody>>),
    /// The route's timeout passed.
    TimedOut,
    /// The connection failed after the request was on its way.
    Broken(hyper::Error),
}

/// Sends a request to the next address of the cluster. Gives the head of the answer and the connection
/// that its body comes on, or the reply that the client gets instead.
pub async fn send(
    cluster: &Cluster,
    mut request: Request<RequestBody>,
    progress: &RequestProgress,
    timeout: Option<Duration>,
    ticket: &mut Ticket,
) -> Result<(Response<Incoming>, Lease), LocalReply> {
    let mut retried = false;
    let mut fresh = false;
    loop {
        let pool = cluster.choose().ok_or_else(LocalReply::no_address)?;
        ticket.note(|record| record.upstream = Some(pool.address().clone()));
        let mut lease = match pool.lease(fresh, cluster.spec().connect_timeout).await {
            Ok(lease) => lease,
            Err(error) => {
                note_connect_failure(ticket, &error);
                if matches!(error, ConnectError::Failed(_)) && !retried {
                    retried = true;
                    continue;
                }
                return Err(connect_failed(&error));
            }
        };
        ticket.note(|record| record.first_upstream_send = Some(record.elapsed()));
        match exchange(&mut lease, request, progress, timeout).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                ticket.note(|record| record.attempts += 1);
                return Err(protocol_error(
                    "the upstream changed the protocol unasked\n",
                ));
            }
            Ok(response) => {
                ticket.note(|record| {
                    record.attempts += 1;
                    record.failure.clear();
                    record.first_upstream_receive = Some(record.elapsed());
                });
                return Ok((response, lease));
            }
            Err(ExchangeError::NotSent(unsent)) if !retried => {
                (retried, fresh) = (true, true);
                request = *unsent;
            }
            Err(error) => {
                ticket.note(|record| record.attempts += 1);
                return Err(exchange_failed(error, progress, ticket));
            }
        }
    }
}

async fn exchange(
    lease: &mut Lease,
    request: Request<RequestBody>,
    progress: &RequestProgress,
    timeout: Option<Duration>,
) -> Result<Response<Incoming>, ExchangeError> {
    tokio::select! {
        biased;
        result = lease.sender.try_send_request(request) => result.map_err(|mut error| match error.take_message() {
            Some(unsent) => ExchangeError::NotSent(Box::new(unsent)),
            None => ExchangeError::Broken(error.into_error()),
        }),
        () = timed_out(progress, timeout) => Err(ExchangeError::TimedOut),
    }
}

/// The timeout runs from the end of the request, so that a slow upload is not the upstream's fault.
async fn timed_out(progress: &RequestProgress, timeout: Option<Duration>) {
    match timeout {
        None => std::future::pending().await,
        Some(timeout) => {
            progress.complete().await;
            tokio::time::sleep(timeout).await;
        }
    }
}

fn note_connect_failure(ticket: &mut Ticket, error: &ConnectError) {
    ticket.note(|record| {
        // Nobody was asked when the request did not even get to connect.
        record.attempts += u32::from(!matches!(error, ConnectError::Overflow));
        record.failure = error.to_string();
    });
}

fn connect_failed(error: &ConnectError) -> LocalReply {
    let (details, flag) = match error {
        ConnectError::Failed(_) => (
            "upstream_reset_before_response_started{connection_failure}",
            Flag::UpstreamConnectionFailure,
        ),
        ConnectError::TimedOut => (
            "upstream_reset_before_response_started{connection_timeout}",
            Flag::UpstreamConnectionFailure,
        ),
        ConnectError::Overflow => (
            "upstream_reset_before_response_started{overflow}",
            Flag::UpstreamOverflow,
        ),
    };
    LocalReply::new(
        StatusCode::SERVICE_UNAVAILABLE,
        details,
        Some(flag),
        "the upstream cannot be reached\n",
    )
}

fn exchange_failed(
    error: ExchangeError,
    progress: &RequestProgress,
    ticket: &mut Ticket,
) -> LocalReply {
    let error = match error {
        ExchangeError::TimedOut => {
            let text = "the upstream took too long\n";
            let flag = Some(Flag::UpstreamRequestTimeout);
            return LocalReply::new(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_response_timeout",
                flag,
                text,
            );
        }
        ExchangeError::NotSent(_) => None,
        ExchangeError::Broken(error) => Some(error),
    };
    let text = "the request broke off\n";
    if progress.client_failed() {
        let flag = Some(Flag::DownstreamConnectionTermination);
        return LocalReply::new(
            StatusCode::BAD_REQUEST,
            "downstream_remote_disconnect",
            flag,
            text,
        );
    }
    if progress.stalled() {
        let flag = Some(Flag::StreamIdleTimeout);
        return LocalReply::new(
            StatusCode::REQUEST_TIMEOUT,
            "stream_idle_timeout",
            flag,
            text,
        );
    }
    if let Some(error) = &error {
        ticket.note(|record| record.failure = crate::chain(error));
    }
    if error.is_some_and(|error| error.is_parse()) {
        return protocol_error("the upstream does not speak HTTP\n");
    }
    let details = "upstream_reset_before_response_started{connection_termination}";
    let flag = Some(Flag::UpstreamConnectionTermination);
    LocalReply::new(
        StatusCode::SERVICE_UNAVAILABLE,
        details,
        flag,
        "the upstream went away\n",
    )
}

fn protocol_error(text: &'static str) -> LocalReply {
    LocalReply::new(
        StatusCode::BAD_GATEWAY,
        "upstream_reset_before_response_started{protocol_error}",
        Some(Flag::UpstreamProtocolError),
        text,
    )
}
