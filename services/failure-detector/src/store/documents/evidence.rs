//! Counts and evidence.

use prost::Message;
use slipway_statistics::sequential::{Counts, EvidenceParts, Segment, Stratum};

#[derive(Clone, Copy, PartialEq, Message)]
pub struct CountsMessage {
    #[prost(uint64, tag = "1")]
    observations: u64,
    #[prost(uint64, tag = "2")]
    failures: u64,
}

impl From<Counts> for CountsMessage {
    fn from(counts: Counts) -> Self {
        Self {
            observations: counts.observations,
            failures: counts.failures,
        }
    }
}

pub(super) fn counts(message: Option<CountsMessage>) -> Counts {
    message.map_or(Counts::default(), |m| Counts {
        observations: m.observations,
        failures: m.failures,
    })
}

#[derive(Clone, PartialEq, Message)]
pub struct StratumMessage {
    #[prost(sint32, tag = "1")]
    ratio_class: i32,
    #[prost(message, optional, tag = "2")]
    candidate: Option<CountsMessage>,
    #[prost(message, optional, tag = "3")]
    stable: Option<CountsMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SegmentMessage {
    #[prost(message, repeated, tag = "1")]
    strata: Vec<StratumMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EvidenceMessage {
    #[prost(message, repeated, tag = "1")]
    segments: Vec<SegmentMessage>,
    #[prost(double, tag = "2")]
    ratio_candidate: f64,
    #[prost(double, tag = "3")]
    ratio_stable: f64,
    #[prost(uint64, tag = "4")]
    split_at: u64,
}

pub(super) fn evidence_message(parts: &EvidenceParts) -> EvidenceMessage {
    let stratum = |stratum: &Stratum| StratumMessage {
        ratio_class: i32::from(stratum.ratio_class),
        candidate: Some(stratum.candidate.into()),
        stable: Some(stratum.stable.into()),
    };
    let segment = |segment: &Segment| SegmentMessage {
        strata: segment.strata.iter().map(stratum).collect(),
    };
    EvidenceMessage {
        segments: parts.segments.iter().map(segment).collect(),
        ratio_candidate: parts.ratio_candidate,
        ratio_stable: parts.ratio_stable,
        split_at: parts.split_at,
    }
}

pub(super) fn evidence_parts(message: EvidenceMessage) -> EvidenceParts {
    let stratum = |message: StratumMessage| Stratum {
        ratio_class: message
            .ratio_class
            .clamp(i32::from(i8::MIN), i32::from(i8::MAX)) as i8,
        candidate: counts(message.candidate),
        stable: counts(message.stable),
    };
    let segment = |message: SegmentMessage| Segment {
        strata: message.strata.into_iter().map(stratum).collect(),
    };
    EvidenceParts {
        segments: message.segments.into_iter().map(segment).collect(),
        ratio_candidate: message.ratio_candidate,
        ratio_stable: message.ratio_stable,
        split_at: message.split_at,
    }
}
