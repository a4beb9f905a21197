//! The settings of events in one service.

use serde::Deserialize;

use crate::{Violations, config::Validate};

/// How much the relay does at once, how long rows are kept, and how many may watch; a section of a
/// service's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayOptions {
    /// Events published in one call of the bus.
    pub batch_max: u32,
    /// How long published events stay in the outbox, where `WatchEvents` reads them.
    pub outbox_retention_hours: u32,
    /// How long the inbox remembers; must be longer than any bus keeps events.
    pub inbox_retention_hours: u32,
    /// How long a `request_id` is remembered.
    pub request_retention_hours: u32,
    /// How long dead letters are kept, replayed or not.
    pub dead_letter_retention_hours: u32,
    /// Open `WatchEvents` streams.
    pub watches_max: u32,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch_max: 256,
            outbox_retention_hours: 24,
            inbox_retention_hours: 30 * 24,
            request_retention_hours: 24,
            dead_letter_retention_hours: 30 * 24,
            watches_max: 64,
        }
    }
}

impl Validate for RelayOptions {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            (1..=10_000).contains(&self.batch_max),
            "batch_max",
            "must be 1 to 10,000",
        );
        problems.require(
            (1..=10_000).contains(&self.watches_max),
            "watches_max",
            "must be 1 to 10,000",
        );
        let years = 10 * 366 * 24;
        for (field, hours) in [
            ("outbox_retention_hours", self.outbox_retention_hours),
            ("inbox_retention_hours", self.inbox_retention_hours),
            ("request_retention_hours", self.request_retention_hours),
            (
                "dead_letter_retention_hours",
                self.dead_letter_retention_hours,
            ),
        ] {
            problems.require(
                (1..=years).contains(&hours),
                field,
                "must be 1 hour to 10 years",
            );
        }
    }
}
