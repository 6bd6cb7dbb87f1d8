//! What is done with one connection to a log elsewhere: it is looked whether the log is the one that it
//! was and reaches to where this core stands; what comes is handed on, in order and without holes;
//! and what this core appends is sent until it has come back.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::store::{Appender, Appenders};

use super::{
    Arrived, Event, LogError, LogId, LogStatus, Message, OVERHEAD, Position,
    bounds::{check, compare},
    broker::{Bounds, Broker, Delivered, Origin},
    clock::CheckedClock,
    message::Unreadable,
    outbox::{Outbox, Send},
    remote::Joined,
};

/// How often it is looked where the log ends.
const LOOK: Duration = Duration::from_secs(2);

/// How long the engine may take to say it, and to take a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// A tail that is behind the log's end and brings nothing for so long is made anew.
const SILENCE: Duration = Duration::from_secs(3);

/// In a log in which nothing happens, the time is told this often, so that retention goes on.
const QUIET: Duration = Duration::from_secs(30);

/// Of a message that changes nothing: nobody waits for it.
const NOBODY: u64 = 0;

pub(super) struct Link {
    origin: Origin,
    status: LogStatus,
    /// How long this core may be behind before it says so.
    lag: Duration,
    /// The last message that was handed on, and its CRC-32, where it is known.
    after: Position,
    last_message: Option<u32>,
    /// As whoever applies the log knows them.
    appenders: Appenders,
    outbox: Outbox,
    appends: mpsc::UnboundedReceiver<(u64, Bytes)>,
    /// What the writer has not taken yet; while there is any, nothing is read.
    pending: VecDeque<Event>,
    events: mpsc::Sender<Event>,
    /// A message came that was the next one.
    has_moved: bool,
    /// When this core was last known to have applied all, and how far the log reached then.
    ahead: (Instant, Position),
    clock: CheckedClock,
}

/// Why a connection is given up.
pub(super) enum End {
    Away(String),
    /// It may be so only because the engine is in trouble.
    Doubt(String),
    Refused(LogError),
    /// Nobody wants to know any more.
    Stopped,
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(why) => Self::Away(why),
            refused @ LogError::Refused(_) => Self::Refused(refused),
        }
    }
}

/// When the tail last brought something, and this core last appended something.
struct Quiet {
    heard: Instant,
    appended: Instant,
}

