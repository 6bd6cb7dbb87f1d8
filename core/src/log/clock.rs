//! The clock that stamps what this core appends. Engines with a clock of their own for it don't mind.

use tokio::time::Instant;

use crate::{clock, entry::Millis};

use super::{CLOCK_AHEAD, link::End};

/// This core's clock, which was right when the engine was connected to, as far as that can be known:
/// from then on it may go no faster than time passes.
pub(super) struct CheckedClock {
    at: Millis,
    since: Instant,
}

impl CheckedClock {
    /// It is right now.
    pub fn new() -> Self {
        Self {
            at: clock::now(),
            since: Instant::now(),
        }
    }

    /// What it may say by now, at most.
    fn most(&self) -> Millis {
        let passed = self.since.elapsed() + CLOCK_AHEAD;
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.at.saturating_add(passed)
    }

    pub fn now(&self) -> Millis {
        clock::now().min(self.most())
    }

    /// Ends the connection where the clock was put forward: it is held against the engine's again.
    pub fn check(&self) -> Result<(), End> {
        if clock::now() > self.most() {
            return Err(End::Away(
                "this core's clock was put forward: it is held against the log's again".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_put_forward_stamps_nothing_and_is_noticed() {
        let right = CheckedClock::new();
        assert!(right.check().is_ok());
        let ahead = u64::try_from(CLOCK_AHEAD.as_millis()).unwrap();
        let before = clock::now() - 10 * ahead;
        let jumped = CheckedClock {
            at: before,
            since: Instant::now(),
        };
        assert!(jumped.check().is_err());
        assert!(jumped.now() < before + 2 * ahead);
    }
}
