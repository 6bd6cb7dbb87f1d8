//! Messages on their way in. Each is put together in memory, and who sends it may take their time:
//! so all of them have a bounded room, services and users one each: a user who fills theirs is in
//! nobody's way who publishes. A message that comes whole and is short needs none of it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use mercurio_auth::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use crate::settings::Limits;

use super::{Context, status::Refusal};

/// Bytes of each message that take no room: a call itself costs about as much.
const FREE: usize = 4 << 10;
/// Bytes of gRPC's own before a message.
const PREFIX: usize = 5;

/// The room for messages that are on their way. Cheap to clone.
#[derive(Clone)]
pub(super) struct Room {
    left: Arc<Semaphore>,
    bytes: usize,
}

impl Room {
    /// For so many bytes.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self {
            left: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }
}

/// Rooms for messages that are on their way.
pub(crate) struct Rooms {
    services: Room,
    users: Room,
}

/// The part of the room that users have.
const USERS_PART: usize = 8;

impl Rooms {
    /// For so many bytes, or one message of the largest size.
    pub fn new(bytes: usize, limits: &Limits) -> Self {
        Self {
            services: Room::new(bytes.max(limits.message_bytes())),
            users: Room::new((bytes / USERS_PART).max(limits.short_message_bytes())),
        }
    }

    /// For messages of theirs.
    pub(super) fn of(&self, identity: &Identity) -> &Room {
        match identity.may_publish() || identity.may_act_for("") || identity.may_administer() {
            true => &self.services,
            false => &self.users,
        }
    }
}

/// The body of a call that has one message, of at most so many bytes.
pub(super) fn bounded(inner: Body, most: usize, room: &Room, context: &Arc<Context>) -> Body {
    Body::new(Arriving {
        inner: Box::pin(inner),
        most: most.saturating_add(PREFIX),
        read: 0,
        held: None,
        room: room.clone(),
        context: context.clone(),
    })
}

struct Arriving {
    inner: Pin<Box<Body>>,
    most: usize,
    /// Bytes so far.
    read: usize,
    /// Of the room; let go when the message is there, or the call is given up.
    held: Option<OwnedSemaphorePermit>,
    room: Room,
    context: Arc<Context>,
}

impl Arriving {
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.read = self.read.saturating_add(bytes);
        if self.read > self.most {
            // As tonic says it: `server.rs` makes a refusal of ours of both.
            let most = self.most - PREFIX;
            let message = format!("more than {most} bytes, which are the most allowed");
            return Err(Status::out_of_range(message));
        }
        let held = self.held.as_ref().map_or(0, |held| held.num_permits());
        let missing = self.read.saturating_sub(FREE).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let room = self.room.left.clone();
        // More than fits is more than there is.
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        match (room.try_acquire_many_owned(missing), &mut self.held) {
            (Ok(more), Some(held)) => held.merge(more),
            (Ok(first), held) => *held = Some(first),
            (Err(_none_left), _) => {
                return Err(self.context.refuse(Refusal::MessagesBusy {
                    bytes: self.room.bytes,
                }));
            }
        }
        Ok(())
    }
}

impl HttpBody for Arriving {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let Some(frame) = ready!(self.inner.as_mut().poll_frame(task)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let bytes = frame.data_ref().map_or(0, |data| data.len());
        self.take(bytes)?;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
