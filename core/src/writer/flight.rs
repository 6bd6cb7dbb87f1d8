//! Who waits for what is in the log, and what they are answered.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::{
    entry::Sequence,
    hub::Traced,
    metrics::Metrics,
    store::{Outcome, REVOCATIONS_MAX, Revoking},
};

use super::{DeleteOutcome, PublishOutcome, ReadStateOutcome, RevokeOutcome, WriteError};

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
    Deleter(oneshot::Sender<Result<DeleteOutcome, WriteError>>),
}

impl Waiter {
    pub fn refuse(self, error: &WriteError) {
        // Whoever asked may have gone.
        match self {
            Self::Publisher(to, ..) => drop(to.send(Err(error.clone()))),
            Self::Marker(to) => drop(to.send(Err(error.clone()))),
            Self::Revoker(to) => drop(to.send(Err(error.clone()))),
            Self::Deleter(to) => drop(to.send(Err(error.clone()))),
        }
    }

    /// The answer; `present` is where the log stood right behind the entry: its own place, and
    /// nothing of what came later.
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
            (Self::Deleter(to), Outcome::Deleted { deleted, .. }) => {
                let outcome = DeleteOutcome {
                    cursor: present,
                    deleted,
                };
                Answer::Deleted(to, outcome)
            }
            // An entry's outcome is of its kind.
            (Self::Publisher(..) | Self::Marker(_) | Self::Revoker(_) | Self::Deleter(_), _) => {
                Answer::None
            }
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
    Deleted(
        oneshot::Sender<Result<DeleteOutcome, WriteError>>,
        DeleteOutcome,
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
            Self::Deleted(to, outcome) => drop(to.send(Ok(outcome))),
            Self::None => {}
        }
    }

    pub fn refuse(self, error: &WriteError) {
        match self {
            Self::Published(to, ..) => drop(to.send(Err(error.clone()))),
            Self::Marked(to, _) => drop(to.send(Err(error.clone()))),
            Self::Revoked(to, _) => drop(to.send(Err(error.clone()))),
            Self::Deleted(to, _) => drop(to.send(Err(error.clone()))),
            Self::None => {}
        }
    }
}

/// Batches on their way through a log elsewhere, in order. They are answered when they were applied
/// here and are safe there, whichever comes first.
#[derive(Default)]
pub(super) struct Flights {
    under_way: VecDeque<Flight>,
    bytes: usize,
    /// Safe, and not applied yet.
    safe: Vec<u64>,
    /// Applied, and not known to be safe yet.
    applied: Vec<(u64, Vec<Answer>)>,
}

struct Flight {
    ticket: u64,
    waiters: Vec<Waiter>,
    bytes: usize,
}

impl Flights {
    /// How many there are, and how many bytes in them.
    pub fn size(&self) -> (usize, usize) {
        (self.under_way.len(), self.bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.applied.is_empty()
    }

    /// One more, with a ticket higher than all before it.
    pub fn begin(&mut self, ticket: u64, waiters: Vec<Waiter>, bytes: usize) {
        self.bytes += bytes;
        self.under_way.push_back(Flight {
            ticket,
            waiters,
            bytes,
        });
    }

    /// Those who wait for this batch, which was applied. One before it that did not land never will.
    pub fn land(&mut self, ticket: u64) -> Option<Vec<Waiter>> {
        self.lose_while(|before| before < ticket);
        let landed = self
            .under_way
            .pop_front_if(|first| first.ticket == ticket)?;
        self.bytes -= landed.bytes;
        Some(landed.waiters)
    }

    /// This batch, and those before it, were applied while the store was opened again: what became of
    /// them is not known here.
    pub fn lose(&mut self, ticket: u64) {
        self.lose_while(|first| first <= ticket);
    }

    fn lose_while(&mut self, is_lost: impl Fn(u64) -> bool) {
        while let Some(lost) = self.under_way.pop_front_if(|first| is_lost(first.ticket)) {
            self.bytes -= lost.bytes;
            self.safe.retain(|safe| *safe != lost.ticket);
            let unknown = WriteError::Failed("it was opened again".into());
            refuse_all(lost.waiters, &unknown);
        }
    }

    /// The log does not take this one.
    pub fn refuse(&mut self, ticket: u64, error: &WriteError) {
        let place = self.under_way.iter().position(|it| it.ticket == ticket);
        if let Some(refused) = place.and_then(|place| self.under_way.remove(place)) {
            self.bytes -= refused.bytes;
            refuse_all(refused.waiters, error);
        }
    }

    /// The answers to a batch that was applied, if it is safe.
    pub fn applied(&mut self, ticket: u64, answers: Vec<Answer>) -> Vec<Answer> {
        if let Some(place) = self.safe.iter().position(|safe| *safe == ticket) {
            self.safe.swap_remove(place);
            return answers;
        }
        self.applied.push((ticket, answers));
        Vec::new()
    }

    /// The answers to a batch that is safe, if it was applied.
    pub fn safe(&mut self, ticket: u64) -> Vec<Answer> {
        if let Some(place) = self.applied.iter().position(|(of, _)| *of == ticket) {
            return self.applied.swap_remove(place).1;
        }
        if self.under_way.iter().any(|it| it.ticket == ticket) {
            self.safe.push(ticket);
        }
        Vec::new()
    }
}

fn refuse_all(waiters: Vec<Waiter>, error: &WriteError) {
    waiters.into_iter().for_each(|waiter| waiter.refuse(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answered = oneshot::Receiver<Result<ReadStateOutcome, WriteError>>;

    fn three_under_way() -> (Flights, Vec<Answered>) {
        let mut flights = Flights::default();
        let waiting = (1..=3).map(|number| {
            let (to, answered) = oneshot::channel();
            flights.begin(number, vec![Waiter::Marker(to)], 10);
            answered
        });
        let waiting = waiting.collect();
        (flights, waiting)
    }

    fn are_refused(waiting: &mut [Answered]) {
        for answered in waiting {
            let refused = answered.try_recv().expect("an answer");
            assert!(matches!(refused, Err(WriteError::Failed(_))));
        }
    }

    #[test]
    fn one_that_did_not_land_holds_up_no_other() {
        let (mut flights, mut waiting) = three_under_way();
        assert_eq!(flights.size(), (3, 30));
        let landed = flights.land(3).expect("it waits");
        assert_eq!((landed.len(), flights.size()), (1, (0, 0)));
        are_refused(&mut waiting[..2]);
        assert!(waiting[2].try_recv().is_err(), "answered by who applied it");
    }

    #[test]
    fn one_that_is_lost_leaves_nothing_whether_or_not_it_was_safe_before() {
        let (mut flights, mut waiting) = three_under_way();
        assert!(flights.safe(1).is_empty());
        flights.lose(2);
        assert!(flights.safe(2).is_empty());
        assert_eq!((flights.size(), flights.safe.len()), ((1, 10), 0));
        are_refused(&mut waiting[..2]);
        assert!(waiting[2].try_recv().is_err(), "it is still under way");
    }
}
