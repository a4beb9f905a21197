//! Loops. Each looks at what is stored and does what follows from it, on a change and on a period, so that a
//! crash anywhere loses nothing: the next run sees the same rows.
//!
//! | loop | looks at | does |
//! | --- | --- | --- |
//! | [`dispatch`] | the signals, after every commit | wakes the loops below that have something to do |
//! | [`publisher`] | endpoints whose routes changed | gives proxies a new snapshot |
//! | [`observer`] | what proxies have accepted | tells rollouts that their traffic is applied, or not |
//! | [`timer`] | deadlines of rollouts and pins | ticks |
//! | [`worker`] | the queue of work | asks the gate, starts, checks and stops revisions, moves aliases |
//! | [`watcher`] | what has traffic | holds a verdict stream for each, and acts on its word |
//! | [`lost`] | the driver's announcements | tells rollouts of revisions that died, and has them started again |
//! | [`consumers`] | events | applies rules |

pub mod consumers;
pub mod dispatch;
pub mod lost;
pub mod observer;
pub mod publisher;
pub mod timer;
pub mod watcher;
pub mod worker;

use slipway_platform::tasks::Nudge;

/// Wakes each loop.
#[derive(Debug, Clone, Default)]
pub struct Nudges {
    /// Routes have changed.
    pub publisher: Nudge,
    /// What is waited for may have changed.
    pub observer: Nudge,
    /// A deadline may have become nearer.
    pub timer: Nudge,
    /// There is work.
    pub worker: Nudge,
    /// What is to be watched may have changed.
    pub watcher: Nudge,
}
