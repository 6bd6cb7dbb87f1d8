//! All that is wrong with a request.

use std::fmt;

use tonic_types::FieldViolation;

use super::super::status::Refusal;

/// So many are described; the rest are counted. They travel in a header, which clients bound.
const DESCRIBED: usize = 16;
/// So many stand in the status's message too.
const IN_MESSAGE: usize = 3;
/// Characters of a value that are shown.
const SHOWN: usize = 40;

/// What is wrong with which field.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    described: Vec<(String, String)>,
    more: usize,
}

impl Violations {
    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: &str, description: impl Into<String>) {
        if self.described.len() < DESCRIBED {
            self.described.push((field.to_owned(), description.into()));
        } else {
            self.more += 1;
        }
    }

    /// An error where something was noted.
    pub fn into_result(self) -> Result<(), Refusal> {
        if self.described.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Invalid(self))
        }
    }

    /// A value whose absence was noted.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) => self.into_result().map(|()| value),
            None => Err(Refusal::Invalid(self)),
        }
    }

    /// As google.rpc has them.
    pub fn fields(&self) -> Vec<FieldViolation> {
        let described = self.described.iter();
        let mut fields: Vec<_> = described
            .map(|(field, why)| FieldViolation::new(field, why))
            .collect();
        if self.more > 0 {
            fields.push(FieldViolation::new(
                "",
                format!("and {} more violations", self.more),
            ));
        }
        fields
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid request")?;
        for (at, (field, why)) in self.described.iter().take(IN_MESSAGE).enumerate() {
            write!(f, "{} {field}: {why}", if at == 0 { ":" } else { "," })?;
        }
        match self.described.len().saturating_sub(IN_MESSAGE) + self.more {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// A value as it may stand in a message: escaped, and its beginning only.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &value[..end], value.len()),
        None => format!("{value:?}"),
    }
}
