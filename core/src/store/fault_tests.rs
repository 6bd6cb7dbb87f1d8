//! Steps of the store that fail halfway, machines that stop, and retention that has nothing left to
//! do.

use std::{fs, path::Path, sync::Arc};

use crate::entry::{Audience, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId};

use super::{
    Batch, Outcome, Retention, Store, StoreError, StoreSettings,
    segment::{self, Meta},
};

const AT: Millis = 1_700_000_000_000;

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, StoreSettings::default(), Retention::default())
}

fn publish(store: &Store, event: &str) -> Result<Outcome, StoreError> {
    publish_at(store, event, AT)
}

fn publish_at(store: &Store, event: &str, at: Millis) -> Result<Outcome, StoreError> {
    let mut batch = Batch::new(store);
    let published = Published {
        at,
        source_id: "s".into(),
        event_id: event.into(),
        topic: "".into(),
        data: "d".into(),
        expires_at: None,
    };
    let entry = Entry::Published(Audience::Everyone, Arc::new(published));
    let outcome = batch.apply(batch.next_sequence(), entry)?;
    batch.commit()?;
    Ok(outcome)
}

fn is_duplicate(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Published {
            duplicate: true,
            ..
        }
    )
}

/// What a roll leaves that failed once the new segment had its name.
fn half_rolled(dir: &Path) {
    let meta = Meta {
        base: 1,
        last: 1,
        last_at: AT,
        rows: 0,
        ..Meta::default()
    };
    let next = dir.join("segments/00000002");
    fs::create_dir(&next).unwrap();
    segment::write_meta(&next, &meta).unwrap();
}

#[test]
fn a_roll_that_failed_halfway_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    half_rolled(dir.path());
    publish(&store, "b").unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.last_sequence(), 2);
    for event in ["a", "b"] {
        assert!(is_duplicate(&publish(&store, event).unwrap()), "{event}");
    }
    assert!(!is_duplicate(&publish(&store, "c").unwrap()));
    assert_eq!(store.last_sequence(), 3);
}

#[test]
fn a_roll_that_failed_halfway_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    half_rolled(dir.path());
    publish(&store, "b").unwrap();
    store.roll().unwrap();
    publish(&store, "c").unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!((store.last_sequence(), store.segments()), (3, 2));
}

#[test]
fn a_failed_segment_is_not_rolled_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    store.0.state.write().active.engine = None;
    store.roll().unwrap_err();
    store.reopen().unwrap();
    assert_eq!(store.segments(), 1);
    assert!(is_duplicate(&publish(&store, "a").unwrap()));
}

#[test]
fn retention_comes_to_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    let long_after = AT + Retention::default().max_age.as_millis() as Millis * 2;
    for _ in 0..3 {
        if store.is_roll_due(long_after) {
            store.roll().unwrap();
        }
        while store.pack_one(long_after).unwrap() {}
        while store.bury_past(long_after).unwrap() {}
    }
    assert!(!store.is_roll_due(long_after));
    assert_eq!(store.segments(), 2, "the remains, and the active one");
    // Its key went with it, or can be used anew.
    let outcome = publish_at(&store, "a", long_after).unwrap();
    assert!(!is_duplicate(&outcome));
}

#[test]
fn marks_of_one_batch_are_all_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for event in 0..6 {
        publish(&store, &event.to_string()).unwrap();
    }
    let mut batch = Batch::new(&store);
    for (user, id, read) in [
        ("a", 1, true),
        ("b", 2, true),
        ("a", 4, true),
        ("a", 1, false),
    ] {
        let set = ReadStateSet {
            at: AT,
            recipient: RecipientId::new(user).unwrap(),
            target: ReadTarget::Ids(vec![id]),
            read,
        };
        batch
            .apply(batch.next_sequence(), Entry::ReadStateSet(set))
            .unwrap();
    }
    batch.commit().unwrap();
    let unread = |store: &Store, user| store.opening(&RecipientId::new(user).unwrap(), None, AT);
    let counts =
        |store: &Store| ["a", "b", "c"].map(|user| unread(store, user).unwrap().unread_count);
    assert_eq!(counts(&store), [5, 5, 6]);
    drop(store);
    assert_eq!(counts(&open(dir.path()).unwrap()), [5, 5, 6]);
}

