//! Ends the streams of services that are not ours (health's Watch, reflection) at shutdown: left
//! alone they would hold it up for as long as their client likes. And bounds how many are open: they
//! need no token.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{Context, incoming::Peer, status::Refusal};

/// Streams of these services that are open at once on one connection.
pub(super) const PER_CONNECTION: usize = 16;
/// What is neither counted nor a stream: whether the core is well must be told in a flood, too.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What these services share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Others {
    end: CancellationToken,
    room: Arc<Semaphore>,
    context: Arc<Context>,
}

/// A stream's place among all, and on its connection.
type Place = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Others {
    /// They end when `end` is cancelled.
    pub fn new(end: &CancellationToken, context: &Arc<Context>) -> Self {
        Self {
            end: end.clone(),
            room: Arc::new(Semaphore::new(context.transport.other_streams)),
            context: context.clone(),
        }
    }

    fn place(&self, request: &Request<Body>) -> Result<Place, Status> {
        let take = |room: &Arc<Semaphore>, what, limit| {
            let taken = room.clone().try_acquire_owned();
            taken.map_err(|_| self.context.refuse(Refusal::TooManyStreams { what, limit }))
        };
        let peer = request.extensions().get::<Peer>();
        let on_connection = peer.map(|peer| {
            let what = "health and reflection streams of this connection";
            take(&peer.others, what, PER_CONNECTION)
        });
        let on_connection = on_connection.transpose()?;
        let what = "health and reflection streams";
        let of_all = take(&self.room, what, self.context.transport.other_streams)?;
        Ok((of_all, on_connection))
    }
}

/// A service of others, bounded and ended.
#[derive(Clone)]
pub(super) struct Ends<S> {
    inner: S,
    others: Others,
}

impl<S> Ends<S> {
    pub fn new(inner: S, others: &Others) -> Self {
        Self {
            inner,
            others: others.clone(),
        }
    }
}

impl<S: NamedService> NamedService for Ends<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Ends<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let place = match request.uri().path() {
            CHECK => None,
            _ => match self.others.place(&request) {
                Ok(place) => Some(place),
                Err(refused) => return Box::pin(async { Ok(refused.into_http()) }),
            },
        };
        let end = self.others.end.clone();
        // The request too: reflection reads it in a task of its own, and as long as it does the
        // call is open.
        let response = self
            .inner
            .call(request.map(|body| EndingBody::wrap(body, &end, false, None)));
        Box::pin(async move {
            Ok(response
                .await?
                .map(|body| EndingBody::wrap(body, &end, true, place)))
        })
    }
}

struct EndingBody {
    inner: Pin<Box<Body>>,
    /// `None`: it has ended.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    says_why: bool,
    _place: Option<Place>,
}

impl EndingBody {
    fn wrap(inner: Body, end: &CancellationToken, says_why: bool, place: Option<Place>) -> Body {
        let end = Some(Box::pin(end.clone().cancelled_owned()));
        Body::new(Self {
            inner: Box::pin(inner),
            end,
            says_why,
            _place: place,
        })
    }
}

impl HttpBody for EndingBody {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let this = &mut *self;
        let Some(end) = &mut this.end else {
            return Poll::Ready(None);
        };
        // First what there is to say, such as that the service is no longer serving.
        if let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(Future::poll(end.as_mut(), cx));
        this.end = None;
        if !this.says_why {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        Status::from(Refusal::ShuttingDown).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
