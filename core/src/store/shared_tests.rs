//! The view of a log that several cores share: whatever each of them did meanwhile, they decide the
//! same; and each knows what it applied.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    entry::{Audience, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId},
    log::LogId,
};

use super::{
    Batch, Outcome, Retention, Store, StoreError, StoreSettings, fault_tests::lose_what_sled_has,
};

const AT: Millis = 1_700_000_000_000;
const HOUR: Retention = Retention {
    max_age: Duration::from_secs(3600),
    max_per_recipient: 100,
};
const HOUR_MILLIS: Millis = 3_600_000;

fn log() -> LogId {
    LogId {
        id: uuid::Uuid::from_u128(7),
        base: 0,
    }
}

fn open(dir: &Path, retention: Retention) -> Result<Store, StoreError> {
    Store::open_shared(dir, StoreSettings::default(), retention, &log())
}

fn entry(event: &str, at: Millis) -> Entry {
    let published = Published {
        at,
        source_id: "s".into(),
        event_id: event.into(),
        topic: "".into(),
        data: "d".into(),
        expires_at: Some(at + 10 * HOUR_MILLIS),
    };
    Entry::Published(Audience::Everyone, Arc::new(published))
}

/// Applies a message of the log: when it is, and an entry with a time of its own.
fn apply(store: &Store, position: u64, at: Millis, entry: Option<Entry>) -> Option<Outcome> {
    let mut batch = Batch::new(store);
    batch.advance(at);
    batch.note_message(position as u32);
    let sequence = log().sequence(position, 0).unwrap();
    let outcome = entry.map(|entry| batch.apply(sequence, entry).unwrap());
    batch.cover(log().through(position).unwrap());
    batch.commit().unwrap();
    outcome
}

fn is_new(outcome: Option<Outcome>) -> bool {
    outcome.expect("an entry").is_stored()
}

#[test]
fn a_key_is_judged_by_the_logs_time_whether_or_not_it_was_dropped() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut stores: Vec<Store> = dirs
        .iter()
        .map(|dir| open(dir.path(), HOUR).unwrap())
        .collect();
    for store in &stores {
        assert!(is_new(apply(store, 1, AT, Some(entry("a", AT)))));
        // Somebody only tells the time.
        apply(store, 2, AT + HOUR_MILLIS, None);
        assert_eq!(store.log_time(), AT + HOUR_MILLIS);
    }
    // One drops the key, one keeps it, and one is started again.
    stores[0].roll().unwrap();
    assert!(stores[0].pack_one(stores[0].log_time()).unwrap());
    drop(stores.remove(2));
    lose_what_sled_has(dirs[2].path());
    stores.push(open(dirs[2].path(), HOUR).unwrap());
    for store in &stores {
        assert_eq!(store.log_time(), AT + HOUR_MILLIS);
        // From a core whose clock is late: its own time says nothing.
        let outcome = apply(store, 3, AT + 5, Some(entry("a", AT + 5)));
        assert!(is_new(outcome), "published anew on every core");
        assert!(!is_new(apply(store, 4, AT + 6, Some(entry("a", AT + 6)))));
    }
}

#[test]
fn what_an_entry_lives_for_is_kept_when_its_time_is_the_logs() {
    let late = entry("a", AT).timed(AT + 7);
    let early = entry("a", AT).timed(AT - 7);
    for (entry, at) in [(late, AT + 7), (early, AT - 7)] {
        let Entry::Published(_, published) = entry else {
            panic!("{entry:?}")
        };
        assert_eq!(published.at, at);
        assert_eq!(published.expires_at, Some(at + 10 * HOUR_MILLIS));
    }
}

#[test]
fn what_was_applied_last_is_known_after_a_restart_a_crash_and_a_roll() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), HOUR).unwrap();
    assert_eq!(store.progress().last_message, None);
    apply(&store, 1, AT, Some(entry("a", AT)));
    apply(&store, 2, AT, None);
    drop(store);
    let store = open(dir.path(), HOUR).unwrap();
    assert_eq!(store.progress().last_message, Some(2));
    store.roll().unwrap();
    drop(store);
    lose_what_sled_has(dir.path());
    let store = open(dir.path(), HOUR).unwrap();
    assert_eq!(store.progress().last_message, Some(2));
}

