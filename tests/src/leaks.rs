//! What must not stand in a log: the tokens and secrets that tests hand out, and what they publish.
//!
//! The harness notes them as it makes or sends them, and looks through all that a `mercurio` process
//! said on standard error when the process ends ([`crate::process::Process`]). So every test of the
//! suite is a test of this too. Besides, whatever has the shape of a token is one.
//!
//! Of a body its beginning is noted, if it is long and varied enough not to stand in a log for another
//! reason: a user's id, or a word.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

/// Bytes of what is noted; shorter ones aren't.
const NOTED: usize = 16;
/// Different bytes among them.
const VARIED: usize = 6;
/// The most that is noted: a long test goes on publishing.
const NOTED_MAX: usize = 100_000;

/// Beginnings, and what each is the beginning of.
type Beginnings = HashMap<[u8; NOTED], &'static str>;

static BEGINNINGS: LazyLock<Mutex<Beginnings>> = LazyLock::new(Mutex::default);

/// A secret or token that was handed out.
pub fn note_secret(secret: impl AsRef<[u8]>) {
    note(secret.as_ref(), "a secret");
}

/// What is published.
pub fn note_body(body: impl AsRef<[u8]>) {
    note(body.as_ref(), "a body");
}

fn note(bytes: &[u8], what: &'static str) {
    // All tokens begin alike; those are found by their shape.
    if bytes.starts_with(b"eyJ") {
        return;
    }
    let Some(beginning) = bytes.first_chunk::<NOTED>() else {
        return;
    };
    let mut sorted = *beginning;
    sorted.sort_unstable();
    if sorted.chunk_by(|a, b| a == b).count() < VARIED {
        return;
    }
    let mut beginnings = BEGINNINGS.lock().unwrap();
    if beginnings.len() < NOTED_MAX {
        beginnings.insert(*beginning, what);
    }
}

/// The first line that has something in it which it must not have, and what that is.
pub fn find<'a>(lines: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let beginnings = BEGINNINGS.lock().unwrap();
    // Most places of a line begin as nothing does that was noted.
    let mut begins = vec![false; 1 << 16];
    for beginning in beginnings.keys() {
        begins[pair(beginning)] = true;
    }
    let noted = |line: &str| {
        let mut windows = line.as_bytes().array_windows::<NOTED>();
        windows.find_map(|window| {
            let known = begins[pair(window)].then(|| beginnings.get(window));
            known.flatten().copied()
        })
    };
    lines.into_iter().find_map(|line| {
        let what = shaped(line).or_else(|| noted(line))?;
        Some(format!("{what} in its log: {line}"))
    })
}

fn pair(bytes: &[u8; NOTED]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// What has the shape of a secret, whoever made it.
fn shaped(line: &str) -> Option<&'static str> {
    if line.contains("access_token=") {
        return Some("a query with a token");
    }
    let is_token = |rest: &str| {
        let is_part = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
            end.unwrap_or(part.len())
        };
        let header = is_part(rest);
        let claims = rest[header..]
            .strip_prefix('.')
            .map(|rest| (rest, is_part(rest)));
        header > 8 && claims.is_some_and(|(rest, end)| end > 8 && rest[end..].starts_with('.'))
    };
    let mut tokens = line.match_indices("eyJ");
    tokens
        .any(|(at, _)| is_token(&line[at..]))
        .then_some("a token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<String> {
        find([&line.to_owned()])
    }

    #[test]
    fn what_was_noted_is_found_wherever_it_stands() {
        note_secret("s3cr3t-of-this-very-test-and-no-other");
        note_body("A body, long enough to be told from a word");
        for line in [
            "INFO key=s3cr3t-of-this-very-test-and-no-other",
            "cut: s3cr3t-of-this-v",
            "{\"data\":\"A body, long enough to be told\"}",
        ] {
            assert!(found(line).is_some(), "{line}");
        }
        for line in ["s3cr3t-of", "A body, long", "nothing of the sort"] {
            assert_eq!(found(line), None);
        }
        // Neither would tell a leak from a log.
        note_body("short");
        note_body("x".repeat(200));
        assert_eq!(found(&format!("user={}", "x".repeat(128))), None);
        assert_eq!(found("a short line"), None);
    }

    #[test]
    fn a_token_is_known_by_its_shape() {
        let token = crate::tokens::Secret::default().user("somebody");
        for line in [
            format!("Bearer {token}"),
            format!("GET /stream?x={token}&y=1"),
            format!("cut short: {}", &token[..token.rfind('.').unwrap() + 1]),
            "GET /stream?access_token=whatever".to_owned(),
        ] {
            assert!(found(&line).is_some(), "{line}");
        }
        let claims = token.split('.').nth(1).unwrap();
        assert_eq!(found(&format!("eyJ {claims} eyJhbGciOiJI.")), None);
    }
}
