//! The writer over a log that takes everything and brings back what a test says, and over a store that
//! fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    entry::{Entry, Published},
    log::{Appended, Arrived, Event, LogState, Message, Origin},
    store::{Appender, Retention, StoreSettings},
};

use super::*;

/// What was appended: batches, and the bytes of the largest and of all.
#[derive(Default)]
struct Taken {
    batches: AtomicUsize,
    largest: AtomicUsize,
    bytes: AtomicUsize,
}

/// What the log brings at once when this batch, by its ticket, is appended.
type Echo = Box<dyn FnMut(u64, Vec<Entry>) -> Vec<Event> + Send>;

struct Scripted {
    taken: Arc<Taken>,
    echo: Echo,
    brings: mpsc::Sender<Event>,
    events: Option<mpsc::Receiver<Event>>,
    ticket: u64,
}

impl Log for Scripted {
    fn append(&mut self, entries: Vec<Entry>) -> Appended {
        let bytes = entries.iter().map(Entry::weight).sum();
        self.taken.batches.fetch_add(1, Ordering::SeqCst);
        self.taken.largest.fetch_max(bytes, Ordering::SeqCst);
        self.taken.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.ticket += 1;
        for event in (self.echo)(self.ticket, entries) {
            self.brings.try_send(event).expect("room");
        }
        Appended::Sent(self.ticket)
    }

    fn tail(&mut self) -> Option<mpsc::Receiver<Event>> {
        self.events.take()
    }

    fn state(&self) -> LogState {
        LogState::default()
    }
}

struct Setup {
    writer: Writer,
    handle: WriterHandle,
    taken: Arc<Taken>,
    log: LogId,
    status: LogStatus,
    events: mpsc::Sender<Event>,
    store: Store,
    metrics: Arc<Metrics>,
    _dir: TempDir,
}

/// Over a log that brings nothing back.
fn setup(settings: StoreSettings) -> Setup {
    setup_with(settings, LogId::new(0), |_, _| Vec::new())
}

fn setup_with(
    settings: StoreSettings,
    log: LogId,
    echo: impl FnMut(u64, Vec<Entry>) -> Vec<Event> + Send + 'static,
) -> Setup {
    setup_bounded(WriterSettings::default(), settings, log, echo)
}

fn setup_bounded(
    bounds: WriterSettings,
    settings: StoreSettings,
    log: LogId,
    echo: impl FnMut(u64, Vec<Entry>) -> Vec<Event> + Send + 'static,
) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_shared(dir.path(), settings, Retention::default(), &log).unwrap();
    let metrics: Arc<Metrics> = Arc::default();
    let status = LogStatus::new(LogState::caught_up(0), Some(log), metrics.clone());
    let hub = Arc::new(Hub::with(0, Default::default(), metrics.clone()));
    let taken: Arc<Taken> = Arc::default();
    let (events, brought) = mpsc::channel(128);
    let attached = Attached {
        log: Box::new(Scripted {
            taken: taken.clone(),
            echo: Box::new(echo),
            brings: events.clone(),
            events: Some(brought),
            ticket: 0,
        }),
        id: Some(log),
        status: status.clone(),
        wait: Duration::from_secs(10),
    };
    let started = Writer::start(store.clone(), hub, attached, &bounds, metrics.clone());
    let (writer, handle) = started.unwrap();
    Setup {
        writer,
        handle,
        taken,
        log,
        status,
        events,
        store,
        metrics,
        _dir: dir,
    }
}

fn draft(bytes: usize) -> Draft {
    Draft {
        source_id: "s".into(),
        event_id: None,
        audience: Audience::Everyone,
        topic: String::new(),
        data: "d".repeat(bytes),
        ttl: None,
    }
}

/// A message of the log; with a ticket, of ours.
fn arrived(log: &LogId, position: u64, ticket: Option<u64>, entries: Vec<Entry>) -> Event {
    let appender = match ticket {
        Some(number) => Appender { id: 1, number },
        // Each of another core.
        None => Appender {
            id: 1 + position,
            number: 1,
        },
    };
    let message = Message {
        origin: Origin {
            log: *log,
            retention: None,
        },
        at: 1,
        appender: Some(appender),
        entries,
    };
    Event::Message(Arrived {
        position,
        message,
        crc: 0,
        ticket,
    })
}

