//! The writer's thread.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    entry::{Applied, Entry, Millis, Sequence},
    hub::Hub,
    log::{Appended, ENTRIES_MAX, Event, LogError, LogId, Message, Position},
    metrics::Metrics,
    store::{Appender, Batch, Cut, Outcome, Store, StoreError},
};

use super::{
    Attached, WriteError, WriterSettings,
    flight::{Answer, Flights, Waiter},
    request::{Asked, Request},
};

/// How long a store that failed is left alone before it is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// What is taken from a log elsewhere at once.
const EVENTS: usize = 256;

/// Batches under way in a log elsewhere; with more, requests wait.
const FLIGHTS: usize = 32;

/// Bytes behind which a batch for a log elsewhere ends.
const MESSAGE_BYTES: usize = 512 << 10;

/// How long the end of the service waits for what is under way in a log elsewhere.
const LANDING: Duration = Duration::from_secs(3);

pub(super) struct WriterThread {
    store: Store,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    settings: WriterSettings,
    log: Attached,
    flights: Flights,
    /// From the log, and not applied yet.
    messages: VecDeque<(Position, Message)>,
    /// Since when the store has failed, and how.
    failed: Option<(Instant, WriteError)>,
}

impl WriterThread {
    pub fn new(
        store: Store,
        hub: Arc<Hub>,
        log: Attached,
        settings: WriterSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            hub,
            metrics,
            settings,
            log,
            flights: Flights::default(),
            messages: VecDeque::new(),
            failed: None,
        }
    }

    pub async fn run(mut self, mut waiting: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut tail = self.log.log.tail();
        let (mut requests, mut events) = (Vec::new(), Vec::new());
        let mut has_ended = false;
        // By then what is under way in a log elsewhere has landed, or is left to who asked.
        let mut landing = None;
        loop {
            if stop.is_cancelled() {
                waiting.close();
                if self.log.id.is_some() {
                    landing.get_or_insert_with(|| tokio::time::Instant::now() + LANDING);
                }
            }
            let has_room = self.flights.count() < FLIGHTS;
            tokio::select! {
                count = waiting.recv_many(&mut requests, self.settings.batch_requests),
                    if has_room && !has_ended => has_ended = count == 0,
                count = next_events(&mut tail, &mut events), if tail.is_some() => {
                    if count == 0 {
                        tail = None;
                    }
                }
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = past(landing), if landing.is_some() => return,
            }
            if has_ended && self.flights.is_empty() {
                return;
            }
            self.take_in(events.drain(..));
            self.apply_messages(&stop).await;
            self.write(requests.drain(..));
        }
    }

    /// Appends what is asked for.
    fn write(&mut self, requests: impl Iterator<Item = Request>) {
        let (mut entries, mut waiters) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for request in requests {
            match request.into_asked() {
                Asked::Nothing => {}
                Asked::Roll => {
                    self.append(&mut entries, &mut waiters);
                    self.roll(Store::roll);
                }
                Asked::Cut(answer) => {
                    self.append(&mut entries, &mut waiters);
                    drop(answer.send(self.cut()));
                }
                Asked::Write(entry, waiter) => {
                    bytes += entry.weight();
                    entries.push(entry);
                    waiters.push(waiter);
                    let is_full = bytes >= MESSAGE_BYTES && self.log.id.is_some();
                    if is_full || entries.len() >= ENTRIES_MAX {
                        self.append(&mut entries, &mut waiters);
                        bytes = 0;
                    }
                }
            }
        }
        self.append(&mut entries, &mut waiters);
    }

    fn append(&mut self, entries: &mut Vec<Entry>, waiters: &mut Vec<Waiter>) {
        if entries.is_empty() {
            return;
        }
        let waiters = std::mem::take(waiters);
        match self.log.log.append(std::mem::take(entries)) {
            Appended::Here(entries) => self.apply_here(entries, waiters),
            Appended::Sent(appender) => self.flights.begin(appender, waiters),
        }
    }

    /// Applies and commits what has its place right here.
    fn apply_here(&mut self, entries: Vec<Entry>, waiters: Vec<Waiter>) {
        if let Err(refused) = self.recover() {
            waiters
                .into_iter()
                .for_each(|waiter| waiter.refuse(&refused));
            return;
        }
        let mut batch = Batch::new(&self.store);
        let mut answers = Vec::with_capacity(waiters.len());
        for (entry, waiter) in entries.into_iter().zip(waiters) {
            match batch.apply(batch.next_sequence(), entry) {
                Ok(outcome) => {
                    let present = batch.next_sequence() - 1;
                    answers.push(waiter.answer(outcome, present));
                }
                Err(error) => {
                    tracing::error!(%error, "apply an entry");
                    waiter.refuse(&WriteError::Failed(error.to_string()));
                }
            }
            if batch.bytes() >= self.settings.batch_bytes {
                self.commit_here(batch, std::mem::take(&mut answers));
                batch = Batch::new(&self.store);
            }
        }
        self.commit_here(batch, answers);
    }

    fn commit_here(&mut self, batch: Batch, mut answers: Vec<Answer>) {
        let requests = answers.len();
        match self.commit(batch) {
            Ok(applied) => {
                let traced = self.hub.traced();
                answers.iter_mut().for_each(|answer| answer.note(traced));
                self.hub.publish(&applied);
                if requests > 0 {
                    self.metrics.batch_size.observe(requests as f64);
                }
                answers
                    .into_iter()
                    .for_each(|answer| answer.send(&self.metrics));
            }
            Err(refused) => answers
                .into_iter()
                .for_each(|answer| answer.refuse(&refused)),
        }
        self.roll(Store::roll_if_full);
    }

    fn take_in(&mut self, events: impl Iterator<Item = Event>) {
        for event in events {
            match event {
                Event::Message(position, message) => self.messages.push_back((position, message)),
                Event::Safe(number) => {
                    let answers = self.flights.safe(number);
                    answers
                        .into_iter()
                        .for_each(|answer| answer.send(&self.metrics));
                }
            }
        }
    }

    /// Applies what came from the log. What can't be applied now is applied later: there is no way
    /// past it.
    async fn apply_messages(&mut self, stop: &CancellationToken) {
        let Some(log) = self.log.id else { return };
        while !self.messages.is_empty() {
            let applied = self.recover().and_then(|()| self.apply_some(&log));
            if let Err(error) = applied {
                if stop.is_cancelled() {
                    return;
                }
                tracing::debug!(%error, "the log is applied again in a moment");
                tokio::select! {
                    () = sleep(REOPEN_AFTER / 4) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// Applies messages as one batch.
    fn apply_some(&mut self, log: &LogId) -> Result<(), WriteError> {
        let Staged {
            batch,
            count,
            at,
            landed,
        } = self.stage(log)?;
        let present = batch.next_sequence() - 1;
        let applied = self.commit(batch)?;
        let answers: Vec<_> = landed
            .into_iter()
            .flat_map(|(appender, outcomes)| self.land(appender, outcomes, present))
            .collect();
        self.hub.publish(&applied);
        let newest = self.messages.drain(..count).next_back();
        self.log.status.change(|state| {
            state.sequence = present;
            state.applied = newest.map_or(state.applied, |(position, _)| position);
            state.last = state.last.max(state.applied);
            state.at = state.at.max(at);
        });
        answers
            .into_iter()
            .for_each(|answer| answer.send(&self.metrics));
        self.roll(Store::roll_if_full);
        Ok(())
    }

    fn stage(&self, log: &LogId) -> Result<Staged, WriteError> {
        let mut staged = Staged {
            batch: Batch::new(&self.store),
            count: 0,
            at: 0,
            landed: Vec::new(),
        };
        let batch = &mut staged.batch;
        for (position, message) in &self.messages {
            let Some(through) = log.through(*position) else {
                return Err(self.halt("its sequences are used up"));
            };
            staged.count += 1;
            staged.at = message.at.max(staged.at);
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
                    outcomes.push(outcome);
                }
                let appender = message.appender;
                staged
                    .landed
                    .extend(appender.map(|appender| (appender, outcomes)));
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
        tracing::error!(%error, "the log is no longer applied; reading goes on");
        self.log
            .status
            .change(|state| state.halted = Some(error.clone()));
        WriteError::LogHalted(error)
    }

    /// One of this core's own batches was applied: the answers that may be given now.
    fn land(
        &mut self,
        appender: Appender,
        outcomes: Vec<Outcome>,
        present: Sequence,
    ) -> Vec<Answer> {
        let Some(waiters) = self.flights.land(appender) else {
            return Vec::new();
        };
        self.metrics.batch_size.observe(waiters.len() as f64);
        let answers = waiters.into_iter().zip(outcomes);
        let answers = answers.map(|(waiter, outcome)| {
            let mut answer = waiter.answer(outcome, present);
            answer.note(self.hub.traced());
            answer
        });
        self.flights.applied(appender.number, answers.collect())
    }

    /// Makes a batch safe and visible.
    fn commit(&mut self, batch: Batch) -> Result<Vec<Applied>, WriteError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.check_room(&batch)?;
        let started = Instant::now();
        let applied = batch.commit().map_err(|error| self.fail(&error))?;
        self.metrics
            .sync_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(applied)
    }

    fn roll(&self, roll: impl FnOnce(&Store) -> Result<(), StoreError>) {
        if self.failed.is_none()
            && let Err(error) = roll(&self.store)
        {
            tracing::error!(%error, "begin a new segment");
        }
    }

    fn cut(&self) -> Result<Cut, WriteError> {
        if let Some((_, refused)) = &self.failed {
            return Err(refused.clone());
        }
        self.store.cut().map_err(|error| {
            tracing::error!(%error, "begin a new segment for a snapshot");
            WriteError::Failed(error.to_string())
        })
    }

    /// sled takes no more writes after a failed one, so it is never let run into a full disk.
    fn check_room(&self, batch: &Batch) -> Result<(), WriteError> {
        let (free, reserve) = match self.store.disk().room() {
            Ok(disk) => disk,
            Err(error) => return Err(WriteError::Failed(error.to_string())),
        };
        // sled writes a page anew for each change of it, and grows its file by half a MiB.
        let needed = (batch.bytes() as u64)
            .saturating_mul(4)
            .saturating_add(reserve);
        if free < needed {
            return Err(WriteError::DiskFull { free, reserve });
        }
        Ok(())
    }

    fn fail(&mut self, error: &StoreError) -> WriteError {
        tracing::error!(%error, "commit");
        let refused = match (error.is_full(), self.store.disk().room()) {
            (true, Ok((free, reserve))) => WriteError::DiskFull { free, reserve },
            _ => WriteError::Failed(error.to_string()),
        };
        self.failed = Some((Instant::now(), refused.clone()));
        refused
    }

    /// Opens a store that failed again, at most once a second. Whether the failed batch is there
    /// is known only then, so readers start over from their cursors.
    fn recover(&mut self) -> Result<(), WriteError> {
        let Some((since, refused)) = &self.failed else {
            return Ok(());
        };
        if since.elapsed() < REOPEN_AFTER {
            return Err(refused.clone());
        }
        if let Err(error) = self.store.reopen() {
            return Err(self.fail(&error));
        }
        tracing::warn!("the store was opened again after it failed");
        self.failed = None;
        let present = self.store.last_sequence();
        self.hub.reset(present);
        // What the journal has is not applied once more.
        if let Some(log) = self.log.id {
            let applied = log.position(present);
            self.messages.retain(|(position, _)| *position > applied);
        }
        Ok(())
    }
}

/// Messages applied to a batch, and not committed.
struct Staged {
    batch: Batch,
    count: usize,
    /// The newest time among them.
    at: Millis,
    landed: Vec<(Appender, Vec<Outcome>)>,
}

/// Waits until then.
async fn past(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

/// What the log brings next; 0: nothing more.
async fn next_events(tail: &mut Option<mpsc::Receiver<Event>>, events: &mut Vec<Event>) -> usize {
    match tail {
        Some(tail) => tail.recv_many(events, EVENTS).await,
        None => 0,
    }
}
