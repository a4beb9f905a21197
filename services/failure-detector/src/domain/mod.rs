//! What the detector decides, without I/O, clock or randomness: time is an argument.
//!
//! * [`outcome`]: what one log entry says of the revision that served.
//! * [`logs`]: whether what is served can be seen at all.
//! * [`absent`]: since when another replica is away.
//! * [`books`]: what proxies report of endpoints that another replica judges.
//! * [`watch`]: one subject under judgement, fed observation by observation.
//! * [`verdict`]: what can be said of it, computed from plain inputs, so that a decision can be recomputed.
//! * [`alert`]: the life of an alert.
//! * [`channel`], [`notification`]: who is told, and what.

pub mod absent;
pub mod alert;
pub mod answering;
pub mod books;
pub mod channel;
pub mod logs;
pub mod notification;
pub mod outcome;
pub mod policy;
pub mod recent;
pub mod subject;
pub mod trial;
pub mod verdict;
pub mod vigil;
pub mod watch;
mod words;
