//! Who is connected, for those who ask. Under the registry's lock, for as long as it takes to look at
//! each user's name once: some milliseconds with a hundred thousand of them.

use std::{sync::Arc, time::SystemTime};

use mercurio_proto::v1::RelayStream;

use super::{Registry, User};

impl Registry {
    /// Open streams, those of them that read the store or are going to, and the last sequence that
    /// the relay named.
    pub fn count(&self) -> (u64, u64, u64) {
        let inner = self.inner.lock();
        let mailboxes = inner.users.values().flat_map(|user| &user.mailboxes);
        let behind = mailboxes.filter(|mailbox| mailbox.look().0).count();
        let cursor = inner.relay.map_or(0, |heard| heard.cursor);
        (inner.streams as u64, behind as u64, cursor)
    }

    /// At most `limit` open streams by recipient and id, of everyone's or only of one's, behind
    /// `after`; and whether there are more.
    pub fn list(
        &self,
        only: Option<&str>,
        after: (&str, u64),
        limit: usize,
    ) -> (Vec<RelayStream>, bool) {
        let now = SystemTime::now();
        let inner = self.inner.lock();
        let heard = inner.relay.map(|heard| heard.cursor);
        let mut users: Vec<(&Arc<str>, &User)> = match only {
            Some(name) => inner.users.get_key_value(name).into_iter().collect(),
            None => {
                let users = inner.users.iter();
                users.filter(|(name, _)| ***name >= *after.0).collect()
            }
        };
        // Each has a stream, but perhaps the first one none behind `after`: one more than the rest
        // of a page, and whether there are others.
        if users.len() > limit + 2 {
            users.select_nth_unstable_by(limit + 1, |a, b| a.0.cmp(b.0));
            users.truncate(limit + 2);
        }
        users.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let mut listed = Vec::new();
        for (name, user) in users {
            let mut mailboxes: Vec<_> = user.mailboxes.iter().collect();
            mailboxes.sort_unstable_by_key(|mailbox| mailbox.lease.id());
            for mailbox in mailboxes {
                let lease = &mailbox.lease;
                if (&**name, lease.id()) <= after {
                    continue;
                }
                if listed.len() == limit {
                    return (listed, true);
                }
                let (behind, is_empty) = mailbox.look();
                listed.push(RelayStream {
                    recipient_id: name.to_string(),
                    user_id: lease.holder(name).into(),
                    stream_id: lease.id(),
                    opened_at: now.checked_sub(lease.opened().elapsed()).map(Into::into),
                    behind,
                    // All that the relay named, and that is this user's, was taken.
                    cursor: heard.filter(|_| !behind && is_empty),
                });
            }
        }
        (listed, false)
    }
}
