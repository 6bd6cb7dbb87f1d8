//! The relay: one upstream stream for all open streams. It says which users are connected, and
//! hands each entry to theirs. When it breaks, or another core is better, it is opened again, to the
//! core that is the current one then; every stream catches up from its own cursor, and the browsers
//! notice nothing.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use mercurio_proto::{
    REVOCATIONS_METADATA,
    v1::{
        RelayAnswer, RelayJoin, RelayLeave, RelayQuestion, RelayRenew, RelayRequest, RelayResponse,
        RelayRevocations, relay_answer::Answer, relay_question::Question, relay_request,
        relay_response,
    },
};
use tokio::{
    sync::mpsc,
    task::coop::consume_budget,
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{Context, clock, courier, lease::Wanted, sse::Event};

/// Users in one join.
const JOIN_MAX: usize = 5_000;
/// A relay that held for so long was a good one: the next wait for that core is short again.
const HELD: Duration = Duration::from_secs(10);
/// How often the core is shown a fresh token: well within the life of each.
const RENEW: Duration = Duration::from_secs(60);
/// How long the core may take to accept the relay.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps a relay open until shutdown.
pub(crate) async fn run(context: Arc<Context>) {
    let mut at = Instant::now();
    loop {
        let held = async {
            sleep_until(at).await;
            let Err(status) = relay(&context).await;
            status
        };
        let ended = tokio::select! {
            () = context.shutdown.cancelled() => return,
            ended = held => Some(ended),
            () = context.cores.improved() => None,
        };
        context.registry.disconnected();
        context.metrics.relay_connected.set(0);
        context.metrics.relay_reconnects.inc();
        let now = Instant::now();
        at = match ended {
            Some(status) => {
                let code = status.code();
                if code == Code::Unauthenticated {
                    // It may be revoked: a new one is not.
                    context.cores.forget_token();
                }
                tracing::warn!(
                    ?code,
                    message = status.message(),
                    "the relay ended; opening it again"
                );
                context
                    .cores
                    .failed(now.saturating_duration_since(at) > HELD)
            }
            None => now,
        };
    }
}

/// Runs one relay to its end, and says why it ended.
async fn relay(context: &Context) -> Result<Infallible, Status> {
    let (requests, responses) = open(context).await?;
    pump(context, &requests, responses).await
}

async fn open(
    context: &Context,
) -> Result<(mpsc::Sender<RelayRequest>, Streaming<RelayResponse>), Status> {
    let (requests, outgoing) = mpsc::channel(16);
    let request = context
        .cores
        .request("relay", ReceiverStream::new(outgoing))?;
    let stay = context.cores.stay();
    let mut client = stay.core.relay();
    let responses = timeout(OPEN_TIMEOUT, client.relay(request))
        .await
        .map_err(|_| Status::deadline_exceeded("the core did not accept the relay in time"))??;
    tracing::info!(core = stay.core.url, "the relay is open");
    context.registry.connected(stay.index);
    context.metrics.relay_connected.set(1);
    // A core of before there were any.
    if !responses.metadata().contains_key(REVOCATIONS_METADATA) {
        context.revocations.complete();
    }
    Ok((requests, responses.into_inner()))
}

async fn pump(
    context: &Context,
    requests: &mpsc::Sender<RelayRequest>,
    mut responses: Streaming<RelayResponse>,
) -> Result<Infallible, Status> {
    // Joins are answered in their order.
    let mut asked: VecDeque<(u64, Vec<Arc<str>>)> = VecDeque::new();
    let mut join = 1;
    let mut renew = interval(RENEW);
    renew.reset();
    loop {
        tokio::select! {
            response = responses.message() => match response? {
                Some(response) => {
                    received(context, requests, &mut asked, response);
                    // A core that sends on and on holds up nothing else on this thread.
                    consume_budget().await;
                }
                None => return Err(Status::unavailable("the core ended the relay")),
            },
            interest = context.registry.interest(join, JOIN_MAX), if asked.len() < 8 => {
                let ids = |users: &[Arc<str>]| users.iter().map(|user| user.to_string()).collect();
                if !interest.leave.is_empty() {
                    let leave = RelayLeave { recipient_ids: ids(&interest.leave) };
                    send(requests, relay_request::Message::Leave(leave)).await?;
                }
                if !interest.join.is_empty() {
                    let message = RelayJoin { join_id: join, recipient_ids: ids(&interest.join) };
                    asked.push_back((join, interest.join));
                    join += 1;
                    send(requests, relay_request::Message::Join(message)).await?;
                }
            }
            _ = renew.tick() => {
                let token = context.cores.token()?;
                send(requests, relay_request::Message::Renew(RelayRenew { token })).await?;
            }
        }
    }
}

/// Says it to the core. One that reads nothing for long is as good as gone.
async fn send(
    requests: &mpsc::Sender<RelayRequest>,
    message: relay_request::Message,
) -> Result<(), Status> {
    let request = RelayRequest {
        message: Some(message),
    };
    match timeout(OPEN_TIMEOUT, requests.send(request)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Status::unavailable("the core reads no more")),
    }
}

