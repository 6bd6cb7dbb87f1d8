//! The key layout of a live segment: one tree, prefixed keys, sequences big-endian so that key order
//! is log order. An owner is a recipient's id, or empty for everyone; ids hold no control
//! characters, so a zero byte ends them without ambiguity.
//!
//! | key | value |
//! |---|---|
//! | `b` sequence | a body kept apart: of several recipients, or large; in pieces |
//! | `d` sequence | a deletion |
//! | `i` owner 0 sequence | a row of the owner |
//! | `k` source 0 event | the sequence first published under this idempotency key |
//! | `l` | the tally: the last sequence, and how many keys of each kind there are |
//! | `r` owner 0 | the owner's read marks, whole; in pieces |
//! | `v` sequence | a revocation of tokens |
//!
//! In a packed segment `b` and `k` are as here, whole; `x` owner is the owner's index record,
//! `o` number a page of owners, in order, `v` all revocations,
//! and `d` all deletions.

use crate::entry::Sequence;

/// A recipient's id, or empty: everyone.
pub(super) const EVERYONE: &str = "";

pub(super) const TALLY: &[u8] = b"l";
pub(super) const BODIES: u8 = b'b';
pub(super) const ROWS: u8 = b'i';
pub(super) const IDEMPOTENCY: u8 = b'k';
pub(super) const READS: u8 = b'r';
pub(super) const RECORDS: u8 = b'x';
pub(super) const OWNERS: u8 = b'o';
pub(super) const REVOCATIONS: &[u8] = b"v";
pub(super) const DELETIONS: &[u8] = b"d";

pub(super) fn body(sequence: Sequence) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(BODIES);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

fn rows_of(owner: &str, capacity: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(capacity);
    key.push(ROWS);
    key.extend_from_slice(owner.as_bytes());
    key
}

/// The owner's row of this sequence.
pub(super) fn row(owner: &str, sequence: Sequence) -> Vec<u8> {
    let mut key = rows_of(owner, owner.len() + 10);
    key.push(0);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The exclusive end of the owner's rows.
pub(super) fn rows_end(owner: &str) -> Vec<u8> {
    let mut key = rows_of(owner, owner.len() + 2);
    key.push(1);
    key
}

/// The owner and the sequence of a row's key.
pub(super) fn parse_row(key: &[u8]) -> Option<(&str, Sequence)> {
    let rest = key.strip_prefix(&[ROWS])?;
    let (owner, sequence) = rest.split_at_checked(rest.len().checked_sub(9)?)?;
    let sequence = sequence.strip_prefix(&[0])?.try_into().ok()?;
    Some((
        std::str::from_utf8(owner).ok()?,
        u64::from_be_bytes(sequence),
    ))
}

pub(super) fn idempotency(source_id: &str, event_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(source_id.len() + event_id.len() + 2);
    key.push(IDEMPOTENCY);
    key.extend_from_slice(source_id.as_bytes());
    key.push(0);
    key.extend_from_slice(event_id.as_bytes());
    key
}

pub(super) fn reads(owner: &str) -> Vec<u8> {
    of_owner(READS, owner)
}

fn of_owner(prefix: u8, owner: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(owner.len() + 2);
    key.push(prefix);
    key.extend_from_slice(owner.as_bytes());
    key.push(0);
    key
}

/// The owner of an `r` or `z` key.
pub(super) fn parse_owner(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_suffix(&[0])?.get(1..)?).ok()
}

pub(super) fn record(owner: &str) -> Vec<u8> {
    [&[RECORDS], owner.as_bytes()].concat()
}

pub(super) fn owners(page: u32) -> Vec<u8> {
    [&[OWNERS], &page.to_be_bytes()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_owner_stand_together_in_log_order() {
        let mut keys = [
            row("ab", 2),
            row("a", 300),
            row("a", 7),
            rows_end("a"),
            row("", 9),
        ];
        keys.sort();
        assert_eq!(
            keys,
            [
                row("", 9),
                row("a", 7),
                row("a", 300),
                rows_end("a"),
                row("ab", 2)
            ]
        );
        assert_eq!(parse_row(&row("ab", 2)), Some(("ab", 2)));
        assert_eq!(parse_row(&row(EVERYONE, 5)), Some(("", 5)));
        assert_eq!(parse_row(b"i"), None);
    }
}
