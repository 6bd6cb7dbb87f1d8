//! A log elsewhere, whichever engine has it: one task connects, looks whether the log is the one
//! that it was and reaches to where this core stands, hands on what comes, in order and without
//! holes, and sends what this core appends until it has come back.
//!
//! After any trouble the connection is made anew, and all is looked at again.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::SendError},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{clock, entry::Entry, store::Appender};

use super::{
    Appended, Event, Log, LogError, LogId, LogSettings, LogState, LogStatus, Message, Position,
    broker::{Bounds, Broker, connect_once},
    message::Unreadable,
    outbox::Outbox,
};

/// Messages that wait for the writer.
const EVENTS: usize = 64;

/// How often it is looked where the log ends.
const LOOK: Duration = Duration::from_secs(2);

/// How long the engine may take to say it, and to take a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// A tail that is behind the log's end and brings nothing for so long is made anew.
const SILENCE: Duration = Duration::from_secs(3);

/// In a log in which nothing happens, the time is told this often, so that retention goes on.
const QUIET: Duration = Duration::from_secs(30);

/// How often the same doubt has to come back before it is a fact: while a cluster has no leader,
/// its members may say less than they know.
const DOUBTS: u32 = 8;

/// This core's end of a log elsewhere.
pub(crate) struct Remote {
    log: LogId,
    status: LogStatus,
    appender: Appender,
    sends: mpsc::UnboundedSender<(u64, Bytes)>,
    events: Option<mpsc::Receiver<Event>>,
    _stop: tokio_util::sync::DropGuard,
}

/// Starts the task. `connected`: a connection that is there already.
pub(crate) fn open(
    settings: LogSettings,
    log: LogId,
    connected: Option<Box<dyn Broker>>,
    status: LogStatus,
    runtime: &Handle,
) -> Remote {
    let (sends, appends) = mpsc::unbounded_channel();
    let (told, events) = mpsc::channel(EVENTS);
    let stop = CancellationToken::new();
    let appender = Appender {
        id: fastrand::u64(1..),
        number: 0,
    };
    let link = Link {
        after: status.now().applied,
        settings,
        log,
        status: status.clone(),
        appender: appender.id,
        outbox: Outbox::default(),
        appends,
        events: told,
        doubts: 0,
        ahead: (Instant::now(), 0),
    };
    let stopped = stop.clone();
    runtime.spawn(async move { stopped.run_until_cancelled(link.run(connected)).await });
    Remote {
        log,
        status,
        appender,
        sends,
        events: Some(events),
        _stop: stop.drop_guard(),
    }
}

impl Log for Remote {
    fn append(&mut self, entries: Vec<Entry>) -> Appended {
        self.appender.number += 1;
        let payload = Message::encode(&self.log, clock::now(), Some(self.appender), &entries);
        // Where the task has ended, the log is halted, and says so.
        let _ = self.sends.send((self.appender.number, payload));
        Appended::Sent(self.appender)
    }

    fn tail(&mut self) -> Option<mpsc::Receiver<Event>> {
        self.events.take()
    }

    fn state(&self) -> LogState {
        self.status.now()
    }
}

struct Link {
    settings: LogSettings,
    log: LogId,
    status: LogStatus,
    /// Which messages are ours.
    appender: u64,
    /// The last message that was handed on.
    after: Position,
    outbox: Outbox,
    appends: mpsc::UnboundedReceiver<(u64, Bytes)>,
    events: mpsc::Sender<Event>,
    doubts: u32,
    /// When this core was last known to have applied all, and how far the log reached then.
    ahead: (Instant, Position),
}

