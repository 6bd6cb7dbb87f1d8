//! Revocations outlive what else is stored: segments that are packed, merged, buried, copied, or made
//! again from the journal.

use std::{path::Path, sync::Arc, time::Duration};

use mercurio_auth::{Revocation, RevocationSet, Revoked};

use crate::entry::{Audience, Entry, Millis, Published, TokensRevoked};

use super::{
    Batch, Outcome, REVOCATIONS_MAX, Retention, Revoking, Store, StoreSettings, revocations::judge,
    snapshot, verify,
};

const AT: Millis = 1_700_000_000_000;
const HOUR: Millis = 3_600_000;

fn open(dir: &Path) -> Store {
    let retention = Retention {
        max_age: Duration::from_millis(HOUR),
        ..Retention::default()
    };
    Store::open(dir, StoreSettings::default(), retention).unwrap()
}

fn id(id: &str, until: Option<Millis>) -> Revocation {
    let tokens = Revoked::Id(id.into());
    Revocation { tokens, until }
}

fn user(user: &str, issued_before: Millis) -> Revocation {
    let user = user.into();
    Revocation {
        tokens: Revoked::User {
            user,
            issued_before,
        },
        until: None,
    }
}

fn apply(store: &Store, entry: Entry) -> Outcome {
    let mut batch = Batch::new(store);
    let outcome = batch.apply(batch.next_sequence(), entry).unwrap();
    batch.commit().unwrap();
    outcome
}

fn revoke(store: &Store, at: Millis, revocation: Revocation) -> Outcome {
    apply(
        store,
        Entry::TokensRevoked(TokensRevoked { at, revocation }),
    )
}

fn publish(store: &Store, at: Millis) {
    let published = Published {
        at,
        source_id: "s".into(),
        event_id: at.to_string(),
        topic: "".into(),
        data: "d".into(),
        expires_at: None,
    };
    apply(
        store,
        Entry::Published(Audience::Everyone, Arc::new(published)),
    );
}

/// Exactly these, here and in a copy.
fn check(store: &Store, expected: &[&Revocation]) {
    let known = store.revocations().all();
    assert_eq!(known.len(), expected.len(), "{known:?}");
    for one in expected {
        assert!(known.contains(one), "{one:?} in {known:?}");
    }
}

#[test]
fn they_outlive_what_else_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (first, short) = (id("first", None), id("short", Some(AT + 2 * HOUR)));
    let ada = user("ada", AT);
    let store = open(dir.path());
    assert_eq!(
        revoke(&store, AT, first.clone()),
        Outcome::Revoked(Revoking::New)
    );
    publish(&store, AT);
    assert_eq!(
        revoke(&store, AT, first.clone()),
        Outcome::Revoked(Revoking::Before)
    );
    assert_eq!(
        store.last_sequence(),
        2,
        "what changes nothing has no place"
    );
    // Live, then sealed, then packed, then several made one; looked at again each time.
    let again = |store: Store, expected: &[&Revocation]| {
        check(&store, expected);
        drop(store);
        let store = open(dir.path());
        check(&store, expected);
        store
    };
    let store = again(store, &[&first]);
    store.roll().unwrap();
    revoke(&store, AT, short.clone());
    store.roll().unwrap();
    let store = again(store, &[&first, &short]);
    while store.pack_one(AT).unwrap() {}
    let store = again(store, &[&first, &short]);
    revoke(&store, AT, ada.clone());
    store.roll().unwrap();
    while store.pack_one(AT).unwrap() {}
    assert!(store.merge_some(AT).unwrap());
    let all = [&first, &short, &ada];
    let store = again(store, &all);
    let copy = snapshot::tests::imported(&snapshot::tests::take(&store));
    let report = verify(copy.path()).unwrap();
    assert_eq!((report.revocations, report.problems), (3, vec![]));
    check(&open(copy.path()), &all);
    // Retention takes all else, and of these what is of no more use.
    publish(&store, AT + 3 * HOUR);
    store.roll().unwrap();
    while store.pack_one(AT + 3 * HOUR).unwrap() {}
    assert!(store.bury_past(AT + 3 * HOUR).unwrap());
    drop(store);
    let store = open(dir.path());
    check(&store, &[&first, &ada]);
    publish(&store, AT + 9 * HOUR);
    store.roll().unwrap();
    while store.pack_one(AT + 9 * HOUR).unwrap() {}
    assert!(store.bury_past(AT + 9 * HOUR).unwrap());
    drop(again(store, &[&first, &ada]));
    assert_eq!(verify(dir.path()).unwrap().problems, [""; 0]);
}

