//! One proxy's stream as a state machine without I/O: requests go in, answers come out.
//!
//! For each type there is at most one answer that waits for its ACK or NACK, so a slow proxy gets the
//! newest state next and never a queue of old ones. Clusters go out first, then their endpoints, the
//! listener, and the routes only when the proxy has accepted every cluster that they point at, with its
//! endpoints. Clusters that routes in use point at are kept until newer routes have been accepted; then the
//! clusters follow once more, without them.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::resources::{Backends, Built, Generations, Kind, Resources};

/// What a request said.
#[derive(Debug, Clone)]
pub enum Heard {
    /// It asks for something, or for something else than before.
    Subscribed,
    /// It accepts what was last sent. The generations are there when those were routes.
    Accepted(Option<Arc<Generations>>),
    /// It refuses what was last sent.
    Refused {
        kind: Kind,
        version: u64,
        message: String,
    },
    /// It answers something older, or asks for a type that is not served.
    Nothing,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Session {
    channels: [Channel; 4],
    nonce: u64,
    routes_accepted: Option<Arc<Built>>,
    routes_sent: Option<Arc<Built>>,
}

#[derive(Debug, Default)]
struct Channel {
    subscription: Subscription,
    sent: Option<Sent>,
    accepted: Option<Content>,
    /// The next answer is due although nothing changed.
    asked: bool,
    /// What this type depends on went out after it did: a request that repeats itself is to be answered.
    overtaken: bool,
}

#[derive(Debug, Clone, Default)]
enum Subscription {
    #[default]
    None,
    All,
    Names(Arc<BTreeSet<String>>),
}

#[derive(Debug, Clone)]
struct Sent {
    nonce: u64,
    content: Content,
    answered: bool,
    refused: bool,
}

/// What an answer holds: those of the resources that were asked for.
#[derive(Debug, Clone)]
struct Content {
    resources: Arc<Resources>,
    subscription: Subscription,
    /// Endpoints whose cluster has been removed since: a cluster that comes back has none.
    lost: BTreeSet<String>,
}

impl Content {
    fn has(&self, name: &str) -> bool {
        self.subscription.includes(name)
            && self.resources.get(name).is_some()
            && !self.lost.contains(name)
    }
}

impl Session {
    /// Reads a request.
    pub fn hear(&mut self, request: DiscoveryRequest) -> Heard {
        let Some(kind) = Kind::from_type_url(&request.type_url) else {
            tracing::debug!(type_url = request.type_url, "type is not served");
            return Heard::Nothing;
        };
        let channel = &mut self.channels[kind as usize];
        let Some(sent) = &mut channel.sent else {
            channel.subscribe(kind, request.resource_names);
            return Heard::Subscribed;
        };
        let is_current = request.response_nonce == sent.nonce.to_string();
        // An empty nonce before the first answer was read is answered by the request that follows it.
        let asks_anew = request.response_nonce.is_empty() && sent.answered;
        if !(is_current || asks_anew) {
            return Heard::Nothing;
        }
        if !is_current || sent.answered {
            let more = channel.subscribe(kind, request.resource_names);
            channel.asked |= more || channel.overtaken || !is_current;
            return Heard::Subscribed;
        }
        sent.answered = true;
        let sent = sent.clone();
        channel.asked |= channel.subscribe(kind, request.resource_names);
        if let Some(error) = request.error_detail {
            if let Some(sent) = &mut channel.sent {
                sent.refused = true;
            }
            match kind {
                Kind::Cluster => self.lose_endpoints(),
                Kind::Route => self.routes_sent = self.routes_accepted.clone(),
                Kind::Endpoint | Kind::Listener => {}
            }
            return Heard::Refused {
                kind,
                version: sent.content.resources.version,
                message: error.message,
            };
        }
        channel.accepted = Some(sent.content);
        if kind == Kind::Route {
            self.routes_accepted = self.routes_sent.clone();
            return Heard::Accepted(
                self.routes_accepted
                    .as_ref()
                    .map(|built| built.generations.clone()),
            );
        }
        Heard::Accepted(None)
    }

    /// The next answer on the way to `target`, if one can be sent now.
    pub fn next(&mut self, target: &Arc<Built>) -> Option<DiscoveryResponse> {
        let backends = self.backends(target);
        let response = self.offer(Kind::Cluster, &backends.clusters);
        // Endpoints of a cluster that the proxy does not have yet would be lost on it.
        let response = response.or_else(|| {
            let [clusters, ..] = &self.channels;
            let sent = clusters
                .sent
                .as_ref()
                .is_some_and(|sent| sent.content.resources.equals(&backends.clusters));
            let follows = sent || clusters.subscription.is_none();
            follows
                .then(|| self.offer(Kind::Endpoint, &backends.endpoints))
                .flatten()
        });
        let response = response.or_else(|| self.offer(Kind::Listener, &target.listeners));
        if response.is_some() || !self.can_use(target) {
            return response;
        }
        let response = self.offer(Kind::Route, &target.routes)?;
        self.routes_sent = Some(target.clone());
        Some(response)
    }

    /// Whether everything that the proxy asked for is as in `target`, and accepted.
    pub fn is_synced(&self, target: &Built) -> bool {
        let synced = |kind: Kind, resources: &Resources| {
            let channel = &self.channels[kind as usize];
            let accepted = |content: &Content| match kind.is_wildcard() {
                true => content.resources.equals(resources),
                false => content.resources.covers(resources),
            };
            channel.subscription.is_none()
                || (!channel.asked && channel.accepted.as_ref().is_some_and(accepted))
        };
        synced(Kind::Cluster, &target.backends.clusters)
            && synced(Kind::Endpoint, &target.backends.endpoints)
            && synced(Kind::Listener, &target.listeners)
            && synced(Kind::Route, &target.routes)
    }

