//! One recipient's stream: `opened`, what is stored after the cursor, then what comes.
//!
//! The stream pulls. A page of the store at a time is in memory, and a bounded queue at the hub
//! (`hub/queue.rs`); a client that doesn't read is not read for. The hand-over from store to hub
//! has no gap, since the hub is joined before the store is asked what the present is, and no
//! repeat, since what the cursor has passed is left out.

use std::{collections::VecDeque, sync::Arc};

use futures_util::stream::{self, BoxStream, StreamExt};
use mercurio_proto::v1 as pb;
use tonic::{Request, Status};
use tracing::{Instrument, Span};

use crate::{
    clock,
    entry::{Change, FeedChange, Millis, Published, Sequence},
    hub::{Lagged, Live, Subscription},
    metrics::Raised,
    store::{FeedLimit, Opening},
};

use super::{
    Context,
    access::Call,
    auth::{self, check_feed},
    convert,
    ending::Ending,
    status::Refusal,
    streams::OpenStream,
    validate::{self, SubscribeQuery},
};

/// Changes in one read of the store.
const PAGE_CHANGES: usize = 100;
/// Bytes of bodies behind which a read of the store ends.
const PAGE_BYTES: usize = 1 << 20;

type Messages = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;

/// Opens the stream that is asked for.
pub(super) async fn open(
    context: &Arc<Context>,
    request: Request<pb::SubscribeRequest>,
) -> Result<Messages, Refusal> {
    let identity = auth::caller(&request)?.clone();
    let call = Call::of(&request);
    let query = validate::subscribe(request.into_inner(), &context.limits)?;
    check_feed(&identity, &query.recipient)?;
    let is_live = !query.until_current;
    let counted = context.streams.open(
        &query.recipient,
        &identity.user,
        is_live,
        &context.limits,
        &context.metrics,
    )?;
    let feed = Feed {
        live: is_live.then(|| context.hub.subscribe(query.recipient.clone())),
        cursor: 0,
        at: At::Beginning,
        page: VecDeque::new(),
        context: context.clone(),
        query,
        delivered: 0,
        call,
        counted,
    };
    let ending = Ending::new(identity, context);
    let span = Span::current();
    let messages = stream::unfold(Some((feed, ending)), move |open| {
        async move {
            let (mut feed, mut ending) = open?;
            let next = tokio::select! {
                biased;
                ended = ending.reached() => Err(ended),
                next = feed.next() => next,
            };
            match next {
                Ok(Some(message)) => {
                    feed.context.metrics.delivered_to_streams.inc();
                    feed.delivered += 1;
                    feed.shows();
                    Some((Ok(message), Some((feed, ending))))
                }
                Ok(None) => None,
                Err(refusal) => Some((Err(feed.context.refuse(refusal)), None)),
            }
        }
        .instrument(span.clone())
    });
    Ok(messages.boxed())
}

/// A stream under way.
struct Feed {
    context: Arc<Context>,
    query: SubscribeQuery,
    /// `None`: it ends at the present.
    live: Option<Subscription>,
    /// Everything up to here is handed out, or doesn't concern the reader.
    cursor: Sequence,
    at: At,
    /// Read from the store, and not handed out yet.
    page: VecDeque<(Sequence, FeedChange)>,
    /// Messages handed out.
    delivered: u64,
    call: Call,
    counted: OpenStream,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.call.has_delivered(self.delivered);
    }
}

enum At {
    /// Nothing is handed out yet.
    Beginning,
    /// What the store has is being handed out.
    Store(CatchUp),
    /// The store is behind; the hub has what comes.
    Live,
}

struct CatchUp {
    /// Up to here, and then live: what comes after it waits at the hub.
    up_to: Sequence,
    /// Everything up to here has been read.
    through: Sequence,
    /// The reader has been told that something was lost, and what is read is still of that.
    told: bool,
    _shown: Raised,
}

