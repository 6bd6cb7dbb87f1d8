//! What is deleted is gone from the disk, and from copies, once its segments were written anew; and
//! nothing else is.

use std::{fs, path::Path, sync::Arc};

use crate::entry::{
    Audience, Deleted, Deletion, Entry, Millis, Published, ReadStateSet, ReadTarget, RecipientId,
    Sequence,
};

use super::{Batch, HistoryQuery, Outcome, Retention, Store, StoreSettings, snapshot, verify};

const AT: Millis = 1_700_000_000_000;

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreSettings::default(), Retention::default()).unwrap()
}

fn user(id: &str) -> RecipientId {
    RecipientId::new(id).unwrap()
}

fn audience(to: &[&str]) -> Audience {
    match to {
        [] => Audience::Everyone,
        to => Audience::Recipients(to.iter().map(|id| user(id)).collect()),
    }
}

fn apply(store: &Store, entry: Entry) -> Outcome {
    let mut batch = Batch::new(store);
    let outcome = batch.apply(batch.next_sequence(), entry).unwrap();
    batch.commit().unwrap();
    outcome
}

/// A body that is its name, small or large, and an event of the same name.
fn publish(store: &Store, to: &[&str], name: &str, size: usize) -> Outcome {
    let published = Published {
        at: AT,
        source_id: "s".into(),
        event_id: format!("event-{name}"),
        topic: format!("topic-{name}").into(),
        data: format!("body-{name}{}", "x".repeat(size)),
        expires_at: None,
    };
    apply(store, Entry::Published(audience(to), Arc::new(published)))
}

fn delete(store: &Store, deletion: Deletion) -> Outcome {
    apply(store, Entry::Deleted(Deleted { at: AT, deletion }))
}

fn from(to: &[&str], ids: &[Sequence]) -> Deletion {
    Deletion::Notifications {
        owners: audience(to),
        ids: ids.to_vec(),
    }
}

/// What the sweeper does.
fn compact(store: &Store) {
    if store.has_deletions_to_seal() {
        store.roll().unwrap();
    }
    while store.pack_one(AT).unwrap() {}
    store.cut_journal().unwrap();
    while store.clear_one(AT).unwrap() {}
}

fn is_in(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_in(&path, text);
        }
        let bytes = fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|it| it == text.as_bytes())
    })
}

fn seen(store: &Store, by: &str) -> (Vec<Sequence>, u64) {
    let query = HistoryQuery {
        status: super::StatusFilter::All,
        topics: Default::default(),
        before: None,
        limit: 100,
    };
    let page = store.history(&user(by), &query, AT).unwrap();
    let ids = page.notifications.iter().map(|it| it.id).rev().collect();
    (ids, page.unread_count)
}

