//! What readers ask: the opening of a stream, pages of a feed, history.

use std::iter::Peekable;

use crate::{
    entry::{FeedChange, Millis, Notification, RecipientId, Sequence},
    topic::TopicFilters,
};

use super::{
    Databases, Store, StoreError, deletions::Hidden, index::Visible, keys, reads::ReadSet, rows,
};

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where the reader stands.
    pub cursor: Sequence,
    /// The present: `unread_count` is exact here.
    pub latest: Sequence,
    /// Nothing after the cursor was lost to retention.
    pub complete: bool,
    /// The oldest notification that is still kept; 0: none.
    pub oldest: Sequence,
    /// How many are unread.
    pub unread_count: u64,
}

/// How much of a feed is read at once; at least one change is.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimit {
    /// The most changes.
    pub changes: usize,
    /// Bytes of bodies behind which the page ends.
    pub bytes: usize,
}

/// A stretch of a feed.
#[derive(Clone, Debug, Default)]
pub struct FeedPage {
    /// Ascending.
    pub changes: Vec<(Sequence, FeedChange)>,
    /// Everything of the feed up to here has been read.
    pub through: Sequence,
    /// Retention took something that the reader had not seen.
    pub lost: bool,
}

/// Which notifications a history lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusFilter {
    /// All.
    #[default]
    All,
    /// Not yet read.
    Unread,
    /// Read.
    Read,
}

/// A page of history.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// By read state.
    pub status: StatusFilter,
    /// By topic.
    pub topics: TopicFilters,
    /// Only what is older than this one; `None`: from the newest.
    pub before: Option<Sequence>,
    /// The most notifications.
    pub limit: usize,
}

/// A page of history, at one sequence.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// Newest first.
    pub notifications: Vec<Notification>,
    /// `before` of the next page; `None`: this was the last.
    pub next_before: Option<Sequence>,
    /// The present.
    pub cursor: Sequence,
    /// How many are unread, whatever the filters.
    pub unread_count: u64,
}

/// Bytes of bodies behind which a page of history ends early: clients take messages of 4 MiB by
/// default, whatever they are written in.
const PAGE_BYTES: usize = 3 << 20;

/// What each takes besides its body, at most.
const REST_BYTES: usize = 1024;

