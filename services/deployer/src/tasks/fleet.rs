//! On a database that replicas share: stores what this replica's proxies have accepted, and learns what those
//! of the others have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::store::proxies::{self, Accepted};
use crate::xds::{OtherProxy, OwnProxy};

/// How often it looks which replicas are alive, and what was stored, when nothing announces it.
pub const PERIOD: Duration = Duration::from_millis(500);
/// At least this long after a transaction the next one begins: what came in between goes together.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause before what could not be stored is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// The key under which proxies are stored, beside other decisions.
const KEY: &str = "proxies";

/// What was stored of this replica's proxies, and what was read of the others'.
#[derive(Debug, Default)]
pub struct Keeper {
    stored: Mutex<HashMap<String, Stored>>,
    /// Held while it is read, so that nothing older is learnt after something newer.
    read_up_to: tokio::sync::Mutex<i64>,
}

/// What was stored of a proxy last.
#[derive(Debug, Clone)]
struct Stored {
    stream: u64,
    turn: i64,
    /// The version of the routes that it accepted.
    routes: Option<(u64, Timestamp)>,
}

impl Keeper {
    /// Stores what changes here until the shutdown.
    pub async fn store(self: Arc<Self>, service: Arc<Service>, shutdown: CancellationToken) {
        let untold = service.hub.untold();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = untold.nudged() => {}
            }
            let pause = match self.store_once(&service).await {
                Ok(()) => PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "what proxies have accepted was not stored; trying again");
                    RETRY
                }
            };
            // The shutdown ends the pause.
            let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
        }
        // The streams have ended by then, or end now; others count these proxies as lost either way.
        if let Err(error) = self.store_once(&service).await {
            tracing::debug!(%error, "the last of the proxies not stored");
        }
    }

    /// Stores what has changed since the last time.
    async fn store_once(&self, service: &Service) -> Result<()> {
        let own = service.hub.take_untold();
        if own.is_empty() {
            return Ok(());
        }
        let stored = self.store_all(service, &own).await;
        if stored.is_err() {
            let ids = own.into_iter().map(|proxy| proxy.node_id);
            service.hub.tell_again(ids);
        }
        stored
    }

    async fn store_all(&self, service: &Service, own: &[OwnProxy]) -> Result<()> {
        let mut tx = service.db.begin_for(KEY).await?;
        let version = proxies::next_version(&mut tx).await?;
        let mut accepted: Vec<Accepted> = Vec::new();
        let mut changed = Vec::new();
        for proxy in own {
            let before = self.lock().get(&proxy.node_id).cloned();
            let same = before
                .as_ref()
                .filter(|before| before.stream == proxy.stream);
            let turn = match same {
                Some(before) => {
                    let is_ours = proxies::update(&mut tx, before.turn, proxy, version).await?;
                    is_ours.then_some(before.turn)
                }
                // One that was never stored and is gone again has nothing to say.
                None if !proxy.connected => continue,
                None => {
                    Some(proxies::claim(&mut tx, service.duties.replica(), proxy, version).await?)
                }
            };
            let Some(turn) = turn else {
                changed.push((proxy, None));
                continue;
            };
            // The first turn is a new row: what was stored before was forgotten, whatever is known of it here.
            let is_new = same.is_none() && turn == 1;
            let routes = proxy.routes();
            if routes.is_some() && same.and_then(|same| same.routes) != routes {
                accepted.extend(
                    proxy
                        .generations()
                        .filter(|(endpoint, number, _)| {
                            is_new || service.hub.stored(&proxy.node_id, endpoint) != Some(*number)
                        })
                        .map(|(endpoint, number, at)| {
                            (proxy.node_id.clone(), endpoint.clone(), number, at)
                        }),
                );
            }
            let stored = Stored {
                stream: proxy.stream,
                turn,
                routes,
            };
            changed.push((proxy, Some(stored)));
        }
        proxies::put_accepted(&mut tx, &accepted, version).await?;
        tx.commit().await?;
        for (proxy, stored) in changed {
            match stored {
                Some(stored) => {
                    self.lock().insert(proxy.node_id.clone(), stored);
                }
                None => self.is_elsewhere(service, &proxy.node_id, proxy.stream),
            }
        }
        Ok(())
    }

    /// Learns all that is stored, also what was forgotten here, and who is alive.
    pub async fn learn_all(&self, service: &Service) -> Result<()> {
        let mut read_up_to = self.read_up_to.lock().await;
        *read_up_to = 0;
        self.learn_since(service, &mut read_up_to).await
    }

    /// Learns what was stored since the last time, and who is alive; and forgets proxies of which nothing was heard
    /// for longer than a proxy is waited for. Who decides forgets what is stored of them, too.
    pub async fn learn(&self, service: &Service) -> Result<()> {
        let mut read_up_to = self.read_up_to.lock().await;
        self.learn_since(service, &mut read_up_to).await?;
        let lost = service.hub.lost();
        if lost.is_empty() {
            return Ok(());
        }
        if service.duties.decides() {
            delete(service, &lost).await?;
        }
        service.hub.forget(&lost);
        Ok(())
    }

    async fn learn_since(&self, service: &Service, read_up_to: &mut i64) -> Result<()> {
        let replicas = service.duties.leases().replicas().await?;
        let mut reader = service.db.read().await?;
        let (up_to, found, mut accepted) = proxies::since(&mut reader, *read_up_to).await?;
        // One that was forgotten here may have kept what is stored of it, under versions that were read before.
        let unknown = |proxy: &&OtherProxy| *read_up_to > 0 && !service.hub.knows(&proxy.node_id);
        for proxy in found.iter().filter(unknown) {
            accepted.extend(proxies::accepted_by(&mut reader, &proxy.node_id).await?);
        }
        drop(reader);
        for proxy in &found {
            let own = self.lock().get(&proxy.node_id).cloned();
            let is_elsewhere = proxy.replica != service.duties.replica();
            if let Some(own) = own.filter(|own| is_elsewhere && own.turn < proxy.turn) {
                self.is_elsewhere(service, &proxy.node_id, own.stream);
            }
        }
        service.hub.learn(found, accepted);
        service
            .hub
            .set_alive(replicas.into_iter().map(|replica| replica.id).collect());
        *read_up_to = up_to;
        Ok(())
    }

    /// The proxy belongs to another replica now.
    fn is_elsewhere(&self, service: &Service, node_id: &str, stream: u64) {
        let mut stored = self.lock();
        if stored
            .get(node_id)
            .is_some_and(|stored| stored.stream == stream)
        {
            stored.remove(node_id);
        }
        drop(stored);
        service.hub.moved(node_id, stream);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn delete(service: &Service, lost: &[(String, i64)]) -> Result<()> {
    let mut tx = service.db.begin_for(KEY).await?;
    for (node_id, turn) in lost {
        proxies::delete(&mut tx, node_id, *turn).await?;
    }
    tx.commit().await
}
