//! Answers over HTTP/2, which their client has to take.
//!
//! Each has a window, which the client opens. While that is shut the socket isn't, so no write
//! fails, and hyper waits without a deadline, with all that the body gave it last. So a body is given
//! in pieces, and one of which nothing is taken for too long is given up: what was left of it is
//! dropped. Nobody but the client can end such a stream while hyper waits; one that has many on a
//! connection loses it. A few are left: behind a proxy the others on it are other users'.

use std::{
    collections::BTreeMap,
    error::Error,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

/// Bytes that hyper holds of an answer while it waits: a frame's.
const PIECE: usize = 16 << 10;
/// Bytes of an answer before trailers up to which it goes whole: a publish's. hyper hands on the trailers
/// too as soon as one byte may go, so that nothing tells whether such a one is taken.
const WHOLE: usize = 256;
/// Answers given up that may be left on a connection; with one more it ends.
const GIVEN_UP: usize = 16;

/// The answers that are on their way on one connection. Cheap to clone.
pub struct Answers<B>(Arc<Shared<B>>);

struct Shared<B> {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Open<B>>>>,
}

impl<B> Clone for Answers<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Default for Answers<B> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            next: AtomicU64::default(),
            open: Mutex::default(),
        }))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Answers<B> {
    /// An answer's body, which is given up when its client doesn't take it.
    pub fn body(&self, body: B) -> Answer<B> {
        self.open(body, None)
    }

    /// A stream's body, which its client may take as slowly as it likes for as long as whoever writes
    /// it holds `writing`.
    pub fn stream(&self, body: B, writing: &Arc<()>) -> Answer<B> {
        self.open(body, Some(Arc::downgrade(writing)))
    }

    fn open(&self, body: B, writing: Option<Weak<()>>) -> Answer<B> {
        let open = Arc::new(Open {
            writing,
            left: Mutex::new(Left {
                body: Some(body),
                rest: Bytes::new(),
                is_large: false,
                is_last: false,
                is_out: false,
                was_out: false,
            }),
        });
        let id = self.0.next.fetch_add(1, Relaxed);
        self.0.open.lock().insert(id, open.clone());
        Answer {
            id,
            open,
            answers: self.clone(),
        }
    }

    /// Whether one of them is still to be taken.
    pub fn are_open(&self) -> bool {
        let open = self.0.open.lock();
        open.values().any(|open| open.left.lock().body.is_some())
    }

    /// Whether one of them may be given up, or is.
    fn are_watched(&self) -> bool {
        let open = self.0.open.lock();
        open.values().any(|open| !open.is_written())
    }

    /// Gives up those of which nothing was taken since the last time. True: there are too many.
    fn look(&self) -> bool {
        let mut dropped = Vec::new();
        let mut given_up = 0;
        for open in self.0.open.lock().values() {
            let mut left = open.left.lock();
            let is_stuck = left.is_out && !open.is_written();
            if std::mem::replace(&mut left.was_out, is_stuck) && is_stuck {
                dropped.push((left.body.take(), std::mem::take(&mut left.rest)));
            }
            given_up += usize::from(left.body.is_none());
        }
        // Outside of the locks: who knows what a body does then.
        drop(dropped);
        given_up > GIVEN_UP
    }
}

/// An answer on its way.
struct Open<B> {
    /// Of a stream: there is no more when it is written.
    writing: Option<Weak<()>>,
    left: Mutex<Left<B>>,
}

impl<B> Open<B> {
    fn is_written(&self) -> bool {
        let writing = self.writing.as_ref();
        writing.is_some_and(|writing| writing.strong_count() > 0)
    }
}

struct Left<B> {
    /// `None`: it is given up.
    body: Option<B>,
    /// What the body gave, and hyper hasn't got.
    rest: Bytes,
    /// That was more than a piece.
    is_large: bool,
    /// Nothing comes behind it, no trailers either.
    is_last: bool,
    /// hyper has a piece, and has not come for the next.
    is_out: bool,
    /// And had the same one at the last look.
    was_out: bool,
}

impl<B> Left<B> {
    /// The next piece, which keeps nothing large in memory. hyper takes the one behind it at once, holds it
    /// until this one has found room in the window, and then comes for the next, or is done. So the
    /// last byte goes by itself.
    fn piece(&mut self) -> Bytes {
        let whole = if self.is_last { 1 } else { WHOLE };
        let kept = usize::from(self.rest.len() > whole);
        let length = (self.rest.len() - kept).min(PIECE);
        let piece = self.rest.split_to(length);
        match self.is_large {
            true => Bytes::copy_from_slice(&piece),
            false => piece,
        }
    }
}

