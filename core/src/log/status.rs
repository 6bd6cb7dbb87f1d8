//! How the log is doing, for those who answer for this core: health, readiness, metrics, and reads
//! that are ahead of it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    entry::{Millis, Sequence},
    metrics::Metrics,
};

use super::{LogError, LogId, Position};

/// Messages that others may have appended since it was last asked where the log ends.
const LOOKED_LATELY: u64 = 100_000;

/// How a log is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogState {
    /// It can be reached. The embedded one always can.
    pub connected: bool,
    /// Its first message; 0: not known.
    pub first: Position,
    /// Its last message, as last heard.
    pub last: Position,
    /// The last message that was taken in here.
    pub applied: Position,
    /// The last entry that was applied here.
    pub sequence: Sequence,
    /// The last message that it had when this core started.
    pub goal: Option<Position>,
    /// What it had then has been applied.
    pub caught_up: bool,
    /// This core is behind it for too long.
    pub lags: bool,
    /// Nothing more is applied, and why.
    pub halted: Option<LogError>,
    /// What was applied up to here can't be read, or what the log has not be applied, and why; it is
    /// tried again.
    pub stuck: Option<String>,
    /// Why it can't be reached, if so.
    pub away: Option<String>,
    /// The newest time that the log told; 0: none yet.
    pub at: Millis,
    /// Bytes of the largest message that the log takes. `None`: not known, or there is no such bound.
    pub max_payload: Option<usize>,
}

impl LogState {
    /// That of a log which is applied as it is appended to.
    #[must_use]
    pub fn caught_up(sequence: Sequence) -> Self {
        Self {
            connected: true,
            sequence,
            caught_up: true,
            ..Self::default()
        }
    }

    /// Whether readers are served what there is to be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Why it is not ready, if so.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if let Some(halted) = &self.halted {
            return Some(halted.to_string());
        }
        if let Some(stuck) = &self.stuck {
            return Some(stuck.clone());
        }
        if !self.caught_up {
            return Some(match self.goal {
                None => match &self.away {
                    None => "the log has not been reached yet".into(),
                    Some(why) => format!("the log has not been reached yet: {why}"),
                },
                Some(goal) => format!(
                    "catching up with the log: message {} of {goal}",
                    self.applied
                ),
            });
        }
        self.lags
            .then(|| format!("{} messages behind the log", self.lag()))
    }

    /// Messages that this core is behind.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.last.saturating_sub(self.applied)
    }
}

/// The state, shared. Cheap to clone.
#[derive(Clone)]
pub struct LogStatus {
    state: watch::Sender<LogState>,
    metrics: Arc<Metrics>,
    /// `None`: what is appended is applied.
    shared: Option<LogId>,
}

impl LogStatus {
    /// That of a log of which nothing is known yet but what the store has.
    #[must_use]
    pub fn new(state: LogState, shared: Option<LogId>, metrics: Arc<Metrics>) -> Self {
        let status = Self {
            state: watch::Sender::new(state),
            metrics,
            shared,
        };
        status.change(|_| {});
        status
    }

    /// The state now.
    #[must_use]
    pub fn now(&self) -> LogState {
        self.state.borrow().clone()
    }

    /// Why nothing is applied any more, if so.
    #[must_use]
    pub fn halted(&self) -> Option<LogError> {
        self.state.borrow().halted.clone()
    }

    /// Why nothing is applied for now, if so.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        self.state.borrow().stuck.clone()
    }

    /// Bytes of the largest message that the log takes, where there is a bound.
    pub(crate) fn max_payload(&self) -> Option<usize> {
        self.state.borrow().max_payload
    }

    /// Told of each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LogState> {
        self.state.subscribe()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut LogState)) {
        self.state.send_modify(|state| {
            change(state);
            state.caught_up |= state.goal.is_some_and(|goal| state.applied >= goal);
            let metrics = &self.metrics;
            metrics.log_connected.set(i64::from(state.connected));
            metrics.log_halted.set(i64::from(state.halted.is_some()));
            metrics.log_lag.set(state.lag());
            metrics.log_applied.set(state.applied);
        });
    }

    /// Whether a cursor ahead of what is applied here may be one of this log: it does not reach as
    /// far as the log is known to. While that is not known, any may be.
    pub(crate) fn may_reach(&self, cursor: Sequence) -> bool {
        let Some(log) = &self.shared else {
            return false;
        };
        let state = self.state.borrow();
        !state.connected || log.position(cursor) <= state.last + LOOKED_LATELY
    }

    /// Waits until this core has applied what stands up to a cursor, where the log has it.
    /// `false`: it has not within `patience`.
    pub async fn reached(&self, cursor: Sequence, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| state.sequence >= cursor);
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_ahead_waits_and_not_for_ever() {
        let log = Some(LogId::new(0));
        let status = LogStatus::new(LogState::caught_up(5), log, Arc::default());
        assert!(status.may_reach(6) && !status.may_reach(1 << 50));
        let patience = Duration::from_secs(5);
        assert!(status.reached(5, patience).await);
        assert!(!status.reached(6, patience).await);
        let waiting = tokio::spawn({
            let status = status.clone();
            async move { status.reached(6, patience).await }
        });
        tokio::task::yield_now().await;
        status.change(|state| state.sequence = 6);
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn readiness_is_being_caught_up_and_able_to_go_on() {
        let ready = LogState::caught_up(1);
        assert!(ready.is_ready());
        let away = LogState {
            connected: false,
            ..ready.clone()
        };
        assert!(away.is_ready(), "what is here can be read");
        for unfit in [
            LogState::default(),
            LogState {
                lags: true,
                ..ready.clone()
            },
            LogState {
                halted: Some(LogError::Refused("r".into())),
                ..ready.clone()
            },
            LogState {
                stuck: Some("s".into()),
                ..ready.clone()
            },
        ] {
            assert!(!unfit.is_ready(), "{unfit:?}");
        }
    }
}
