//! Whether a log is the one of which a core has applied the beginning.

use futures_util::StreamExt;

use super::{
    LogError, Position,
    broker::{Bounds, Tail},
};

/// Whether a log reaches from where a core stands to where it should end.
pub(crate) fn check(bounds: Bounds, applied: Position) -> Result<(), LogError> {
    let Bounds { first, last } = bounds;
    if last < applied {
        return Err(LogError::Refused(format!(
            "the log ends with message {last}, and this core has applied {applied}: it was \
             restored from an older state, or lost what it had. To go on with it, every core has \
             to start with an empty data directory"
        )));
    }
    if first > applied + 1 {
        return Err(LogError::Refused(format!(
            "the log begins with message {first}, and this core has applied {applied} only: what \
             is between them is gone. Start with an empty data directory and a `--peer-url`, from \
             which it is filled"
        )));
    }
    Ok(())
}

/// Whether the first message of a tail from `applied` on is the one that was applied: a log that
/// lost its end, and has grown again since, has another one there.
pub(super) async fn compare(tail: &mut Tail, applied: Position, crc: u32) -> Result<(), LogError> {
    let found = tail.next().await;
    let found = found.unwrap_or_else(|| Err(LogError::Away("the tail ended".into())))?;
    if found.position != applied {
        // Dropped by its age since it was looked where the log begins.
        return Err(LogError::Away(format!(
            "message {applied} was to come first, and it was {}",
            found.position
        )));
    }
    if crc32fast::hash(&found.payload) != crc {
        return Err(LogError::Refused(format!(
            "message {applied} of the log is not the one that this core applied: the log was \
             restored from an older state, or lost its end, and has grown again since. Find out \
             which cores agree with the log; the others have to start with an empty data directory"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::{super::broker::Delivered, *};

    #[test]
    fn another_message_in_its_place_is_another_log() {
        let compared = |position, payload: &'static [u8]| {
            let delivered = Delivered {
                position,
                at: None,
                payload: payload.into(),
            };
            let mut tail = stream::iter([Ok(delivered)]).boxed();
            let compared = compare(&mut tail, 7, crc32fast::hash(b"seven"));
            compared.now_or_never().expect("it is there")
        };
        assert_eq!(compared(7, b"seven"), Ok(()));
        assert!(matches!(compared(7, b"other"), Err(LogError::Refused(_))));
        assert!(matches!(compared(8, b"seven"), Err(LogError::Away(_))));
    }
}