/// The body of an answer.
pub struct Answer<B> {
    id: u64,
    open: Arc<Open<B>>,
    answers: Answers<B>,
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.answers.0.open.lock().remove(&self.id);
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut left = self.open.left.lock();
        (left.is_out, left.was_out) = (false, false);
        if left.rest.is_empty() {
            let Some(body) = &mut left.body else {
                let why = "the client did not take the answer in time";
                return Poll::Ready(Some(Err(why.into())));
            };
            let frame = match ready!(Pin::new(&mut *body).poll_frame(task)) {
                Some(frame) => frame.map_err(Into::into)?,
                None => return Poll::Ready(None),
            };
            let is_last = body.is_end_stream();
            match frame.into_data() {
                Ok(data) => {
                    left.is_large = data.len() > PIECE;
                    left.is_last = is_last;
                    left.rest = data;
                }
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        left.is_out = true;
        let piece = match self.open.is_written() {
            true => std::mem::take(&mut left.rest),
            false => left.piece(),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let left = self.open.left.lock();
        left.rest.is_empty() && left.body.as_ref().is_some_and(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.open.left.lock();
        let Some(body) = &left.body else {
            return SizeHint::default();
        };
        let (hint, rest) = (body.size_hint(), left.rest.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

/// Looks after a connection's answers. Polled by the connection's task, which hyper wakes with each
/// answer; while there is nothing to look after, it has no timer.
pub struct Untaken<B> {
    answers: Answers<B>,
    patience: Duration,
    look: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Untaken<B> {
    /// Gives up an answer of which nothing was taken for `patience`, within twice that.
    pub fn new(answers: &Answers<B>, patience: Duration) -> Self {
        Self {
            answers: answers.clone(),
            patience,
            look: None,
        }
    }

    /// Ready when too many were given up: the connection is to end.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        while self.look.is_some() || self.answers.are_watched() {
            let patience = self.patience;
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(patience)));
            ready!(look.as_mut().poll(task));
            self.look = None;
            if self.answers.look() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::{BodyExt, Full};
    use tokio::time::{Instant, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    type Whole = Full<Bytes>;

    fn large() -> Whole {
        Full::new(Bytes::from(vec![7; 3 * PIECE]))
    }

    /// The bytes of the next piece.
    async fn next(answer: &mut Answer<Whole>) -> usize {
        let frame = answer.frame().await.unwrap().unwrap();
        frame.into_data().unwrap().len()
    }

    /// Lets some time pass on the connection.
    async fn pass(untaken: &mut Untaken<Whole>, time: Duration) -> bool {
        timeout(time, poll_fn(|task| untaken.poll(task)))
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_in_pieces_and_its_last_byte_by_itself() {
        let answers = Answers::default();
        let mut answer = answers.body(large());
        assert_eq!(answer.size_hint().exact(), Some(3 * PIECE as u64));
        let mut pieces = Vec::new();
        while !answer.is_end_stream() {
            pieces.push(next(&mut answer).await);
        }
        assert_eq!(pieces, [PIECE, PIECE, PIECE - 1, 1]);
        assert!(answer.frame().await.is_none());
        let mut one = answers.body(Full::new(Bytes::from_static(b"x")));
        assert_eq!(next(&mut one).await, 1);
        assert!(one.is_end_stream());
        assert!(answers.body(Full::default()).is_end_stream());
        drop((answer, one));
        assert!(!answers.are_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_answer_before_trailers_goes_whole() {
        for (length, expected) in [(WHOLE, vec![WHOLE]), (WHOLE + 1, vec![WHOLE, 1])] {
            let trailers = async { Some(Ok(http::HeaderMap::new())) };
            let body = Full::new(Bytes::from(vec![7; length])).with_trailers(Box::pin(trailers));
            let mut answer = Answers::default().body(body);
            let mut pieces = Vec::new();
            while let Ok(data) = answer.frame().await.unwrap().unwrap().into_data() {
                pieces.push(data.len());
            }
            assert_eq!(pieces, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_given_up_and_a_stream_is_not_while_it_is_written() {
        let answers = Answers::default();
        let mut untaken = Untaken::new(&answers, PATIENCE);
        let writing = Arc::new(());
        let mut stream = answers.stream(large(), &writing);
        assert_eq!(next(&mut stream).await, 3 * PIECE);
        let mut taken = answers.body(large());
        let mut left = answers.body(large());
        next(&mut left).await;
        for _ in 0..3 {
            next(&mut taken).await;
            assert!(!pass(&mut untaken, PATIENCE * 2 / 3).await);
        }
        assert_eq!(next(&mut taken).await, 1, "it goes on being taken");
        assert!(left.frame().await.unwrap().is_err(), "given up");
        assert!(!left.is_end_stream());
        drop((taken, left));
        assert!(!pass(&mut untaken, PATIENCE * 3).await);
        assert!(answers.are_open(), "the stream");
        drop(writing);
        assert!(!pass(&mut untaken, PATIENCE * 3).await);
        assert!(!answers.are_open(), "nobody takes what is left of it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_many_answers_loses_the_connection() {
        let answers = Answers::default();
        let mut untaken = Untaken::new(&answers, PATIENCE);
        let mut open: Vec<_> = (0..=GIVEN_UP).map(|_| answers.body(large())).collect();
        for answer in &mut open[1..] {
            next(answer).await;
        }
        assert!(!pass(&mut untaken, PATIENCE * 10).await, "a few may stay");
        next(&mut open[0]).await;
        let began = Instant::now();
        assert!(pass(&mut untaken, PATIENCE * 10).await);
        assert!(began.elapsed() <= PATIENCE * 2);
    }
}
