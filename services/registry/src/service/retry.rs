//! A mutating request's `request_id`, bound to what the request asks for.

use prost::{Message, Name};
use slipway_platform::{Result, Violations, clock::Timestamp, db::Tx, requests};

/// Longest request id, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// What makes a retry recognisable.
#[derive(Debug, Clone)]
pub struct Retry {
    method: &'static str,
    request_id: String,
    fingerprint: Vec<u8>,
}

impl Retry {
    /// Takes the id out of a request; `request_id` points at the field. Notes an id that is malformed.
    /// Comes last, after everything else was checked.
    pub fn take<M: Message + Name>(
        method: &'static str,
        request: &mut M,
        request_id: impl FnOnce(&mut M) -> &mut String,
        violations: &mut Violations,
    ) -> Result<Retry> {
        let request_id = std::mem::take(request_id(request));
        let well_formed =
            request_id.len() <= REQUEST_ID_MAX && request_id.bytes().all(|b| b.is_ascii_graphic());
        violations.require(
            well_formed,
            "request_id",
            "must be at most 128 printable ASCII characters without spaces, such as a UUID",
        );
        // A request that is wrong anyway is not compared with anything.
        let compared = !request_id.is_empty() && violations.is_empty();
        let fingerprint = if compared {
            requests::fingerprint(request)?
        } else {
            Vec::new()
        };
        Ok(Retry {
            method,
            request_id,
            fingerprint,
        })
    }

    pub(super) async fn replay<M: Message + Default>(&self, tx: &mut Tx) -> Result<Option<M>> {
        requests::replay(tx, self.method, &self.request_id, &self.fingerprint).await
    }

    pub(super) async fn record<M: Message>(
        &self,
        tx: &mut Tx,
        answer: &M,
        now: Timestamp,
    ) -> Result<()> {
        requests::record(
            tx,
            self.method,
            &self.request_id,
            &self.fingerprint,
            answer,
            now,
        )
        .await
    }
}
