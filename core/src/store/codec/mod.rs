//! How things are stored: protobuf messages (prost), so that a later format may add fields.

mod record;
mod row;

use prost::Message;

use crate::entry::{Millis, Sequence};

use super::{Retention, StoreError};

pub(super) use record::{decode_reads, decode_record, encode_reads, encode_record};
pub(super) use row::{
    Apart, Body, DeletedRow, INLINE_DATA_MAX, ReadState, Row, RowKind, Topics, body, row, rows,
};

pub(super) fn decode_sequence(bytes: &[u8]) -> Result<Sequence, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::Unreadable { what: "sequence" })?;
    Ok(u64::from_be_bytes(bytes))
}

/// What stands under an idempotency key: which notification was published with it, and until when
/// the key holds. It holds as long as the notification can be seen, by age and expiry, and so is
/// the same whatever has been swept.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct PublishedUnder {
    #[prost(uint64, tag = "1")]
    pub sequence: Sequence,
    #[prost(uint64, tag = "2")]
    pub at: Millis,
    #[prost(uint64, optional, tag = "3")]
    pub expires_at: Option<Millis>,
    /// A hash of the only one who got it; unset: there were several, or it was not noted.
    #[prost(fixed64, optional, tag = "4")]
    pub owner: Option<u64>,
}

impl PublishedUnder {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(|_| StoreError::Unreadable {
            what: "idempotency key",
        })
    }

    /// Whether the key may be used anew.
    pub fn is_past(&self, now: Millis, retention: Retention) -> bool {
        self.expires_at.is_some_and(|at| at <= now) || retention.is_past(self.at, now)
    }
}

/// The last entry of a live segment, and how many keys of each kind stand in it. Written with
/// every batch: what sled loses without a word is missed when it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Tally {
    #[prost(uint64, tag = "1")]
    pub last: Sequence,
    #[prost(uint64, tag = "2")]
    pub last_at: Millis,
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    #[prost(uint64, tag = "4")]
    pub bodies: u64,
    #[prost(uint64, tag = "5")]
    pub keys: u64,
    #[prost(uint64, tag = "6")]
    pub reads: u64,
    #[prost(uint64, tag = "7")]
    pub revocations: u64,
    #[prost(uint64, tag = "8")]
    pub deletions: u64,
}

impl Tally {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(unreadable("tally"))
    }
}

/// A page of owners, in order.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Owners {
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

impl Owners {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(unreadable("page of owners"))
    }
}

fn unreadable(what: &'static str) -> impl Fn(prost::DecodeError) -> StoreError {
    move |_| StoreError::Unreadable { what }
}
