//! The writer's thread: what is asked for goes to the log, as batches, and what the log brings to the
//! store.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    entry::Entry,
    hub::Hub,
    log::{Appended, Arrived, ENTRIES_MAX, Event, OVERHEAD},
    metrics::Metrics,
    store::{Batch, Store},
};

use super::{
    Attached, WriteError, WriterSettings,
    apply::Stuck,
    commit::Commits,
    flight::{Answer, Flights, Waiter},
    request::{Control, Queued, Request},
};

/// What is taken from a log elsewhere at once, and waits to be applied.
const EVENTS: usize = 256;

/// Batches under way in a log elsewhere, and bytes in them; with more, requests wait.
pub(super) const FLIGHTS: usize = 32;
const FLIGHT_BYTES: usize = FLIGHTS * MESSAGE_BYTES;

/// Bytes of a batch for a log elsewhere, at most; one entry may be larger.
const MESSAGE_BYTES: usize = 512 << 10;

/// How long the end of the service waits for what is under way in a log elsewhere.
const LANDING: Duration = Duration::from_secs(3);

pub(super) struct WriterThread {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settings: WriterSettings,
    pub(super) log: Attached,
    pub(super) commits: Commits,
    pub(super) flights: Flights,
    /// From the log, and not applied yet.
    pub(super) messages: VecDeque<Arrived>,
    pub(super) stuck: Option<Stuck>,
    /// Taken from the queue. Nothing more is, while something waits here for room.
    waiting: VecDeque<Queued>,
    /// Of those, one that did not fit into the last batch.
    next: Option<(Entry, Waiter)>,
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
            hub,
            commits: Commits::new(store, metrics.clone()),
            metrics,
            settings,
            log,
            flights: Flights::default(),
            messages: VecDeque::new(),
            stuck: None,
            waiting: VecDeque::new(),
            next: None,
        }
    }

    pub async fn run(
        mut self,
        mut queue: mpsc::Receiver<Queued>,
        mut controls: mpsc::Receiver<Control>,
        stop: CancellationToken,
    ) {
        let mut tail = self.log.log.tail();
        let (mut requests, mut events) = (Vec::new(), Vec::new());
        let mut has_ended = false;
        // By then what is under way in a log elsewhere has landed, or is left to who asked.
        let mut landing = None;
        loop {
            if stop.is_cancelled() {
                queue.close();
                if self.log.id.is_some() {
                    landing.get_or_insert_with(|| Instant::now() + LANDING);
                }
            }
            let again = self.stuck.as_ref().map(|stuck| stuck.again);
            tokio::select! {
                count = queue.recv_many(&mut requests, self.settings.batch_requests),
                    if self.is_idle() && !has_ended => has_ended = count == 0,
                count = next_events(&mut tail, &mut events),
                    if tail.is_some() && self.messages.len() < EVENTS =>
                {
                    if count == 0 {
                        tail = None;
                    }
                }
                Some(control) = controls.recv() => self.obey(control),
                () = past(again), if again.is_some() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = past(landing), if landing.is_some() => return,
            }
            let began = Instant::now();
            self.take_in(events.drain(..));
            self.go_on();
            self.waiting.extend(requests.drain(..));
            self.write();
            self.rest(began.elapsed(), &stop).await;
            if has_ended && self.is_idle() && self.flights.is_empty() {
                return;
            }
        }
    }

    /// Where packing can't keep up, leaves it some of the time.
    async fn rest(&self, worked: Duration, stop: &CancellationToken) {
        let rest = self.commits.rest_after(worked);
        if !rest.is_zero() {
            self.metrics.rests.inc_by(rest.as_secs_f64());
            // The end of the service waits for nothing.
            let _ = timeout(rest, stop.cancelled()).await;
        }
    }

    /// Whether nothing waits that was taken from the queue.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.next.is_none()
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Roll => self.commits.roll(Store::roll),
            Control::Cut(answer) => {
                let cut = match &self.stuck {
                    Some(stuck) => Err(stuck.why.clone()),
                    None => self.commits.cut(),
                };
                // Whoever asked may have gone.
                drop(answer.send(cut));
            }
        }
    }

    /// Appends what is asked for, as far as there is room for it.
    fn write(&mut self) {
        if let Some(stuck) = self.stuck.as_ref().filter(|_| self.log.id.is_some()) {
            // It would stand in the log, and nobody could be answered.
            if let Some((_, waiter)) = self.next.take() {
                waiter.refuse(&stuck.why);
            }
            let refused = self.waiting.drain(..);
            refused.for_each(|queued| queued.request.refuse(&stuck.why));
            return;
        }
        while self.has_room() {
            let Bundle {
                entries,
                waiters,
                bytes,
            } = self.bundle();
            if entries.is_empty() {
                return;
            }
            match self.log.log.append(entries) {
                Appended::Here(entries) => self.apply_here(entries, waiters),
                Appended::Sent(ticket) => self.flights.begin(ticket, waiters, bytes),
            }
        }
    }

    fn has_room(&self) -> bool {
        let (count, bytes) = self.flights.size();
        count < FLIGHTS && bytes < FLIGHT_BYTES
    }

    /// What is next, as one batch that the log takes; of what it never takes, nothing.
    fn bundle(&mut self) -> Bundle {
        let largest = self.log.status.max_payload().unwrap_or(usize::MAX);
        let full = match self.log.id {
            Some(_) => largest.min(MESSAGE_BYTES),
            None => usize::MAX,
        };
        let mut bundle = Bundle {
            bytes: OVERHEAD,
            ..Bundle::default()
        };
        loop {
            let next = self.next.take();
            let next = next.or_else(|| {
                let queued = std::iter::from_fn(|| self.waiting.pop_front());
                let mut asked = queued.map(|queued| queued.request);
                asked.find_map(Request::into_entry)
            });
            let Some((entry, waiter)) = next else {
                return bundle;
            };
            let weight = entry.weight();
            if weight + OVERHEAD > largest {
                waiter.refuse(&WriteError::TooLarge {
                    bytes: weight + OVERHEAD,
                    most: largest,
                });
                continue;
            }
            let is_full = bundle.bytes + weight > full || bundle.entries.len() >= ENTRIES_MAX;
            if is_full && !bundle.entries.is_empty() {
                self.next = Some((entry, waiter));
                return bundle;
            }
            bundle.bytes += weight;
            bundle.entries.push(entry);
            bundle.waiters.push(waiter);
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
        let mut batch = self.commits.batch();
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
                batch = self.commits.batch();
            }
        }
        self.commit_here(batch, answers);
    }

    fn commit_here(&mut self, batch: Batch, mut answers: Vec<Answer>) {
        let requests = answers.len();
        match self.commits.commit(batch) {
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
            Err(refused) => {
                if self.commits.has_failed() {
                    self.stick(refused.clone());
                }
                answers
                    .into_iter()
                    .for_each(|answer| answer.refuse(&refused));
            }
        }
        self.commits.roll(Store::roll_if_full);
    }
}

/// Entries that go to the log at once, who waits for them, and how large they are.
#[derive(Default)]
struct Bundle {
    entries: Vec<Entry>,
    waiters: Vec<Waiter>,
    bytes: usize,
}

/// Waits until then.
async fn past(deadline: Option<Instant>) {
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
