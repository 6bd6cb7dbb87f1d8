//! From proto to the domain, where a wrong value can't be written down. All that is wrong with a
//! request is said at once: which field, what it is, and what is allowed.

mod violations;

use std::{collections::HashSet, time::Duration};

use mercurio_proto::v1 as pb;

use crate::{
    entry::{Audience, RECIPIENT_ID_MAX, ReadTarget, RecipientId, Sequence},
    settings::Limits,
    store::{HistoryQuery, StatusFilter},
    topic::{TopicFilter, TopicFilters, check_topic},
    writer::Draft,
};

use super::{page_token, status::Refusal};

pub(super) use violations::Violations;
use violations::shown;

/// What a stream is asked for.
#[derive(Debug)]
pub(super) struct SubscribeQuery {
    pub recipient: RecipientId,
    /// `None`: from now on.
    pub after: Option<Sequence>,
    pub topics: TopicFilters,
    pub until_current: bool,
}

pub(super) fn publish(request: pb::PublishRequest, limits: &Limits) -> Result<Draft, Refusal> {
    let mut wrong = Violations::default();
    let pb::PublishRequest {
        event_id,
        source_id,
        audience,
        topic,
        data,
        ttl,
    } = request;
    wrong.check_bytes("source_id", source_id.len(), 1, limits.source_id_bytes);
    wrong.check_control("source_id", &source_id);
    wrong.check_bytes("event_id", event_id.len(), 0, limits.event_id_bytes);
    wrong.check_control("event_id", &event_id);
    wrong.check_bytes("data", data.len(), 0, limits.data_bytes);
    if let Err(why) = check_topic(&topic) {
        wrong.add("topic", format!("{}: {why}", shown(&topic)));
    }
    let ttl = ttl.and_then(|ttl| self::ttl(ttl, limits, &mut wrong));
    let audience = self::audience(audience, limits, &mut wrong);
    wrong.into_result()?;
    let event_id = (!event_id.is_empty()).then_some(event_id);
    Ok(Draft {
        source_id,
        event_id,
        audience,
        topic,
        data,
        ttl,
    })
}

pub(super) fn subscribe(
    request: pb::SubscribeRequest,
    limits: &Limits,
) -> Result<SubscribeQuery, Refusal> {
    let mut wrong = Violations::default();
    let recipient = recipient(&request.recipient_id, &mut wrong);
    let topics = filters(&request.topics, limits, &mut wrong);
    let recipient = wrong.finish(recipient)?;
    let pb::SubscribeRequest {
        after,
        until_current,
        ..
    } = request;
    Ok(SubscribeQuery {
        recipient,
        after,
        topics,
        until_current,
    })
}

pub(super) fn list_history(
    request: &pb::ListHistoryRequest,
    limits: &Limits,
) -> Result<(RecipientId, HistoryQuery), Refusal> {
    let mut wrong = Violations::default();
    let recipient = recipient(&request.recipient_id, &mut wrong);
    let topics = filters(&request.topics, limits, &mut wrong);
    let status = match pb::ReadStatus::try_from(request.status) {
        Ok(pb::ReadStatus::Unspecified) => StatusFilter::All,
        Ok(pb::ReadStatus::Unread) => StatusFilter::Unread,
        Ok(pb::ReadStatus::Read) => StatusFilter::Read,
        Err(_) => {
            wrong.add(
                "status",
                format!("{}: not a ReadStatus (0 to 2)", request.status),
            );
            StatusFilter::All
        }
    };
    let limit = match usize::try_from(request.page_size) {
        Ok(0) => limits.default_page_size,
        Ok(size) if size <= limits.page_size => size,
        _ => {
            let allowed = format!("1 to {}, or 0 for the default", limits.page_size);
            wrong.add("page_size", format!("{}; {allowed}", request.page_size));
            0
        }
    };
    let before = match &recipient {
        Some(recipient) if !request.page_token.is_empty() => {
            let before = page_token::decode(recipient, &request.page_token);
            if before.is_none() {
                let why = "not what a page of this recipient gave for the next one";
                wrong.add(
                    "page_token",
                    format!("{}: {why}", shown(&request.page_token)),
                );
            }
            before
        }
        _ => None,
    };
    let recipient = wrong.finish(recipient)?;
    Ok((
        recipient,
        HistoryQuery {
            status,
            topics,
            before,
            limit,
        },
    ))
}

pub(super) fn get_notification(
    request: &pb::GetNotificationRequest,
) -> Result<(RecipientId, Sequence), Refusal> {
    let mut wrong = Violations::default();
    let recipient = recipient(&request.recipient_id, &mut wrong);
    Ok((wrong.finish(recipient)?, request.id))
}