impl Feed {
    /// The next message; `None`: the stream is at its end.
    async fn next(&mut self) -> Result<Option<pb::SubscribeResponse>, Refusal> {
        loop {
            match &self.at {
                At::Beginning => return self.begin().await.map(Some),
                At::Store(_) if !self.page.is_empty() => {
                    if let Some(message) = self.next_of_page() {
                        return Ok(Some(message));
                    }
                }
                At::Store(catch_up) if catch_up.through < catch_up.up_to => {
                    if let Some(opened) = self.read_page().await? {
                        return Ok(Some(opened));
                    }
                }
                At::Store(catch_up) => {
                    self.cursor = self.cursor.max(catch_up.through);
                    match &self.live {
                        None => return Ok(None),
                        // While the store was read more came than its queue holds.
                        Some(live) if live.has_lagged() => self.return_to_store(),
                        Some(_) => {
                            self.at = At::Live;
                            self.shows();
                        }
                    }
                }
                At::Live => {
                    if let Some(message) = self.next_of_hub().await {
                        return Ok(Some(message));
                    }
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<pb::SubscribeResponse, Refusal> {
        if let Some(after) = self.query.after {
            self.context.wait_for(after).await?;
        }
        let (recipient, after) = (self.query.recipient.clone(), self.query.after);
        let read =
            move |store: &crate::store::Store| store.opening(&recipient, after, clock::now());
        let opening = self.context.read(read).await?;
        self.cursor = opening.cursor;
        self.at = self.store_up_to(opening.latest, !opening.complete);
        Ok(convert::opened(&opening))
    }

    fn store_up_to(&self, up_to: Sequence, told: bool) -> At {
        let shown = Raised::new(&self.context.metrics.catching_up);
        At::Store(CatchUp {
            up_to,
            through: self.cursor,
            told,
            _shown: shown,
        })
    }

    /// Reads on from the store. Where retention took something that the reader had not seen, they
    /// are told once, before what is left.
    async fn read_page(&mut self) -> Result<Option<pb::SubscribeResponse>, Refusal> {
        let At::Store(CatchUp {
            up_to,
            through,
            told,
            ..
        }) = self.at
        else {
            return Ok(None);
        };
        let recipient = self.query.recipient.clone();
        let read = move |store: &crate::store::Store| {
            let limit = FeedLimit {
                changes: PAGE_CHANGES,
                bytes: PAGE_BYTES,
            };
            let now = clock::now();
            let page = store.feed(&recipient, through, up_to, limit, now)?;
            if told || !page.lost {
                return Ok((page, None));
            }
            // Retention goes on: what is said to be the oldest has to be known before the page
            // is read, or the page could begin before it.
            let opening = store.opening(&recipient, Some(through), now)?;
            let page = store.feed(&recipient, through, up_to, limit, now)?;
            Ok((page, Some(opening)))
        };
        let (page, opening) = self.context.read(read).await?;
        // A page that gets nowhere would be read for ever.
        if page.through <= through && through < up_to {
            return Err(Refusal::Internal(format!(
                "a page after {through} ends there"
            )));
        }
        self.page = page.changes.into();
        if let At::Store(catch_up) = &mut self.at {
            catch_up.through = page.through;
            catch_up.told = page.lost;
        }
        Ok(opening.map(|opening| {
            convert::opened(&Opening {
                complete: false,
                ..opening
            })
        }))
    }

    fn next_of_page(&mut self) -> Option<pb::SubscribeResponse> {
        let (sequence, change) = self.page.pop_front()?;
        self.cursor = sequence;
        let is_wanted = match &change {
            FeedChange::Notification(found) => self.wants(&found.published, clock::now()),
            FeedChange::ReadState(_) | FeedChange::Deleted(_) => true,
        };
        let recipient = self.query.recipient.as_str();
        is_wanted.then(|| convert::feed_change(recipient, sequence, &change))
    }

    /// The next live message; `None`: one that is passed over, or back to the store.
    async fn next_of_hub(&mut self) -> Option<pb::SubscribeResponse> {
        let subscription = self.live.as_ref()?;
        match subscription.next().await {
            Ok(live) if live.sequence <= self.cursor => None,
            Ok(live) => {
                self.cursor = live.sequence;
                let is_wanted = match &live.change {
                    Change::Published(published) => self.wants(published, clock::now()),
                    Change::ReadState(_) | Change::Deleted(_) => true,
                    Change::Revoked(_) => false,
                };
                is_wanted.then(|| self.as_live(&live))
            }
            Err(Lagged) => {
                tracing::debug!(cursor = self.cursor, "a stream fell behind");
                self.return_to_store();
                None
            }
        }
    }

    /// Reads the store from the cursor to what is now the present, and then goes on live.
    fn return_to_store(&mut self) {
        if let Some(subscription) = &self.live {
            // First the hub, then the store's end: between the two nothing is missed.
            subscription.rejoin();
        }
        self.at = self.store_up_to(self.context.store.last_sequence(), false);
        self.shows();
    }

    /// Where it stands, for who asks who is connected.
    fn shows(&self) {
        self.counted
            .stands(self.cursor, !matches!(self.at, At::Live));
    }

    fn as_live(&self, live: &Live) -> pb::SubscribeResponse {
        convert::live(self.query.recipient.as_str(), live)
    }

    fn wants(&self, published: &Published, now: Millis) -> bool {
        let is_alive = published.expires_at.is_none_or(|at| at > now);
        is_alive && self.query.topics.matches(&published.topic)
    }
}