/// Why a connection is given up.
enum End {
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

impl Link {
    async fn run(mut self, mut connected: Option<Box<dyn Broker>>) {
        let mut pause = Duration::from_millis(100);
        loop {
            let began = Instant::now();
            let end = match connected.take() {
                Some(broker) => self.session(&*broker).await,
                None => match connect_once(&self.settings, None).await {
                    Ok(broker) => self.session(&*broker).await,
                    Err(error) => error.into(),
                },
            };
            let why = match end {
                End::Stopped => return,
                End::Refused(error) => return self.halt(error).await,
                End::Doubt(why) => {
                    self.doubts += 1;
                    if self.doubts >= DOUBTS {
                        return self.halt(LogError::Refused(why)).await;
                    }
                    why
                }
                End::Away(why) => why,
            };
            if self.status.now().connected || self.doubts > 0 {
                tracing::warn!(why, "the log is away; it is connected to again");
            } else {
                tracing::debug!(why, "the log is still away");
            }
            self.status.change(|state| state.connected = false);
            if began.elapsed() > Duration::from_secs(10) {
                pause = Duration::from_millis(100);
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn halt(self, error: LogError) {
        tracing::error!(%error, "the log is no longer applied; reading goes on");
        self.status.change(|state| {
            state.connected = false;
            state.halted = Some(error);
        });
        // Whoever holds the other end finds it open, and the state said.
        self.events.closed().await;
    }

    /// With one connection, for as long as all is well.
    async fn session(&mut self, broker: &dyn Broker) -> End {
        match self.serve(broker).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve(&mut self, broker: &dyn Broker) -> Result<std::convert::Infallible, End> {
        if broker.log() != self.log {
            return Err(End::Refused(self.other_log(&broker.log())));
        }
        let bounds = look(broker).await?;
        self.check(bounds)?;
        let mut tail = within(broker.tail(self.after + 1)).await?;
        self.begin(bounds);
        for number in self.outbox.take_unconfirmed() {
            self.tell(Event::Safe(number)).await?;
        }
        let mut acks = FuturesUnordered::new();
        let again: Vec<_> = self
            .outbox
            .all()
            .map(|sent| (sent.number, sent.payload.clone()))
            .collect();
        for (number, payload) in again {
            let sent = within(broker.append(payload)).await?;
            acks.push(numbered(number, sent));
        }
        let mut looking: Option<BoxFuture<'_, Result<Bounds, LogError>>> = None;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut appended = Instant::now();
        loop {
            tokio::select! {
                message = tail.next() => {
                    let Some(message) = message else {
                        return Err(End::Away("the tail ended".into()));
                    };
                    let (position, payload) = message?;
                    self.take(position, &payload).await?;
                    heard = Instant::now();
                }
                Some((number, payload)) = self.appends.recv() => {
                    self.outbox.push(number, payload.clone());
                    let sent = within(broker.append(payload)).await?;
                    acks.push(numbered(number, sent));
                    appended = Instant::now();
                }
                Some((number, acked)) = acks.next() => {
                    acked?;
                    if number > 0 {
                        self.outbox.confirmed(number);
                        self.tell(Event::Safe(number)).await?;
                    }
                }
                _ = looks.tick(), if looking.is_none() => looking = Some(look(broker).boxed()),
                bounds = async { Some(looking.as_mut()?.await) }, if looking.is_some() => {
                    looking = None;
                    if let Some(bounds) = bounds {
                        self.seen(bounds?, heard)?;
                    }
                    let is_quiet = heard.elapsed() > QUIET && appended.elapsed() > QUIET;
                    if is_quiet && self.status.now().caught_up {
                        let time = Message::encode(&self.log, clock::now(), None, &[]);
                        let sent = within(broker.append(time)).await?;
                    acks.push(numbered(0, sent));
                        appended = Instant::now();
                    }
                }
            }
        }
    }

    /// Whether the log reaches from where this core stands to where it should end.
    fn check(&mut self, bounds: Bounds) -> Result<(), End> {
        check(bounds, self.after).map_err(|error| match error {
            LogError::Refused(why) => End::Doubt(why),
            away @ LogError::Away(_) => away.into(),
        })?;
        Ok(())
    }

    fn other_log(&self, found: &LogId) -> LogError {
        LogError::Refused(format!(
            "the log is {}, and this core's data is of {}: it was made anew, or `--log-url` or \
             `--log-name` is another cluster's. To go on with it, start with an empty data directory",
            found.id, self.log.id
        ))
    }

    fn begin(&mut self, bounds: Bounds) {
        tracing::info!(
            first = bounds.first,
            last = bounds.last,
            applied = self.after,
            "connected to the log"
        );
        self.ahead = (Instant::now(), bounds.last);
        self.status.change(|state| {
            state.connected = true;
            (state.first, state.last) = (bounds.first, bounds.last);
            state.goal.get_or_insert(bounds.last);
        });
    }

    /// The next message.
    async fn take(&mut self, position: Position, payload: &[u8]) -> Result<(), End> {
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
        let message = match Message::decode(payload) {
            // Another core meant to begin the log at the same moment, and was not the first.
            Ok(message) if message.log != self.log && message.is_nothing() => {
                Message::nothing(self.log)
            }
            Ok(message) if message.log != self.log => {
                return Err(End::Refused(self.other_log(&message.log)));
            }
            Ok(message) => message,
            Err(Unreadable::Newer) => return Err(End::Refused(Unreadable::newer())),
            Err(Unreadable::Foreign) => {
                tracing::warn!(position, "the log has a message that is none of Mercurio's");
                Message::nothing(self.log)
            }
        };
        self.doubts = 0;
        if let Some(appender) = message.appender
            && appender.id == self.appender
        {
            self.outbox.seen(appender.number);
        }
        self.after = position;
        self.tell(Event::Message(position, message)).await
    }

    /// Where the log ends now.
    fn seen(&mut self, bounds: Bounds, heard: Instant) -> Result<(), End> {
        let now = Instant::now();
        let lag = self.settings.lag;
        let ahead = &mut self.ahead;
        self.status.change(|state| {
            state.first = bounds.first;
            state.last = bounds.last.max(state.applied);
            if state.applied >= ahead.1 {
                *ahead = (now, bounds.last);
            }
            state.lags = now.duration_since(ahead.0) > lag;
        });
        if bounds.last > self.after && heard.elapsed() > SILENCE {
            return Err(End::Away("the tail is silent, and the log goes on".into()));
        }
        Ok(())
    }

    /// A writer that takes nothing, as on a full disk, is behind: nobody else looks meanwhile.
    async fn tell(&self, event: Event) -> Result<(), End> {
        let sent = match timeout(self.settings.lag, self.events.reserve()).await {
            Ok(room) => room.map(|room| room.send(event)),
            Err(_) => {
                self.status.change(|state| state.lags = true);
                self.events.send(event).await.map_err(|_| SendError(()))
            }
        };
        sent.map_err(|_| End::Stopped)
    }
}

/// Whether a log reaches from where a core stands to where it should end.
pub(crate) fn check(bounds: Bounds, applied: Position) -> Result<(), LogError> {
    let Bounds { first, last } = bounds;
    if last < applied {
        return Err(LogError::Refused(format!(
            "the log ends with message {last}, and this core has applied {applied}: it was \
             restored from an older state, or lost what it had. To go on with it, every core has \
             to start with an empty data directory"
        )));
    }
    if first > applied + 1 {
        return Err(LogError::Refused(format!(
            "the log begins with message {first}, and this core has applied {applied} only: what \
             is between them is gone. Start with an empty data directory and a `--peer-url`, from \
             which it is filled"
        )));
    }
    Ok(())
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

async fn numbered(
    number: u64,
    acked: impl Future<Output = Result<(), LogError>>,
) -> (u64, Result<(), LogError>) {
    (number, acked.await)
}
