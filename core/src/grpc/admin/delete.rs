//! Notifications are deleted.

use std::sync::Arc;

use mercurio_proto::v1::{self as pb, delete_notifications_request::Target};
use tonic::Request;

use crate::{
    entry::{Audience, Deletion, RecipientId, Sequence},
    writer::DeleteOutcome,
};

use super::{
    super::{auth, status::Refusal, validate::Violations},
    Context,
};

/// Owners of a notification that it is taken from at once. Each one's view is looked at by the one
/// writer, which takes some tenths of a millisecond, and everybody else waits meanwhile.
const OWNERS_AT_ONCE: usize = 100;

impl Context {
    pub(super) async fn delete_notifications(
        &self,
        request: Request<pb::DeleteNotificationsRequest>,
    ) -> Result<pb::DeleteNotificationsResponse, Refusal> {
        auth::administrator(&request)?;
        let mut wrong = Violations::default();
        let outcome = match request.into_inner().target {
            None => {
                let needed = "unset; from_view, id or everything_of is needed";
                wrong.add("target", needed);
                return Err(Refusal::Invalid(wrong));
            }
            Some(Target::FromView(view)) => {
                let of = recipient("from_view.recipient_id", &view.recipient_id, &mut wrong);
                let most = self.limits.mark_ids;
                wrong.check_count("from_view.ids", view.ids.len(), 1, most);
                if view.ids.contains(&0) {
                    wrong.add("from_view.ids", "0; ids begin with 1");
                }
                let of = wrong.finish(of)?;
                let deletion = Deletion::Notifications {
                    owners: Audience::Recipients(Arc::new([of])),
                    ids: view.ids,
                };
                self.written(self.writer.delete(deletion)).await?
            }
            Some(Target::Id(0)) => {
                wrong.add("id", "0; ids begin with 1");
                return Err(Refusal::Invalid(wrong));
            }
            Some(Target::Id(id)) => {
                // What a reader has seen of it elsewhere may not be applied here yet.
                self.wait_for(id).await?;
                let owners = self.read(move |store| store.owners_of(id)).await?;
                self.delete_for(owners.ok_or(Refusal::NotFound)?, id)
                    .await?
            }
            Some(Target::EverythingOf(of)) => {
                let of = recipient("everything_of", &of, &mut wrong);
                let of = wrong.finish(of)?;
                let deletion = Deletion::Everything { of };
                self.written(self.writer.delete(deletion)).await?
            }
        };
        let (cursor, deleted) = (outcome.cursor, outcome.deleted);
        // Whose they were is not for the log that people read.
        tracing::info!(cursor, deleted, "notifications were deleted");
        Ok(pb::DeleteNotificationsResponse { cursor, deleted })
    }

    /// Takes a notification from all who have it. Where that is refused half-way, it is gone from some,
    /// and asked for again, from all.
    async fn delete_for(&self, owners: Audience, id: Sequence) -> Result<DeleteOutcome, Refusal> {
        let parts: Vec<Audience> = match owners {
            Audience::Everyone => vec![Audience::Everyone],
            Audience::Recipients(named) => {
                let parts = named.chunks(OWNERS_AT_ONCE);
                parts
                    .map(|part| Audience::Recipients(part.into()))
                    .collect()
            }
        };
        let mut whole = DeleteOutcome {
            cursor: 0,
            deleted: 0,
        };
        for owners in parts {
            let ids = vec![id];
            let deletion = Deletion::Notifications { owners, ids };
            let part = self.written(self.writer.delete(deletion)).await?;
            whole.cursor = part.cursor;
            whole.deleted += part.deleted;
        }
        Ok(whole)
    }
}

fn recipient(field: &str, id: &str, wrong: &mut Violations) -> Option<RecipientId> {
    wrong.check_recipient(field, id);
    RecipientId::new(id)
}
