//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::entry::Millis;

/// Now. A clock before 1970 reads as 0.
#[must_use]
pub fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as Millis)
}
