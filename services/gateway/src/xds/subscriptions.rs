//! What was asked for and answered on one stream: names, versions and nonces per kind.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::rpc::Status;

use super::resources::{Kind, Problems};

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;

/// The versions that were accepted last, on whichever stream.
pub type Versions = BTreeMap<Kind, String>;

/// The subscriptions of one stream. A new stream starts with none, so that the control plane sends
/// everything again; it says what was accepted before, so that the control plane sends nothing older.
#[derive(Debug)]
pub struct Subscriptions {
    /// Goes into the stream's first request only.
    node: Option<Node>,
    before: Versions,
    by_kind: BTreeMap<Kind, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    names: BTreeSet<String>,
    accepted_version: String,
    nonce: String,
    unanswered: Option<String>,
}

impl Subscriptions {
    /// No subscription yet, by one who has accepted these versions `before`.
    pub fn new(node: Node, before: Versions) -> Self {
        Self {
            node: Some(node),
            before,
            by_kind: BTreeMap::new(),
        }
    }

    /// Asks for these names. None when they have been asked for already.
    pub fn subscribe(&mut self, kind: Kind, names: BTreeSet<String>) -> Option<DiscoveryRequest> {
        let is_new = !self.by_kind.contains_key(&kind);
        let before = &mut self.before;
        let subscription = self.by_kind.entry(kind).or_insert_with(|| Subscription {
            accepted_version: before.remove(&kind).unwrap_or_default(),
            ..Subscription::default()
        });
        if !is_new && subscription.names == names {
            return None;
        }
        subscription.names = names;
        Some(self.request(kind, None))
    }

    /// A response has come and is to be answered.
    pub fn received(&mut self, kind: Kind, version: String, nonce: String) {
        let subscription = self.by_kind.entry(kind).or_default();
        subscription.nonce = nonce;
        subscription.unanswered = Some(version);
    }

    /// The last response of this kind is in force. None when it has been answered already.
    pub fn ack(&mut self, kind: Kind) -> Option<DiscoveryRequest> {
        let subscription = self.by_kind.get_mut(&kind)?;
        subscription.accepted_version = subscription.unanswered.take()?;
        Some(self.request(kind, None))
    }

    /// The last response of this kind is refused.
    pub fn nack(&mut self, kind: Kind, problems: &Problems) -> DiscoveryRequest {
        if let Some(subscription) = self.by_kind.get_mut(&kind) {
            subscription.unanswered = None;
        }
        let error = Status {
            code: INVALID_ARGUMENT,
            message: problems.to_string(),
            ..Status::default()
        };
        self.request(kind, Some(error))
    }

    /// The version of the last response of this kind that was acknowledged.
    pub fn accepted_version(&self, kind: Kind) -> &str {
        self.by_kind
            .get(&kind)
            .map_or("", |subscription| &subscription.accepted_version)
    }

    /// What was accepted last, on this stream or before it.
    pub fn versions(self) -> Versions {
        let mut versions = self.before;
        for (kind, subscription) in self.by_kind {
            if !subscription.accepted_version.is_empty() {
                versions.insert(kind, subscription.accepted_version);
            }
        }
        versions
    }

    fn request(&mut self, kind: Kind, error_detail: Option<Status>) -> DiscoveryRequest {
        let node = self.node.take();
        let subscription = self.by_kind.entry(kind).or_default();
        DiscoveryRequest {
            version_info: subscription.accepted_version.clone(),
            node,
            resource_names: subscription.names.iter().cloned().collect(),
            type_url: kind.type_url(),
            response_nonce: subscription.nonce.clone(),
            error_detail,
            ..DiscoveryRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriptions() -> Subscriptions {
        after(Versions::new())
    }

    fn after(before: Versions) -> Subscriptions {
        let node = Node {
            id: "gateway".into(),
            ..Node::default()
        };
        Subscriptions::new(node, before)
    }

    #[test]
    fn a_new_stream_says_what_was_accepted_before() {
        let mut first = subscriptions();
        let fresh = first.subscribe(Kind::Cluster, BTreeSet::new()).unwrap();
        assert_eq!(fresh.version_info, "");
        first.received(Kind::Cluster, "7".into(), "n1".into());
        first.ack(Kind::Cluster);
        first.received(Kind::Cluster, "8".into(), "n2".into());
        // The second stream ends before anything comes, and forgets nothing.
        let second = after(first.versions());
        let mut third = after(second.versions());
        let again = third.subscribe(Kind::Cluster, BTreeSet::new()).unwrap();
        assert_eq!(
            (again.version_info.as_str(), again.response_nonce.as_str()),
            ("7", "")
        );
    }

    #[test]
    fn the_node_is_in_the_first_request_only() {
        let mut subscriptions = subscriptions();
        let first = subscriptions
            .subscribe(Kind::Cluster, BTreeSet::new())
            .unwrap();
        assert_eq!(first.node.unwrap().id, "gateway");
        let second = subscriptions
            .subscribe(Kind::Listener, BTreeSet::new())
            .unwrap();
        assert!(second.node.is_none());
    }

    #[test]
    fn a_refusal_names_the_last_accepted_version_and_the_refused_nonce() {
        let mut subscriptions = subscriptions();
        subscriptions.subscribe(Kind::Cluster, BTreeSet::new());
        subscriptions.received(Kind::Cluster, "1".into(), "n1".into());
        let ack = subscriptions.ack(Kind::Cluster).unwrap();
        assert_eq!(
            (ack.version_info.as_str(), ack.response_nonce.as_str()),
            ("1", "n1")
        );
        assert!(subscriptions.ack(Kind::Cluster).is_none(), "answered once");
        subscriptions.received(Kind::Cluster, "2".into(), "n2".into());
        let mut problems = Problems::new();
        problems.push("cluster a", "is wrong");
        let nack = subscriptions.nack(Kind::Cluster, &problems);
        assert_eq!(
            (nack.version_info.as_str(), nack.response_nonce.as_str()),
            ("1", "n2")
        );
        assert_eq!(nack.error_detail.unwrap().message, "cluster a: is wrong");
    }

    #[test]
    fn names_are_asked_for_when_they_change() {
        let mut subscriptions = subscriptions();
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert!(
            subscriptions
                .subscribe(Kind::Endpoints, names(&["a"]))
                .is_some()
        );
        assert!(
            subscriptions
                .subscribe(Kind::Endpoints, names(&["a"]))
                .is_none()
        );
        let changed = subscriptions
            .subscribe(Kind::Endpoints, names(&["a", "b"]))
            .unwrap();
        assert_eq!(changed.resource_names, ["a", "b"]);
    }
}
