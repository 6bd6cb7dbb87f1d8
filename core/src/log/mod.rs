mod identity;
pub use identity::{ENTRIES_MAX, LogId, Position, SEQUENCE_MAX};
