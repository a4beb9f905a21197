//! Which message is the data of which event, and on which topic it travels: one row per event type.

use slipway_proto::event::v1 as data;

/// What the registry publishes; key: the model.
pub const REGISTRY_TOPIC: &str = "slipway.registry";
/// What the evaluator publishes; key: the model.
pub const EVALUATION_TOPIC: &str = "slipway.evaluation";
/// What the deployer publishes; key: the endpoint.
pub const DEPLOYMENT_TOPIC: &str = "slipway.deployment";
/// What the failure-detector publishes; key: the endpoint.
pub const ANOMALY_TOPIC: &str = "slipway.anomaly";
/// What could not be decoded or handled; key: as received.
pub const DEAD_LETTER_TOPIC: &str = "slipway.dead-letter";

/// The data of one event type; implemented once for every `slipway.event.v1` message.
pub trait EventData: prost::Message + prost::Name + Default {
    /// CloudEvents type, `io.slipway.version.created.v1`.
    const TYPE: &'static str;
    /// Topic, `slipway.registry`.
    const TOPIC: &'static str;
}

macro_rules! catalog {
    ($($message:ident: $type:literal on $topic:ident;)*) => {
        $(
            impl EventData for data::$message {
                const TYPE: &'static str = $type;
                const TOPIC: &'static str = $topic;
            }
        )*

        /// Every event type with its topic and the full name of its message.
        pub const CATALOG: &[(&str, &str, &str)] =
            &[$(($type, $topic, concat!("slipway.event.v1.", stringify!($message)))),*];
    };
}

catalog! {
    VersionCreated: "io.slipway.version.created.v1" on REGISTRY_TOPIC;
    VersionArchived: "io.slipway.version.archived.v1" on REGISTRY_TOPIC;
    VersionQuarantined: "io.slipway.version.quarantined.v1" on REGISTRY_TOPIC;
    AliasMoved: "io.slipway.alias.moved.v1" on REGISTRY_TOPIC;
    EvaluationStarted: "io.slipway.evaluation.started.v1" on EVALUATION_TOPIC;
    EvaluationCompleted: "io.slipway.evaluation.completed.v1" on EVALUATION_TOPIC;
    RevisionChanged: "io.slipway.revision.changed.v1" on DEPLOYMENT_TOPIC;
    TrafficShifted: "io.slipway.traffic.shifted.v1" on DEPLOYMENT_TOPIC;
    RolloutChanged: "io.slipway.rollout.changed.v1" on DEPLOYMENT_TOPIC;
    RollbackCompleted: "io.slipway.rollback.completed.v1" on DEPLOYMENT_TOPIC;
    Page: "io.slipway.page.v1" on DEPLOYMENT_TOPIC;
    AnomalyDetected: "io.slipway.anomaly.detected.v1" on ANOMALY_TOPIC;
    AnomalyResolved: "io.slipway.anomaly.resolved.v1" on ANOMALY_TOPIC;
    MonitorStarved: "io.slipway.monitor.starved.v1" on ANOMALY_TOPIC;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::CATALOG;

    #[test]
    fn every_event_message_of_the_protos_is_in_the_catalog_once() {
        let pool =
            prost_reflect::DescriptorPool::decode(slipway_proto::FILE_DESCRIPTOR_SET).unwrap();
        let messages: BTreeSet<String> = pool
            .all_messages()
            .filter(|m| m.parent_file().name() == "slipway/event/v1/events.proto")
            .filter(|m| m.parent_message().is_none())
            .map(|m| m.full_name().to_owned())
            .collect();
        let listed: BTreeSet<String> = CATALOG
            .iter()
            .map(|(_, _, name)| (*name).to_owned())
            .collect();
        assert_eq!(messages, listed);
        let types: BTreeSet<&str> = CATALOG.iter().map(|(t, _, _)| *t).collect();
        assert_eq!(types.len(), CATALOG.len());
    }
}
