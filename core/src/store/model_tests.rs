//! Random sequences of publish, mark, expire, seal, pack, sweep and restart against a plain
//! in-memory model: history, feed, counts and idempotency agree after each step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    entry::{
        Audience, Deleted, Deletion, Entry, FeedChange, Millis, Published, ReadStateSet,
        ReadTarget, RecipientId, Sequence,
    },
    topic::{TopicFilter, TopicFilters},
};

use super::{
    Batch, FeedLimit, HistoryQuery, Outcome, Retention, StatusFilter, Store, StoreSettings,
    fault_tests::lose_what_sled_has, snapshot, verify,
};

const USERS: [&str; 4] = ["a", "ab", "b", "ü"];
const TOPICS: [&str; 3] = ["", "x.y", "x.z"];

#[derive(Clone, Debug)]
enum Step {
    Publish {
        to: u8,
        event: u8,
        topic: u8,
        ttl: Option<u16>,
        size: u16,
    },
    Mark {
        user: u8,
        ids: Vec<u8>,
        read: bool,
    },
    MarkUpTo {
        user: u8,
        up_to: u8,
        read: bool,
    },
    Delete {
        user: u8,
        ids: Vec<u8>,
    },
    DeleteForAll {
        id: u8,
    },
    Forget {
        user: u8,
    },
    Pass {
        millis: u16,
    },
    Clear,
    Roll,
    Pack,
    Repack,
    Merge,
    Sweep,
    Restart,
    /// sled failed, and is opened again by the process that goes on.
    Reopen,
    /// It goes on as a copy of itself.
    Snapshot,
    /// The process is killed, or the machine stops.
    Crash {
        machine: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let publish = (
        0..16_u8,
        0..60_u8,
        0..3_u8,
        prop::option::of(1..400_u16),
        0..9000_u16,
    );
    let publish = publish.prop_map(|(to, event, topic, ttl, size)| Step::Publish {
        to,
        event,
        topic,
        ttl,
        size,
    });
    prop_oneof![
        12 => publish,
        3 => (0..4_u8, prop::collection::vec(0..60_u8, 1..4), any::<bool>())
            .prop_map(|(user, ids, read)| Step::Mark { user, ids, read }),
        2 => (0..4_u8, 0..80_u8, any::<bool>())
            .prop_map(|(user, up_to, read)| Step::MarkUpTo { user, up_to, read }),
        2 => (0..4_u8, prop::collection::vec(0..60_u8, 1..4))
            .prop_map(|(user, ids)| Step::Delete { user, ids }),
        1 => (1..60_u8).prop_map(|id| Step::DeleteForAll { id }),
        1 => (0..4_u8).prop_map(|user| Step::Forget { user }),
        2 => Just(Step::Clear),
        2 => (0..300_u16).prop_map(|millis| Step::Pass { millis }),
        2 => Just(Step::Roll),
        2 => Just(Step::Pack),
        1 => Just(Step::Repack),
        1 => Just(Step::Merge),
        2 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        2 => Just(Step::Reopen),
        1 => Just(Step::Snapshot),
        2 => any::<bool>().prop_map(|machine| Step::Crash { machine }),
    ]
}

/// What the model knows of a notification.
#[derive(Clone, Debug)]
struct Known {
    at: Millis,
    expires_at: Millis,
    topic: &'static str,
    size: usize,
    to: Option<Vec<&'static str>>,
    read: BTreeMap<&'static str, Millis>,
    /// From whose views it was deleted.
    gone: BTreeSet<&'static str>,
    gone_for_all: bool,
}

impl Known {
    fn is_gone(&self, user: &str) -> bool {
        self.gone_for_all || self.gone.contains(user)
    }
}

#[derive(Default)]
struct Model {
    notifications: BTreeMap<Sequence, Known>,
    marks: BTreeMap<Sequence, &'static str>,
    events: BTreeMap<u8, Sequence>,
    deletions: BTreeMap<Sequence, Option<Vec<&'static str>>>,
    /// Up to where, and when.
    forgotten: BTreeMap<&'static str, (Sequence, Millis)>,
}

const RETENTION: Retention = Retention {
    max_age: Duration::from_millis(1000),
    max_per_recipient: 7,
};

impl Model {
    /// Newest first: those that concern the user, and whether retention still keeps them.
    fn feed(&self, user: &str, now: Millis) -> Vec<(Sequence, &Known, bool)> {
        let concerns = |known: &Known| known.to.as_ref().is_none_or(|to| to.contains(&user));
        let through = self.forgotten.get(user).map_or(0, |(through, _)| *through);
        let newest_first = self
            .notifications
            .range(through + 1..)
            .rev()
            .filter(|(_, known)| concerns(known));
        let ranked = newest_first
            .enumerate()
            .map(|(rank, (id, known))| (*id, known, rank < 7 && now < known.at + 1000));
        ranked.collect()
    }

