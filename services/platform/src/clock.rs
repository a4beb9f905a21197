//! Time as a value, and the clock that services are given.
//!
//! A [`Timestamp`] is a count of microseconds since 1970 in UTC, which is also how it is stored. Domain
//! code takes a timestamp as an argument; only services hold a [`Clock`].

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// 0001-01-01T00:00:00Z, the least time that a protobuf timestamp may hold.
const SECONDS_MIN: i64 = -62_135_596_800;
/// 9999-12-30T00:00:00Z, just under the greatest.
const SECONDS_MAX: i64 = 253_402_128_000;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time that many microseconds after 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970, the stored form.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero when `earlier` is the later one.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The protobuf form.
    pub fn to_proto(self) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: self.0.div_euclid(MICROS_PER_SECOND),
            nanos: i32::try_from(self.0.rem_euclid(MICROS_PER_SECOND) * 1000).unwrap_or(0),
        }
    }

    /// From the protobuf form: to the microsecond, and clamped to the years 1 to 9999.
    pub fn from_proto(value: &prost_types::Timestamp) -> Self {
        let seconds = value.seconds.clamp(SECONDS_MIN, SECONDS_MAX);
        let nanos = i64::from(value.nanos.clamp(0, 999_999_999));
        Self(seconds * MICROS_PER_SECOND + nanos / 1000)
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(value: Timestamp) -> Self {
        value.to_proto()
    }
}

impl From<prost_types::Timestamp> for Timestamp {
    fn from(value: prost_types::Timestamp) -> Self {
        Self::from_proto(&value)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Saturates at the ends of time.
    fn add(self, duration: Duration) -> Timestamp {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    /// Saturates at the ends of time.
    fn sub(self, duration: Duration) -> Timestamp {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Duration;

    /// Zero when `earlier` is the later one.
    fn sub(self, earlier: Timestamp) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; a time outside of the years that it can write is shown as microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("must be a time such as 2025-01-31T12:00:00Z")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self(time.as_microsecond()))
    }
}

/// The protobuf form of a duration, clamped to what it can hold.
pub fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration from its protobuf form; `None` when it is negative or malformed.
pub fn duration_from_proto(value: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u32::try_from(value.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// A clock that several parts of a service share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

/// A clock that stands still until it is told otherwise. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct FakeClock(Arc<AtomicI64>);

impl FakeClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }

    /// This clock as the one to give to a service.
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_reads_rfc_3339() {
        let time = Timestamp(1_700_000_000_123_456);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(
            "2023-11-14T22:13:20.123456Z".parse::<Timestamp>().unwrap(),
            time
        );
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp(i64::MAX).to_string(), format!("{}us", i64::MAX));
    }

    #[test]
    fn the_protobuf_form_keeps_microseconds_before_1970_too() {
        for micros in [-1, 0, 1, -1_000_001, 1_700_000_000_123_456] {
            assert_eq!(
                Timestamp::from(prost_types::Timestamp::from(Timestamp(micros))),
                Timestamp(micros)
            );
        }
        let wild = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: i32::MIN,
        };
        assert_eq!(
            Timestamp::from_proto(&wild),
            Timestamp(SECONDS_MAX * MICROS_PER_SECOND)
        );
    }

    #[test]
    fn differences_never_go_below_zero() {
        assert_eq!(Timestamp(5) - Timestamp(2), Duration::from_micros(3));
        assert_eq!(Timestamp(2) - Timestamp(5), Duration::ZERO);
        assert_eq!(Timestamp(5) - Duration::from_micros(7), Timestamp(-2));
        assert_eq!(Timestamp(i64::MAX) + Duration::MAX, Timestamp(i64::MAX));
    }

    #[test]
    fn a_negative_or_malformed_duration_is_none() {
        let proto = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(
            duration_from_proto(&proto(1, 500_000_000)),
            Some(Duration::from_millis(1500))
        );
        for bad in [proto(-1, 0), proto(0, -1), proto(0, 1_000_000_000)] {
            assert_eq!(duration_from_proto(&bad), None);
        }
        assert_eq!(
            duration_to_proto(Duration::from_millis(1500)),
            proto(1, 500_000_000)
        );
    }

    #[test]
    fn a_fake_clock_moves_only_when_told() {
        let clock = FakeClock::new(Timestamp(10));
        let shared = clock.shared();
        clock.advance(Duration::from_micros(5));
        assert_eq!(shared.now(), Timestamp(15));
        clock.set(Timestamp(3));
        assert_eq!(shared.now(), Timestamp(3));
    }
}
