//! Ends the streams of services that are not ours (health's Watch, reflection) at shutdown: left
//! alone they would hold it up for as long as their client likes.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::status::Refusal;

/// A service whose responses end when the token is cancelled.
#[derive(Clone)]
pub(super) struct Ends<S> {
    inner: S,
    end: CancellationToken,
}

impl<S> Ends<S> {
    pub fn new(inner: S, end: &CancellationToken) -> Self {
        Self {
            inner,
            end: end.clone(),
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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let end = self.end.clone();
        // The request too: reflection reads it in a task of its own, and as long as it does the
        // call is open.
        let response = self
            .inner
            .call(request.map(|body| EndingBody::wrap(body, &end, false)));
        Box::pin(async move {
            Ok(response
                .await?
                .map(|body| EndingBody::wrap(body, &end, true)))
        })
    }
}

struct EndingBody {
    inner: Pin<Box<Body>>,
    /// `None`: it has ended.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    says_why: bool,
}

impl EndingBody {
    fn wrap(inner: Body, end: &CancellationToken, says_why: bool) -> Body {
        let end = Some(Box::pin(end.clone().cancelled_owned()));
        Body::new(Self {
            inner: Box::pin(inner),
            end,
            says_why,
        })
    }
}

impl HttpBody for EndingBody {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
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
