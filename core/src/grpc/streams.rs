//! How many streams are open, in all and for one user.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use parking_lot::Mutex;

use crate::{
    entry::{RecipientId, Sequence},
    metrics::{Metrics, Raised},
    settings::Limits,
};

use super::status::Refusal;

/// Counts open streams. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    all: usize,
    relays: usize,
    /// Live ones; nobody without one.
    of_user: HashMap<RecipientId, usize>,
    /// The live ones, by recipient and number.
    live: BTreeMap<(RecipientId, u64), Arc<Shown>>,
    last: u64,
}

/// A live stream, as it is shown to who asks who is connected.
struct Shown {
    user: Box<str>,
    opened_at: SystemTime,
    /// It reads the store.
    is_behind: AtomicBool,
    cursor: AtomicU64,
}

/// A live stream, and how it was doing.
pub(super) struct Listed {
    pub recipient: RecipientId,
    pub id: u64,
    pub user: Box<str>,
    pub opened_at: SystemTime,
    pub is_behind: bool,
    pub cursor: Sequence,
}

impl Streams {
    /// Counts a stream that `by` opens in for as long as what is returned lives. One that ends at the present
    /// doesn't count for its user.
    pub(super) fn open(
        &self,
        user: &RecipientId,
        by: &str,
        is_live: bool,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<OpenStream, Refusal> {
        let mut open = self.0.lock();
        if open.all >= limits.streams {
            return Err(Refusal::TooManyStreams {
                what: "streams",
                limit: limits.streams,
            });
        }
        if is_live {
            let of_user = open.of_user.get(user).copied().unwrap_or_default();
            if of_user >= limits.streams_per_user {
                let limit = limits.streams_per_user;
                return Err(Refusal::TooManyStreams {
                    what: "streams of this user",
                    limit,
                });
            }
            open.of_user.insert(user.clone(), of_user + 1);
        }
        open.all += 1;
        let live = is_live.then(|| open.show(user, by));
        drop(open);
        Ok(OpenStream {
            streams: self.clone(),
            live,
            _shown: Raised::new(&metrics.streams),
        })
    }

    /// At most `limit` of the live streams, of everyone's or of `recipient`'s, behind `after`; and
    /// whether there are more.
    pub(super) fn live(
        &self,
        recipient: Option<&RecipientId>,
        after: Option<(RecipientId, u64)>,
        limit: usize,
    ) -> (Vec<Listed>, bool) {
        let first = match (after, recipient) {
            (Some(after), _) => Bound::Excluded(after),
            // Their numbers begin with 1.
            (None, Some(recipient)) => Bound::Excluded((recipient.clone(), 0)),
            (None, None) => Bound::Unbounded,
        };
        let open = self.0.lock();
        let behind = open.live.range((first, Bound::Unbounded));
        let mut theirs = behind.take_while(|((of, _), _)| recipient.is_none_or(|one| one == of));
        let listed = theirs.by_ref().take(limit);
        let listed = listed.map(|((recipient, id), shown)| Listed {
            recipient: recipient.clone(),
            id: *id,
            user: shown.user.clone(),
            opened_at: shown.opened_at,
            is_behind: shown.is_behind.load(Relaxed),
            cursor: shown.cursor.load(Relaxed),
        });
        (listed.collect(), theirs.next().is_some())
    }

    /// Counts a relay in for as long as what is returned lives.
    pub(super) fn open_relay(
        &self,
        limits: &Limits,
        metrics: &Metrics,
    ) -> Result<OpenRelay, Refusal> {
        let mut open = self.0.lock();
        if open.relays >= limits.relays {
            return Err(Refusal::TooManyStreams {
                what: "relays",
                limit: limits.relays,
            });
        }
        open.relays += 1;
        drop(open);
        Ok(OpenRelay {
            streams: self.clone(),
            _shown: Raised::new(&metrics.relays),
        })
    }
}

impl Open {
    fn show(&mut self, user: &RecipientId, by: &str) -> ((RecipientId, u64), Arc<Shown>) {
        self.last += 1;
        let key = (user.clone(), self.last);
        let shown = Arc::new(Shown {
            user: by.into(),
            opened_at: SystemTime::now(),
            is_behind: AtomicBool::new(true),
            cursor: AtomicU64::new(0),
        });
        self.live.insert(key.clone(), shown.clone());
        (key, shown)
    }
}

/// An open stream.
pub(super) struct OpenStream {
    streams: Streams,
    /// `None`: it ends at the present.
    live: Option<((RecipientId, u64), Arc<Shown>)>,
    _shown: Raised,
}

impl OpenStream {
    /// Where the stream stands, and whether it reads the store.
    pub fn stands(&self, cursor: Sequence, is_behind: bool) {
        if let Some((_, shown)) = &self.live {
            shown.cursor.store(cursor, Relaxed);
            shown.is_behind.store(is_behind, Relaxed);
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        open.all -= 1;
        let Some((key, _)) = &self.live else { return };
        open.live.remove(key);
        if let Some(of_user) = open.of_user.get_mut(&key.0) {
            *of_user -= 1;
            if *of_user == 0 {
                open.of_user.remove(&key.0);
            }
        }
    }
}

/// An open relay.
pub(super) struct OpenRelay {
    streams: Streams,
    _shown: Raised,
}

impl Drop for OpenRelay {
    fn drop(&mut self) {
        self.streams.0.lock().relays -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_live_streams_and_the_service_so_many_in_all() {
        let limits = Limits {
            streams_per_user: 2,
            streams: 4,
            ..Limits::default()
        };
        let metrics = Metrics::default();
        let streams = Streams::default();
        let id = |name| RecipientId::new(name).unwrap();
        let open = |name, is_live| streams.open(&id(name), "by", is_live, &limits, &metrics);
        let first = open("ada", true).unwrap();
        let _second = open("ada", true).unwrap();
        assert!(matches!(
            open("ada", true),
            Err(Refusal::TooManyStreams { limit: 2, .. })
        ));
        let _current = open("ada", false).unwrap();
        let _bob = open("bob", true).unwrap();
        assert!(matches!(
            open("cyd", false),
            Err(Refusal::TooManyStreams { limit: 4, .. })
        ));
        assert_eq!(metrics.streams.get(), 4);
        drop(first);
        let third = open("ada", true).unwrap();
        drop((third, _second, _current, _bob));
        assert!(streams.0.lock().of_user.is_empty());
        assert!(streams.0.lock().live.is_empty());
        assert_eq!((streams.0.lock().all, metrics.streams.get()), (0, 0));
    }

    #[test]
    fn live_streams_are_listed_a_page_at_a_time() {
        let (limits, metrics, streams) =
            (Limits::default(), Metrics::default(), Streams::default());
        let id = |name| RecipientId::new(name).unwrap();
        let open = |name, is_live| streams.open(&id(name), "by", is_live, &limits, &metrics);
        let names = ["bob", "ada", "cyd", "ada"];
        let held: Vec<_> = names.map(|name| open(name, true).unwrap()).into();
        let _current = open("ada", false).unwrap();
        held[1].stands(7, false);
        let mut after = None;
        let mut pages = Vec::new();
        loop {
            let (page, more) = streams.live(None, after, 3);
            let last = page.last().unwrap();
            after = Some((last.recipient.clone(), last.id));
            pages.push(page);
            if !more {
                break;
            }
        }
        let listed: Vec<_> = pages
            .iter()
            .flatten()
            .map(|listed| (listed.recipient.as_str(), listed.id))
            .collect();
        assert_eq!(listed, [("ada", 2), ("ada", 4), ("bob", 1), ("cyd", 3)]);
        assert_eq!((pages[0][0].cursor, pages[0][0].is_behind), (7, false));
        assert!(pages[0][1].is_behind);
        let (page, more) = streams.live(Some(&id("ada")), None, 1);
        assert_eq!((page.len(), more), (1, true));
        let (page, more) = streams.live(Some(&id("ada")), Some((id("ada"), 2)), 9);
        assert_eq!((page[0].id, page.len(), more), (4, 1, false));
        assert!(streams.live(Some(&id("dan")), None, 9).0.is_empty());
    }
}
