//! Lets calls in: who calls is known before anything of the message is read, and that they may call
//! this. A message is put together in memory, and there may be thousands at once on a connection.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context as Task, Poll},
};

use futures_util::future::BoxFuture;
use http::{Extensions, HeaderMap, Request, Response};
use mercurio_auth::Identity;
use tonic::{body::Body, server::NamedService};
use tower::Service;

use super::{
    Context,
    auth::{Method, check_scope},
    messages,
    status::Refusal,
};

/// A service that takes calls of those who are known, whose identity it finds in the request.
#[derive(Clone)]
pub(super) struct Admits<S> {
    inner: S,
    context: Arc<Context>,
}

impl<S> Admits<S> {
    pub fn new(inner: S, context: &Arc<Context>) -> Self {
        Self {
            inner,
            context: context.clone(),
        }
    }
}

impl<S: NamedService> NamedService for Admits<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Admits<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = self.context.clone();
        // The one that is ready is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let method = Method::of(request.uri().path());
            match context
                .admit(request.headers(), request.extensions(), method)
                .await
            {
                Ok(identity) => {
                    let room = context.messages.of(&identity).clone();
                    request.extensions_mut().insert(identity);
                    let most = match method {
                        Method::Publish => context.limits.message_bytes(),
                        // Its messages are many, and come one at a time.
                        Method::Relay => return inner.call(request).await,
                        Method::Reader | Method::Administrator => {
                            context.limits.short_message_bytes()
                        }
                    };
                    let request =
                        request.map(|body| messages::bounded(body, most, &room, &context));
                    inner.call(request).await
                }
                Err(refusal) => Ok(context.refuse(refusal).into_http()),
            }
        })
    }
}

impl Context {
    /// Who calls, if they may call this, and not too often. Publishes are counted when they are read:
    /// one may be for many.
    async fn admit(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        method: Method,
    ) -> Result<Identity, Refusal> {
        self.charge_source(extensions)?;
        let identity = self.identify(headers, extensions).await?;
        check_scope(&identity, method)?;
        if !matches!(method, Method::Publish) {
            self.charge_user(&identity)?;
        }
        Ok(identity)
    }
}