    fn visible(&self, user: &str, now: Millis) -> Vec<(Sequence, &Known)> {
        let feed = self.feed(user, now).into_iter();
        feed.filter(|(_, known, kept)| *kept && known.expires_at > now)
            .filter(|(_, known, _)| !known.is_gone(user))
            .map(|(id, known, _)| (id, known))
            .collect()
    }

    /// Those that went to everyone and can be deleted for all.
    fn feed_of_everyone(&self, now: Millis) -> Vec<Sequence> {
        let newest_first = self.notifications.iter().rev();
        let everyones = newest_first.filter(|(_, known)| known.to.is_none()).take(7);
        let kept = everyones.filter(|(_, known)| now < known.at + 1000 && !known.gone_for_all);
        kept.map(|(id, _)| *id).collect()
    }

    fn mark(
        &mut self,
        user: &'static str,
        target: impl Fn(Sequence) -> bool,
        read: bool,
        at: Millis,
    ) -> u64 {
        let ids: Vec<Sequence> = self.visible(user, at).iter().map(|(id, _)| *id).collect();
        let mut changed = 0;
        for id in ids.into_iter().filter(|id| target(*id)) {
            let known = self.notifications.get_mut(&id).unwrap();
            let was = known.read.contains_key(user);
            if read && !was {
                known.read.insert(user, at);
                changed += 1;
            } else if !read && was {
                known.read.remove(user);
                changed += 1;
            }
        }
        changed
    }
}

struct Harness {
    dir: tempfile::TempDir,
    store: Option<Store>,
    model: Model,
    now: Millis,
}

impl Harness {
    fn open(dir: &std::path::Path) -> Store {
        let settings = StoreSettings {
            active_cache_bytes: 1 << 20,
            ..StoreSettings::default()
        };
        Store::open(dir, settings, RETENTION).unwrap()
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Self::open(dir.path()));
        Self {
            dir,
            store,
            model: Model::default(),
            now: 1_000_000,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn apply(&self, entry: Entry) -> Outcome {
        let mut batch = Batch::new(self.store());
        let outcome = batch.apply(batch.next_sequence(), entry).unwrap();
        batch.commit().unwrap();
        outcome
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish {
                to,
                event,
                topic,
                ttl,
                size,
            } => {
                self.publish(
                    *to,
                    *event,
                    TOPICS[usize::from(*topic)],
                    *ttl,
                    usize::from(*size),
                );
            }
            Step::Mark { user, ids, read } => {
                let ids: Vec<Sequence> = ids.iter().map(|id| Sequence::from(*id)).collect();
                self.mark(USERS[usize::from(*user)], &ReadTarget::Ids(ids), *read);
            }
            Step::MarkUpTo { user, up_to, read } => {
                let target = ReadTarget::UpTo(Sequence::from(*up_to));
                self.mark(USERS[usize::from(*user)], &target, *read);
            }
            Step::Delete { user, ids } => {
                let ids: Vec<Sequence> = ids.iter().map(|id| Sequence::from(*id)).collect();
                self.delete(Some(vec![USERS[usize::from(*user)]]), &ids);
            }
            Step::DeleteForAll { id } => self.delete_for_all(Sequence::from(*id)),
            Step::Forget { user } => self.forget(USERS[usize::from(*user)]),
            Step::Clear => while self.store().clear_one(self.now).unwrap() {},
            Step::Pass { millis } => self.now += Millis::from(*millis),
            Step::Roll => self.store().roll().unwrap(),
            Step::Pack => while self.store().pack_one(self.now).unwrap() {},
            Step::Repack => drop(self.store().repack_one(self.now).unwrap()),
            Step::Merge => drop(self.store().merge_some(self.now).unwrap()),
            Step::Sweep => self.sweep(),
            Step::Restart => {
                self.store = None;
                self.open_again();
            }
            Step::Reopen => {
                self.store().lose_engine();
                self.store().reopen().unwrap();
            }
            Step::Snapshot => {
                let copy = {
                    let snapshot = self.store().snapshot(|| self.store().cut()).unwrap();
                    snapshot::tests::imported(&snapshot)
                };
                self.store = None;
                self.dir = copy;
                self.open_again();
            }
            Step::Crash { machine } => {
                let left = tempfile::tempdir().unwrap();
                copy(self.dir.path(), left.path());
                self.store = None;
                self.dir = left;
                if *machine {
                    lose_what_sled_has(self.dir.path());
                }
                self.open_again();
            }
        }
    }