impl Store {
    /// How the recipient's stream begins. `after` unset: from now on.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn opening(
        &self,
        recipient: &RecipientId,
        after: Option<Sequence>,
        now: Millis,
    ) -> Result<Opening, StoreError> {
        let retention = self.0.retention;
        let (opening, _) = self.view(recipient.as_str(), None, |view, state| {
            let latest = state.active.tally.last;
            let cursor = after.unwrap_or(latest).min(latest);
            // A cursor beyond the end is another log's: what it has not seen can't be told.
            let known = after.is_none_or(|after| after <= latest);
            let reads = view.reads();
            let mut opening = Opening {
                cursor,
                latest,
                complete: known,
                oldest: 0,
                unread_count: 0,
            };
            for Visible { item, .. } in view.visible(now, retention) {
                opening.oldest = item.sequence;
                let is_read = reads.is_some_and(|reads| reads.read_at(item.sequence).is_some());
                opening.unread_count += u64::from(!is_read);
            }
            if known && cursor < latest {
                opening.complete = view.bounds(now, retention).lost <= cursor;
            }
            opening
        })?;
        Ok(opening)
    }

    /// What the recipient's feed holds in `(after, up_to]`, in sequence order.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn feed(
        &self,
        recipient: &RecipientId,
        after: Sequence,
        up_to: Sequence,
        limit: FeedLimit,
        now: Millis,
    ) -> Result<FeedPage, StoreError> {
        let owner = recipient.as_str();
        let retention = self.0.retention;
        let ((bounds, reads, last, deletions), snapshot) =
            self.view(owner, None, |view, state| {
                (
                    view.bounds(now, retention),
                    view.reads().cloned(),
                    state.active.tally.last,
                    state.deletions.clone(),
                )
            })?;
        let hidden = Hidden::new(owner, &deletions, None);
        let up_to = up_to.min(last);
        let mut page = FeedPage {
            lost: bounds.lost > after,
            through: up_to,
            ..FeedPage::default()
        };
        let mut own = snapshot.rows(owner, &self.0.cache, after, up_to).peekable();
        let mut everyone = snapshot
            .rows(keys::EVERYONE, &self.0.cache, after, up_to)
            .peekable();
        let mut bytes = 0;
        while let Some(broadcast) = whose_is_next(&mut own, &mut everyone) {
            let next = if broadcast {
                everyone.next()
            } else {
                own.next()
            };
            let Some((row, source)) = next.transpose()? else {
                break;
            };
            let sequence = row.sequence;
            if hidden.has(sequence) {
                continue;
            }
            if page.changes.len() >= limit.changes || bytes >= limit.bytes {
                page.through = sequence - 1;
                break;
            }
            let Some(change) = rows::change(row, source, broadcast, reads.as_deref())? else {
                continue;
            };
            if let FeedChange::Notification(notification) = &change {
                let expires_at = notification.published.expires_at;
                if sequence <= bounds.floor || expires_at.is_some_and(|at| at <= now) {
                    continue;
                }
                bytes += notification.published.data.len();
            }
            page.changes.push((sequence, change));
        }
        Ok(page)
    }

    /// A page of the recipient's notifications.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn history(
        &self,
        recipient: &RecipientId,
        query: &HistoryQuery,
        now: Millis,
    ) -> Result<HistoryPage, StoreError> {
        let owner = recipient.as_str();
        let retention = self.0.retention;
        let before = query.before.unwrap_or(Sequence::MAX);
        let ((mut page, chosen, reads), snapshot) = self.view(owner, None, |view, state| {
            let reads = view.reads();
            let mut page = HistoryPage {
                notifications: Vec::new(),
                next_before: None,
                cursor: state.active.tally.last,
                unread_count: 0,
            };
            let mut chosen: Vec<(Sequence, bool)> = Vec::with_capacity(query.limit);
            for Visible { item, broadcast } in view.visible(now, retention) {
                let is_read = reads.is_some_and(|reads| reads.read_at(item.sequence).is_some());
                page.unread_count += u64::from(!is_read);
                let wanted = item.sequence < before
                    && page.next_before.is_none()
                    && match query.status {
                        StatusFilter::All => true,
                        StatusFilter::Unread => !is_read,
                        StatusFilter::Read => is_read,
                    }
                    && query.topics.matches(&item.topic);
                if !wanted {
                    continue;
                }
                if chosen.len() == query.limit {
                    page.next_before = chosen.last().map(|(sequence, _)| *sequence);
                } else {
                    chosen.push((item.sequence, broadcast));
                }
            }
            (page, chosen, reads.cloned())
        })?;
        let mut rows = Vec::with_capacity(chosen.len());
        for (owner, of_everyone) in [(owner, false), (keys::EVERYONE, true)] {
            let wanted = chosen
                .iter()
                .rev()
                .filter(|(_, broadcast)| *broadcast == of_everyone);
            let wanted: Vec<Sequence> = wanted.map(|(sequence, _)| *sequence).collect();
            let picked = snapshot.pick(owner, &self.0.cache, &wanted)?;
            rows.extend(picked.into_iter().map(|picked| (picked, of_everyone)));
        }
        rows.sort_unstable_by_key(|((row, _), _)| std::cmp::Reverse(row.sequence));
        // Bodies that stand apart are read now, and no more than fit. One always does.
        let mut bytes = 0;
        for ((row, source), broadcast) in rows {
            let change = rows::change(row, source, broadcast, reads.as_deref())?;
            let Some(FeedChange::Notification(notification)) = change else {
                continue;
            };
            bytes += notification.published.data.len() + REST_BYTES;
            if bytes > PAGE_BYTES
                && let Some(last) = page.notifications.last()
            {
                page.next_before = Some(last.id);
                break;
            }
            page.notifications.push(notification);
        }
        Ok(page)
    }

    /// One notification as the recipient sees it; `None`: not theirs, or not kept.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn get(
        &self,
        recipient: &RecipientId,
        id: Sequence,
        now: Millis,
    ) -> Result<Option<Notification>, StoreError> {
        let owner = recipient.as_str();
        let retention = self.0.retention;
        let ((found, reads), snapshot) = self.view(owner, None, |view, _| {
            let found = view
                .visible(now, retention)
                .take_while(|visible| visible.item.sequence >= id)
                .find(|visible| visible.item.sequence == id)
                .map(|visible| visible.broadcast);
            (found, view.reads().cloned())
        })?;
        let Some(broadcast) = found else {
            return Ok(None);
        };
        let owner = if broadcast { keys::EVERYONE } else { owner };
        Ok(self
            .notifications(&snapshot, owner, &[id], broadcast, reads.as_deref())?
            .pop())
    }

    fn notifications(
        &self,
        snapshot: &Databases,
        owner: &str,
        wanted: &[Sequence],
        broadcast: bool,
        reads: Option<&ReadSet>,
    ) -> Result<Vec<Notification>, StoreError> {
        let mut notifications = Vec::with_capacity(wanted.len());
        for (row, source) in snapshot.pick(owner, &self.0.cache, wanted)? {
            if let Some(FeedChange::Notification(notification)) =
                rows::change(row, source, broadcast, reads)?
            {
                notifications.push(notification);
            }
        }
        Ok(notifications)
    }
}

/// Whether everyone's row is next, rather than the owner's; `None`: there is none.
fn whose_is_next<'a>(
    own: &mut Peekable<impl Iterator<Item = rows::RowResult<'a>>>,
    everyone: &mut Peekable<impl Iterator<Item = rows::RowResult<'a>>>,
) -> Option<bool> {
    // An error comes first, whoever's it is.
    let place = |row: &rows::RowResult<'a>| row.as_ref().map_or(0, |(row, _)| row.sequence);
    match (own.peek().map(place), everyone.peek().map(place)) {
        (None, None) => None,
        (own, None) => own.map(|_| false),
        (None, _) => Some(true),
        (Some(own), Some(everyone)) => Some(everyone < own),
    }
}
