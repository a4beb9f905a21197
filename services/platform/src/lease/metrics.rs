//! What is measured of leases.

use std::sync::OnceLock;

use opentelemetry::{KeyValue, metrics::Counter};

use crate::metrics;

/// Counts that this replica has got a lease, or has it no more.
pub(super) fn changed(name: &str, is_held: bool) {
    let change = if is_held { "taken" } else { "lost" };
    changes().add(
        1,
        &[
            KeyValue::new("lease", kind(name).to_owned()),
            KeyValue::new("change", change),
        ],
    );
}

/// The first word: the lease of one of many things is named `{kind} {thing}`.
fn kind(name: &str) -> &str {
    name.split([' ', '/', ':']).next().unwrap_or(name)
}

fn changes() -> &'static Counter<u64> {
    static CHANGES: OnceLock<Counter<u64>> = OnceLock::new();
    CHANGES.get_or_init(|| {
        metrics::meter()
            .u64_counter("slipway.lease.changes")
            .with_unit("{change}")
            .with_description("Leases that this replica got, or has no more.")
            .build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_many_is_counted_by_its_kind() {
        assert_eq!(kind("outbox relay"), "outbox");
        assert_eq!(kind("node a"), "node");
        assert_eq!(kind("endpoint environments/a"), "endpoint");
    }
}