/// Waits until it is so; the test's own time-out is the deadline.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_under_way_is_bounded_in_bytes() {
    let setup = setup(StoreSettings::default());
    let mut waiting = Vec::new();
    for _ in 0..1000 {
        let writer = setup.writer.clone();
        waiting.push(tokio::spawn(
            async move { writer.publish(draft(65_000)).await },
        ));
    }
    let taken = &setup.taken;
    let is_full = || {
        taken.bytes.load(Ordering::SeqCst) >= 15 << 20 || taken.batches.load(Ordering::SeqCst) >= 32
    };
    until(is_full).await;
    // A cut is answered all the same, and shows that the thread has been through its loop.
    for _ in 0..3 {
        let writer = setup.writer.clone();
        let cut = tokio::task::spawn_blocking(move || writer.cut());
        cut.await.unwrap().unwrap();
    }
    assert!(taken.bytes.load(Ordering::SeqCst) <= 17 << 20);
    assert!(taken.batches.load(Ordering::SeqCst) <= 33);
    assert!(taken.largest.load(Ordering::SeqCst) <= 512 << 10);
    waiting.iter().for_each(|waiting| waiting.abort());
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    let bounds = WriterSettings {
        queue_bytes: 1 << 20,
        ..WriterSettings::default()
    };
    let settings = StoreSettings::default();
    let setup = setup_bounded(bounds, settings, LogId::new(0), |_, _| Vec::new());
    let publish = |bytes| {
        let writer = setup.writer.clone();
        tokio::spawn(async move { writer.publish(draft(bytes)).await })
    };
    // The log takes some of them, and brings none back; then some wait, and one is refused.
    let mut waiting = Vec::new();
    let has_taken_all = || setup.taken.batches.load(Ordering::SeqCst) >= thread::FLIGHTS;
    let refused = loop {
        waiting.push(publish(65_000));
        tokio::task::yield_now().await;
        let done = waiting
            .iter()
            .position(tokio::task::JoinHandle::is_finished);
        if let Some(done) = done {
            let refused = waiting.swap_remove(done).await.unwrap();
            if has_taken_all() {
                break refused;
            }
        }
    };
    assert_eq!(refused, Err(WriteError::Full { bytes: 1 << 20 }));
    let taken = setup.taken.bytes.load(Ordering::SeqCst);
    let whole = taken + (2 << 20);
    waiting.retain(|waiting| !waiting.is_finished());
    assert!(waiting.len() * 65_000 <= whole, "{}", waiting.len());
    // Many that are small have their place.
    waiting.extend((0..4).map(|_| publish(10)));
    waiting.iter().for_each(|waiting| waiting.abort());
}

#[tokio::test]
async fn a_batch_ends_before_what_the_log_takes_and_what_never_fits_is_refused() {
    let setup = setup(StoreSettings::default());
    setup
        .status
        .change(|state| state.max_payload = Some(10_000));
    let started = Instant::now();
    let refused = setup.writer.publish(draft(20_000)).await.unwrap_err();
    assert!(
        matches!(refused, WriteError::TooLarge { bytes, most: 10_000 } if bytes > 20_000),
        "{refused}"
    );
    assert!(started.elapsed() < Duration::from_secs(5), "at once");
    for _ in 0..20 {
        let writer = setup.writer.clone();
        tokio::spawn(async move { writer.publish(draft(3000)).await });
    }
    let taken = &setup.taken;
    until(|| taken.bytes.load(Ordering::SeqCst) >= 20 * 3000).await;
    assert!(taken.largest.load(Ordering::SeqCst) <= 10_000);
}

