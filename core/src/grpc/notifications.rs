//! The unary calls, and the way into a stream.

use std::{sync::Arc, time::Instant};

use futures_util::stream::BoxStream;
use mercurio_proto::v1::{self as pb, notification_service_server::NotificationService};
use tonic::{Request, Response, Status};

use crate::{clock, entry::RecipientId, store::HistoryPage};

use super::{
    Context,
    auth::{self, check_feed},
    convert, page_token,
    status::Refusal,
    subscribe, validate,
};

/// `mercurio.v1.NotificationService`.
pub(super) struct Notifications(pub Arc<Context>);

#[tonic::async_trait]
impl NotificationService for Notifications {
    type SubscribeStream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let context = &self.0;
        context
            .publish(request)
            .await
            .map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let context = &self.0;
        subscribe::open(context, request)
            .await
            .map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn list_history(
        &self,
        request: Request<pb::ListHistoryRequest>,
    ) -> Result<Response<pb::ListHistoryResponse>, Status> {
        let context = &self.0;
        let page = context.list_history(request).await;
        page.map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn get_notification(
        &self,
        request: Request<pb::GetNotificationRequest>,
    ) -> Result<Response<pb::GetNotificationResponse>, Status> {
        let context = &self.0;
        let found = context.get_notification(request).await;
        found
            .map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn set_read_state(
        &self,
        request: Request<pb::SetReadStateRequest>,
    ) -> Result<Response<pb::SetReadStateResponse>, Status> {
        let context = &self.0;
        let set = context.set_read_state(request).await;
        set.map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }
}

impl Context {
    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<pb::PublishResponse, Refusal> {
        let by = auth::published_by(&request, auth::publisher(&request)?);
        // Before it is looked at: that is work too.
        self.charge(by, recipients(request.get_ref()))?;
        let draft = validate::publish(request.into_inner(), &self.limits)?;
        let began = Instant::now();
        let outcome = self.written(self.writer.publish(draft)).await;
        let took = began.elapsed().as_secs_f64();
        self.metrics.publish_seconds.observe(took);
        let outcome = outcome?;
        tracing::debug!(id = outcome.id, duplicate = outcome.duplicate, "published");
        mercurio_trace::note("mercurio.notification.id", outcome.id as i64);
        mercurio_trace::note("mercurio.duplicate", outcome.duplicate);
        Ok(pb::PublishResponse {
            id: outcome.id,
            event_id: outcome.event_id,
            duplicate: outcome.duplicate,
        })
    }

    async fn list_history(
        &self,
        request: Request<pb::ListHistoryRequest>,
    ) -> Result<pb::ListHistoryResponse, Refusal> {
        let identity = auth::caller(&request)?;
        let (recipient, query) = validate::list_history(request.get_ref(), &self.limits)?;
        check_feed(identity, &recipient)?;
        let of = recipient.clone();
        let page = self
            .read(move |store| store.history(&of, &query, clock::now()))
            .await?;
        Ok(history(&recipient, page, self.limits.page_bytes))
    }

    async fn get_notification(
        &self,
        request: Request<pb::GetNotificationRequest>,
    ) -> Result<pb::GetNotificationResponse, Refusal> {
        let identity = auth::caller(&request)?;
        let (recipient, id) = validate::get_notification(request.get_ref())?;
        check_feed(identity, &recipient)?;
        let of = recipient.clone();
        let found = self
            .read(move |store| store.get(&of, id, clock::now()))
            .await?;
        let found = found.ok_or(Refusal::NotFound)?;
        let notification = Some(convert::notification(recipient.as_str(), &found));
        Ok(pb::GetNotificationResponse { notification })
    }

    async fn set_read_state(
        &self,
        request: Request<pb::SetReadStateRequest>,
    ) -> Result<pb::SetReadStateResponse, Refusal> {
        let identity = auth::caller(&request)?.clone();
        let (recipient, target, read) =
            validate::set_read_state(request.into_inner(), &self.limits)?;
        check_feed(&identity, &recipient)?;
        let marking = self.writer.set_read_state(recipient, target, read);
        let outcome = self.written(marking).await?;
        Ok(pb::SetReadStateResponse {
            cursor: outcome.cursor,
            changed: outcome.changed,
            unread_count: outcome.unread_count,
        })
    }
}

/// How many are named.
fn recipients(request: &pb::PublishRequest) -> usize {
    match &request.audience {
        Some(pb::publish_request::Audience::Recipients(recipients)) => recipients.ids.len(),
        _ => 1,
    }
}

/// A page that a client can decode: one of large bodies ends early.
fn history(recipient: &RecipientId, page: HistoryPage, most: usize) -> pb::ListHistoryResponse {
    let HistoryPage {
        notifications: found,
        mut next_before,
        cursor,
        unread_count,
    } = page;
    let mut notifications = Vec::with_capacity(found.len());
    let mut bytes = 0;
    let mut last = None;
    for notification in &found {
        bytes += notification.published.data.len();
        if bytes > most && last.is_some() {
            next_before = last;
            break;
        }
        last = Some(notification.id);
        notifications.push(convert::notification(recipient.as_str(), notification));
    }
    let next_page_token = next_before
        .map(|before| page_token::encode(recipient, before))
        .unwrap_or_default();
    pb::ListHistoryResponse {
        notifications,
        next_page_token,
        cursor,
        unread_count,
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::{Notification, Published};

    use super::*;

    #[test]
    fn a_page_of_large_bodies_ends_early() {
        let ada = RecipientId::new("ada").unwrap();
        let page = |next_before| HistoryPage {
            notifications: (1..=4)
                .rev()
                .map(|id| Notification {
                    id,
                    published: Arc::new(Published {
                        at: 1,
                        source_id: "s".into(),
                        event_id: "e".into(),
                        topic: "".into(),
                        data: "x".repeat(100),
                        expires_at: None,
                    }),
                    read_at: None,
                    broadcast: false,
                })
                .collect(),
            next_before,
            cursor: 9,
            unread_count: 4,
        };
        let next = |most, next_before| {
            let page = history(&ada, page(next_before), most);
            (
                page.notifications.len(),
                page_token::decode(&ada, &page.next_page_token),
            )
        };
        assert_eq!(next(400, None), (4, None));
        assert_eq!(next(400, Some(1)), (4, Some(1)));
        assert_eq!(next(399, None), (3, Some(2)));
        assert_eq!(next(1, None), (1, Some(4)));
    }
}
