//! Two relays at once: one that wakes up with what it read before, and two that run side by side.

use tokio::sync::{Semaphore, watch};

use super::{
    relay_cases::{effects_of, numbers},
    *,
};

/// Publishes one event at a time, each when the test lets it.
struct SteppedBus {
    log: EmbeddedLog,
    steps: Semaphore,
    begun: mpsc::UnboundedSender<()>,
    done: mpsc::UnboundedSender<()>,
}

#[async_trait]
impl EventBus for SteppedBus {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        let _ = self.begun.send(());
        for event in events {
            self.steps.acquire().await.unwrap().forget();
            self.log.publish(std::slice::from_ref(event)).await?;
            let _ = self.done.send(());
        }
        Ok(())
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        self.log.subscribe(group, topics).await
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.log.health()
    }
}

/// A relay of its own process, whose publications the test lets happen.
struct Replica {
    bus: Arc<SteppedBus>,
    begun: mpsc::UnboundedReceiver<()>,
    done: mpsc::UnboundedReceiver<()>,
    run: tokio::task::JoinHandle<Result<()>>,
}

impl Replica {
    /// Begins a run; returns when it has read its batch and is about to publish it.
    async fn start(world: &World, log: &EmbeddedLog) -> Self {
        let (begun_at, mut begun) = mpsc::unbounded_channel();
        let (done_at, done) = mpsc::unbounded_channel();
        let bus = Arc::new(SteppedBus {
            log: log.clone(),
            steps: Semaphore::new(0),
            begun: begun_at,
            done: done_at,
        });
        let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
        let run = tokio::spawn(async move { relay.run_once().await });
        begun.recv().await.unwrap();
        Self {
            bus,
            begun,
            done,
            run,
        }
    }

    /// Lets one event through.
    async fn step(&mut self) {
        self.bus.steps.add_permits(1);
        self.done.recv().await.unwrap();
    }

    /// Lets everything through, and waits for the end.
    async fn finish(mut self) {
        self.bus.steps.add_permits(1000);
        self.run.await.unwrap().unwrap();
        self.begun.close();
    }
}

#[tokio::test]
async fn a_relay_that_wakes_up_with_old_events_changes_no_effect() {
    let world = World::new().await;
    let log = world.log().await;
    for number in 1..=3 {
        world.publish("a", number).await;
    }
    let mut paused = Replica::start(&world, &log).await;
    paused.step().await;
    // Another one takes over, and goes on.
    let other = world.relay(&log);
    other.run_once().await.unwrap();
    for number in 4..=5 {
        world.publish("a", number).await;
    }
    other.run_once().await.unwrap();
    paused.finish().await;

    let found: Vec<i64> = numbers(&world.publisher)
        .await
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(found, [1, 2, 3, 4, 5], "no row is numbered twice");
    let expected: Vec<_> = (1..=5).map(|n| (n, "a".to_owned())).collect();
    assert_eq!(effects_of(&world, &log, 5).await, expected);
}

#[tokio::test]
async fn two_relays_at_once_have_every_effect_once_and_in_order() {
    for seed in 1..=16_u64 {
        let world = World::new().await;
        let log = world.log().await;
        for number in 1..=6 {
            world
                .publish(if number % 2 == 0 { "even" } else { "odd" }, number)
                .await;
        }
        let mut replicas = [
            Replica::start(&world, &log).await,
            Replica::start(&world, &log).await,
        ];
        let (mut left, mut dice) = ([6, 6], seed);
        while left != [0, 0] {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed);
            let wanted = usize::from(dice >> 60 & 1 == 1);
            let one = if left[wanted] > 0 { wanted } else { 1 - wanted };
            replicas[one].step().await;
            left[one] -= 1;
        }
        for replica in replicas {
            replica.finish().await;
        }
        let found: Vec<i64> = numbers(&world.publisher)
            .await
            .iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(found, [1, 2, 3, 4, 5, 6], "seed {seed}");
        let effects = effects_of(&world, &log, 6).await;
        assert_eq!(effects.len(), 6, "seed {seed}");
        for (key, expected) in [("odd", [1, 3, 5]), ("even", [2, 4, 6])] {
            let of: Vec<i64> = effects.iter().filter(|e| e.1 == key).map(|e| e.0).collect();
            assert_eq!(of, expected, "seed {seed}");
        }
    }
}