    /// The target's clusters, and those that routes point at which the proxy has or may have.
    fn backends(&self, target: &Arc<Built>) -> Backends {
        let mut others: Vec<&Built> = [&self.routes_accepted, &self.routes_sent]
            .into_iter()
            .flatten()
            .filter(|built| !Arc::ptr_eq(&built.routes, &target.routes))
            .map(|built| &**built)
            .collect();
        others.dedup_by_key(|built| built.version);
        target.backends_beside(&others)
    }

    fn offer(&mut self, kind: Kind, resources: &Arc<Resources>) -> Option<DiscoveryResponse> {
        let nonce = self.nonce + 1;
        let response = self.channels[kind as usize].offer(kind, resources, nonce)?;
        self.nonce = nonce;
        match kind {
            Kind::Cluster => {
                self.lose_endpoints();
                self.channels[Kind::Endpoint as usize].overtaken = true;
            }
            Kind::Listener => self.channels[Kind::Route as usize].overtaken = true,
            Kind::Endpoint | Kind::Route => {}
        }
        Some(response)
    }

    /// Endpoints go with their cluster: with one that was sent no more, or that was refused.
    fn lose_endpoints(&mut self) {
        let [clusters, endpoints, ..] = &mut self.channels;
        let content = match &clusters.sent {
            Some(sent) if !sent.refused => Some(&sent.content),
            _ => clusters.accepted.as_ref(),
        };
        let has = |name: &str| content.is_some_and(|content| content.has(name));
        let contents = [
            endpoints.sent.as_mut().map(|sent| &mut sent.content),
            endpoints.accepted.as_mut(),
        ];
        for content in contents.into_iter().flatten() {
            let lost = content
                .resources
                .items
                .iter()
                .filter(|item| !has(&item.name));
            content.lost.extend(lost.map(|item| item.name.clone()));
        }
    }

    /// Whether the proxy has every cluster that the routes point at, with its endpoints. A client that asks
    /// for routes alone is given them.
    fn can_use(&self, target: &Built) -> bool {
        let [clusters, endpoints, ..] = &self.channels;
        if clusters.subscription.is_none() {
            return true;
        }
        let has = |channel: &Channel, name: &str| {
            channel
                .accepted
                .as_ref()
                .is_some_and(|content| content.has(name))
        };
        // An answer without a cluster removes it, even while its ACK is on the way.
        let stays = |name: &str| {
            clusters
                .sent
                .as_ref()
                .is_some_and(|sent| sent.content.has(name))
        };
        target
            .referenced
            .iter()
            .all(|name| has(clusters, name) && stays(name) && has(endpoints, name))
    }
}

impl Channel {
    /// Takes over the names; true if there are more of them than before.
    fn subscribe(&mut self, kind: Kind, names: Vec<String>) -> bool {
        let all = names.iter().any(|name| name == "*")
            || (names.is_empty()
                && kind.is_wildcard()
                && !matches!(self.subscription, Subscription::Names(_)));
        let next = match all {
            true => Subscription::All,
            false => Subscription::Names(Arc::new(names.into_iter().collect())),
        };
        let more = match (&self.subscription, &next) {
            (Subscription::None, _) => true,
            (Subscription::All, _) => false,
            (Subscription::Names(_), Subscription::All | Subscription::None) => true,
            (Subscription::Names(old), Subscription::Names(new)) => !new.is_subset(old),
        };
        self.subscription = next;
        more
    }

    fn offer(
        &mut self,
        kind: Kind,
        resources: &Arc<Resources>,
        nonce: u64,
    ) -> Option<DiscoveryResponse> {
        if self.subscription.is_none() || !self.is_due(kind, resources) {
            return None;
        }
        let wanted = resources
            .items
            .iter()
            .filter(|item| self.subscription.includes(&item.name));
        let wanted: Vec<_> = wanted.map(|item| item.any.clone()).collect();
        self.asked = false;
        self.overtaken = false;
        if wanted.is_empty() && !kind.is_wildcard() {
            return None;
        }
        let subscription = self.subscription.clone();
        let content = Content {
            resources: resources.clone(),
            subscription,
            lost: BTreeSet::new(),
        };
        self.sent = Some(Sent {
            nonce,
            content,
            answered: false,
            refused: false,
        });
        Some(DiscoveryResponse {
            version_info: resources.version.to_string(),
            resources: wanted,
            type_url: kind.type_url().to_owned(),
            nonce: nonce.to_string(),
            ..Default::default()
        })
    }

    fn is_due(&self, kind: Kind, resources: &Arc<Resources>) -> bool {
        match &self.sent {
            None => true,
            Some(sent) if !sent.answered => false,
            Some(_) if self.asked => true,
            Some(sent)
                if sent
                    .content
                    .lost
                    .iter()
                    .any(|name| resources.get(name).is_some()) =>
            {
                true
            }
            Some(sent) if kind.is_wildcard() || sent.refused => {
                !sent.content.resources.equals(resources)
            }
            // An answer of the other types that has less removes nothing, so it need not be sent.
            Some(sent) => !sent.content.resources.covers(resources),
        }
    }
}

impl Subscription {
    fn is_none(&self) -> bool {
        matches!(self, Subscription::None)
    }

    fn includes(&self, name: &str) -> bool {
        match self {
            Subscription::None => false,
            Subscription::All => true,
            Subscription::Names(names) => names.contains(name),
        }
    }
}