/// What a machine that stops leaves at worst: sled's files as nobody waited for.
pub(super) fn lose_what_sled_has(dir: &Path) {
    for segment in fs::read_dir(dir.join("segments")).unwrap() {
        let segment = segment.unwrap().path();
        if segment.join("db").exists() {
            for file in fs::read_dir(segment.join("db")).unwrap() {
                let file = file.unwrap().path();
                if file.is_file() {
                    fs::write(file, [7; 5000]).unwrap();
                }
            }
            super::files::write_checked(&segment.join("opened"), b"another boot").unwrap();
        }
    }
}

#[test]
fn what_sled_lost_comes_back_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for event in ["a", "b"] {
        publish(&store, event).unwrap();
        store.roll().unwrap();
    }
    publish(&store, "c").unwrap();
    drop(store);
    lose_what_sled_has(dir.path());
    let store = open(dir.path()).unwrap();
    assert_eq!(store.last_sequence(), 3);
    for event in ["a", "b", "c"] {
        assert!(is_duplicate(&publish(&store, event).unwrap()), "{event}");
    }
    // Also when only what is not packed is lost.
    store.roll().unwrap();
    while store.pack_one(AT).unwrap() {}
    publish(&store, "d").unwrap();
    store.roll().unwrap();
    publish(&store, "e").unwrap();
    drop(store);
    lose_what_sled_has(dir.path());
    let store = open(dir.path()).unwrap();
    for event in ["a", "b", "c", "d", "e"] {
        assert!(is_duplicate(&publish(&store, event).unwrap()), "{event}");
    }
    assert_eq!(store.last_sequence(), 5);
}

#[test]
fn what_was_decided_is_not_decided_anew() {
    let dir = tempfile::tempdir().unwrap();
    let short = Retention {
        max_age: std::time::Duration::from_secs(1),
        ..Retention::default()
    };
    let store = Store::open(dir.path(), StoreSettings::default(), short).unwrap();
    publish(&store, "a").unwrap();
    // Past by now: published anew.
    assert!(!is_duplicate(&publish_at(&store, "a", AT + 5_000).unwrap()));
    drop(store);
    lose_what_sled_has(dir.path());
    // By these settings it would be a duplicate.
    let store = open(dir.path()).unwrap();
    assert_eq!(store.last_sequence(), 2);
    let user = RecipientId::new("u").unwrap();
    assert_eq!(
        store.opening(&user, None, AT + 5_000).unwrap().unread_count,
        2
    );
}

#[test]
fn a_log_that_is_gone_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let refused = open(dir.path()).err().expect("refused");
    assert!(refused.is_damage(), "{refused}");
}

#[test]
fn a_failed_append_is_not_there_and_the_next_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    store.0.journal.lock().fail();
    publish(&store, "b").unwrap_err();
    let user = RecipientId::new("u").unwrap();
    assert_eq!(
        store.opening(&user, None, AT).unwrap().unread_count,
        1,
        "reading goes on"
    );
    store.reopen().unwrap();
    assert!(!is_duplicate(&publish(&store, "b").unwrap()));
    drop(store);
    assert!(is_duplicate(
        &publish(&open(dir.path()).unwrap(), "b").unwrap()
    ));
}

#[test]
fn what_the_log_has_and_sled_did_not_take_is_shown_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    store.0.state.write().active.engine = None;
    // It is safe before sled refuses it.
    publish(&store, "b").unwrap_err();
    store.reopen().unwrap();
    assert_eq!(store.last_sequence(), 2);
    assert!(is_duplicate(&publish(&store, "b").unwrap()));
}

/// A store of three packed segments, and a copy of their directories.
fn three_packed(dir: &Path) -> (Store, tempfile::TempDir) {
    let store = open(dir).unwrap();
    for event in ["a", "b", "c"] {
        publish(&store, event).unwrap();
        store.roll().unwrap();
    }
    while store.pack_one(AT).unwrap() {}
    let copied = tempfile::tempdir().unwrap();
    super::model_tests::copy(&dir.join("segments"), copied.path());
    (store, copied)
}

