//! Pauses between attempts that grow to a bound, with jitter so that a fleet does not knock in step.

use std::time::Duration;

/// The next pause, and how it grows.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `min`, doubling to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// Starts again at the shortest pause.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// Waits for between half of the present pause and all of it; the next one is twice as long.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.step().mul_f64(rand::random_range(0.5..=1.0))).await;
    }

    fn step(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_bound_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        let steps: Vec<_> = (0..5).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(steps, [50, 100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.step().as_millis(), 50);
    }
}