fn received(
    context: &Context,
    requests: &mpsc::Sender<RelayRequest>,
    asked: &mut VecDeque<(u64, Vec<Arc<str>>)>,
    response: RelayResponse,
) {
    match response.message {
        Some(relay_response::Message::Entry(entry)) => {
            if let Some(event) = Event::from_relay(&entry) {
                context.metrics.relayed.inc();
                let span = context
                    .settings
                    .traces
                    .receive(&entry.traceparent, "deliver");
                let event = Arc::new(event);
                let (streams, loans) = context.registry.dispatch(&entry.recipient_ids, &event);
                courier::bring(&event, loans);
                if span.is_recorded() {
                    span.set("mercurio.cursor", entry.cursor as i64);
                    span.set("mercurio.streams", streams as i64);
                }
            }
        }
        Some(relay_response::Message::Joined(joined)) => {
            while let Some((join, users)) = asked.pop_front_if(|(join, _)| *join <= joined.join_id)
            {
                context.registry.joined(join, joined.cursor, &users);
            }
        }
        Some(relay_response::Message::Revocations(told)) => revoked(context, told),
        Some(relay_response::Message::Reset(reset)) => {
            context.metrics.relay_resets.inc();
            context.registry.reset(reset.cursor);
        }
        Some(relay_response::Message::Question(question)) => answer(context, requests, question),
        // A later core's.
        None => {}
    }
}

/// Answers what somebody who runs the service wants to know. Where the core reads too little, it goes
/// without: nothing else waits for that.
fn answer(context: &Context, requests: &mpsc::Sender<RelayRequest>, question: RelayQuestion) {
    let answer = match question.question {
        Some(Question::Report(_)) => Answer::Report(context.report()),
        Some(Question::Streams(streams)) => Answer::Streams(context.streams(&streams)),
        // A later core's.
        None => return,
    };
    let answer = RelayAnswer {
        question_id: question.question_id,
        answer: Some(answer),
    };
    let _ = requests.try_send(RelayRequest {
        message: Some(relay_request::Message::Answer(answer)),
    });
}

/// Tokens are revoked: none of them is let in any more, and what they hold open ends.
fn revoked(context: &Context, told: RelayRevocations) {
    let taken = context.revocations.take(told.revocations, clock::now());
    let wanted = Wanted::new(&taken);
    if !wanted.is_empty() {
        let streams = context.registry.revoke(&wanted);
        // Each relay begins with all of them: most are no news.
        match streams {
            0 => tracing::debug!("tokens were revoked"),
            _ => tracing::info!(streams, "tokens were revoked"),
        }
    }
    if told.complete {
        context.revocations.complete();
    }
}