#[test]
fn the_bytes_go_from_disk_journal_and_copies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // In a segment of before, in one that is to be packed, and in the active one.
    for stretch in ["old", "sealed", "new"] {
        publish(&store, &["ada"], &format!("{stretch}-single"), 0);
        publish(&store, &["ada"], &format!("{stretch}-large"), 5000);
        publish(&store, &["ada", "bob"], &format!("{stretch}-shared"), 5000);
        publish(&store, &["bob"], &format!("{stretch}-bobs"), 0);
        publish(&store, &[], &format!("{stretch}-everyones"), 0);
        apply(
            &store,
            Entry::ReadStateSet(ReadStateSet {
                at: AT,
                recipient: user("ada"),
                target: ReadTarget::UpTo(Sequence::MAX),
                read: true,
            }),
        );
        if stretch != "new" {
            store.roll().unwrap();
        }
        if stretch == "old" {
            while store.pack_one(AT).unwrap() {}
        }
    }
    let gone = |id| Outcome::Deleted {
        deleted: id,
        is_new: id > 0,
    };
    // One of each sort, from ada's view; the same again changes nothing.
    assert_eq!(delete(&store, from(&["ada"], &[1, 3, 5, 4])), gone(3));
    assert_eq!(delete(&store, from(&["ada"], &[1, 3, 5, 4])), gone(0));
    assert_eq!(seen(&store, "ada").0, [2, 7, 8, 9, 11, 13, 14, 15, 17]);
    // For all: whom it was sent to, and everyone.
    assert_eq!(store.owners_of(9).unwrap(), Some(audience(&["ada", "bob"])));
    assert_eq!(store.owners_of(17).unwrap(), Some(Audience::Everyone));
    assert_eq!(store.owners_of(18).unwrap(), None, "marks are not sent");
    assert_eq!(delete(&store, from(&["ada", "bob"], &[9])), gone(2));
    assert_eq!(delete(&store, from(&[], &[17])), gone(1));
    assert_eq!(seen(&store, "ada"), (vec![2, 7, 8, 11, 13, 14, 15], 0));
    assert_eq!(seen(&store, "bob"), (vec![3, 4, 5, 10, 11, 15, 16], 7));
    compact(&store);
    for name in ["old-single", "sealed-shared", "new-everyones"] {
        assert!(!is_in(dir.path(), &format!("body-{name}")), "{name}");
        assert!(!is_in(dir.path(), &format!("topic-{name}")), "{name}");
        // Or else it would come back with its publisher's next try.
        let id = publish(&store, &["ada"], name, 0);
        assert!(matches!(
            id,
            Outcome::Published {
                duplicate: true,
                ..
            }
        ));
    }
    for name in ["old-shared", "old-everyones", "sealed-single", "new-large"] {
        assert!(is_in(dir.path(), &format!("body-{name}")), "{name}");
    }
    let before = (seen(&store, "ada"), seen(&store, "bob"));
    assert_eq!(before.0.0, [2, 7, 8, 11, 13, 14, 15]);

    // All of ada's: no name, no body, no key that was only hers; bob has what he had.
    let everything = || Deletion::Everything { of: user("ada") };
    assert_eq!(delete(&store, everything()), gone(7));
    assert_eq!(delete(&store, everything()), gone(0));
    assert_eq!(seen(&store, "ada"), (vec![], 0));
    compact(&store);
    for stretch in ["old", "sealed", "new"] {
        for kind in ["single", "large"] {
            for what in ["body", "topic", "event"] {
                let text = format!("{what}-{stretch}-{kind}");
                assert!(!is_in(dir.path(), &text), "{text}");
            }
        }
    }
    assert_eq!(seen(&store, "bob"), before.1);
    let copy = snapshot::tests::imported(&snapshot::tests::take(&store));
    assert!(!is_in(copy.path(), "body-new-single"));
    drop(store);
    for dir in [dir.path(), copy.path()] {
        let report = verify(dir).unwrap();
        assert_eq!(report.problems, [""; 0]);
        let store = open(dir);
        assert_eq!(
            (seen(&store, "ada").0.len(), seen(&store, "bob")),
            (0, before.1.clone())
        );
        // What only she was sent can be sent anew, to whoever comes back by that name.
        let again = publish(&store, &["ada"], "old-single", 0);
        assert!(matches!(
            again,
            Outcome::Published {
                duplicate: false,
                ..
            }
        ));
        assert_eq!(seen(&store, "ada").1, 1);
    }
}

/// sled fails before it has written what was deleted: only the journal has it then.
#[test]
fn what_was_deleted_stays_so_when_the_store_is_opened_again() {
    let everything = Deletion::Everything { of: user("ada") };
    for deletion in [from(&["ada"], &[1, 2]), from(&[], &[2]), everything] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish(&store, &["ada"], "hers", 0);
        publish(&store, &[], "everyones", 0);
        let outcome = delete(&store, deletion.clone());
        assert!(outcome.is_stored(), "{deletion:?}");
        let left = seen(&store, "ada");
        // More than once: each time from what the last one made.
        for _ in 0..2 {
            store.lose_engine();
            store.reopen().unwrap();
            assert_eq!(seen(&store, "ada"), left, "{deletion:?}");
        }
        drop(store);
        let store = open(dir.path());
        assert_eq!(seen(&store, "ada"), left, "{deletion:?}");
        assert!(!delete(&store, deletion).is_stored(), "it is known");
        drop(store);
        assert_eq!(verify(dir.path()).unwrap().problems, [""; 0]);
    }
}

