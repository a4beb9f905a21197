//! Calls that another replica has to answer, since it judges the endpoint. They are handed on once at most.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use slipway_platform::{
    Error, Result,
    grpc::{self, TracedChannel},
    lease::Instance,
    names::EndpointName,
};
use slipway_proto::detector::v1::failure_detector_service_client::FailureDetectorServiceClient;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};

/// A client of another replica.
pub type Client = FailureDetectorServiceClient<TracedChannel>;

/// Marks a call that was handed on.
const PASSED_ON: &str = "slipway-passed-on";
/// Replicas that are remembered; there are never more at once.
const CLIENTS_MAX: usize = 64;

/// Hands calls on.
#[derive(Default)]
pub struct Passing {
    clients: Mutex<HashMap<String, Client>>,
}

impl Passing {
    /// The replica's client.
    pub fn client(&self, to: &Instance) -> Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&to.address) {
            return Ok(client.clone());
        }
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let client = Client::new(grpc::channel(&to.address)?);
        clients.insert(to.address.clone(), client.clone());
        Ok(client)
    }
}

/// The request as it is handed on.
pub fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mark = MetadataValue::from_static("1");
    request.metadata_mut().insert(PASSED_ON, mark);
    request
}

/// Fails when a call was handed on already: two replicas are not of one mind who judges.
pub fn check_first_hop(metadata: &MetadataMap, endpoint: &EndpointName) -> Result<()> {
    if metadata.contains_key(PASSED_ON) {
        return Err(Error::unavailable(format!(
            "the replica that judges {endpoint} is changing; try again"
        )));
    }
    Ok(())
}

/// What the other replica's refusal means for the caller.
pub fn refusal(status: Status, to: &Instance, endpoint: &EndpointName, takeover_ms: u64) -> Status {
    // What a service of ours refuses carries details; a broken connection has none.
    let broken = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    );
    if broken && status.details().is_empty() {
        return unreachable(to, endpoint, takeover_ms).into();
    }
    status
}

/// The other replica does not answer.
pub fn unreachable(to: &Instance, endpoint: &EndpointName, takeover_ms: u64) -> Error {
    Error::unavailable(format!(
        "the replica at {} judges {endpoint} and cannot be reached; if it is lost, another takes over within \
         {takeover_ms} ms",
        to.address
    ))
}
