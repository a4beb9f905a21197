//! The other replicas, as this one speaks to them.
//!
//! [`links`] hears from every live replica what its proxies report, [`passing`] hands calls on to the replica that
//! judges, and [`words`] puts what they say into messages.

pub mod links;
pub mod passing;
pub mod words;
