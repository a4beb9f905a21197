//! What one replica knows of one lease.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{keeper::Keeper, metrics};
use crate::Result;

/// Waited for where there is no end to wait for.
const LONG: Duration = Duration::from_secs(3_600);

/// A lease that this replica holds, held or wants. Clones speak of the same one; one that was
/// [taken](super::Leases::take) is let go of with its last clone.
#[derive(Debug, Clone)]
pub struct Lease {
    claim: Arc<Claim>,
}

#[derive(Debug)]
pub(super) struct Claim {
    name: String,
    tenure: watch::Sender<Tenure>,
    /// How many tasks work under it at this moment.
    users: watch::Sender<usize>,
    keeper: Weak<Keeper>,
}

/// How long it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenure {
    /// It is not.
    None,
    /// It never will be again: it was let go of, and a renewal that was under way changes nothing.
    Released,
    /// There is nobody else.
    Always,
    /// Until then by this machine's monotonic clock, which runs on while the process is stopped.
    Until { epoch: i64, end: Instant },
}

impl Tenure {
    fn holds(self) -> bool {
        match self {
            Tenure::None | Tenure::Released => false,
            Tenure::Always => true,
            Tenure::Until { end, .. } => Instant::now() < end,
        }
    }

    /// Whether it was granted, however long ago.
    fn was_granted(self) -> bool {
        matches!(self, Tenure::Always | Tenure::Until { .. })
    }
}

impl Lease {
    /// A lease that nobody else wants.
    pub fn always(name: &str) -> Lease {
        Lease::new(name, Tenure::Always, Weak::new())
    }

    pub(super) fn new(name: &str, tenure: Tenure, keeper: Weak<Keeper>) -> Lease {
        if matches!(tenure, Tenure::Until { .. }) {
            metrics::changed(name, true);
        }
        Lease {
            claim: Arc::new(Claim {
                name: name.to_owned(),
                tenure: watch::Sender::new(tenure),
                users: watch::Sender::new(0),
                keeper,
            }),
        }
    }

    pub(super) fn downgrade(&self) -> Weak<Claim> {
        Arc::downgrade(&self.claim)
    }

    pub(super) fn upgrade(claim: &Weak<Claim>) -> Option<Lease> {
        claim.upgrade().map(|claim| Lease { claim })
    }

    /// Has no effect on one that was released.
    pub(super) fn set(&self, tenure: Tenure) {
        let (mut before, mut after) = (tenure, tenure);
        self.claim.tenure.send_modify(|now| {
            before = *now;
            if *now != Tenure::Released {
                *now = tenure;
            }
            after = *now;
        });
        let (was_held, is_held) = (before.was_granted(), after.was_granted());
        // One that ran out and was taken again was lost between.
        let ran_out = was_held && !before.holds();
        if was_held && (ran_out || !is_held) {
            metrics::changed(self.name(), false);
        }
        if is_held && (ran_out || !was_held) {
            metrics::changed(self.name(), true);
        }
    }

    pub(super) fn is_released(&self) -> bool {
        *self.claim.tenure.borrow() == Tenure::Released
    }

    pub(super) fn is_same(&self, other: &Lease) -> bool {
        Arc::ptr_eq(&self.claim, &other.claim)
    }

    /// What it is a lease of.
    pub fn name(&self) -> &str {
        &self.claim.name
    }

    /// Whether this replica holds it now. Says no rather too early than too late, and at once after the
    /// process was stopped for too long.
    pub fn is_held(&self) -> bool {
        self.claim.tenure.borrow().holds()
    }

    /// Rises with each change of hands, so that what an earlier holder still does can be told from what the
    /// present one does; 0 while it is not held.
    pub fn epoch(&self) -> i64 {
        match *self.claim.tenure.borrow() {
            Tenure::None | Tenure::Released => 0,
            Tenure::Always => 1,
            Tenure::Until { epoch, .. } => epoch,
        }
    }

    /// Returns once it is held.
    pub async fn held(&self) {
        let mut tenure = self.claim.tenure.subscribe();
        // The sender lives as long as this handle.
        let _ = tenure.wait_for(|tenure| tenure.holds()).await;
    }

    /// Returns once it is not held.
    pub async fn lost(&self) {
        let mut tenure = self.claim.tenure.subscribe();
        loop {
            let now = *tenure.borrow_and_update();
            if !now.holds() {
                return;
            }
            let left = match now {
                Tenure::Until { end, .. } => end.saturating_duration_since(Instant::now()),
                Tenure::Always | Tenure::None | Tenure::Released => LONG,
            };
            tokio::select! {
                _ = tenure.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Lets go of it, for another replica to take it at once; every clone is without it, and what was
    /// campaigned for is no longer wanted. End the work under it first.
    pub async fn release(self) -> Result<()> {
        match self.claim.keeper.upgrade() {
            Some(keeper) => {
                self.set(Tenure::Released);
                keeper.release(&self).await
            }
            None => {
                self.set(Tenure::None);
                Ok(())
            }
        }
    }

    /// Work under the lease begins; a planned stop lets go only when it has ended.
    pub(crate) fn work(&self) -> Work {
        self.claim.users.send_modify(|users| *users += 1);
        Work {
            claim: self.claim.clone(),
        }
    }

    /// Returns once no work goes on under it.
    pub(super) async fn idle(&self) {
        let mut users = self.claim.users.subscribe();
        let _ = users.wait_for(|users| *users == 0).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.wake();
        }
    }
}

/// Work under a lease; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    claim: Arc<Claim>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.claim.users.send_modify(|users| *users -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_was_under_way_does_not_undo_a_release() {
        let tenure = Tenure::Until {
            epoch: 3,
            end: Instant::now() + LONG,
        };
        let lease = Lease::new("relay", tenure, Weak::new());
        assert!(lease.is_held() && lease.epoch() == 3);
        lease.set(Tenure::Released);
        // The answer to what was asked before.
        lease.set(tenure);
        assert!(!lease.is_held() && lease.is_released());
        assert_eq!(lease.epoch(), 0);
    }
}
