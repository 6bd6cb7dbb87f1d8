//! Which streams are open, by user, and whether the relay brings their entries.
//!
//! All under one lock, never held across a wait: so that a relay that breaks and a stream that
//! resumes can't miss each other.

mod listing;
mod place;

use std::{collections::HashSet, sync::Arc};

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    closing::Closing,
    courier::{Loan, TOUCHED},
    error::ApiError,
    lease::{Lease, Token, Wanted},
    mailbox::{End, Handed, Mailbox},
    metrics::{Limit, Metrics},
    sse::Event,
};

pub(crate) use place::Open;

pub(crate) struct Registry {
    inner: Mutex<Inner>,
    /// Users came or went: the relay has to say so.
    changed: Notify,
    limits: Limits,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub streams: usize,
    pub streams_per_user: usize,
    pub mailbox: usize,
}

#[derive(Default)]
struct Inner {
    /// In the order in which they came: so what the kernel and the allocator have of their streams lies
    /// as it is gone through for an entry for everyone.
    users: IndexMap<Arc<str>, User>,
    streams: usize,
    changed: HashSet<Arc<str>>,
    /// The relay that stands.
    relay: Option<Heard>,
    /// The service is ending: nobody is taken in any more.
    ending: bool,
}

/// A relay, and what it has spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The core that it is opened to.
    pub core: usize,
    /// The last sequence it named. What comes over it from now on comes after that; what is up to
    /// it, the store has.
    pub cursor: u64,
}

#[derive(Default)]
struct User {
    mailboxes: Vec<Arc<Mailbox>>,
    joining: Joining,
    /// Streams waiting for the relay to bring their entries.
    waiting: Vec<oneshot::Sender<()>>,
}

impl User {
    fn touch(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.touch());
    }
}

/// Of a user, the id and the mailboxes' list apart.
#[cfg(test)]
pub(crate) const USER_BYTES: usize = size_of::<(Arc<str>, User)>();

#[derive(Default, PartialEq, Eq)]
enum Joining {
    #[default]
    No,
    /// The relay was asked, with this join.
    Asked(u64),
    Joined,
}

/// What the relay has to say to the core.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub join: Vec<Arc<str>>,
    pub leave: Vec<Arc<str>>,
}