#[test]
fn a_segment_made_again_from_the_journal_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (first, ada) = (id("first", None), user("ada", AT));
    publish(&store, AT);
    revoke(&store, AT, first.clone());
    revoke(&store, AT, ada.clone());
    drop(store);
    std::fs::remove_dir_all(dir.path().join("segments/00000001")).unwrap();
    let store = open(dir.path());
    check(&store, &[&first, &ada]);
    assert_eq!(store.last_sequence(), 3);
    assert_eq!(
        revoke(&store, AT, user("ada", AT - 1)),
        Outcome::Revoked(Revoking::Before)
    );
    assert_eq!(
        revoke(&store, AT, user("ada", AT + 1)),
        Outcome::Revoked(Revoking::New)
    );
}

/// sled fails before it has written them: only the journal has them then.
#[test]
fn a_store_opened_again_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (first, ada) = (id("first", None), user("ada", AT));
    revoke(&store, AT, first.clone());
    revoke(&store, AT, ada.clone());
    store.lose_engine();
    store.reopen().unwrap();
    check(&store, &[&first, &ada]);
    drop(store);
    check(&open(dir.path()), &[&first, &ada]);
}

/// A core that ran on, one that was started again, and one that packed what it had.
#[test]
fn what_is_past_says_nothing_of_what_was_revoked_later() {
    let until = |issued_before, until| Revocation {
        until: Some(until),
        ..user("ada", issued_before)
    };
    // What is there, when the next one comes, and what holds then.
    for (issued_before, first_until, at, expected) in [
        (AT + 9, AT + 5, AT + 6, AT + 1),
        (AT + 9, AT + 50, AT + 6, AT + 9),
        (AT + 1, AT + 50, AT + 60, AT + 1),
    ] {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let all = [until(issued_before, first_until), until(AT + 1, AT + HOUR)];
        let expected = until(expected, AT + HOUR);
        for (place, dir) in dirs.iter().enumerate() {
            let store = open(dir.path());
            let outcomes = [(AT, &all[0]), (at, &all[1])]
                .map(|(at, revocation)| revoke(&store, at, revocation.clone()));
            assert_eq!(outcomes, [const { Outcome::Revoked(Revoking::New) }; 2]);
            publish(&store, AT + 60);
            check(&store, &[&expected]);
            if place == 2 {
                store.roll().unwrap();
                while store.pack_one(AT + 60).unwrap() {}
            }
            if place > 0 {
                drop(store);
                check(&open(dir.path()), &[&expected]);
            }
        }
    }
    // All in one batch.
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = Batch::new(&store);
    for (at, revocation) in [
        (AT, until(AT + 9, AT + 5)),
        (AT + 6, until(AT + 1, AT + HOUR)),
    ] {
        let entry = Entry::TokensRevoked(TokensRevoked { at, revocation });
        batch.apply(batch.next_sequence(), entry).unwrap();
    }
    batch.commit().unwrap();
    check(&store, &[&until(AT + 1, AT + HOUR)]);
}

#[test]
fn it_is_decided_by_what_is_in_force_alone() {
    let full = RevocationSet::default();
    for n in 0..REVOCATIONS_MAX {
        full.add(&id(&n.to_string(), Some(AT + HOUR)));
    }
    let new = id("new", Some(AT + 9 * HOUR));
    assert_eq!(judge(&full, &[], &new, AT), Revoking::TooMany);
    // One that is there may last longer, and what is past makes room, dropped or not.
    let longer = id("7", Some(AT + 2 * HOUR));
    assert_eq!(judge(&full, &[], &longer, AT), Revoking::New);
    assert_eq!(judge(&full, &[], &new, AT + HOUR), Revoking::New);
    assert!(full.is_empty());
    // Committed, or in the same batch.
    let (one, other) = (RevocationSet::default(), RevocationSet::default());
    one.add(&user("ada", AT));
    let staged = [user("ada", AT)];
    for new in [user("ada", AT - 1), user("ada", AT), user("ada", AT + 1)] {
        assert_eq!(judge(&one, &[], &new, AT), judge(&other, &staged, &new, AT));
    }
    // Of no use to anybody.
    let past = id("past", Some(AT));
    assert_eq!(judge(&other, &[], &past, AT), Revoking::Before);
}
