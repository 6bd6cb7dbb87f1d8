//! Page tokens of a history: opaque to callers, and of one recipient.
//!
//! Hexadecimal of a version, the recipient's hash, and the place: nothing secret, since what it
//! gives access to is checked anew with each call. The hash catches mistakes, not attackers.

use crate::entry::{RecipientId, Sequence};

const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 8;

/// The token for the page of what is older than `before`.
pub(super) fn encode(recipient: &RecipientId, before: Sequence) -> String {
    format!("{VERSION:02x}{:016x}{before:016x}", hash(recipient))
}

/// The place a token stands for; `None`: it is no token, or another recipient's.
pub(super) fn decode(recipient: &RecipientId, token: &str) -> Option<Sequence> {
    // ASCII alone may be cut anywhere; and `from_str_radix` takes a sign, which is none of ours.
    let is_hex = token
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if token.len() != BYTES * 2 || !is_hex {
        return None;
    }
    let version = u8::from_str_radix(&token[..2], 16).ok()?;
    let owner = u64::from_str_radix(&token[2..18], 16).ok()?;
    let before = u64::from_str_radix(&token[18..], 16).ok()?;
    (version == VERSION && owner == hash(recipient)).then_some(before)
}

/// FNV-1a: the same in every build, unlike the standard library's hashers.
fn hash(recipient: &RecipientId) -> u64 {
    recipient
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_recipients_own() {
        let (ada, bob) = (
            RecipientId::new("ada").unwrap(),
            RecipientId::new("bob").unwrap(),
        );
        for before in [0, 1, 1 << 40, u64::MAX] {
            let token = encode(&ada, before);
            assert_eq!(decode(&ada, &token), Some(before));
            assert_eq!(decode(&bob, &token), None);
        }
    }

    #[test]
    fn anything_else_is_none() {
        let ada = RecipientId::new("ada").unwrap();
        let token = encode(&ada, 7);
        let longer = format!("{token}0");
        let signed = format!("{}+{}", &token[..18], &token[19..]);
        let later = format!("02{}", &token[2..]);
        let upper = token.to_uppercase();
        let wide = "é".repeat(17);
        for wrong in [
            "",
            "x",
            &token[1..],
            &longer,
            &signed,
            &later,
            &upper,
            &wide,
        ] {
            assert_eq!(decode(&ada, wrong), None, "{wrong}");
        }
        // Tokens outlive a restart, and a new version.
        assert_eq!(token, "01e70bc0190530e13b0000000000000007");
    }
}
