//! Observations that somebody reports.

use std::sync::Arc;

use slipway_platform::{
    Result, Violations,
    names::{self, EndpointName, RevisionName},
};
use slipway_proto::detector::v1::ReportObservationsRequest;

use crate::domain::outcome::Outcome;
use crate::service::{Observation, Place};

const OBSERVATIONS_MAX: usize = 10_000;
const ID_LENGTH_MAX: usize = 256;

/// What a `ReportObservations` reports, with the ids, in the order of its messages.
pub fn parse(request: &ReportObservationsRequest) -> Result<Vec<(String, Observation)>> {
    let mut violations = Violations::new();
    let count = request.observations.len();
    if !violations.require(
        count <= OBSERVATIONS_MAX,
        "observations",
        "must be at most 10,000",
    ) {
        violations.into_result()?;
        return Ok(Vec::new());
    }
    let mut observations = Vec::with_capacity(count);
    let mut last: Option<Arc<Place>> = None;
    for (index, message) in request.observations.iter().enumerate() {
        violations.require(
            message.id.len() <= ID_LENGTH_MAX,
            format!("observations[{index}].id"),
            "must have at most 256 bytes",
        );
        // Batches mostly speak of one revision, so its names are parsed once.
        let known = last.take().filter(|place| {
            place.revision.to_string() == message.revision
                && place.endpoint.to_string() == message.endpoint
        });
        let place = match known {
            Some(place) => Some(place),
            None => parse_place(index, &message.endpoint, &message.revision, &mut violations)
                .map(Arc::new),
        };
        if let Some(place) = place {
            let outcome = if message.failed {
                Outcome::Failure
            } else {
                Outcome::Success
            };
            observations.push((
                message.id.clone(),
                Observation {
                    place: place.clone(),
                    generation: 0,
                    outcome,
                },
            ));
            last = Some(place);
        }
    }
    violations.into_result()?;
    Ok(observations)
}

fn parse_place(
    index: usize,
    endpoint: &str,
    revision: &str,
    violations: &mut Violations,
) -> Option<Place> {
    let field = format!("observations[{index}].endpoint");
    let endpoint: Option<EndpointName> = names::parse(&field, endpoint, violations);
    let field = format!("observations[{index}].revision");
    let revision: Option<RevisionName> = names::parse(&field, revision, violations);
    let (endpoint, revision) = (endpoint?, revision?);
    let belongs = violations.require(
        *revision.endpoint() == endpoint,
        field,
        "must belong to the endpoint",
    );
    belongs.then_some(Place { endpoint, revision })
}
