//! The resources that the deployer owns, besides the rollout: what people write down, and what is recorded.

mod endpoint;
mod environment;
mod record;
mod revision;
mod rule;

pub use endpoint::{
    EndpointSettings, ExternalTemplate, JudgementPolicy, PIN_DEFAULT, PIN_MAX, ProcessTemplate,
    RunTemplate,
};
pub use environment::{Evidence, EvidencePolicy, Refusal, SourceOfEvidence};
pub use record::{Actor, AuditRecord, Block, TrafficRecord, VerdictSummary};
pub use revision::{Artifact, RevisionFacts, RevisionState, digest_of};
pub use rule::{
    Command as RuleCommand, EVENT_TYPES, Explanation, Outcome, Rule, Trigger, VerdictOfEvaluation,
};
