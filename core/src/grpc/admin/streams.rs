//! `ListStreams`: who is connected, at this core and at the gateways connected to it.
//!
//! The places are gone through in a fixed order, gRPC's own streams first; within each, streams are in
//! the order of recipient and id. So a page begins where the one before ended, whatever came and went.

use mercurio_proto::v1::{
    self as pb, RelayStreamsQuestion, StreamState, relay_answer::Answer, relay_question::Question,
};

use crate::{
    entry::RecipientId,
    grpc::{Context, status::Refusal, validate::Violations},
};

const PAGE: usize = 100;
const PAGE_MAX: i32 = 1000;

/// Where a page begins: behind this stream of this place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct After {
    /// 0: gRPC's own; else a relay's id.
    place: u64,
    stream: u64,
    /// Empty: from the place's beginning.
    recipient: String,
}

impl Context {
    pub(super) async fn list_streams(
        &self,
        request: &pb::ListStreamsRequest,
    ) -> Result<pb::ListStreamsResponse, Refusal> {
        let (recipient, limit, mut after) = query(request)?;
        let mut streams = Vec::new();
        let mut silent_relays = Vec::new();
        if after.place == 0 {
            let behind = RecipientId::new(&after.recipient);
            let behind = behind.map(|recipient| (recipient, after.stream));
            let (found, more) = self.streams.live(recipient.as_ref(), behind, limit);
            streams.extend(found.into_iter().map(|found| pb::ConnectedStream {
                recipient_id: found.recipient.as_str().to_owned(),
                user_id: found.user.into(),
                gateway_id: String::new(),
                stream_id: found.id.to_string(),
                opened_at: Some(found.opened_at.into()),
                state: state(found.is_behind).into(),
                cursor: Some(found.cursor),
            }));
            match streams.last().filter(|_| more) {
                Some(last) => after = after.behind(last, last.stream_id.parse().unwrap_or(0)),
                None => {
                    after = After {
                        place: 1,
                        ..After::default()
                    }
                }
            }
            if more {
                return Ok(page(streams, Some(&after), silent_relays));
            }
        }
        while let Some(gateway) = self.gateways.from(after.place) {
            if streams.len() >= limit {
                // What is left is looked at with the next page.
                return Ok(page(streams, Some(&after), silent_relays));
            }
            if gateway.relay_id > after.place {
                after = After {
                    place: gateway.relay_id,
                    ..After::default()
                };
            }
            let question = RelayStreamsQuestion {
                recipient_id: recipient
                    .as_ref()
                    .map_or("", RecipientId::as_str)
                    .to_owned(),
                after_recipient_id: after.recipient.clone(),
                after_stream_id: after.stream,
                limit: (limit - streams.len()) as u32,
            };
            match gateway.ask(Question::Streams(question)).await {
                Some(Answer::Streams(mut found)) => {
                    // No more than it was asked for: the others come with the next page.
                    let most = limit - streams.len();
                    found.more |= found.streams.len() > most;
                    found.streams.truncate(most);
                    let last = found.streams.last().map(|last| After {
                        place: gateway.relay_id,
                        stream: last.stream_id,
                        recipient: last.recipient_id.clone(),
                    });
                    let gateway_id = &found.gateway_id;
                    streams.extend(found.streams.into_iter().map(|found| pb::ConnectedStream {
                        recipient_id: found.recipient_id,
                        user_id: found.user_id,
                        gateway_id: gateway_id.clone(),
                        stream_id: format!("{:016x}", found.stream_id),
                        opened_at: found.opened_at,
                        state: state(found.behind).into(),
                        cursor: found.cursor,
                    }));
                    if let (true, Some(last)) = (found.more, last) {
                        return Ok(page(streams, Some(&last), silent_relays));
                    }
                }
                _ => silent_relays.push(gateway.relay_id),
            }
            after = After {
                place: gateway.relay_id + 1,
                ..After::default()
            };
        }
        Ok(page(streams, None, silent_relays))
    }
}

fn page(
    streams: Vec<pb::ConnectedStream>,
    next: Option<&After>,
    silent_relays: Vec<u64>,
) -> pb::ListStreamsResponse {
    pb::ListStreamsResponse {
        streams,
        next_page_token: next.map(After::token).unwrap_or_default(),
        silent_relays,
    }
}

fn state(is_behind: bool) -> StreamState {
    match is_behind {
        true => StreamState::Behind,
        false => StreamState::Live,
    }
}

/// Whose, how many, and behind which; all that is wrong is said at once.
fn query(request: &pb::ListStreamsRequest) -> Result<(Option<RecipientId>, usize, After), Refusal> {
    let mut wrong = Violations::default();
    let recipient = match request.recipient_id.as_str() {
        "" => None,
        id => RecipientId::new(id).or_else(|| {
            wrong.add(
                "recipient_id",
                "1..=128 bytes without control characters are allowed",
            );
            None
        }),
    };
    let limit = match request.page_size {
        0 => PAGE,
        size @ 1..=PAGE_MAX => size as usize,
        size => {
            wrong.add("page_size", format!("{size}; 0..={PAGE_MAX} is allowed"));
            PAGE
        }
    };
    let after = match request.page_token.as_str() {
        "" => Some(After::default()),
        token => After::parse(token),
    };
    let after = after.unwrap_or_else(|| {
        wrong.add("page_token", "not one that ListStreams gave");
        After::default()
    });
    wrong.into_result()?;
    Ok((recipient, limit, after))
}

impl After {
    fn behind(&self, stream: &pb::ConnectedStream, id: u64) -> Self {
        Self {
            place: self.place,
            stream: id,
            recipient: stream.recipient_id.clone(),
        }
    }

    /// Hexadecimal of place, stream and recipient: nothing secret.
    fn token(&self) -> String {
        let mut token = format!("{:016x}{:016x}", self.place, self.stream);
        for byte in self.recipient.bytes() {
            token.push_str(&format!("{byte:02x}"));
        }
        token
    }

    fn parse(token: &str) -> Option<Self> {
        let is_hex = token
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || token.len() < 32 || !token.len().is_multiple_of(2) {
            return None;
        }
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        let bytes = token.as_bytes()[32..].chunks(2).map(|pair| {
            // ASCII, as was looked at.
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let recipient = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
        let is_id = recipient.is_empty() || RecipientId::new(&recipient).is_some();
        is_id.then_some(Self {
            place: number(&token[..16])?,
            stream: number(&token[16..32])?,
            recipient,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_read_back_and_nothing_else_is_one() {
        for recipient in ["", "ada", "Ζωή 2"] {
            let after = After {
                place: 3,
                stream: u64::MAX,
                recipient: recipient.to_owned(),
            };
            assert_eq!(After::parse(&after.token()), Some(after));
        }
        let good = After::default().token();
        for bad in [
            "x",
            &good[1..],
            &format!("{good}0"),
            &format!("{good}ff"),
            &format!("{good}00"),
            &format!("+{}", &good[1..]),
            "é".repeat(16).as_str(),
        ] {
            assert_eq!(After::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let request = pb::ListStreamsRequest {
            recipient_id: "\n".into(),
            page_size: 1001,
            page_token: "zz".into(),
        };
        let Err(Refusal::Invalid(wrong)) = query(&request) else {
            panic!("accepted")
        };
        let said = format!("{wrong:?}");
        for field in ["recipient_id", "page_size", "page_token"] {
            assert!(said.contains(field), "{said}");
        }
    }
}
