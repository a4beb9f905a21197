//! A cluster in force: its settings, its addresses, and the choice among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Address, Pool, Pools};

/// A cluster as it was configured, without what discovery says of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Its name.
    pub name: Arc<str>,
    /// How its addresses are found.
    pub discovery: Discovery,
    /// The longest time for one connect.
    pub connect_timeout: Duration,
    /// Connections per address at most; none when the gateway's own limit applies.
    pub connections_max: Option<usize>,
    /// Requests that may wait for a connection; none when the gateway's own limit applies.
    pub waiting_max: Option<usize>,
    /// How an address is chosen.
    pub balance: Balance,
}

/// How the address for a request is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// Of two at random, the one with fewer requests in flight.
    LeastRequest,
}

/// How a cluster's addresses are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// They are part of the cluster's configuration.
    Static(Vec<Address>),
    /// They come by endpoint discovery under this name.
    Endpoints(String),
}

/// A cluster that requests can be sent to.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    pools: Vec<Arc<Pool>>,
    next: AtomicUsize,
}

impl Cluster {
    /// The cluster with these addresses; their connection pools are taken from, or made in, `pools`.
    pub fn new(spec: ClusterSpec, addresses: &[Address], pools: &Pools) -> Self {
        let limits = pools.limits(spec.connections_max, spec.waiting_max);
        let pools = addresses
            .iter()
            .map(|address| pools.of(address, limits))
            .collect();
        Self {
            spec,
            pools,
            next: AtomicUsize::new(0),
        }
    }

    /// Its configuration.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// The address for a request, or none when there is no address.
    pub fn choose(&self) -> Option<&Arc<Pool>> {
        match (self.spec.balance, self.pools.as_slice()) {
            (_, [only]) => Some(only),
            (Balance::RoundRobin, pools) => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                pools.get(turn.checked_rem(pools.len())?)
            }
            (Balance::LeastRequest, []) => None,
            (Balance::LeastRequest, pools) => {
                let one = rand::random_range(0..pools.len());
                // Never the same twice: of two addresses, both are looked at.
                let other = (one + rand::random_range(1..pools.len())) % pools.len();
                let fewest = if pools[other].in_flight() < pools[one].in_flight() {
                    other
                } else {
                    one
                };
                pools.get(fewest)
            }
        }
    }

    /// Its addresses in their order.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.pools.iter().map(|pool| pool.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(balance: Balance, ports: &[u16]) -> Cluster {
        let spec = ClusterSpec {
            name: "c".into(),
            discovery: Discovery::Static(Vec::new()),
            connect_timeout: Duration::from_secs(1),
            connections_max: None,
            waiting_max: None,
            balance,
        };
        let addresses: Vec<_> = ports
            .iter()
            .map(|port| Address {
                host: "127.0.0.1".into(),
                port: *port,
            })
            .collect();
        Cluster::new(spec, &addresses, &Pools::for_tests())
    }

    #[test]
    fn addresses_are_taken_in_turn() {
        let cluster = cluster(Balance::RoundRobin, &[1, 2, 3]);
        let ports: Vec<_> = (0..6)
            .map(|_| cluster.choose().unwrap().address().port)
            .collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_address_with_fewer_requests_in_flight_is_chosen() {
        let cluster = cluster(Balance::LeastRequest, &[1, 2]);
        let _busy = cluster.pools[0].begin();
        assert!((0..50).all(|_| cluster.choose().unwrap().address().port == 2));
    }

    #[test]
    fn no_address_is_no_choice() {
        assert!(cluster(Balance::RoundRobin, &[]).choose().is_none());
        assert!(cluster(Balance::LeastRequest, &[]).choose().is_none());
    }
}
