//! A mutating request's `request_id`: the same id with the same content gets the first answer again.
//!
//! The recorded answer is the JSON of the domain's record, as bytes.

use prost::{Message, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::{Error, Result, Violations, requests};

const REQUEST_ID_MAX: usize = 128;

/// What makes a retry recognisable.
#[derive(Debug, Clone)]
pub struct Retry {
    method: &'static str,
    id: String,
    fingerprint: Vec<u8>,
}

impl Retry {
    /// Of a request whose `request_id` was taken out; notes an id that is malformed.
    pub fn of<M: Message + Name>(
        method: &'static str,
        id: String,
        request: &M,
        problems: &mut Violations,
    ) -> Result<Self> {
        problems.require(
            id.len() <= REQUEST_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()),
            "request_id",
            "must be at most 128 printable characters without spaces, such as a UUID",
        );
        let fingerprint = match id.as_str() {
            "" => Vec::new(),
            _ => requests::fingerprint(request)?,
        };
        Ok(Self {
            method,
            id,
            fingerprint,
        })
    }

    /// The first answer, if there was one.
    pub async fn replay<T: DeserializeOwned>(&self, tx: &mut Tx) -> Result<Option<T>> {
        let answer: Option<Vec<u8>> =
            requests::replay(tx, self.method, &self.id, &self.fingerprint).await?;
        answer
            .map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(|error| Error::internal("read a recorded answer", error))
    }

    /// Records the answer in the transaction of its effect.
    pub async fn record<T: Serialize>(
        &self,
        tx: &mut Tx,
        answer: &T,
        now: Timestamp,
    ) -> Result<()> {
        let json = serde_json::to_vec(answer)
            .map_err(|error| Error::internal("record an answer", error))?;
        requests::record(tx, self.method, &self.id, &self.fingerprint, &json, now).await
    }
}