    fn open_again(&mut self) {
        let report = verify(self.dir.path()).unwrap();
        assert_eq!(report.problems, [""; 0]);
        self.store = Some(Self::open(self.dir.path()));
        assert_eq!(report.through, self.store().last_sequence());
    }

    fn publish(&mut self, to: u8, event: u8, topic: &'static str, ttl: Option<u16>, size: usize) {
        let to: Option<Vec<&'static str>> = (to != 0).then(|| {
            (0..4)
                .filter(|bit| to >> bit & 1 == 1)
                .map(|bit| USERS[bit])
                .collect()
        });
        let audience = match &to {
            None => Audience::Everyone,
            Some(to) => Audience::Recipients(to.iter().map(|to| recipient(to)).collect()),
        };
        let expires_at = ttl.map(|ttl| self.now + Millis::from(ttl));
        let published = Published {
            at: self.now,
            source_id: "s".into(),
            event_id: event.to_string(),
            topic: topic.into(),
            data: "d".repeat(size),
            expires_at,
        };
        let outcome = self.apply(Entry::Published(audience, Arc::new(published)));
        let Outcome::Published { id, duplicate } = outcome else {
            panic!("{outcome:?}")
        };
        let first = self.model.events.get(&event).copied();
        // The key holds exactly as long as the notification can be seen, whatever was swept.
        let holds = first.filter(|first| {
            let known = &self.model.notifications[first];
            let is_free = match known.to.as_deref() {
                Some([only]) => {
                    let through = self.model.forgotten.get(only);
                    through.is_some_and(|(through, _)| first <= through)
                }
                _ => false,
            };
            self.now < known.at + 1000 && self.now < known.expires_at && !is_free
        });
        assert_eq!(holds.is_some(), duplicate);
        if duplicate {
            assert_eq!(Some(id), first);
            return;
        }
        self.model.events.insert(event, id);
        let known = Known {
            at: self.now,
            expires_at: expires_at.unwrap_or(Millis::MAX),
            topic,
            size,
            to,
            read: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_for_all: false,
        };
        self.model.notifications.insert(id, known);
    }

    fn mark(&mut self, user: &'static str, target: &ReadTarget, read: bool) {
        let recipient = recipient(user);
        let set = ReadStateSet {
            at: self.now,
            recipient,
            target: target.clone(),
            read,
        };
        let outcome = self.apply(Entry::ReadStateSet(set));
        let changed = self.model.mark(
            user,
            |id| match target {
                ReadTarget::Ids(ids) => ids.contains(&id),
                ReadTarget::UpTo(up_to) => id <= *up_to,
            },
            read,
            self.now,
        );
        let visible = self.model.visible(user, self.now);
        let unread = visible
            .iter()
            .filter(|(_, known)| !known.read.contains_key(user))
            .count();
        assert_eq!(
            outcome,
            Outcome::ReadStateSet {
                changed,
                unread_count: unread as u64
            }
        );
        if changed > 0 {
            self.model.marks.insert(self.store().last_sequence(), user);
        }
    }

    /// From these views, or everyone's.
    fn delete(&mut self, owners: Option<Vec<&'static str>>, ids: &[Sequence]) {
        let mut expected = 0;
        let views = match &owners {
            Some(owners) => owners.clone(),
            None => vec![""],
        };
        for owner in views.iter().copied() {
            let there: Vec<Sequence> = match owner {
                "" => self.model.feed_of_everyone(self.now),
                owner => {
                    let feed = self.model.feed(owner, self.now).into_iter();
                    let kept = feed.filter(|(_, known, kept)| *kept && !known.is_gone(owner));
                    kept.map(|(id, ..)| id).collect()
                }
            };
            expected += there.iter().filter(|id| ids.contains(id)).count() as u64;
        }
        // Of those who have it, also for whom it is beyond retention: nobody is owed it any more.
        for (owner, id) in views
            .iter()
            .flat_map(|owner| ids.iter().map(move |id| (*owner, id)))
            .filter(|_| expected > 0)
        {
            match self.model.notifications.get_mut(id) {
                Some(known) if owner.is_empty() => known.gone_for_all = known.to.is_none(),
                Some(known) => drop(known.gone.insert(owner)),
                None => {}
            }
        }
        let audience = match &owners {
            None => Audience::Everyone,
            Some(to) => Audience::Recipients(to.iter().map(|to| recipient(to)).collect()),
        };
        let outcome = self.apply(Entry::Deleted(Deleted {
            at: self.now,
            deletion: Deletion::Notifications {
                owners: audience,
                ids: ids.to_vec(),
            },
        }));
        let is_new = expected > 0;
        let deleted = expected;
        assert_eq!(outcome, Outcome::Deleted { deleted, is_new });
        if is_new {
            let last = self.store().last_sequence();
            self.model.deletions.insert(last, owners);
        }
    }

    fn delete_for_all(&mut self, id: Sequence) {
        let found = self.store().owners_of(id).unwrap();
        let is_seen = USERS.iter().any(|user| {
            let visible = self.model.visible(user, self.now);
            visible.iter().any(|(known, _)| *known == id)
        });
        assert!(found.is_some() || !is_seen, "nobody has {id}");
        match found {
            None => {}
            Some(Audience::Everyone) => self.delete(None, &[id]),
            Some(Audience::Recipients(named)) => {
                let known = |name: &RecipientId| {
                    USERS
                        .into_iter()
                        .find(|user| *user == name.as_str())
                        .unwrap()
                };
                self.delete(Some(named.iter().map(known).collect()), &[id]);
            }
        }
    }

    fn forget(&mut self, user: &'static str) {
        let feed = self.model.feed(user, self.now).into_iter();
        let there = feed.filter(|(_, known, kept)| *kept && !known.is_gone(user));
        let deleted = there.count() as u64;
        let before = self.model.forgotten.get(user).copied();
        let is_forgotten = before.is_some_and(|(_, at)| self.now < at + 1000);
        let of = recipient(user);
        let outcome = self.apply(Entry::Deleted(Deleted {
            at: self.now,
            deletion: Deletion::Everything { of },
        }));
        let is_new = deleted > 0 || !is_forgotten;
        assert_eq!(outcome, Outcome::Deleted { deleted, is_new });
        if is_new {
            let last = self.store().last_sequence();
            self.model.forgotten.insert(user, (last - 1, self.now));
            self.model.deletions.insert(last, Some(vec![user]));
            for known in self.model.notifications.values_mut() {
                known.read.remove(user);
            }
        }
    }

    fn sweep(&self) {
        if self.store().is_roll_due(self.now) {
            self.store().roll().unwrap();
        }
        while self.store().bury_past(self.now).unwrap() {}
    }

    fn check(&self) {
        for user in USERS {
            self.check_history(user);
            self.check_feed(user);
        }
    }

    fn check_history(&self, user: &'static str) {
        let visible = self.model.visible(user, self.now);
        let unread = visible
            .iter()
            .filter(|(_, known)| !known.read.contains_key(user))
            .count() as u64;
        for (status, topics) in [
            (StatusFilter::All, None),
            (StatusFilter::Unread, None),
            (StatusFilter::Read, Some("x.*")),
            (StatusFilter::Unread, Some("x.y")),
        ] {
            let filters: Vec<_> = topics
                .iter()
                .map(|topic| TopicFilter::parse(topic).unwrap())
                .collect();
            let filters = TopicFilters::new(filters);
            let expected: Vec<_> = visible
                .iter()
                .filter(|(_, known)| match status {
                    StatusFilter::All => true,
                    StatusFilter::Unread => !known.read.contains_key(user),
                    StatusFilter::Read => known.read.contains_key(user),
                })
                .filter(|(_, known)| filters.matches(known.topic))
                .map(|(id, known)| {
                    (
                        *id,
                        known.size,
                        known.read.get(user).copied(),
                        known.to.is_none(),
                    )
                })
                .collect();
            let mut listed = Vec::new();
            let mut before = None;
            loop {
                let query = HistoryQuery {
                    status,
                    topics: filters.clone(),
                    before,
                    limit: 3,
                };
                let page = self
                    .store()
                    .history(&recipient(user), &query, self.now)
                    .unwrap();
                assert_eq!(page.unread_count, unread, "unread of {user}");
                assert_eq!(page.cursor, self.store().last_sequence());
                listed.extend(page.notifications.into_iter().map(|notification| {
                    let published = &notification.published;
                    (
                        notification.id,
                        published.data.len(),
                        notification.read_at,
                        notification.broadcast,
                    )
                }));
                before = page.next_before;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(listed, expected, "history of {user}");
        }
        for id in 1..=self.store().last_sequence() {
            let found = self.store().get(&recipient(user), id, self.now).unwrap();
            assert_eq!(
                found.is_some(),
                visible.iter().any(|(known, _)| *known == id)
            );
        }
    }

    fn check_feed(&self, user: &'static str) {
        let last = self.store().last_sequence();
        let visible = self.model.visible(user, self.now);
        let feed = self.model.feed(user, self.now);
        let lost = feed
            .iter()
            .filter(|(_, known, kept)| !kept && known.expires_at > self.now)
            .filter(|(_, known, _)| !known.is_gone(user))
            .map(|(id, ..)| *id)
            .max()
            .unwrap_or(0);
        for after in [0, last / 2, last] {
            let opening = self
                .store()
                .opening(&recipient(user), Some(after), self.now)
                .unwrap();
            // Noted when it was dropped, it may have expired since.
            assert!(opening.complete || lost > after || self.has_expired_loss(user, after));
            assert!(
                !opening.complete || lost <= after,
                "{user} after {after}: {lost} is lost"
            );
            assert_eq!(opening.oldest, visible.last().map_or(0, |(id, _)| *id));
            let mut ids = Vec::new();
            let mut cursor = after;
            while cursor < last {
                let limit = FeedLimit {
                    changes: 2,
                    bytes: 10_000,
                };
                let page = self
                    .store()
                    .feed(&recipient(user), cursor, last, limit, self.now)
                    .unwrap();
                assert!(page.through > cursor);
                cursor = page.through;
                ids.extend(
                    page.changes
                        .iter()
                        .filter_map(|(sequence, change)| match change {
                            FeedChange::Notification(notification) => {
                                assert_eq!(notification.id, *sequence);
                                Some(*sequence)
                            }
                            FeedChange::Deleted(change) => {
                                let of = &self.model.deletions[sequence];
                                assert!(of.as_ref().is_none_or(|of| of.contains(&user)));
                                assert_eq!(change.unread_count.is_none(), of.is_none());
                                None
                            }
                            FeedChange::ReadState(_) => {
                                assert_eq!(self.model.marks.get(sequence), Some(&user));
                                None
                            }
                        }),
                );
            }
            let expected: Vec<_> = visible
                .iter()
                .rev()
                .map(|(id, _)| *id)
                .filter(|id| *id > after)
                .collect();
            assert_eq!(ids, expected, "feed of {user} after {after}");
        }
    }

    fn has_expired_loss(&self, user: &str, after: Sequence) -> bool {
        self.model
            .feed(user, self.now)
            .iter()
            .filter(|(id, _, kept)| !kept && *id > after)
            // What went to everyone is noted for all, also for who had it deleted.
            .any(|(_, known, _)| {
                known.expires_at != Millis::MAX || known.to.is_none() || known.is_gone(user)
            })
    }
}

/// The files as they are while they are open: what the kernel has, and sled's buffers not.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn recipient(id: &str) -> RecipientId {
    RecipientId::new(id).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_view_agrees_with_a_plain_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut harness = Harness::new();
        for step in &steps {
            harness.run(step);
            harness.check();
        }
    }
}