impl Registry {
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            limits,
            metrics,
        }
    }

    /// Takes in a stream; it leaves when what is returned is dropped.
    pub fn open(self: &Arc<Self>, user: &str, lease: Lease) -> Result<Open, ApiError> {
        let mut inner = self.inner.lock();
        if inner.ending {
            return Err(ApiError::core_away());
        }
        if inner.streams >= self.limits.streams {
            self.metrics.limited(Limit::Streams);
            return Err(ApiError::gateway_full(self.limits.streams));
        }
        let known = inner
            .users
            .get_key_value(user)
            .map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| user.into());
        let entry = inner.users.entry(name.clone()).or_default();
        if entry.mailboxes.len() >= self.limits.streams_per_user {
            self.metrics.limited(Limit::UserStreams);
            return Err(ApiError::too_many_streams(self.limits.streams_per_user));
        }
        // Behind from the start: whatever came before its first catch-up is in the store.
        let mailbox = Arc::new(Mailbox::new(lease));
        mailbox.set_behind();
        entry.mailboxes.push(mailbox.clone());
        let is_first = entry.mailboxes.len() == 1;
        inner.streams += 1;
        if is_first {
            inner.changed.insert(name.clone());
        }
        drop(inner);
        if is_first {
            self.changed.notify_one();
        }
        self.metrics.streams.inc();
        Ok(Open {
            registry: self.clone(),
            user: name,
            mailbox,
        })
    }

    /// Has a user's streams go on with this token: the one of this name, or all of them, as far as
    /// they were opened with one of the same holder's. When each of those ends now; `None`: never.
    pub fn renew(
        &self,
        user: &str,
        stream: Option<u64>,
        token: &Token<'_>,
    ) -> Vec<Option<Instant>> {
        let inner = self.inner.lock();
        let mailboxes = inner.users.get(user).into_iter();
        mailboxes
            .flat_map(|user| &user.mailboxes)
            .map(|mailbox| &mailbox.lease)
            .filter(|lease| stream.is_none_or(|id| lease.id() == id))
            .filter(|lease| lease.renew(user, token))
            .map(Lease::until)
            .collect()
    }

    /// An entry for its audience: to how many streams it goes, and those that it is to be written to
    /// at once.
    pub fn dispatch(&self, recipients: &[String], event: &Arc<Event>) -> (u64, Vec<Loan>) {
        // Before the lock: a loan that is dropped may want it.
        let (mut handed, mut loans) = (0, Vec::new());
        let mut inner = self.inner.lock();
        inner.hear(event.cursor);
        loans.reserve(match recipients.len() {
            0 => inner.users.len(),
            some => some.min(inner.users.len()),
        });
        let mut push = |user: &User| {
            for mailbox in &user.mailboxes {
                match mailbox.push(event, self.limits.mailbox) {
                    Handed::In => {}
                    Handed::Over => _ = self.metrics.fell_behind.inc(),
                    Handed::Back(loan) => loans.push(loan),
                }
            }
            handed += user.mailboxes.len() as u64;
        };
        if recipients.is_empty() {
            let mut rest = inner.users.as_slice();
            while !rest.is_empty() {
                let (some, others) = rest.split_at(rest.len().min(TOUCHED));
                some.values().for_each(User::touch);
                some.values().for_each(&mut push);
                rest = others;
            }
        } else {
            recipients
                .iter()
                .filter_map(|name| inner.users.get(name.as_str()))
                .for_each(push);
        }
        drop(inner);
        // Once an entry, not once a stream: they would contend for it.
        self.metrics.delivered.inc_by(handed);
        (handed, loans)
    }

    /// A new relay is there, to this core, which knows nobody yet.
    pub fn connected(&self, core: usize) {
        let mut inner = self.inner.lock();
        inner.relay = Some(Heard { core, cursor: 0 });
        inner.changed = inner.users.keys().cloned().collect();
        drop(inner);
        self.changed.notify_one();
    }

    /// The relay broke: every stream catches up once there is another.
    pub fn disconnected(&self) {
        let mut inner = self.inner.lock();
        inner.relay = None;
        for user in inner.users.values_mut() {
            user.joining = Joining::No;
            user.mailboxes
                .iter()
                .for_each(|mailbox| mailbox.set_behind());
        }
    }

    /// The relay left something out, up to this cursor: every stream catches up.
    pub fn reset(&self, cursor: u64) {
        let mut inner = self.inner.lock();
        inner.hear(cursor);
        let mailboxes = inner.users.values().flat_map(|user| &user.mailboxes);
        mailboxes.for_each(|mailbox| mailbox.set_behind());
    }

    /// Every open stream that one of these tokens holds is to end. How many.
    pub fn revoke(&self, wanted: &Wanted) -> usize {
        let mut ended = 0;
        let inner = self.inner.lock();
        for (name, user) in &inner.users {
            for mailbox in &user.mailboxes {
                if mailbox.lease.revoke(name, wanted) {
                    mailbox.end(End::Closing(Closing::TokenRevoked));
                    ended += 1;
                }
            }
        }
        ended
    }

    /// Every open stream is to end, and no other is taken in.
    pub fn end(&self, end: End) {
        let mut inner = self.inner.lock();
        inner.ending = true;
        let mailboxes = inner.users.values().flat_map(|user| &user.mailboxes);
        mailboxes.for_each(|mailbox| mailbox.end(end));
    }

    pub fn is_connected(&self) -> bool {
        self.inner.lock().relay.is_some()
    }

    /// Waits until users came or went, and says which; at most `limit` of those who came, to be
    /// asked for with the join of this number.
    pub async fn interest(&self, join: u64, limit: usize) -> Interest {
        loop {
            let interest = self.take_interest(join, limit);
            if interest != Interest::default() {
                return interest;
            }
            self.changed.notified().await;
        }
    }

    fn take_interest(&self, join: u64, limit: usize) -> Interest {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut interest = Interest::default();
        let changed: Vec<Arc<str>> = inner.changed.iter().take(limit).cloned().collect();
        for name in changed {
            inner.changed.remove(&name);
            match inner.users.get_mut(&name) {
                Some(user) => {
                    user.joining = Joining::Asked(join);
                    interest.join.push(name);
                }
                None => interest.leave.push(name),
            }
        }
        interest
    }

    /// The core brings these users' entries from now on, those after this cursor. Who left and came
    /// back since has to be joined anew: a leave may be on its way.
    pub fn joined(&self, join: u64, cursor: u64, users: &[Arc<str>]) {
        let mut inner = self.inner.lock();
        inner.hear(cursor);
        for name in users {
            if let Some(user) = inner.users.get_mut(name)
                && user.joining == Joining::Asked(join)
            {
                user.joining = Joining::Joined;
                // Who gave up waiting is gone.
                user.waiting.drain(..).for_each(|waiting| {
                    let _ = waiting.send(());
                });
            }
        }
    }
}

impl Inner {
    fn hear(&mut self, cursor: u64) {
        if let Some(relay) = &mut self.relay {
            relay.cursor = relay.cursor.max(cursor);
        }
    }
}

#[cfg(test)]
mod tests;
