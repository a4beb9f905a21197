//! What the evaluator decides, without I/O, clock or randomness: suites and what is wrong with them,
//! measurements, the judgement of measurements, and the life of an evaluation.
//!
//! Everything here can be stored and read back (serde), and the judgement is a function of what is
//! stored: the same measurements under the same suite give the same verdict with the same words.

pub mod bound;
pub mod check;
pub mod evaluation;
pub mod evidence;
pub mod judgement;
pub mod measured;
pub mod metric;
pub mod reason;
pub mod state;
pub mod suite;

pub use evaluation::{Actor, Evaluation, Progress};
pub use evidence::Evidence;
pub use judgement::{Judgement, judge};
pub use measured::{Baseline, Figure, Group, Measured, Measurement, Slice};
pub use metric::Metric;
pub use reason::{Reason, Verdict};
pub use state::{Command, Event, Limits, Rejected, State, Step};
pub use suite::{Criterion, DecideOn, Format, Models, PredictionsSpec, Suite, SuiteSpec};

#[cfg(test)]
mod judgement_tests;
#[cfg(test)]
mod state_tests;

/// A time as microseconds in stored documents.
pub(crate) mod stored_time {
    use serde::{Deserialize, Deserializer, Serializer};
    use slipway_platform::clock::Timestamp;

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.as_micros())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_micros)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};
        use slipway_platform::clock::Timestamp;

        pub fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            time.map(Timestamp::as_micros).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<i64>::deserialize(from)?.map(Timestamp::from_micros))
        }
    }
}