#[test]
fn what_was_deleted_is_when_applied_again_also_by_another_retention() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let shorter = Retention {
        max_age: std::time::Duration::from_millis(50),
        ..Retention::default()
    };
    let store = open(dir.path());
    publish(&store, &["ada"], "a", 0);
    let later = |deletion| Deleted {
        at: AT + 100,
        deletion,
    };
    let one = Entry::Deleted(later(from(&["ada"], &[1])));
    apply(&store, one.clone());
    // The same log, by another retention.
    let again = Store::open(copy.path(), StoreSettings::default(), shorter).unwrap();
    publish(&again, &["ada"], "a", 0);
    let mut batch = Batch::new(&again);
    batch.apply_again(2, one).unwrap();
    batch.commit().unwrap();
    let held = |store: &Store| store.0.state.read().deletions.since(0).to_vec();
    assert_eq!(held(&again), held(&store));
    assert_eq!(held(&again).len(), 1);
}

fn roll_and_pack(store: &Store) {
    store.roll().unwrap();
    while store.pack_one(AT).unwrap() {}
}

#[test]
fn segments_have_their_turns_however_fast_deletions_come() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Two notifications in each of two segments.
    for name in ["a1", "a2", "b1", "b2"] {
        publish(&store, &["ada"], name, 5000);
        if name.ends_with('2') {
            roll_and_pack(&store);
        }
    }
    let is_there = |name: &str| is_in(dir.path(), &format!("body-{name}"));
    delete(&store, from(&["ada"], &[1, 3]));
    roll_and_pack(&store);
    assert!(store.clear_one(AT).unwrap());
    assert!(!is_there("a1") && is_there("b1"));
    // The next comes before the second segment's turn.
    delete(&store, from(&["ada"], &[2]));
    roll_and_pack(&store);
    assert!(store.clear_one(AT).unwrap());
    assert!(is_there("a2") && !is_there("b1"));
    assert!(store.clear_one(AT).unwrap());
    assert!(!is_there("a2") && is_there("b2"));
    assert!(!store.clear_one(AT).unwrap());
}

#[test]
fn deletions_are_not_copied_where_all_of_them_are_safe() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    publish(&store, &["ada"], "a", 0);
    delete(&store, from(&["ada"], &[1]));
    let all = || store.0.state.read().deletions.clone();
    assert_eq!(store.safe_deletions(&[]).newest(), 0);
    roll_and_pack(&store);
    assert!(Arc::ptr_eq(&store.safe_deletions(&[]), &all()));
    publish(&store, &["ada"], "b", 0);
    delete(&store, from(&["ada"], &[3]));
    assert_eq!(store.safe_deletions(&[]).newest(), 2);
    assert_eq!(all().newest(), 4);
}

#[test]
fn past_deletions_leave_memory_by_the_logs_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let max_age = Retention::default().max_age.as_millis() as Millis;
    let held = || store.0.state.read().deletions.since(0).len();
    let at = |at, of: &str| {
        let deletion = Deletion::Everything { of: user(of) };
        apply(&store, Entry::Deleted(Deleted { at, deletion }))
    };
    let new = Outcome::Deleted {
        deleted: 0,
        is_new: true,
    };
    let known = Outcome::Deleted {
        deleted: 0,
        is_new: false,
    };
    assert_eq!(at(AT, "ada"), new);
    assert_eq!(at(AT + 10, "bob"), new);
    // Past by the clock, not yet by the log: a core that comes after would still say so.
    store.bury_past(AT + 2 * max_age).unwrap();
    assert_eq!(held(), 2);
    assert_eq!(at(AT + max_age - 1, "ada"), known);
    // Past by the log, not yet by the clock, which was set back.
    publish_at(&store, AT + max_age);
    store.bury_past(AT).unwrap();
    assert_eq!(held(), 2);
    store.bury_past(AT + max_age).unwrap();
    assert_eq!(held(), 1);
    assert_eq!(at(AT + max_age, "bob"), known);
    assert_eq!(at(AT + max_age, "ada"), new);
    assert_eq!(held(), 2);
}

fn publish_at(store: &Store, at: Millis) {
    let published = Published {
        at,
        source_id: "s".into(),
        event_id: "later".into(),
        topic: "t".into(),
        data: String::new(),
        expires_at: None,
    };
    apply(
        store,
        Entry::Published(audience(&["eve"]), Arc::new(published)),
    );
}