pub(super) fn set_read_state(
    request: pb::SetReadStateRequest,
    limits: &Limits,
) -> Result<(RecipientId, ReadTarget, bool), Refusal> {
    use pb::set_read_state_request::Target;
    let mut wrong = Violations::default();
    let recipient = recipient(&request.recipient_id, &mut wrong);
    let target = match request.target {
        Some(Target::Ids(pb::Ids { mut ids })) => {
            wrong.check_count("ids.ids", ids.len(), 1, limits.mark_ids);
            ids.sort_unstable();
            ids.dedup();
            ReadTarget::Ids(ids)
        }
        Some(Target::UpTo(up_to)) => {
            if up_to == 0 {
                wrong.add("up_to", "0; a notification's id is 1 or more");
            }
            ReadTarget::UpTo(up_to)
        }
        None => {
            wrong.add("target", "unset; either ids or up_to is needed");
            ReadTarget::UpTo(0)
        }
    };
    Ok((wrong.finish(recipient)?, target, request.read))
}

/// The recipients of a relay's Join or Leave.
pub(super) fn relay_ids(
    message: &'static str,
    ids: &[String],
    limits: &Limits,
) -> Result<Vec<RecipientId>, Refusal> {
    let mut wrong = Violations::default();
    let field = format!("{message}.recipient_ids");
    // None is fine: such a Join asks where the relay stands.
    let recipients = recipients(&field, ids, 0, limits.relay_ids, &mut wrong);
    wrong.into_result()?;
    Ok(recipients)
}

fn audience(
    audience: Option<pb::publish_request::Audience>,
    limits: &Limits,
    wrong: &mut Violations,
) -> Audience {
    use pb::publish_request::Audience as In;
    match audience {
        Some(In::Everyone(pb::Everyone {})) => Audience::Everyone,
        Some(In::Recipients(pb::Recipients { ids })) => {
            let named = recipients("recipients.ids", &ids, 1, limits.recipients, wrong);
            let mut seen = HashSet::with_capacity(named.len());
            let each_once = named
                .iter()
                .filter(|recipient| seen.insert((*recipient).clone()));
            Audience::Recipients(each_once.cloned().collect())
        }
        None => {
            wrong.add("audience", "unset; either recipients or everyone is needed");
            Audience::Everyone
        }
    }
}

fn recipients(
    field: &str,
    ids: &[String],
    least: usize,
    limit: usize,
    wrong: &mut Violations,
) -> Vec<RecipientId> {
    wrong.check_count(field, ids.len(), least, limit);
    let mut recipients = Vec::with_capacity(ids.len().min(limit));
    // What is beyond the limit is not worth a look.
    for (at, id) in ids.iter().enumerate().take(limit) {
        match RecipientId::new(id) {
            Some(recipient) => recipients.push(recipient),
            None => wrong.check_recipient(&format!("{field}[{at}]"), id),
        }
    }
    recipients
}

fn recipient(id: &str, wrong: &mut Violations) -> Option<RecipientId> {
    let recipient = RecipientId::new(id);
    if recipient.is_none() {
        wrong.check_recipient("recipient_id", id);
    }
    recipient
}

fn filters(topics: &[String], limits: &Limits, wrong: &mut Violations) -> TopicFilters {
    wrong.check_count("topics", topics.len(), 0, limits.topic_filters);
    let mut filters = Vec::new();
    for (at, topic) in topics.iter().enumerate().take(limits.topic_filters) {
        match TopicFilter::parse(topic) {
            Ok(filter) => filters.push(filter),
            Err(why) => wrong.add(&format!("topics[{at}]"), format!("{}: {why}", shown(topic))),
        }
    }
    TopicFilters::new(filters)
}

fn ttl(ttl: prost_types::Duration, limits: &Limits, wrong: &mut Violations) -> Option<Duration> {
    let prost_types::Duration { seconds, nanos } = ttl;
    let is_duration =
        |seconds: u64, nanos: u32| (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos));
    let parts = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
    let ttl = parts.and_then(|(seconds, nanos)| is_duration(seconds, nanos));
    let allowed = ttl.filter(|ttl| !ttl.is_zero() && *ttl <= limits.ttl);
    if allowed.is_none() {
        let limit = limits.ttl.as_secs();
        wrong.add(
            "ttl",
            format!("{seconds} s and {nanos} ns; more than 0 and at most {limit} s are allowed"),
        );
    }
    allowed
}

impl Violations {
    pub fn check_bytes(&mut self, field: &str, bytes: usize, least: usize, most: usize) {
        if bytes > most || bytes < least {
            let allowed = range(least, most);
            self.add(field, format!("{bytes} bytes; {allowed} are allowed"));
        }
    }

    pub fn check_count(&mut self, field: &str, count: usize, least: usize, most: usize) {
        if count > most || count < least {
            self.add(
                field,
                format!("{count} of them; {} are allowed", range(least, most)),
            );
        }
    }

    pub fn check_control(&mut self, field: &str, text: &str) {
        if let Some((at, control)) = text.char_indices().find(|(_, c)| c.is_control()) {
            self.add(
                field,
                format!("{control:?} at byte {at}; no control characters are allowed"),
            );
        }
    }

    pub fn check_recipient(&mut self, field: &str, id: &str) {
        self.check_bytes(field, id.len(), 1, RECIPIENT_ID_MAX);
        self.check_control(field, id);
    }
}

fn range(least: usize, most: usize) -> String {
    if least == 0 {
        format!("at most {most}")
    } else {
        format!("{least} to {most}")
    }
}

#[cfg(test)]
mod tests;
