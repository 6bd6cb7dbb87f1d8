//! Topics and their filters, as NATS subjects have them (docs.nats.io, "Subject-Based
//! Messaging"): tokens separated by dots; in a filter `*` stands for one token and a trailing
//! `>` for one or more.

/// The most bytes a topic or a filter has.
pub const TOPIC_MAX: usize = 256;

/// A set of filters; empty matches every topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFilters(Vec<TopicFilter>);

impl TopicFilters {
    /// These filters; a topic matches when one of them does.
    #[must_use]
    pub fn new(filters: Vec<TopicFilter>) -> Self {
        Self(filters)
    }

    /// Whether every topic matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `topic` passes.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.matches(topic))
    }
}

/// One filter, known to be well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFilter(String);

impl TopicFilter {
    /// Parses a filter.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(filter: &str) -> Result<Self, &'static str> {
        check(filter)?;
        let mut tokens = filter.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token == ">" && tokens.peek().is_some() {
                return Err("`>` stands only at the end");
            }
            if token.len() > 1 && token.contains(['*', '>']) {
                return Err("`*` and `>` stand for whole tokens");
            }
        }
        Ok(Self(filter.to_owned()))
    }

    /// Whether `topic` passes.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut tokens = topic.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(token)) => return !token.is_empty(),
                ("*", Some(token)) if !token.is_empty() => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

/// Checks a topic to publish under; the empty topic is one.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Ok(());
    }
    check(topic)?;
    if topic.contains(['*', '>']) {
        return Err("`*` and `>` belong to filters");
    }
    Ok(())
}

fn check(topic: &str) -> Result<(), &'static str> {
    if topic.len() > TOPIC_MAX {
        return Err("at most 256 bytes");
    }
    if topic.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("no white space or control characters");
    }
    if topic.split('.').any(str::is_empty) {
        return Err("dot-separated tokens, none of them empty");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_nats_subjects_do() {
        for (filter, topic, matches) in [
            ("invoice.paid", "invoice.paid", true),
            ("invoice.paid", "invoice.paid.late", false),
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoice", false),
            ("invoice.*", "invoice.paid.late", false),
            ("*.paid", "invoice.paid", true),
            ("invoice.>", "invoice.paid.late", true),
            ("invoice.>", "invoice", false),
            (">", "invoice", true),
            (">", "", false),
            ("*", "", false),
        ] {
            let parsed = TopicFilter::parse(filter).unwrap();
            assert_eq!(parsed.matches(topic), matches, "{filter} on {topic}");
        }
        assert!(TopicFilters::default().matches(""));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for filter in [
            "",
            ".",
            "a..b",
            "a.>.b",
            "a*",
            "a.b>",
            "a b",
            "a\n",
            &"a".repeat(257),
        ] {
            assert!(TopicFilter::parse(filter).is_err(), "{filter:?}");
        }
        for topic in ["a.*", ">", "a..b", "a b"] {
            assert!(check_topic(topic).is_err(), "{topic:?}");
        }
        assert!(check_topic("").is_ok());
    }
}