impl Link {
    pub fn new(
        joined: &Joined,
        origin: Origin,
        status: LogStatus,
        appends: mpsc::UnboundedReceiver<(u64, Bytes)>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            after: status.now().applied,
            last_message: joined.progress.last_message,
            appenders: joined.progress.appenders.clone(),
            lag: joined.settings.lag,
            origin,
            status,
            outbox: Outbox::new(),
            appends,
            pending: VecDeque::new(),
            events,
            has_moved: false,
            ahead: (Instant::now(), 0),
            clock: CheckedClock::new(),
        }
    }

    /// Whether something came since this was last asked.
    pub fn take_has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Hands on what the writer has not taken yet, and then does nothing more.
    pub async fn flush(&mut self) {
        while !self.pending.is_empty()
            && let Ok(room) = self.events.reserve().await
        {
            // The condition of this loop.
            if let Some(event) = self.pending.pop_front() {
                room.send(event);
            }
        }
        std::future::pending().await
    }

    /// Ends when the writer has gone.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    /// With one connection, for as long as all is well.
    pub async fn session(&mut self, broker: &dyn Broker) -> End {
        match self.serve(broker).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve(&mut self, broker: &dyn Broker) -> Result<std::convert::Infallible, End> {
        let log = broker.origin().log;
        if log != self.origin.log {
            return Err(End::Refused(self.other_log(&log)));
        }
        let bounds = look(broker).await?;
        check(bounds, self.after).map_err(|error| match error {
            LogError::Refused(why) => End::Doubt(why),
            away @ LogError::Away(_) => away.into(),
        })?;
        // Of a log that no longer has it, only the bounds can be compared.
        let is_there = self.after > 0 && bounds.first <= self.after;
        let known = self.last_message.filter(|_| is_there);
        let from = self.after + u64::from(known.is_none());
        let mut tail = within(broker.tail(from)).await?;
        if let Some(crc) = known {
            within(compare(&mut tail, self.after, crc)).await?;
        }
        self.clock = CheckedClock::new();
        self.begin(broker, bounds)?;
        let events = self.events.clone();
        let mut acks = FuturesUnordered::new();
        for send in self.outbox.all() {
            let sent = put(broker, send.ticket, self.stamped(&send)).await?;
            acks.push(sent);
        }
        let mut looking: Option<BoxFuture<'_, Result<Bounds, LogError>>> = None;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = Quiet {
            heard: Instant::now(),
            appended: Instant::now(),
        };
        loop {
            tokio::select! {
                room = events.reserve(), if !self.pending.is_empty() => {
                    let room = room.map_err(|_| End::Stopped)?;
                    // The condition of this branch.
                    if let Some(event) = self.pending.pop_front() {
                        room.send(event);
                    }
                    // Nothing was read meanwhile.
                    quiet.heard = Instant::now();
                }
                message = tail.next(), if self.pending.is_empty() => {
                    let Some(message) = message else {
                        return Err(End::Away("the tail ended".into()));
                    };
                    self.take(message?)?;
                    quiet.heard = Instant::now();
                }
                Some((ticket, body)) = self.appends.recv() => {
                    if let Some(send) = self.accept(broker, ticket, body)? {
                        let sent = put(broker, ticket, self.stamped(&send)).await?;
                        acks.push(sent);
                        quiet.appended = Instant::now();
                    }
                }
                Some((ticket, acked)) = acks.next() => {
                    acked?;
                    if ticket != NOBODY {
                        self.outbox.confirmed(ticket);
                        self.tell(Event::Safe(ticket))?;
                    }
                }
                _ = looks.tick(), if looking.is_none() => looking = Some(look(broker).boxed()),
                bounds = async { Some(looking.as_mut()?.await) }, if looking.is_some() => {
                    looking = None;
                    if let Some(bounds) = bounds {
                        self.seen(bounds?, quiet.heard)?;
                    }
                    self.clock.check()?;
                    let is_quiet = quiet.heard.elapsed() > QUIET && quiet.appended.elapsed() > QUIET;
                    if is_quiet && self.status.now().caught_up {
                        let sent = put(broker, NOBODY, self.time()).await?;
                        acks.push(sent);
                        quiet.appended = Instant::now();
                    }
                }
            }
        }
    }

    fn other_log(&self, found: &LogId) -> LogError {
        LogError::Refused(format!(
            "the log is {}, and this core's data is of {}: it was made anew, or `--log-url` or \
             `--log-name` is another cluster's. To go on with it, start with an empty data directory",
            found.id, self.origin.log.id
        ))
    }

    fn begin(&mut self, broker: &dyn Broker, bounds: Bounds) -> Result<(), End> {
        tracing::info!(
            first = bounds.first,
            last = bounds.last,
            applied = self.after,
            "connected to the log"
        );
        self.ahead = (Instant::now(), bounds.last);
        self.status.change(|state| {
            state.connected = true;
            state.away = None;
            state.max_payload = Some(broker.max_payload());
            (state.first, state.last) = (bounds.first, bounds.last);
            state.goal.get_or_insert(bounds.last);
        });
        for ticket in self.outbox.take_unconfirmed() {
            self.tell(Event::Safe(ticket))?;
        }
        let most = largest(broker);
        for (ticket, bytes) in self.outbox.take_larger(most) {
            self.tell(Event::TooLarge {
                ticket,
                bytes,
                most,
            })?;
        }
        Ok(())
    }

    /// One of ours, to be sent; `None`: it is never taken.
    fn accept(
        &mut self,
        broker: &dyn Broker,
        ticket: u64,
        body: Bytes,
    ) -> Result<Option<Send>, End> {
        let (bytes, most) = (body.len(), largest(broker));
        if bytes > most {
            self.tell(Event::TooLarge {
                ticket,
                bytes,
                most,
            })?;
            return Ok(None);
        }
        Ok(Some(self.outbox.push(ticket, body)))
    }

    fn stamped(&self, send: &Send) -> Bytes {
        Message::stamped(&send.body, self.clock.now(), Some(send.appender))
    }

    fn time(&self) -> Bytes {
        Message::stamped(&Message::body(&self.origin, &[]), self.clock.now(), None)
    }

    /// The next message.
    fn take(&mut self, delivered: Delivered) -> Result<(), End> {
        let Delivered {
            position,
            at,
            payload,
        } = delivered;
        if position <= self.after {
            return Ok(());
        }
        if position > self.after + 1 {
            return Err(End::Doubt(format!(
                "message {} of the log is missing, or was removed from it: {position} follows {}",
                self.after + 1,
                self.after
            )));
        }
        let mut message = self.decode(position, &payload)?;
        // The engine's clock is the log's, where it tells it: no core can put it forward.
        let at = at.unwrap_or(message.at);
        message.at = at;
        let entries = message.entries.into_iter();
        message.entries = entries.map(|entry| entry.timed(at)).collect();
        let (ticket, is_forgotten) = match message.appender {
            Some(appender) => self.turn(appender),
            None => (None, false),
        };
        self.has_moved = true;
        self.after = position;
        let crc = crc32fast::hash(&payload);
        self.last_message = Some(crc);
        self.tell(Event::Message(Arrived {
            position,
            message,
            crc,
            ticket,
        }))?;
        if is_forgotten {
            self.outbox.rename();
            return Err(End::Away(
                "the log has forgotten this core, which appended nothing for long: what is under way \
                 is sent again under a new id"
                    .into(),
            ));
        }
        Ok(())
    }

    fn decode(&self, position: Position, payload: &[u8]) -> Result<Message, End> {
        match Message::decode(payload) {
            Ok(message) if message.origin.log == self.origin.log => Ok(message),
            // Another core meant to begin the log at the same moment, and was not the first.
            Ok(message) if message.is_nothing() => Ok(Message::nothing(self.origin)),
            Ok(message) => Err(End::Refused(self.other_log(&message.origin.log))),
            Err(Unreadable::Newer) => Err(End::Refused(Unreadable::newer())),
            Err(Unreadable::Foreign) => {
                tracing::warn!(position, "the log has a message that is none of Mercurio's");
                Ok(Message::nothing(self.origin))
            }
        }
    }

    /// Which of ours it is, where it is the next one of its appender's; and whether it never will be,
    /// because this appender is not known any more. One of which nothing has come yet was not known
    /// before either: its first was lost, or is still under way, and is the next one when it comes.
    fn turn(&mut self, appender: Appender) -> (Option<u64>, bool) {
        let is_ours = appender.id == self.outbox.id();
        if self.appenders.is_next(appender) {
            self.appenders.note(&[appender]);
            let ticket = is_ours.then(|| self.outbox.seen(appender.number));
            return (ticket.flatten(), false);
        }
        let was_known = is_ours && self.outbox.has_landed();
        (None, was_known && !self.appenders.knows(appender.id))
    }

    /// Where the log ends now.
    fn seen(&mut self, bounds: Bounds, heard: Instant) -> Result<(), End> {
        let now = Instant::now();
        let lag = self.lag;
        let ahead = &mut self.ahead;
        self.status.change(|state| {
            state.first = bounds.first;
            state.last = bounds.last.max(state.applied);
            if state.applied >= ahead.1 {
                *ahead = (now, bounds.last);
            }
            state.lags = now.duration_since(ahead.0) > lag;
        });
        let is_read = self.pending.is_empty();
        if is_read && bounds.last > self.after && heard.elapsed() > SILENCE {
            return Err(End::Away("the tail is silent, and the log goes on".into()));
        }
        Ok(())
    }

    /// Hands it on, now or as soon as the writer takes it.
    fn tell(&mut self, event: Event) -> Result<(), End> {
        if !self.pending.is_empty() {
            self.pending.push_back(event);
            return Ok(());
        }
        match self.events.try_send(event) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => {
                self.pending.push_back(event);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(End::Stopped),
        }
    }
}

/// Bytes of the largest body that the engine takes, with its stamp.
fn largest(broker: &dyn Broker) -> usize {
    broker.max_payload().saturating_sub(OVERHEAD)
}

async fn look(broker: &dyn Broker) -> Result<Bounds, LogError> {
    within(broker.bounds()).await
}

/// An engine that doesn't answer is away.
async fn within<T>(answer: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(LogError::Away(format!(
            "no answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// Sends one; what is returned is done when it is safe.
async fn put(
    broker: &dyn Broker,
    ticket: u64,
    payload: Bytes,
) -> Result<impl Future<Output = (u64, Result<(), LogError>)> + use<>, LogError> {
    let sent = within(broker.append(payload)).await?;
    Ok(async move { (ticket, sent.await) })
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
