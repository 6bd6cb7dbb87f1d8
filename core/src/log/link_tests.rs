//! The link over a log in memory.

use std::sync::Arc;

use futures_util::stream;
use parking_lot::Mutex;
use tokio::{sync::watch, time::sleep};

use crate::{
    entry::{Entry, Millis, ReadStateSet, ReadTarget, RecipientId},
    store::{Progress, Retention},
};

use super::*;
use crate::log::{
    LogSettings, LogState,
    broker::{Confirmed, Tail},
};

/// A log in memory; its clones are the same one.
#[derive(Clone)]
struct Memory {
    origin: Origin,
    max_payload: usize,
    /// When it took each in, where it has a clock.
    at: Option<Millis>,
    messages: Arc<Mutex<Vec<Bytes>>>,
    count: watch::Sender<usize>,
}

impl Memory {
    fn new() -> Self {
        let origin = Origin {
            log: LogId::new(0),
            retention: Some(Retention::default()),
        };
        Self {
            origin,
            max_payload: 100_000,
            at: None,
            messages: Arc::default(),
            count: watch::Sender::new(0),
        }
    }

    fn put(&self, payload: Bytes) {
        self.messages.lock().push(payload);
        self.count.send_modify(|count| *count += 1);
    }

    fn put_by(&self, id: u64, number: u64) {
        let body = Message::body(&self.origin, &[mark(number)]);
        self.put(Message::stamped(&body, 1, Some(Appender { id, number })));
    }
}

#[tonic::async_trait]
impl Broker for Memory {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let last = self.messages.lock().len() as Position;
        Ok(Bounds { first: 1, last })
    }

    async fn append(&self, payload: Bytes) -> Result<Confirmed, LogError> {
        self.put(payload);
        Ok(async { Ok(()) }.boxed())
    }

    async fn tail(&self, from: Position) -> Result<Tail, LogError> {
        let next = (from, self.clone(), self.count.subscribe());
        let tail = stream::unfold(next, async |(position, memory, mut count)| {
            let is_there = |count: &usize| *count as Position >= position;
            count.wait_for(is_there).await.ok()?;
            let payload = memory.messages.lock()[position as usize - 1].clone();
            let delivered = Delivered {
                position,
                at: memory.at,
                payload,
            };
            Some((Ok(delivered), (position + 1, memory, count)))
        });
        Ok(tail.boxed())
    }
}

fn mark(up_to: u64) -> Entry {
    Entry::ReadStateSet(ReadStateSet {
        at: 1,
        recipient: RecipientId::new("ada").unwrap(),
        target: ReadTarget::UpTo(up_to),
        read: true,
    })
}

/// A link, and both of its ends.
struct Ends {
    link: Link,
    status: LogStatus,
    sends: mpsc::UnboundedSender<(u64, Bytes)>,
    events: mpsc::Receiver<Event>,
}

impl Ends {
    fn new(memory: &Memory, applied: Position, progress: Progress) -> Self {
        let state = LogState {
            applied,
            ..LogState::default()
        };
        let status = LogStatus::new(state, Some(memory.origin.log), Arc::default());
        let (sends, appends) = mpsc::unbounded_channel();
        let (told, events) = mpsc::channel(4);
        let joined = Joined {
            settings: LogSettings::default(),
            retention: Retention::default(),
            log: memory.origin.log,
            progress,
        };
        let link = Link::new(&joined, memory.origin, status.clone(), appends, told);
        Self {
            link,
            status,
            sends,
            events,
        }
    }

    fn append(&self, memory: &Memory, ticket: u64, entries: u64) {
        let entries: Vec<_> = (0..entries).map(mark).collect();
        let body = Message::body(&memory.origin, &entries);
        self.sends.send((ticket, body)).unwrap();
    }

    /// Runs it, through all trouble, until an event is as wanted.
    async fn until(&mut self, memory: &Memory, is_wanted: impl Fn(&Event) -> bool) -> Event {
        let Self { link, events, .. } = self;
        loop {
            let mut session = std::pin::pin!(link.session(memory));
            loop {
                tokio::select! {
                    end = &mut session => match end {
                        End::Away(_) => break,
                        End::Doubt(why) => panic!("{why}"),
                        End::Refused(error) => panic!("{error}"),
                        End::Stopped => panic!("stopped"),
                    },
                    event = events.recv() => {
                        let event = event.expect("it runs");
                        if is_wanted(&event) {
                            return event;
                        }
                    }
                }
            }
        }
    }

    /// Runs it until our own message comes back.
    async fn lands(&mut self, memory: &Memory, ticket: u64) -> Arrived {
        let event = self.until(
            memory,
            |event| matches!(event, Event::Message(arrived) if arrived.ticket == Some(ticket)),
        );
        match event.await {
            Event::Message(arrived) => arrived,
            other => panic!("{other:?}"),
        }
    }
}

/// How often the entries of a message are taken by whoever applies the whole log.
fn taken(memory: &Memory, entries: usize) -> usize {
    let mut appenders = Appenders::default();
    let mut count = 0;
    for payload in memory.messages.lock().iter() {
        let message = Message::decode(payload).unwrap();
        let Some(appender) = message.appender else {
            continue;
        };
        if appenders.is_next(appender) {
            appenders.note(&[appender]);
            count += usize::from(message.entries.len() == entries);
        }
    }
    count
}

