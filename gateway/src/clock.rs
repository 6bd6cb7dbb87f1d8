//! Times as they are compared here: milliseconds since the Unix epoch.

use std::time::SystemTime;

use prost_types::Timestamp;

/// Now; before the epoch it is 0.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What the core says; what is before the epoch is 0.
pub(crate) fn millis(timestamp: &Timestamp) -> u64 {
    let seconds = u64::try_from(timestamp.seconds).unwrap_or(0);
    let nanos = u64::try_from(timestamp.nanos).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000)
}
