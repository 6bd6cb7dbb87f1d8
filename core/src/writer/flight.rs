//! Who waits for what is in the log, and what they are answered.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::{
    entry::Sequence,
    hub::Traced,
    metrics::Metrics,
    store::{Appender, Outcome, REVOCATIONS_MAX, Revoking},
};

use super::{PublishOutcome, ReadStateOutcome, RevokeOutcome, WriteError};

/// Who waits for an entry to be applied.
pub(super) enum Waiter {
    /// With the event's id, and the trace that is recorded.
    Publisher(
        oneshot::Sender<Result<PublishOutcome, WriteError>>,
        String,
        Option<Box<str>>,
    ),
    Marker(oneshot::Sender<Result<ReadStateOutcome, WriteError>>),
    Revoker(oneshot::Sender<Result<RevokeOutcome, WriteError>>),
}

impl Waiter {
    pub fn refuse(self, error: &WriteError) {
        // Whoever asked may have gone.
        match self {
            Self::Publisher(to, ..) => drop(to.send(Err(error.clone()))),
            Self::Marker(to) => drop(to.send(Err(error.clone()))),
            Self::Revoker(to) => drop(to.send(Err(error.clone()))),
        }
    }

    /// The answer; `present` is where the log stood right behind the entry.
    pub fn answer(self, outcome: Outcome, present: Sequence) -> Answer {
        match (self, outcome) {
            (Self::Publisher(to, event_id, trace), Outcome::Published { id, duplicate }) => {
                let outcome = PublishOutcome {
                    id,
                    event_id,
                    duplicate,
                };
                Answer::Published(to, outcome, trace)
            }
            (
                Self::Marker(to),
                Outcome::ReadStateSet {
                    changed,
                    unread_count,
                },
            ) => {
                let outcome = ReadStateOutcome {
                    cursor: present,
                    changed,
                    unread_count,
                };
                Answer::Marked(to, outcome)
            }
            (Self::Revoker(to), Outcome::Revoked(revoking)) => {
                let outcome = match revoking {
                    Revoking::New | Revoking::Before => Ok(RevokeOutcome {
                        cursor: present,
                        was_revoked: revoking == Revoking::Before,
                    }),
                    Revoking::TooMany => Err(WriteError::TooManyRevocations {
                        limit: REVOCATIONS_MAX,
                    }),
                };
                Answer::Revoked(to, outcome)
            }
            // An entry's outcome is of its kind.
            (Self::Publisher(..) | Self::Marker(_) | Self::Revoker(_), _) => Answer::None,
        }
    }
}

/// What somebody is answered once it is safe.
pub(super) enum Answer {
    Published(
        oneshot::Sender<Result<PublishOutcome, WriteError>>,
        PublishOutcome,
        Option<Box<str>>,
    ),
    Marked(
        oneshot::Sender<Result<ReadStateOutcome, WriteError>>,
        ReadStateOutcome,
    ),
    Revoked(
        oneshot::Sender<Result<RevokeOutcome, WriteError>>,
        Result<RevokeOutcome, WriteError>,
    ),
    None,
}

impl Answer {
    /// Notes within which trace it was published.
    pub fn note(&mut self, traced: &Traced) {
        if let Self::Published(_, outcome, trace) = self
            && let Some(trace) = trace.take()
            && !outcome.duplicate
        {
            traced.note(outcome.id, trace);
        }
    }

    pub fn send(self, metrics: &Metrics) {
        // Whoever asked may have gone; what was written stays written.
        match self {
            Self::Published(to, outcome, _) => {
                let counter = if outcome.duplicate {
                    &metrics.duplicates
                } else {
                    &metrics.published
                };
                counter.inc();
                drop(to.send(Ok(outcome)));
            }
            Self::Marked(to, outcome) => drop(to.send(Ok(outcome))),
            Self::Revoked(to, outcome) => drop(to.send(outcome)),
            Self::None => {}
        }
    }

    pub fn refuse(self, error: &WriteError) {
        match self {
            Self::Published(to, ..) => drop(to.send(Err(error.clone()))),
            Self::Marked(to, _) => drop(to.send(Err(error.clone()))),
            Self::Revoked(to, _) => drop(to.send(Err(error.clone()))),
            Self::None => {}
        }
    }
}

/// Batches on their way through a log elsewhere, in order. They are answered when they were applied
/// here and are safe there, whichever comes first.
#[derive(Default)]
pub(super) struct Flights {
    under_way: VecDeque<(Appender, Vec<Waiter>)>,
    /// Safe, and not applied yet.
    safe: Vec<u64>,
    /// Applied, and not known to be safe yet.
    applied: Vec<(u64, Vec<Answer>)>,
}

impl Flights {
    pub fn count(&self) -> usize {
        self.under_way.len()
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.applied.is_empty()
    }

    pub fn begin(&mut self, appender: Appender, waiters: Vec<Waiter>) {
        self.under_way.push_back((appender, waiters));
    }

    /// Those who wait for this batch, which was applied. One before it that did not land was applied
    /// while the store was opened again: what became of it is not known here.
    pub fn land(&mut self, appender: Appender) -> Option<Vec<Waiter>> {
        let is_before = |(first, _): &mut (Appender, _)| {
            first.id == appender.id && first.number < appender.number
        };
        while let Some((_, waiters)) = self.under_way.pop_front_if(is_before) {
            let unknown = WriteError::Failed("it was opened again".into());
            waiters
                .into_iter()
                .for_each(|waiter| waiter.refuse(&unknown));
        }
        let landed = self.under_way.pop_front_if(|(first, _)| *first == appender);
        landed.map(|(_, waiters)| waiters)
    }

    /// The answers to a batch that was applied, if it is safe.
    pub fn applied(&mut self, number: u64, answers: Vec<Answer>) -> Vec<Answer> {
        if let Some(place) = self.safe.iter().position(|safe| *safe == number) {
            self.safe.swap_remove(place);
            return answers;
        }
        self.applied.push((number, answers));
        Vec::new()
    }

    /// The answers to a batch that is safe, if it was applied.
    pub fn safe(&mut self, number: u64) -> Vec<Answer> {
        if let Some(place) = self.applied.iter().position(|(of, _)| *of == number) {
            return self.applied.swap_remove(place).1;
        }
        if self.under_way.iter().any(|(of, _)| of.number == number) {
            self.safe.push(number);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_did_not_land_holds_up_no_other() {
        let mut flights = Flights::default();
        let by = |number| Appender { id: 1, number };
        let mut waiting = Vec::new();
        for number in 1..=3 {
            let (to, answered) = oneshot::channel();
            flights.begin(by(number), vec![Waiter::Marker(to)]);
            waiting.push(answered);
        }
        let landed = flights.land(by(3)).expect("it waits");
        assert_eq!((landed.len(), flights.count()), (1, 0));
        for answered in &mut waiting[..2] {
            let refused = answered.try_recv().expect("an answer");
            assert!(matches!(refused, Err(WriteError::Failed(_))));
        }
        assert!(waiting[2].try_recv().is_err(), "answered by who applied it");
    }
}