/// Too few files were open to look at it again, say.
#[test]
fn a_packed_segment_that_got_its_name_and_no_more_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    publish(&store, "a").unwrap();
    store.roll().unwrap();
    let named = dir.path().join("segments/00000001.1");
    fs::create_dir(&named).unwrap();
    fs::write(named.join("data"), "half").unwrap();
    assert!(store.pack_one(AT).unwrap());
    assert!(!store.pack_one(AT).unwrap());
    assert!(is_duplicate(&publish(&store, "a").unwrap()));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert!(is_duplicate(&publish(&store, "a").unwrap()));
}

/// Every reader asks for it.
#[test]
fn what_is_everyones_is_known_however_much_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        record_cache_bytes: 1,
        ..StoreSettings::default()
    };
    let store = Store::open(dir.path(), settings, Retention::default()).unwrap();
    for event in ["a", "b"] {
        publish(&store, event).unwrap();
        store.roll().unwrap();
        assert!(store.pack_one(AT).unwrap());
    }
    let known = || {
        let sealed = store.0.state.read().sealed.clone();
        store.0.cache.known(&sealed, super::keys::EVERYONE).unwrap()
    };
    let first = known();
    assert!(Arc::ptr_eq(&first, &known()));
    assert_eq!(first.len(), 2);
    // What is new is read; the rest is taken over.
    publish(&store, "c").unwrap();
    store.roll().unwrap();
    assert!(store.pack_one(AT).unwrap());
    let then = known();
    assert_eq!(then.len(), 3);
    for (before, after) in first.iter().zip(&*then) {
        assert_eq!(before.0, after.0);
        assert!(Arc::ptr_eq(
            before.1.as_ref().unwrap(),
            after.1.as_ref().unwrap()
        ));
    }
}

#[test]
fn segments_that_were_merged_and_not_yet_removed_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (store, left) = three_packed(dir.path());
    let segments = dir.path().join("segments");
    assert!(store.merge_some(AT).unwrap());
    assert!(!store.merge_some(AT).unwrap());
    assert_eq!(store.segments(), 2, "the merged one, and the active");
    drop(store);
    for old in ["00000001.1", "00000002.1", "00000003.1"] {
        fs::rename(left.path().join(old), segments.join(old)).unwrap();
    }
    let store = open(dir.path()).unwrap();
    assert_eq!(store.segments(), 2);
    for event in ["a", "b", "c"] {
        assert!(is_duplicate(&publish(&store, event).unwrap()), "{event}");
    }
    // The log is cut off where packed segments end.
    publish(&store, "d").unwrap();
    store.roll().unwrap();
    drop(store);
    assert!(!segments.join("00000002.1").exists());
    fs::remove_dir_all(segments.join("00000003.2")).unwrap();
    let refused = open(dir.path()).err().expect("a segment is missing");
    assert!(refused.is_damage(), "{refused}");
}

/// Killed while the directories of what was merged, or buried, go one after the other.
#[test]
fn whatever_is_left_of_what_was_replaced_is_no_damage() {
    let old = ["00000001.1", "00000002.1", "00000003.1"];
    for case in 0..16 {
        let (buried, left) = (case >= 8, case % 8);
        let dir = tempfile::tempdir().unwrap();
        let (store, before) = three_packed(dir.path());
        let segments = dir.path().join("segments");
        let replaced = match buried {
            false => store.merge_some(AT),
            true => store.bury_past(AT + 2 * 365 * 86_400_000),
        };
        assert!(replaced.unwrap());
        drop(store);
        for (place, old) in old.iter().enumerate() {
            if left >> place & 1 == 1 {
                fs::rename(before.path().join(old), segments.join(old)).unwrap();
            }
        }
        let store = open(dir.path()).unwrap_or_else(|error| panic!("{buried} {left:b}: {error}"));
        assert_eq!(store.segments(), 2, "{buried} {left:b}");
        assert_eq!(store.last_sequence(), 3, "{buried} {left:b}");
        for event in ["a", "b", "c"] {
            let outcome = publish(&store, event).unwrap();
            assert_eq!(is_duplicate(&outcome), !buried, "{buried} {left:b}");
        }
    }
}
