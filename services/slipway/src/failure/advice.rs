//! What to do about a refusal, by its stable reason.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::names;

/// Commands or thoughts that come next; empty when the message says it all.
pub(super) fn next(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map(|info| info.reason.as_str())
        .unwrap_or_default();
    let subject = details
        .precondition_failure()
        .and_then(|failure| failure.violations.first())
        .map(|violation| violation.subject.as_str())
        .unwrap_or_default();
    let kind = details
        .resource_info()
        .map(|resource| resource.resource_type.as_str())
        .unwrap_or_default();
    let advice = match status.code() {
        Code::FailedPrecondition => precondition(reason, subject),
        Code::NotFound => not_found(kind),
        Code::AlreadyExists => Some("choose another name, or look at what there is with get".to_owned()),
        Code::Aborted => Some("somebody changed it first: look at it again, and repeat what still applies".to_owned()),
        Code::ResourceExhausted => Some("the service is at its limit: try again in a moment".to_owned()),
        Code::Unavailable => Some(
            "is the control plane running? start it with `slipway up`, or say where it is with --data-dir, \
             with --registry, --evaluator, --deployer and --failure-detector, or with SLIPWAY_REGISTRY, …"
                .to_owned(),
        ),
        Code::DeadlineExceeded | Code::Unknown | Code::Cancelled => {
            Some("it may or may not have happened: look before repeating it".to_owned())
        }
        Code::Internal | Code::DataLoss => Some("the cause is in the service's log".to_owned()),
        Code::Unimplemented => Some("the service is of another version than this tool".to_owned()),
        _ => None,
    };
    advice.into_iter().collect()
}

fn precondition(reason: &str, subject: &str) -> Option<String> {
    // Reasons speak of versions and rollouts as well; commands take the endpoint.
    let endpoint = names::endpoint(subject).map_or_else(
        |_| "ENDPOINT".to_owned(),
        |name| names::short(&name.to_string()),
    );
    let has = |word: &str| reason.split('_').any(|part| part == word);
    let advice = match reason {
        "REQUEST_ID_REUSED" => {
            "a request id belongs to one request: leave --request-id out, or take a new one".to_owned()
        }
        "EVENT_LOG_IN_USE" | "STORAGE_IN_USE" => {
            "another `slipway up` has this data directory: stop it, or take another --data-dir".to_owned()
        }
        "ROLLOUT_RUNNING" => format!(
            "see `slipway rollout status {endpoint}`; wait for it, or end it with `slipway rollout abort {endpoint}`"
        ),
        "REPLAY_FAILED" => "repair what the reason names, then replay it again; what is out of date stays as it is".to_owned(),
        "NO_LAST_KNOWN_GOOD" => "name the revision to put back with --to".to_owned(),
        "UNAPPLIED" => "no proxy has accepted the traffic: is a gateway running and connected?".to_owned(),
        "NOT_READY" => format!("only revisions that are READY take traffic: see `slipway endpoint status {endpoint}`"),
        "BLOCKED" => {
            format!("see `slipway blocks list {endpoint}`; a person lifts one with `slipway blocks lift`")
        }
        _ if has("PINNED") => {
            "a person's pin is in force: add --unpin to a rollback, or end it with `slipway traffic unpin`".to_owned()
        }
        _ if has("QUARANTINED") => "the version is at fault: register a new one, or lift the quarantine".to_owned(),
        _ if has("EVIDENCE") || has("EVALUATION") => {
            "the environment asks for a passing evaluation of this exact version: see `slipway evaluate`".to_owned()
        }
        _ => return None,
    };
    Some(advice)
}

fn not_found(kind: &str) -> Option<String> {
    let command = match kind {
        "model" => "slipway model list WORKSPACE",
        "version" => "slipway version list MODEL",
        "alias" => "slipway alias list MODEL",
        "suite" => "slipway suite list WORKSPACE",
        "environment" => "slipway environment list",
        "endpoint" => "slipway endpoint list",
        "revision" => "slipway endpoint status ENDPOINT",
        "rollout" => "slipway rollout list ENDPOINT",
        "block" => "slipway blocks list ENDPOINT",
        "rule" => "slipway rules list",
        "alert" => "slipway alerts list",
        "dead letter" => "slipway events dead-letters",
        _ => return None,
    };
    Some(format!("see what there is: {command}"))
}
