//! A session against a proxy that behaves as Envoy does, under any order of snapshots, deliveries, late
//! requests and refusals: it must never lack a cluster that its routes point at, and it must get the newest
//! routes in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc;
use proptest::prelude::*;

use super::super::XdsConfig;
use super::super::resources::{Built, Kind};
use super::super::session::Session;
use super::wire::{kind, names, referenced};
use super::{routes, snapshot};

#[derive(Debug, Clone)]
enum Step {
    /// The deployer publishes: these revisions in the split, these besides, on these ports.
    Publish {
        split: Vec<u32>,
        beside: Vec<u32>,
        moved: bool,
    },
    /// The proxy reads one answer; it may refuse it.
    Read { refuse: bool },
    /// The session reads one request.
    Hear,
    /// The proxy sends the names that it has not sent yet.
    Flush,
}

/// What Envoy keeps: clusters, which are active once they have endpoints, and routes.
#[derive(Default)]
struct Envoy {
    clusters: BTreeMap<String, bool>,
    routes: BTreeSet<String>,
    route_version: String,
    nonces: BTreeMap<u8, String>,
    names_unsent: bool,
    subscribed: BTreeSet<u8>,
}

impl Envoy {
    fn request(&mut self, kind: Kind, error: Option<rpc::Status>) -> DiscoveryRequest {
        self.subscribed.insert(kind as u8);
        let resource_names = match kind {
            Kind::Cluster | Kind::Listener => Vec::new(),
            Kind::Endpoint => self.clusters.keys().cloned().collect(),
            Kind::Route => vec!["slipway".to_owned()],
        };
        if kind == Kind::Endpoint {
            self.names_unsent = false;
        }
        DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            response_nonce: self.nonces.get(&(kind as u8)).cloned().unwrap_or_default(),
            resource_names,
            error_detail: error,
            ..Default::default()
        }
    }

    fn read(&mut self, response: &DiscoveryResponse, refuse: bool) -> Vec<DiscoveryRequest> {
        let kind = kind(response);
        self.nonces.insert(kind as u8, response.nonce.clone());
        // The listener never changes, so one who refuses it is lost.
        if refuse && kind != Kind::Listener {
            let error = rpc::Status {
                message: "refused".to_owned(),
                ..Default::default()
            };
            return vec![self.request(kind, Some(error))];
        }
        match kind {
            Kind::Cluster => {
                let wanted: BTreeSet<_> = names(response).into_iter().collect();
                let before = self.clusters.len();
                self.clusters.retain(|name, _| wanted.contains(name));
                self.names_unsent |= self.clusters.len() != before;
                for name in wanted {
                    self.names_unsent |= !self.clusters.contains_key(&name);
                    self.clusters.entry(name).or_insert(false);
                }
            }
            Kind::Endpoint => {
                for name in names(response) {
                    self.clusters
                        .entry(name)
                        .and_modify(|active| *active = true);
                }
            }
            Kind::Listener => {}
            Kind::Route => {
                self.routes = referenced(response).into_iter().collect();
                self.route_version = response.version_info.clone();
            }
        }
        let mut requests = vec![self.request(kind, None)];
        // The listener is asked for when the clusters are warm, and the routes for the listener.
        for (next, ready) in [
            (Kind::Listener, kind == Kind::Cluster),
            (Kind::Route, kind == Kind::Listener),
        ] {
            if ready && !self.subscribed.contains(&(next as u8)) {
                requests.push(self.request(next, None));
            }
        }
        requests
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for name in &self.routes {
            prop_assert_eq!(
                self.clusters.get(name),
                Some(&true),
                "routes point at {}",
                name
            );
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let revisions = || {
        prop::collection::btree_set(1_u32..6, 0..4)
            .prop_map(|set| set.into_iter().collect::<Vec<_>>())
    };
    let publish = (revisions(), revisions(), any::<bool>()).prop_map(|(split, beside, moved)| {
        Step::Publish {
            split,
            beside,
            moved,
        }
    });
    let read = prop::bool::weighted(0.1).prop_map(|refuse| Step::Read { refuse });
    prop::collection::vec(
        prop_oneof![2 => publish, 6 => read, 6 => Just(Step::Hear), 3 => Just(Step::Flush)],
        1..120,
    )
}

/// The session, the proxy, and what is on its way between them.
struct World {
    session: Session,
    envoy: Envoy,
    to_proxy: VecDeque<DiscoveryResponse>,
    to_session: VecDeque<DiscoveryRequest>,
    target: Option<Arc<Built>>,
    version: u64,
}

impl World {
    fn new() -> World {
        let mut envoy = Envoy::default();
        let first = envoy.request(Kind::Cluster, None);
        World {
            session: Session::default(),
            envoy,
            to_proxy: VecDeque::new(),
            to_session: VecDeque::from([first]),
            target: None,
            version: 0,
        }
    }

    fn publish(&mut self, split: &[u32], beside: &[u32], moved: bool) {
        self.version += 1;
        let share = 10_000 / u32::try_from(split.len().max(1)).unwrap();
        let mut endpoint = routes("a", i64::try_from(self.version).unwrap(), &[]);
        let with = |numbers: &[u32]| {
            routes(
                "a",
                0,
                &numbers.iter().map(|n| (*n, share)).collect::<Vec<_>>(),
            )
        };
        endpoint.splits = with(split).splits;
        endpoint.clusters = with(split)
            .clusters
            .into_iter()
            .chain(with(beside).clusters)
            .collect();
        if moved {
            endpoint
                .clusters
                .iter_mut()
                .for_each(|cluster| cluster.addresses[0].set_port(7_000));
        }
        let built = Built::new(
            &snapshot(self.version, &[endpoint]),
            &XdsConfig::default(),
            self.target.as_deref(),
        );
        self.target = Some(Arc::new(built));
    }

    fn send(&mut self) {
        if let Some(target) = &self.target {
            let mut sent = 0;
            while let Some(response) = self.session.next(target) {
                self.to_proxy.push_back(response);
                sent += 1;
                assert!(sent <= 8, "it sends without end");
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish {
                split,
                beside,
                moved,
            } => self.publish(split, beside, *moved),
            Step::Read { refuse } => {
                if let Some(response) = self.to_proxy.pop_front() {
                    self.to_session.extend(self.envoy.read(&response, *refuse));
                    self.envoy.check()?;
                }
            }
            Step::Hear => {
                if let Some(request) = self.to_session.pop_front() {
                    self.session.hear(request);
                }
            }
            Step::Flush => {
                if self.envoy.names_unsent {
                    let request = self.envoy.request(Kind::Endpoint, None);
                    self.to_session.push_back(request);
                }
            }
        }
        self.send();
        Ok(())
    }

    /// Lets everything arrive.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..100 {
            if self.to_proxy.is_empty() && self.to_session.is_empty() && !self.envoy.names_unsent {
                return Ok(());
            }
            for step in [Step::Read { refuse: false }, Step::Flush, Step::Hear] {
                self.step(&step)?;
            }
        }
        Err(TestCaseError::fail("it never settles"))
    }
}

proptest! {
    #[test]
    fn a_proxy_never_lacks_a_cluster_that_its_routes_point_at(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
        }
        // What was refused is not sent again, so something new has to come.
        world.settle()?;
        world.publish(&[1, 4], &[2], false);
        world.send();
        world.settle()?;
        world.publish(&[4, 3], &[], true);
        world.send();
        world.settle()?;
        let target = world.target.clone().unwrap();
        prop_assert_eq!(&world.envoy.route_version, &target.routes.version.to_string());
        prop_assert!(world.session.is_synced(&target));
        let wanted: Vec<_> = target.backends.clusters.items.iter().map(|item| &item.name).collect();
        prop_assert_eq!(world.envoy.clusters.keys().collect::<Vec<_>>(), wanted, "what is not used any more is gone");
    }
}