/// As on a full disk: nothing is committed.
#[tokio::test]
async fn while_nothing_can_be_applied_all_are_told_at_once() {
    let setup = setup(StoreSettings {
        disk_reserve_bytes: Some(u64::MAX / 2),
        ..StoreSettings::default()
    });
    assert!(setup.status.now().is_ready());
    let arrived = arrived(&setup.log, 1, None, Vec::new());
    setup.events.send(arrived).await.unwrap();
    until(|| setup.status.stuck().is_some()).await;
    let why = setup.status.now().unready().expect("not ready");
    assert!(why.contains("the disk is full"), "{why}");
    let started = Instant::now();
    let refused = setup.writer.publish(draft(10)).await.unwrap_err();
    assert!(matches!(refused, WriteError::DiskFull { .. }), "{refused}");
    let writer = setup.writer.clone();
    let cut = tokio::task::spawn_blocking(move || writer.cut()).await;
    assert!(matches!(cut.unwrap(), Err(WriteError::DiskFull { .. })));
    assert!(started.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(setup.taken.batches.load(Ordering::SeqCst), 0);
    setup.handle.stop().await;
}

#[tokio::test]
async fn an_answer_stands_at_its_own_entry_whatever_was_applied_with_it() {
    let log = LogId::new(0);
    // Right behind each batch stands what somebody else publishes, and both are applied as one.
    let setup = setup_with(StoreSettings::default(), log, move |ticket, entries| {
        let published = Published {
            at: 1,
            source_id: "other".into(),
            event_id: ticket.to_string(),
            topic: "".into(),
            data: "d".into(),
            expires_at: None,
        };
        let other = Entry::Published(Audience::Everyone, Arc::new(published));
        vec![
            Event::Safe(ticket),
            arrived(&log, 10 * ticket, Some(ticket), entries),
            arrived(&log, 10 * ticket + 1, None, vec![other]),
        ]
    });
    let place = |ticket: u64| log.sequence(10 * ticket, 0).unwrap();
    let ada = RecipientId::new("ada").unwrap();
    let published = setup.writer.publish(draft(10)).await.unwrap();
    assert_eq!(published.id, place(1));
    let mark = || {
        let target = ReadTarget::UpTo(Sequence::MAX);
        setup.writer.set_read_state(ada.clone(), target, true)
    };
    let marked = mark().await.unwrap();
    let expected = ReadStateOutcome {
        cursor: place(2),
        changed: 2,
        unread_count: 0,
    };
    assert_eq!(marked, expected, "what came behind it is not counted");
    let everything = Deletion::Everything { of: ada };
    let deleted = setup.writer.delete(everything).await.unwrap();
    assert_eq!((deleted.cursor, deleted.deleted), (place(3), 3));
    let revocation = Revocation {
        tokens: mercurio_auth::Revoked::Id("id".into()),
        until: None,
    };
    let revoked = setup.writer.revoke(revocation).await.unwrap();
    assert_eq!((revoked.cursor, revoked.was_revoked), (place(4), false));
}

/// sled fails when the journal has them all: they are there when it is opened again, and none comes
/// back any more that would be answered.
#[tokio::test]
async fn all_that_was_under_way_when_the_store_failed_makes_room_again() {
    let log = LogId::new(0);
    let full = thread::FLIGHTS as u64;
    let mut held = Vec::new();
    // As many as may be under way come back as one; later ones one by one.
    let setup = setup_with(StoreSettings::default(), log, move |ticket, entries| {
        let back = arrived(&log, ticket, Some(ticket), entries);
        held.extend([Event::Safe(ticket), back]);
        match ticket < full {
            true => Vec::new(),
            false => std::mem::take(&mut held),
        }
    });
    let mut waiting = Vec::new();
    for count in 1..=thread::FLIGHTS {
        if count == thread::FLIGHTS {
            setup.store.lose_engine();
        }
        let writer = setup.writer.clone();
        waiting.push(tokio::spawn(async move { writer.publish(draft(10)).await }));
        until(|| setup.taken.batches.load(Ordering::SeqCst) == count).await;
    }
    for waiting in waiting {
        let unknown = waiting.await.unwrap().unwrap_err();
        assert!(matches!(unknown, WriteError::Failed(_)), "{unknown}");
    }
    assert_eq!(setup.store.last_sequence(), log.through(full).unwrap());
    let published = setup.writer.publish(draft(10)).await.unwrap();
    assert_eq!(published.id, log.sequence(full + 1, 0).unwrap());
    assert!(setup.status.now().is_ready());
}

/// With a log of its own, a store that can't be read is not well, and heals though nobody asks; one
/// that only can't be written is.
#[tokio::test]
async fn of_its_own_log_a_core_is_unfit_only_while_it_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let open = |settings| Store::open(dir.path(), settings, Retention::default()).unwrap();
    let start = |store: &Store| {
        let metrics: Arc<Metrics> = Arc::default();
        let log = crate::log::Embedded::new(store.clone());
        let status = LogStatus::new(log.state(), None, metrics.clone());
        let attached = Attached {
            log: Box::new(log),
            id: None,
            status: status.clone(),
            wait: Duration::from_secs(10),
        };
        let hub = Arc::new(Hub::with(0, Default::default(), metrics.clone()));
        let settings = WriterSettings::default();
        let started = Writer::start(store.clone(), hub, attached, &settings, metrics);
        (started.unwrap(), status)
    };
    let store = open(StoreSettings::default());
    let ((writer, handle), status) = start(&store);
    let mut states = status.watch();
    store.lose_engine();
    let refused = writer.publish(draft(10)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Failed(_)), "{refused}");
    let is_said = |state: &LogState| state.unready().is_some();
    // Said before the answer, and healed within a second or so.
    drop(states.wait_for(is_said).await.unwrap());
    until(|| status.now().is_ready() && store.is_readable()).await;
    writer.publish(draft(10)).await.unwrap();
    handle.stop().await;
    drop((writer, store));

    let store = open(StoreSettings {
        disk_reserve_bytes: Some(u64::MAX / 2),
        ..StoreSettings::default()
    });
    let ((writer, handle), status) = start(&store);
    let refused = writer.publish(draft(10)).await.unwrap_err();
    assert!(matches!(refused, WriteError::DiskFull { .. }), "{refused}");
    assert!(status.now().is_ready());
    handle.stop().await;
}

#[tokio::test]
async fn where_packing_can_not_keep_up_the_writer_rests() {
    let log = LogId::new(0);
    let settings = StoreSettings {
        segment_rows: 2,
        unpacked_rows: 4,
        ..StoreSettings::default()
    };
    let setup = setup_with(settings, log, move |ticket, entries| {
        let arrived = arrived(&log, ticket, Some(ticket), entries);
        vec![Event::Safe(ticket), arrived]
    });
    // One by one: each fills its half of a segment.
    let publish = async |count| {
        for _ in 0..count {
            setup.writer.publish(draft(10)).await.unwrap();
        }
    };
    publish(5).await;
    assert_eq!(setup.metrics.rests.get(), 0.0);
    publish(20).await;
    let rested = setup.metrics.rests.get();
    assert!(rested > 0.0, "nobody packs");
    while setup.store.pack_one(1).unwrap() {}
    // It may be about to rest for the last one.
    publish(1).await;
    let rested = setup.metrics.rests.get();
    publish(3).await;
    assert_eq!(setup.metrics.rests.get(), rested);
}
