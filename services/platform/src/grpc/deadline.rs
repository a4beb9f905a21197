//! Deadlines: read from `grpc-timeout`, kept for the length of a call, and passed on to further calls.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

pub(super) const GRPC_TIMEOUT: &str = "grpc-timeout";

tokio::task_local! {
    static DEADLINE: Option<Instant>;
}

/// What is left of the deadline of the call that is being handled; `None` when it has none or when no
/// call is being handled. A task that is spawned by a handler has no deadline.
pub fn remaining() -> Option<Duration> {
    let deadline = DEADLINE.try_with(|deadline| *deadline).ok().flatten()?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

/// Runs `work` as part of a call with this deadline.
pub(super) fn scope<F: Future>(
    deadline: Option<Instant>,
    work: F,
) -> impl Future<Output = F::Output> {
    DEADLINE.scope(deadline, work)
}

/// The time that a caller gives, if it says one that can be read.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The header's value for this time: at most eight digits in the finest unit that fits.
pub(super) fn write(timeout: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let units = [
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
    ];
    let (count, unit) = units
        .into_iter()
        .find(|(count, _)| *count <= DIGITS_MAX)
        .unwrap_or((DIGITS_MAX, 'S'));
    HeaderValue::from_str(&format!("{count}{unit}"))
        .expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text));
        read(&headers)
    }

    #[test]
    fn every_unit_is_read_and_nonsense_is_not() {
        assert_eq!(parsed("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parsed("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parsed("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parsed("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parsed("6u"), Some(Duration::from_micros(6)));
        assert_eq!(parsed("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "5", "S", "-5S", "+5S", "5x", "123456789S", "5 S"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_fits_and_reads_back() {
        for timeout in [
            Duration::from_millis(1500),
            Duration::from_secs(90_000),
            Duration::from_secs(u64::MAX),
        ] {
            let value = write(timeout);
            assert!(value.len() <= 9, "{value:?}");
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, value);
            let limit = Duration::from_secs(99_999_999);
            assert_eq!(read(&headers), Some(timeout.min(limit)));
        }
    }
}
