//! What an idle stream holds in memory, type by type: the table in ARCHITECTURE.md. A line that
//! grows is noticed here first.

use std::mem::size_of;

use tokio::time::Sleep;

use crate::{
    catch_up::Reader, delivery::Delivery, feed::Feed, line::Line, mailbox::Mailbox, registry,
};

#[test]
fn an_idle_stream_is_small() {
    let parts = [
        ("delivery", size_of::<Delivery>(), 56),
        ("line, the feed in it", size_of::<Line>(), 320),
        ("feed", size_of::<Feed>(), 192),
        ("timer", size_of::<Sleep>(), 128),
        ("mailbox, the lease in it", size_of::<Mailbox>(), 208),
        ("reader", size_of::<Reader>(), 136),
        ("a user in the registry", registry::USER_BYTES, 96),
    ];
    for (part, bytes, at_most) in parts {
        println!("{part}: {bytes} bytes");
        assert!(bytes <= at_most, "{part}: {bytes} bytes");
    }
}
