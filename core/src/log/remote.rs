//! A log elsewhere, whichever engine has it: one task connects, and after any trouble makes the
//! connection anew and looks at all again. What is done with one connection: `link.rs`.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    entry::Entry,
    store::{Progress, Retention},
};

use super::{
    Appended, Event, Log, LogError, LogId, LogSettings, LogState, LogStatus, Message,
    broker::{Broker, Origin, connect_once},
    link::{End, Link},
};

/// Messages that wait for the writer.
const EVENTS: usize = 64;

/// How often the same doubt has to come back before it is a fact: while a cluster has no leader,
/// its members may say less than they know.
pub(crate) const DOUBTS: u32 = 8;

/// This core's end of a log elsewhere.
pub(crate) struct Remote {
    origin: Origin,
    status: LogStatus,
    last_ticket: u64,
    sends: mpsc::UnboundedSender<(u64, Bytes)>,
    events: Option<mpsc::Receiver<Event>>,
    _stop: DropGuard,
}

/// Which log a core is on, and how far it has applied it.
pub(crate) struct Joined {
    pub settings: LogSettings,
    pub retention: Retention,
    pub log: LogId,
    pub progress: Progress,
}

/// Starts the task. `connected`: a connection that is there already.
pub(crate) fn open(
    joined: Joined,
    connected: Option<Box<dyn Broker>>,
    status: LogStatus,
    runtime: &Handle,
) -> Remote {
    let (sends, appends) = mpsc::unbounded_channel();
    let (told, events) = mpsc::channel(EVENTS);
    let stop = CancellationToken::new();
    let origin = Origin {
        log: joined.log,
        retention: Some(joined.retention),
    };
    let link = Link::new(&joined, origin, status.clone(), appends, told);
    let task = Task {
        settings: joined.settings,
        retention: joined.retention,
        status: status.clone(),
        link,
    };
    let stopped = stop.clone();
    runtime.spawn(async move { stopped.run_until_cancelled(task.run(connected)).await });
    Remote {
        origin,
        status,
        last_ticket: 0,
        sends,
        events: Some(events),
        _stop: stop.drop_guard(),
    }
}

impl Log for Remote {
    fn append(&mut self, entries: Vec<Entry>) -> Appended {
        self.last_ticket += 1;
        let body = Message::body(&self.origin, &entries);
        // Where the task has ended, the log is halted, and says so.
        let _ = self.sends.send((self.last_ticket, body));
        Appended::Sent(self.last_ticket)
    }

    fn tail(&mut self) -> Option<mpsc::Receiver<Event>> {
        self.events.take()
    }

    fn state(&self) -> LogState {
        self.status.now()
    }
}

struct Task {
    settings: LogSettings,
    retention: Retention,
    status: LogStatus,
    link: Link,
}

impl Task {
    async fn run(mut self, mut connected: Option<Box<dyn Broker>>) {
        let mut pause = Duration::from_millis(100);
        let mut doubts = 0;
        loop {
            let began = Instant::now();
            let end = match connected.take() {
                Some(broker) => self.link.session(&*broker).await,
                None => match connect_once(&self.settings, self.retention, None).await {
                    Ok(broker) => self.link.session(&*broker).await,
                    Err(error) => error.into(),
                },
            };
            if self.link.take_has_moved() {
                doubts = 0;
            }
            let why = match end {
                End::Stopped => return,
                End::Refused(error) => return self.halt(error).await,
                End::Doubt(why) => {
                    doubts += 1;
                    if doubts >= DOUBTS {
                        return self.halt(LogError::Refused(why)).await;
                    }
                    why
                }
                End::Away(why) => why,
            };
            if self.status.now().connected || doubts > 0 {
                tracing::warn!(why, "the log is away; it is connected to again");
            } else {
                tracing::debug!(why, "the log is still away");
            }
            self.status.change(|state| {
                state.connected = false;
                state.away = Some(why);
            });
            if began.elapsed() > Duration::from_secs(10) {
                pause = Duration::from_millis(100);
            }
            // It ends by the time only.
            let _ = timeout(pause.mul_f64(0.5 + fastrand::f64()), self.link.flush()).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn halt(self, error: LogError) {
        // Who reads the line finds it so.
        self.status.change(|state| {
            state.connected = false;
            state.halted = Some(error.clone());
        });
        tracing::error!(%error, "the log is no longer applied; reading goes on");
        // Whoever holds the other end finds it open, and the state said.
        self.link.closed().await;
    }
}
