//! Requests as they come, for the fuzz targets.

use mercurio_proto::v1 as pb;

use crate::{
    entry::RecipientId,
    fuzzing::{decoded, limits},
};

use super::{page_token, validate};

pub(crate) fn page_token(recipient: &RecipientId, token: &str) {
    if let Some(before) = page_token::decode(recipient, token) {
        assert_eq!(page_token::encode(recipient, before), token);
    }
}

/// The first byte says which request the rest is.
pub fn requests(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let limits = limits();
    match kind % 6 {
        0 => drop(decoded(data).map(|request| validate::publish(request, &limits))),
        1 => drop(decoded(data).map(|request| validate::subscribe(request, &limits))),
        2 => drop(decoded(data).map(|request| validate::list_history(&request, &limits))),
        3 => drop(decoded(data).map(|request| validate::get_notification(&request))),
        4 => drop(decoded(data).map(|request| validate::set_read_state(request, &limits))),
        _ => {
            let ids = decoded::<pb::Recipients>(data).unwrap_or_default().ids;
            let _ = validate::relay_ids("join", &ids, &limits);
        }
    }
}
