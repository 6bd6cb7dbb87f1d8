//! A gateway's stream: who is connected comes in, each entry that concerns one of them goes out
//! once. It pulls, as `subscribe.rs` does; what waits is bounded at the hub.

use std::{collections::VecDeque, sync::Arc};

use futures_util::stream::{self, BoxStream, StreamExt};
use mercurio_proto::{
    REVOCATIONS_METADATA,
    v1::{
        self as pb, relay_request::Message, relay_response::Message as Out,
        relay_service_server::RelayService,
    },
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};
use tracing::{Instrument, Span};

use crate::{
    clock,
    entry::Change,
    hub::{RelayEvent, RelaySubscription},
};

use super::{
    Context, access::Call, auth, convert, ending::Ending, gateways::Questions, incoming::Peer,
    status::Refusal, streams::OpenRelay, validate,
};

/// Joins that may wait for their answer; no more is read from the gateway meanwhile.
const UNANSWERED_JOINS: usize = 4096;

/// `mercurio.v1.RelayService`.
pub(super) struct Relays(pub Arc<Context>);

#[tonic::async_trait]
impl RelayService for Relays {
    type RelayStream = BoxStream<'static, Result<pb::RelayResponse, Status>>;

    async fn relay(
        &self,
        request: Request<Streaming<pb::RelayRequest>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let context = &self.0;
        let messages = open(context, request)
            .await
            .map_err(|refusal| context.refuse(refusal))?;
        let mut response = Response::new(messages);
        // The gateway waits for them before it lets anybody in.
        let says = MetadataValue::from_static("told");
        response.metadata_mut().insert(REVOCATIONS_METADATA, says);
        Ok(response)
    }
}

async fn open(
    context: &Arc<Context>,
    request: Request<Streaming<pb::RelayRequest>>,
) -> Result<BoxStream<'static, Result<pb::RelayResponse, Status>>, Refusal> {
    let identity = auth::service(&request)?.clone();
    let hub = context.hub.relay();
    let peer = request.extensions().get::<Peer>();
    let remote = peer.and_then(|peer| peer.address);
    let relay = Relay {
        questions: context.gateways.connected(remote, hub.load()),
        delivered: 0,
        call: Call::of(&request),
        _counted: context
            .streams
            .open_relay(&context.limits, &context.metrics)?,
        hub,
        requests: Some(request.into_inner()),
        unanswered: 0,
        // Registered above: what is revoked from now on comes through the hub.
        told: convert::revocations(&context.store.revocations().all()),
        ending: Ending::new(identity, context),
        context: context.clone(),
    };
    let span = Span::current();
    let messages = stream::unfold(Some(relay), move |open| {
        async move {
            let mut relay = open?;
            match relay.next().await {
                Ok(message) => {
                    relay.delivered += 1;
                    Some((Ok(message), Some(relay)))
                }
                Err(status) => Some((Err(status), None)),
            }
        }
        .instrument(span.clone())
    });
    Ok(messages.boxed())
}

/// A relay under way.
struct Relay {
    context: Arc<Context>,
    hub: RelaySubscription,
    /// `None`: the gateway has said all it will. What it joined stays so.
    requests: Option<Streaming<pb::RelayRequest>>,
    unanswered: usize,
    questions: Questions,
    /// Messages handed out.
    delivered: u64,
    call: Call,
    /// Revocations that the gateway is told before all else.
    told: VecDeque<pb::RelayResponse>,
    ending: Ending,
    _counted: OpenRelay,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.call.has_delivered(self.delivered);
    }
}

impl Relay {
    async fn next(&mut self) -> Result<pb::RelayResponse, Status> {
        loop {
            if let Some(message) = self.told.pop_front() {
                return Ok(message);
            }
            let takes_requests = self.unanswered < UNANSWERED_JOINS;
            let request = async {
                match &mut self.requests {
                    Some(requests) if takes_requests => requests.message().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                // Who joins should not wait behind what others are owed; joins are bounded.
                biased;
                ended = self.ending.reached() => return Err(self.context.refuse(ended)),
                request = request => match request? {
                    Some(request) => {
                        self.take(request)
                            .await
                            .map_err(|refusal| self.context.refuse(refusal))?;
                    }
                    None => self.requests = None,
                },
                question = self.questions.next() => {
                    return Ok(pb::RelayResponse { message: Some(Out::Question(question)) });
                }
                event = self.hub.next() => {
                    if let Some(message) = self.message(event) {
                        return Ok(message);
                    }
                }
            }
        }
    }

    async fn take(&mut self, request: pb::RelayRequest) -> Result<(), Refusal> {
        let limits = &self.context.limits;
        match request.message {
            Some(Message::Join(pb::RelayJoin {
                join_id,
                recipient_ids,
            })) => {
                let recipients = validate::relay_ids("join", &recipient_ids, limits)?;
                let limit = limits.relay_recipients;
                self.hub.join(join_id, recipients, limit).map_err(|_full| {
                    Refusal::TooManyStreams {
                        what: "recipients of one relay",
                        limit,
                    }
                })?;
                self.unanswered += 1;
            }
            Some(Message::Leave(pb::RelayLeave { recipient_ids })) => {
                self.hub
                    .leave(&validate::relay_ids("leave", &recipient_ids, limits)?);
            }
            Some(Message::Renew(pb::RelayRenew { token })) => {
                let identity = self.context.service_token(&token).await?;
                self.ending = Ending::new(identity, &self.context);
            }
            Some(Message::Answer(answer)) => self.questions.answered(answer),
            // A later gateway's: what it means can't be done, and leaving it out would be a lie.
            None => {
                let mut wrong = validate::Violations::default();
                wrong.add(
                    "message",
                    "unset or unknown; join, leave, renew or answer is needed",
                );
                return Err(Refusal::Invalid(wrong));
            }
        }
        Ok(())
    }

    fn message(&mut self, event: RelayEvent) -> Option<pb::RelayResponse> {
        let mut traceparent = None;
        match &event {
            RelayEvent::Joined { .. } => self.unanswered -= 1,
            RelayEvent::Entry {
                sequence, change, ..
            } => {
                let is_past = |at| at <= clock::now();
                if let Change::Published(published) = change
                    && published.expires_at.is_some_and(is_past)
                {
                    return None;
                }
                self.context.metrics.delivered_to_relays.inc();
                traceparent = self.context.hub.traced().of(*sequence);
            }
            RelayEvent::Revoked(_) => {}
            RelayEvent::Reset { cursor } => {
                tracing::warn!(cursor, "a relay was reset");
                self.told = convert::revocations(&self.context.store.revocations().all());
            }
        }
        Some(convert::relay_event(event, traceparent))
    }
}
