//! Notifications are deleted.

use std::sync::Arc;

use mercurio_proto::v1::{self as pb, delete_notifications_request::Target};
use tonic::Request;

use crate::entry::{Audience, Deletion, RecipientId};

use super::{
    super::{auth, status::Refusal, validate::Violations},
    Context,
};

impl Context {
    pub(super) async fn delete_notifications(
        &self,
        request: Request<pb::DeleteNotificationsRequest>,
    ) -> Result<pb::DeleteNotificationsResponse, Refusal> {
        auth::administrator(&request)?;
        let mut wrong = Violations::default();
        let deletion = match request.into_inner().target {
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
                Deletion::Notifications {
                    owners: Audience::Recipients(Arc::new([of])),
                    ids: view.ids,
                }
            }
            Some(Target::Id(0)) => {
                wrong.add("id", "0; ids begin with 1");
                return Err(Refusal::Invalid(wrong));
            }
            Some(Target::Id(id)) => {
                // What a reader has seen of it elsewhere may not be applied here yet.
                self.wait_for(id).await?;
                let owners = self.read(move |store| store.owners_of(id)).await?;
                Deletion::Notifications {
                    owners: owners.ok_or(Refusal::NotFound)?,
                    ids: vec![id],
                }
            }
            Some(Target::EverythingOf(of)) => {
                let of = recipient("everything_of", &of, &mut wrong);
                Deletion::Everything {
                    of: wrong.finish(of)?,
                }
            }
        };
        let outcome = self.written(self.writer.delete(deletion)).await?;
        let (cursor, deleted) = (outcome.cursor, outcome.deleted);
        // Whose they were is not for the log that people read.
        tracing::info!(cursor, deleted, "notifications were deleted");
        Ok(pb::DeleteNotificationsResponse { cursor, deleted })
    }
}

fn recipient(field: &str, id: &str, wrong: &mut Violations) -> Option<RecipientId> {
    wrong.check_recipient(field, id);
    RecipientId::new(id)
}
