//! Query parameters, read strictly: what is known is checked, what is not known is passed over,
//! since clients and proxies add their own.

use crate::error::ApiError;

/// The parameters of a request's query, decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn new(raw: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of a parameter that stands at most once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            Some(second) => Err(ApiError::field(name, second, "given once")),
            None => Ok(value),
        }
    }

    /// The values of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// A whole number.
    pub fn number(&self, name: &str, allowed: &str) -> Result<Option<u64>, ApiError> {
        self.one(name)?
            .map(|text| number(name, text, allowed))
            .transpose()
    }

    /// Topic filters, as many as may be; the core checks their form for lists, [`Filters`] here
    /// for streams.
    pub fn topics(&self) -> Vec<String> {
        self.all("topic").map(str::to_owned).collect()
    }
}

/// A whole number in decimal digits, nothing else.
pub(crate) fn number(name: &str, text: &str, allowed: &str) -> Result<u64, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| ApiError::field(name, text, allowed))
}

/// The most filters of one stream or list.
pub(crate) const FILTERS_MAX: usize = 64;

/// Topic filters as NATS subjects have them: `*` for one token, a trailing `>` for the rest.
#[derive(Debug, Default)]
pub(crate) struct Filters(Box<[Box<str>]>);

impl Filters {
    /// Filters that the core has accepted.
    pub fn new(filters: &[String]) -> Self {
        Self(
            filters
                .iter()
                .map(|filter| filter.as_str().into())
                .collect(),
        )
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| matches(filter, topic))
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut tokens = topic.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(token)) => return !token.is_empty(),
            ("*", Some(token)) if !token.is_empty() => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only() {
        for text in [
            "",
            "-1",
            "+1",
            "1.0",
            "0x1",
            " 1",
            "18446744073709551616",
            "٣",
        ] {
            assert!(number("limit", text, "1..=500").is_err(), "{text:?}");
        }
        assert_eq!(number("limit", "007", "1..=500"), Ok(7));
        let twice = Query::new(Some("limit=1&limit=2"));
        assert!(twice.number("limit", "1..=500").is_err());
    }

    #[test]
    fn filters_match_whole_tokens() {
        let filters = Filters::new(&["a.*".into(), "b.>".into()]);
        for (topic, expected) in [
            ("a.x", true),
            ("a", false),
            ("a.x.y", false),
            ("b.x.y", true),
            ("b", false),
            ("", false),
        ] {
            assert_eq!(filters.matches(topic), expected, "{topic}");
        }
        assert!(Filters::default().matches(""));
    }
}
