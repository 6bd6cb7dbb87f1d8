//! The log to the store: what a log elsewhere brings is applied in its order, and who waited for it
//! answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    entry::Sequence,
    log::{Arrived, Event, LogError, LogId},
    store::{Batch, Outcome, Store},
};

use super::{WriteError, flight::Answer, thread::WriterThread};

/// How soon it is tried again to apply what can't be applied.
const AGAIN: Duration = Duration::from_millis(250);

/// What has come and can't be applied, or a store that failed, and when it is tried again.
pub(super) struct Stuck {
    pub why: WriteError,
    pub again: Instant,
}

impl WriterThread {
    pub(super) fn take_in(&mut self, events: impl Iterator<Item = Event>) {
        for event in events {
            let answers = match event {
                Event::Message(arrived) => {
                    self.messages.push_back(arrived);
                    continue;
                }
                Event::TooLarge {
                    ticket,
                    bytes,
                    most,
                } => {
                    let refused = WriteError::TooLarge { bytes, most };
                    self.flights.refuse(ticket, &refused);
                    continue;
                }
                Event::Safe(ticket) => self.flights.safe(ticket),
            };
            answers
                .into_iter()
                .for_each(|answer| answer.send(&self.metrics));
        }
    }

    /// Opens a store that failed again, and applies what came from the log. What can't be applied now
    /// is applied later: there is no way past it.
    pub(super) fn go_on(&mut self) {
        let is_due = |stuck: &Stuck| stuck.again <= Instant::now();
        if !self.stuck.as_ref().is_none_or(is_due) {
            return;
        }
        match self.recover().and_then(|()| self.apply_messages()) {
            Ok(()) => self.unstick(),
            Err(why) => self.stick(why),
        }
    }

    fn apply_messages(&mut self) -> Result<(), WriteError> {
        let Some(log) = self.log.id else {
            return Ok(());
        };
        while !self.messages.is_empty() {
            self.apply_some(&log)?;
        }
        Ok(())
    }

    /// Applies messages as one batch.
    fn apply_some(&mut self, log: &LogId) -> Result<(), WriteError> {
        let Staged {
            batch,
            count,
            landed,
        } = self.stage(log)?;
        let present = batch.next_sequence() - 1;
        let at = batch.time();
        let applied = self.commits.commit(batch)?;
        let answers: Vec<_> = landed
            .into_iter()
            .flat_map(|(ticket, outcomes)| self.land(ticket, outcomes))
            .collect();
        self.hub.publish(&applied);
        let newest = self.messages.drain(..count).next_back();
        self.log.status.change(|state| {
            state.sequence = present;
            state.applied = newest.map_or(state.applied, |newest| newest.position);
            state.last = state.last.max(state.applied);
            state.at = at;
        });
        answers
            .into_iter()
            .for_each(|answer| answer.send(&self.metrics));
        self.commits.roll(Store::roll_if_full);
        Ok(())
    }

    fn stage(&self, log: &LogId) -> Result<Staged, WriteError> {
        let mut staged = Staged {
            batch: self.commits.batch(),
            count: 0,
            landed: Vec::new(),
        };
        let batch = &mut staged.batch;
        for arrived in &self.messages {
            let Arrived {
                position,
                message,
                crc,
                ticket,
            } = arrived;
            let Some(through) = log.through(*position) else {
                return Err(self.halt("its sequences are used up"));
            };
            staged.count += 1;
            batch.advance(message.at);
            batch.note_message(*crc);
            if message
                .appender
                .is_none_or(|appender| batch.takes(appender))
            {
                let mut outcomes = Vec::with_capacity(message.entries.len());
                for (index, entry) in message.entries.iter().enumerate() {
                    let Some(sequence) = log.sequence(*position, index) else {
                        return Err(self.halt("a message has too many entries"));
                    };
                    let outcome = batch.apply(sequence, entry.clone()).map_err(|error| {
                        tracing::error!(%error, "apply an entry");
                        WriteError::Failed(error.to_string())
                    })?;
                    outcomes.push((outcome, sequence));
                }
                staged
                    .landed
                    .extend(ticket.map(|ticket| (ticket, outcomes)));
            }
            batch.cover(through);
            if batch.bytes() >= self.settings.batch_bytes {
                break;
            }
        }
        Ok(staged)
    }

    /// Nothing behind this can be applied, now or later.
    fn halt(&self, why: &str) -> WriteError {
        let error = LogError::Refused(format!("the log can't be applied: {why}"));
        if self.log.status.halted().is_none() {
            let status = &self.log.status;
            status.change(|state| state.halted = Some(error.clone()));
            tracing::error!(%error, "the log is no longer applied; reading goes on");
        }
        WriteError::LogHalted(error)
    }

    /// One of this core's own batches was applied: the answers that may be given now. Each stands at
    /// its own entry, whatever was applied with it.
    fn land(&mut self, ticket: u64, outcomes: Vec<(Outcome, Sequence)>) -> Vec<Answer> {
        let Some(waiters) = self.flights.land(ticket) else {
            return Vec::new();
        };
        self.metrics.batch_size.observe(waiters.len() as f64);
        let answers = waiters.into_iter().zip(outcomes);
        let answers = answers.map(|(waiter, (outcome, sequence))| {
            let mut answer = waiter.answer(outcome, sequence);
            answer.note(self.hub.traced());
            answer
        });
        self.flights.applied(ticket, answers.collect())
    }

    /// Opens a store that failed again; readers start over from their cursors.
    pub(super) fn recover(&mut self) -> Result<(), WriteError> {
        let Some(present) = self.commits.recover()? else {
            return Ok(());
        };
        self.hub.reset(present);
        if let Some(log) = self.log.id {
            let applied = log.position(present);
            // What the journal has is not applied once more; who waited for it is told, and what is
            // under way has its room.
            let is_applied = |first: &mut Arrived| first.position <= applied;
            while let Some(before) = self.messages.pop_front_if(is_applied) {
                if let Some(ticket) = before.ticket {
                    self.flights.lose(ticket);
                }
            }
            self.log.status.change(|state| {
                state.sequence = present;
                state.applied = applied;
            });
        }
        Ok(())
    }

    /// Says that this core does not go on for now. One that has a log of its own goes on to be asked as
    /// long as it can be read: there is no other one that could do what it can't.
    pub(super) fn stick(&mut self, why: WriteError) {
        let is_unfit = self.log.id.is_some() || !self.commits.is_readable();
        let said = is_unfit.then(|| format!("what was written can't be taken in here: {why}"));
        if self.stuck.is_none() {
            tracing::warn!(%why, "stuck; tried again until it goes on");
        }
        if self.log.status.stuck() != said {
            self.log.status.change(|state| state.stuck = said);
        }
        let again = Instant::now() + AGAIN;
        self.stuck = Some(Stuck { why, again });
    }

    fn unstick(&mut self) {
        if self.stuck.take().is_some() {
            tracing::info!("it goes on");
            self.log.status.change(|state| state.stuck = None);
        }
    }
}

/// Messages applied to a batch, and not committed.
struct Staged {
    batch: Batch,
    count: usize,
    /// By their tickets: what became of each entry, and where it stands.
    landed: Vec<(u64, Vec<(Outcome, Sequence)>)>,
}
