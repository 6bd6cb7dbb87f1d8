//! Frames as they come, for the fuzz targets. Their sums are made right, or nothing in them would be looked at.

use std::io;

use super::frames::Frames;

/// The first sequence, then of each frame its length (two bytes) and what is in it.
pub(in crate::store) fn fuzz(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let mut bytes = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (payload, after) = after.split_at(length);
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(crc32fast::hash(payload).to_be_bytes());
        bytes.extend(payload);
        rest = after;
    }
    for bytes in [bytes.as_slice(), data] {
        let mut frames = Frames::of(io::BufReader::new(bytes), u64::from_be_bytes(*first));
        while let Ok(Some(frame)) = frames.next_frame() {
            let through = frame.through();
            assert_eq!(frames.next, through + 1);
            let places = frame.entries().unwrap_or_default();
            assert!(places.iter().all(|(place, _)| *place <= through));
        }
        for one in frames.progress.appenders.all() {
            assert!(!frames.progress.appenders.is_next(one), "it came already");
        }
    }
}