#[tokio::test(start_paused = true)]
async fn who_was_forgotten_goes_on_under_a_new_id() {
    let memory = Memory::new();
    let mut ends = Ends::new(&memory, 0, Progress::default());
    ends.append(&memory, 1, 2);
    ends.lands(&memory, 1).await;
    for id in 0..300 {
        memory.put_by(1_000_000 + id, 1);
    }
    ends.append(&memory, 2, 3);
    ends.append(&memory, 3, 4);
    ends.lands(&memory, 2).await;
    ends.lands(&memory, 3).await;
    for entries in [2, 3, 4] {
        assert_eq!(taken(&memory, entries), 1, "once each");
    }
}

/// A connection that broke after the start: the first message was lost, and the second stands there.
#[tokio::test(start_paused = true)]
async fn whose_first_message_was_lost_is_not_forgotten() {
    let memory = Memory::new();
    let mut ends = Ends::new(&memory, 0, Progress::default());
    for (ticket, entries) in [(1, 2), (2, 3)] {
        let body = Message::body(&memory.origin, &vec![mark(1); entries]);
        let send = ends.link.outbox.push(ticket, body);
        if ticket == 2 {
            memory.put(ends.link.stamped(&send));
        }
    }
    let id = ends.link.outbox.id();
    ends.lands(&memory, 1).await;
    ends.lands(&memory, 2).await;
    assert_eq!(ends.link.outbox.id(), id);
    for entries in [2, 3] {
        assert_eq!(taken(&memory, entries), 1, "once each");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_the_log_takes_is_refused_and_holds_up_nothing() {
    let mut memory = Memory::new();
    // Before it is known how much the log takes, and afterwards.
    let mut ends = Ends::new(&memory, 0, Progress::default());
    memory.max_payload = 1000;
    for (first, sent_before) in [(1, true), (4, false)] {
        if !sent_before {
            assert_eq!(ends.status.max_payload(), Some(1000));
        }
        ends.append(&memory, first, 1);
        ends.append(&memory, first + 1, 100);
        ends.append(&memory, first + 2, 2);
        let refused = ends.until(&memory, |event| matches!(event, Event::TooLarge { .. }));
        let Event::TooLarge {
            ticket,
            bytes,
            most,
        } = refused.await
        else {
            panic!("not refused")
        };
        assert_eq!(ticket, first + 1);
        assert!(bytes > most && most <= 1000, "{bytes} {most}");
        ends.lands(&memory, first + 2).await;
    }
    let messages = memory.messages.lock();
    assert!(messages.iter().all(|payload| payload.len() <= 1000));
}

/// Sent, and then a smaller bound: it would be sent for ever.
#[tokio::test(start_paused = true)]
async fn a_bound_that_is_lowered_takes_out_what_was_under_way() {
    let mut memory = Memory::new();
    let mut ends = Ends::new(&memory, 0, Progress::default());
    for (ticket, entries) in [(1, 1), (2, 100), (3, 2)] {
        let body = Message::body(&memory.origin, &vec![mark(1); entries]);
        ends.link.outbox.push(ticket, body);
    }
    memory.max_payload = 1000;
    ends.lands(&memory, 3).await;
    assert_eq!((taken(&memory, 100), taken(&memory, 1)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_grown_again_is_not_the_one_that_was_applied() {
    let memory = Memory::new();
    for number in 1..=5 {
        memory.put_by(7, number);
    }
    let crc = |place: usize| crc32fast::hash(&memory.messages.lock()[place]);
    let progress = |last_message| Progress::new(&[], last_message);
    let mut other = Ends::new(&memory, 3, progress(Some(crc(3))));
    let End::Refused(LogError::Refused(why)) = other.link.session(&memory).await else {
        panic!("not refused")
    };
    assert!(why.contains("message 3 of the log is not the one"), "{why}");
    // The right one, and one of which it is not known.
    for known in [Some(crc(2)), None] {
        let mut same = Ends::new(&memory, 3, progress(known));
        let is_next =
            |event: &Event| matches!(event, Event::Message(arrived) if arrived.position == 4);
        same.until(&memory, is_next).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_takes_nothing_is_seen_to_be_behind() {
    let memory = Memory::new();
    let mut ends = Ends::new(&memory, 0, Progress::default());
    ends.status.change(|state| state.caught_up = true);
    let status = ends.status.clone();
    let writing = tokio::spawn({
        let memory = memory.clone();
        async move {
            for number in 1..=100 {
                memory.put_by(7, number);
                sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let behind = async {
        let mut states = status.watch();
        let is_behind = |state: &LogState| state.lags && state.lag() >= 90;
        states.wait_for(is_behind).await.unwrap();
    };
    tokio::select! {
        end = ends.link.session(&memory) => match end {
            End::Away(why) => panic!("{why}"),
            _ => panic!("ended"),
        },
        behind = timeout(Duration::from_secs(60), behind) => behind.expect("it is seen"),
    }
    assert!(status.now().connected && status.now().unready().is_some());
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn the_engines_clock_counts_where_it_has_one() {
    let mut memory = Memory::new();
    memory.at = Some(77);
    let mut ends = Ends::new(&memory, 0, Progress::default());
    ends.append(&memory, 1, 1);
    let arrived = ends.lands(&memory, 1).await;
    assert_eq!(
        (arrived.message.at, arrived.message.entries[0].at()),
        (77, 77)
    );
}
