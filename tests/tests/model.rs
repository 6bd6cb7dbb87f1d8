//! Random calls against a plain model of what the service promises, with kills in between: after
//! each stretch history, filters, counts and feeds say what the model says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mercurio_proto::v1::{ReadStatus, SubscribeRequest, publish_request::Audience};
use mercurio_tests::{ledger::seen_by, prelude::*};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const TOPICS: [&str; 4] = ["a", "a.b", "a.b.c", "x.b"];

/// What the service should know.
struct Model {
    /// How many a user sees.
    keeps: usize,
    published: BTreeMap<u64, mercurio_proto::v1::PublishRequest>,
    read: HashSet<(&'static str, u64)>,
    gone: HashSet<(&'static str, u64)>,
    /// What of a user was deleted as a whole: up to where.
    forgotten: BTreeMap<&'static str, u64>,
    /// What feeds carry beside notifications.
    states: Vec<(&'static str, Entry)>,
}

impl Model {
    /// Everything for a user, also what is no longer kept, oldest first.
    fn all(&self, user: &str) -> Vec<Seen> {
        let through = self.forgotten.get(user).copied().unwrap_or(0);
        self.published
            .range(through + 1..)
            .filter_map(|(id, request)| seen_by(user, *id, request))
            .collect()
    }

    fn visible(&self, user: &str) -> Vec<Seen> {
        let mut all = self.all(user);
        all.drain(..all.len().saturating_sub(self.keeps));
        all.retain(|seen| !self.is_gone(user, seen.id));
        all
    }

    fn is_gone(&self, user: &str, id: u64) -> bool {
        self.gone
            .iter()
            .any(|(of, gone)| *gone == id && (*of == user || of.is_empty()))
    }

    /// What retention took, and a reader was still owed.
    fn lost(&self, user: &str) -> Option<u64> {
        let all = self.all(user);
        let lost = all[..all.len().saturating_sub(self.keeps)].iter().rev();
        let mut owed = lost.filter(|seen| !self.is_gone(user, seen.id));
        owed.next().map(|seen| seen.id)
    }

    fn unread(&self, user: &'static str) -> u64 {
        let visible = self.visible(user).into_iter();
        visible
            .filter(|seen| !self.read.contains(&(user, seen.id)))
            .count() as u64
    }

    /// Sets what of `ids` is visible and differs; gives what changed.
    fn mark(&mut self, user: &'static str, ids: &[u64], read: bool) -> Vec<u64> {
        let visible: HashSet<u64> = self.visible(user).iter().map(|seen| seen.id).collect();
        let mut changed = Vec::new();
        for id in ids.iter().filter(|id| visible.contains(id)) {
            let key = (user, *id);
            if if read {
                self.read.insert(key)
            } else {
                self.read.remove(&key)
            } {
                changed.push(*id);
            }
        }
        changed
    }
}

struct Run {
    core: Service,
    api: Api,
    model: Model,
    random: fastrand::Rng,
    last: u64,
}

impl Run {
    async fn start(keeps: usize) -> Run {
        let core = Setup::core()
            .args([
                "--max-per-recipient",
                &keeps.to_string(),
                "--segment-rows",
                "100",
            ])
            .args(["--sweep-interval", "100ms"])
            .start()
            .await;
        let api = core.api(&core.secret().operator());
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let model = Model {
            keeps,
            published: BTreeMap::new(),
            read: HashSet::new(),
            gone: HashSet::new(),
            forgotten: BTreeMap::new(),
            states: Vec::new(),
        };
        Run {
            core,
            api,
            model,
            random: fastrand::Rng::with_seed(seed),
            last: 0,
        }
    }

    fn user(&mut self) -> &'static str {
        USERS[self.random.usize(..USERS.len())]
    }

    async fn step(&mut self) {
        match self.random.u8(..100) {
            0..60 => self.publish().await,
            60..85 => self.mark_ids().await,
            85..91 => self.mark_up_to().await,
            91..95 => self.delete().await,
            95..97 => self.delete_for_all().await,
            97 => self.forget().await,
            _ => self.core.restart().await,
        }
    }

    async fn publish(&mut self) {
        let topic = TOPICS[self.random.usize(..TOPICS.len())];
        let data = format!("{}", self.random.u32(..));
        let request = match self.random.u8(..4) {
            0 => to_everyone(topic, &data),
            1 => to(&[USERS[0], USERS[2]], topic, &data),
            _ => to(&[self.user()], topic, &data),
        };
        let request = with_id(&format!("e{}", self.model.published.len()), request);
        let answer = self.api.publish(request.clone()).await;
        assert!(
            answer.id > self.last && !answer.duplicate,
            "{answer:?} after {}",
            self.last
        );
        self.last = answer.id;
        self.model.published.insert(answer.id, request);
    }

    async fn mark_ids(&mut self) {
        let user = self.user();
        let read = self.random.u8(..3) > 0;
        // Some of theirs, some that are not theirs or not there.
        let mut ids: Vec<u64> = (0..self.random.usize(1..6))
            .map(|_| self.random.u64(1..=self.last + 2))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let changed = self.model.mark(user, &ids, read);
        let answer = self.api.mark(user, &ids, read).await;
        let unread = self.model.unread(user);
        assert_eq!(
            (answer.changed, answer.unread_count),
            (changed.len() as u64, unread),
            "{ids:?}"
        );
        self.state(user, answer.cursor, !changed.is_empty(), |unread| {
            Change::ReadState {
                ids: changed,
                up_to: 0,
                read,
                unread,
            }
        });
    }

    async fn mark_up_to(&mut self) {
        let user = self.user();
        let read = self.random.u8(..4) > 0;
        let up_to = self.random.u64(1..=self.last + 2);
        let ids: Vec<u64> = (1..=up_to).collect();
        let changed = self.model.mark(user, &ids, read);
        let answer = self.api.mark_up_to(user, up_to, read).await;
        let unread = self.model.unread(user);
        assert_eq!(
            (answer.changed, answer.unread_count),
            (changed.len() as u64, unread),
            "{up_to}"
        );
        self.state(user, answer.cursor, !changed.is_empty(), |unread| {
            Change::ReadState {
                ids: Vec::new(),
                // What comes later is not meant.
                up_to: up_to.min(answer.cursor - 1),
                read,
                unread,
            }
        });
    }

    /// Some that a user was sent by name, and some that are not theirs or not there.
    async fn delete(&mut self) {
        let user = self.user();
        let is_named = |id: &u64| {
            let published = self.model.published.get(id);
            published.is_none_or(|it| matches!(it.audience, Some(Audience::Recipients(_))))
        };
        let some = (0..self.random.clone().usize(1..5)).map(|_| self.random.u64(1..=self.last + 2));
        let ids: BTreeSet<u64> = some.filter(is_named).collect();
        let ids: Vec<u64> = ids.into_iter().collect();
        if ids.is_empty() {
            return;
        }
        let mut there = self.model.visible(user);
        there.retain(|seen| ids.contains(&seen.id));
        let answer = self.api.delete(user, &ids).await;
        assert_eq!(answer.deleted, there.len() as u64, "{ids:?}");
        let gone: Vec<u64> = there.iter().map(|seen| seen.id).collect();
        self.model.gone.extend(gone.iter().map(|id| (user, *id)));
        self.state(user, answer.cursor, !gone.is_empty(), |unread| {
            Change::Deleted {
                ids: gone,
                up_to: 0,
                unread: Some(unread),
            }
        });
    }

    async fn delete_for_all(&mut self) {
        let id = self.random.u64(1..=self.last + 2);
        let seen_by = |user: &&str| self.model.visible(user).iter().any(|seen| seen.id == id);
        let users: Vec<&'static str> = USERS.into_iter().filter(seen_by).collect();
        let published = self.model.published.get(&id);
        let to_all = published.is_some_and(|it| matches!(it.audience, Some(Audience::Everyone(_))));
        let answer = match self.api.delete_for_all(id).await {
            Ok(answer) => answer,
            Err(status) => {
                assert_eq!(reason(&status), "NOT_FOUND");
                assert!(users.is_empty(), "{users:?} have {id}");
                return;
            }
        };
        if to_all {
            // Who sees it no longer, for many others, is not who decides.
            let is_new = answer.deleted > 0;
            assert!(is_new || users.is_empty());
            if is_new {
                self.model.gone.insert(("", id));
                self.last = answer.cursor;
                let ids = vec![id];
                let change = Change::Deleted {
                    ids,
                    up_to: 0,
                    unread: None,
                };
                let cursor = answer.cursor;
                self.model.states.push(("", Entry { cursor, change }));
            }
            return;
        }
        assert_eq!(answer.deleted, users.len() as u64);
        self.model.gone.extend(users.iter().map(|user| (*user, id)));
        let last = self.last;
        for user in users {
            self.last = last;
            self.state(user, answer.cursor, true, |unread| Change::Deleted {
                ids: vec![id],
                up_to: 0,
                unread: Some(unread),
            });
        }
    }

    async fn forget(&mut self) {
        let user = self.user();
        let there = self.model.visible(user).len() as u64;
        let answer = self.api.forget(user).await;
        assert_eq!(answer.deleted, there);
        let is_first = !self.model.forgotten.contains_key(user);
        if there == 0 && !is_first {
            return;
        }
        let up_to = answer.cursor - 1;
        self.model.forgotten.insert(user, up_to);
        self.model.states.retain(|(owner, _)| *owner != user);
        self.state(user, answer.cursor, true, |_| Change::Deleted {
            ids: Vec::new(),
            up_to,
            unread: Some(0),
        });
    }

    fn state(
        &mut self,
        user: &'static str,
        cursor: u64,
        changed: bool,
        change: impl FnOnce(u64) -> Change,
    ) {
        if changed {
            assert!(cursor > self.last, "{cursor} after {}", self.last);
            self.last = cursor;
            let change = change(self.model.unread(user));
            self.model.states.push((user, Entry { cursor, change }));
        }
    }

    async fn check(&mut self) {
        for user in USERS.into_iter().chain(["someone-else"]) {
            let visible = self.model.visible(user);
            let unread = self.model.unread(user);
            let size = self.random.i32(1..80);
            let newest = visible.iter().rev();
            let is_read = |seen: &Seen| self.model.read.contains(&(user, seen.id));

            for (status, filter) in [
                (ReadStatus::Unspecified, vec![]),
                (ReadStatus::Unread, vec![]),
                (ReadStatus::Read, vec![]),
                (ReadStatus::Unspecified, vec!["a.>"]),
                (ReadStatus::Unread, vec!["*.b"]),
            ] {
                let wanted: Vec<Seen> = newest
                    .clone()
                    .filter(|seen| match status {
                        ReadStatus::Unspecified => true,
                        ReadStatus::Unread => !is_read(seen),
                        ReadStatus::Read => is_read(seen),
                    })
                    .filter(|seen| match filter.first() {
                        Some(&"a.>") => seen.topic.starts_with("a."),
                        Some(_) => ["a.b", "x.b"].contains(&&*seen.topic),
                        None => true,
                    })
                    .cloned()
                    .collect();
                let mut request = only(status, page(user, size));
                request.topics = filter.iter().map(|topic| (*topic).to_owned()).collect();
                assert_eq!(
                    self.api.list(request.clone()).await.unread_count,
                    unread,
                    "{user}"
                );
                let got = self.api.list_all(request).await;
                let what = format!("{user}, {status:?} {filter:?} by {size}");
                compare(
                    &what,
                    &wanted,
                    &got.iter().map(Seen::from).collect::<Vec<_>>(),
                );
                for one in &got {
                    let seen = Seen::from(one);
                    assert_eq!(one.read_at.is_some(), is_read(&seen), "{what}: {one:?}");
                }
            }
            self.check_feed(user, &visible, unread).await;
        }
    }

    async fn check_feed(&mut self, user: &'static str, visible: &[Seen], unread: u64) {
        let after = self.random.u64(1..=self.last.max(1));
        let request = SubscribeRequest {
            until_current: true,
            ..feed(user, Some(after))
        };
        let got = self.api.subscribe(request).await.to_end().await;
        let got: Vec<Entry> = got.iter().map(Entry::from).collect();
        let lost = self.model.lost(user);
        let through = self.model.forgotten.get(user).copied().unwrap_or(0);
        let opened = Change::Opened {
            complete: lost.is_none_or(|id| id <= after),
            oldest: visible.first().map_or(0, |seen| seen.id),
            latest: self.last,
            unread,
        };
        assert_eq!(
            got[0],
            Entry {
                cursor: after,
                change: opened
            },
            "{user} after {after}"
        );
        let notifications = visible.iter().map(|seen| Entry {
            cursor: seen.id,
            change: Change::Notification(seen.clone()),
        });
        let states = self.model.states.iter();
        let states = states.filter(|(owner, _)| *owner == user || owner.is_empty());
        let states = states.map(|(_, entry)| entry.clone());
        let states = states.filter(|entry| entry.cursor > through);
        let mut wanted: Vec<Entry> = notifications
            .chain(states)
            .filter(|entry| entry.cursor > after)
            .collect();
        wanted.sort_by_key(|entry| entry.cursor);
        let mut rest = got[1..].to_vec();
        if lost.is_some() {
            // Read-state changes leave with the stretch of the log they stand in.
            rest.retain(|entry| entry.notification().is_some());
            wanted.retain(|entry| entry.notification().is_some());
        }
        let part = rest
            .iter()
            .zip(&wanted)
            .position(|(got, wanted)| got != wanted);
        let part = part.unwrap_or(rest.len().min(wanted.len()));
        assert!(
            rest == wanted,
            "{user} after {after}: they part at {part}: got {:?}, wanted {:?}",
            rest.get(part),
            wanted.get(part)
        );
    }
}

async fn run(keeps: usize, rounds: usize) {
    let mut run = Run::start(keeps).await;
    // A cursor in a log that has nothing yet would be another log's.
    run.publish().await;
    for _ in 0..rounds {
        for _ in 0..run.random.usize(1..60) {
            run.step().await;
        }
        run.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_kept() {
    run(100_000, 25).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_kept() {
    run(40, 25).await;
}
