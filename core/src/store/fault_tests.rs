//! Steps of the store that fail halfway, and retention that has nothing left to do.

use std::{fs, path::Path, sync::Arc};

use crate::entry::{Audience, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId};

use super::{
    Batch, Outcome, Retention, Store, StoreError, StoreSettings, Sweep,
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
        samples: Vec::new(),
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
    let mut steps = 0;
    loop {
        while store.pack_one(long_after).unwrap() {}
        let Some(due) = store.sweep_due(long_after) else {
            break;
        };
        steps += 1;
        assert!(steps < 10, "{due:?} again");
        match due {
            Sweep::Roll => store.roll().unwrap(),
            Sweep::Drop { number } => {
                let mut batch = Batch::new(&store);
                for page in 0.. {
                    let Some(lost) = store.lost_with(number, page, long_after).unwrap() else {
                        break;
                    };
                    batch.note_lost(&lost);
                }
                batch.commit().unwrap();
                store.drop_segment(number);
            }
            Sweep::NoteLost(_) => unreachable!("part of a drop"),
        }
    }
    assert!(steps >= 2, "it was rolled and dropped");
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