#[test]
fn a_segment_is_not_sealed_before_the_journal_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), HOUR).unwrap();
    apply(&store, 1, AT, Some(entry("a", AT)));
    store.0.journal.lock().fail();
    store.roll().unwrap_err();
    // It would be packed, and the journal may end before it.
    assert!(!store.pack_one(AT).unwrap());
    assert_eq!(store.segments(), 1);
    store.reopen().unwrap();
    store.roll().unwrap();
    assert_eq!(store.segments(), 2);
}

/// What a packed segment leaves out is past by a time, or deleted by an entry, that a power cut could take
/// from the journal: the log would bring it once more, and this core alone decide without what was there.
#[test]
fn a_segment_is_not_written_anew_before_what_it_goes_by_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), HOUR).unwrap();
    apply(&store, 1, AT, Some(entry("a", AT)));
    store.roll().unwrap();
    apply(&store, 2, AT + HOUR_MILLIS, None);
    let safe = || store.0.journal.lock().known_safe(dir.path());
    assert!(safe() < Some(store.last_sequence()), "{:?}", safe());
    assert!(store.pack_one(store.log_time()).unwrap());
    assert_eq!(safe(), Some(store.last_sequence()));

    apply(&store, 3, AT + 3 * HOUR_MILLIS, None);
    assert!(store.bury_past(store.log_time()).unwrap());
    assert_eq!(safe(), Some(store.last_sequence()));

    apply(&store, 4, AT, Some(entry("b", AT)));
    store.roll().unwrap();
    store.0.journal.lock().fail();
    store.pack_one(store.log_time()).unwrap_err();
    assert_eq!(store.segments(), 3, "it stays as it was");
}

/// A user may name many that are none of theirs: little in the view, much in the log.
#[test]
fn a_batch_ends_also_behind_what_the_log_takes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), HOUR).unwrap();
    apply(&store, 1, AT, Some(entry("a", AT)));
    let first = store.last_sequence();
    let mut batch = Batch::new(&store);
    let named = (1 << 40..).take(999).chain([log().sequence(1, 0).unwrap()]);
    let set = ReadStateSet {
        at: AT,
        recipient: RecipientId::new("ada").unwrap(),
        target: ReadTarget::Ids(named.collect()),
        read: true,
    };
    let outcome = batch.apply(first + 1, Entry::ReadStateSet(set)).unwrap();
    assert!(outcome.is_stored(), "{outcome:?}");
    assert!(batch.bytes() > 5_000, "{}", batch.bytes());
}

#[test]
fn another_retention_than_the_datas_is_refused_and_both_are_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), HOUR).unwrap());
    let refused = open(dir.path(), Retention::default()).err();
    let said = refused.expect("refused").to_string();
    for named in [
        "--max-age 1h --max-per-recipient 100",
        "--max-age 90d --max-per-recipient 10000",
    ] {
        assert!(said.contains(named), "{said}");
    }
    open(dir.path(), HOUR).unwrap();
}

#[test]
fn data_of_a_shared_log_becomes_the_beginning_of_another_one_with_another_retention() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), HOUR).unwrap();
    apply(&store, 1, AT, Some(entry("a", AT)));
    let last = store.last_sequence();
    drop(store);
    let wanted = Retention::default();
    let next = || Store::next_log(dir.path(), StoreSettings::default(), wanted).unwrap();
    let made = next();
    assert_eq!(
        (made.base, next()),
        (last, made),
        "the same when asked again"
    );
    // Until it is made, nothing has changed; and one that was there already is not taken.
    assert!(!Store::hand_over(dir.path(), &LogId::new(0), wanted).unwrap());
    drop(open(dir.path(), HOUR).unwrap());
    let made = next();
    assert!(Store::hand_over(dir.path(), &made, wanted).unwrap());
    assert!(
        Store::hand_over(dir.path(), &made, wanted).unwrap(),
        "twice"
    );
    open(dir.path(), HOUR).err().expect("it is another log's");
    let store = Store::open_shared(dir.path(), StoreSettings::default(), wanted, &made).unwrap();
    assert_eq!((store.last_sequence(), made.position(last)), (last, 0));
}
