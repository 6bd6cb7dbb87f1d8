//! The kinds of values settings take: how each is read from text, and what is said where it can't be.

use std::{borrow::Cow, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use tonic::codegen::http::{HeaderName, Uri};
use tracing_subscriber::EnvFilter;

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `HOST:PORT`.
    Address,
    /// Text of 1 to `max` bytes without control characters.
    Text {
        /// The most bytes.
        max: usize,
    },
    /// A path.
    Path,
    /// True or false; the flag alone means true.
    Switch,
    /// A time as humantime reads it, between two of them.
    Duration {
        /// The shortest.
        min: &'static str,
        /// The longest.
        max: &'static str,
    },
    /// A whole number.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A decimal number from 0 to 1.
    Ratio,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `http(s)://HOST[:PORT]`.
    CoreUrl,
    /// `https://HOST[:PORT]/PATH`; `http` only to this machine.
    KeysUrl,
    /// Where a NATS or RabbitMQ server is, without a user or password.
    LogUrl,
    /// Letters, digits, `-` and `_`.
    Name,
    /// `http(s)://HOST[:PORT]`, as a browser writes it.
    Origin,
    /// An address, or a network as `ADDRESS/BITS`.
    Network,
    /// The name of a cookie.
    CookieName,
    /// A filter of `tracing_subscriber`.
    LogFilter,
}

/// A value that was read.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Address, text, ratio, choice, URL, origin, name or filter.
    Text(String),
    /// A path.
    Path(PathBuf),
    /// A switch.
    Switch(bool),
    /// A time.
    Duration(Duration),
    /// A number.
    Number(u64),
}

impl Kind {
    /// Times between these two.
    #[must_use]
    pub const fn duration(min: &'static str, max: &'static str) -> Self {
        Self::Duration { min, max }
    }

    /// Numbers between these two.
    #[must_use]
    pub const fn number(min: u64, max: u64) -> Self {
        Self::Number { min, max }
    }

    /// What is allowed, as an error says it: "… is wanted".
    #[must_use]
    pub fn wanted(self) -> String {
        match self {
            Self::Address => "HOST:PORT, as in 127.0.0.1:8000 or [::1]:8000".to_owned(),
            Self::Text { max } => format!("text of 1 to {max} bytes without control characters"),
            Self::Path => "a path".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Duration { min, max } => {
                format!("a time from {min} to {max}, as in 500ms, 10s, 2h or 90d")
            }
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Ratio => "a number from 0 to 1, as in 0.05".to_owned(),
            Self::Choice(choices) => choices.join(" or "),
            Self::CoreUrl => {
                "http://HOST:PORT or https://HOST:PORT without a path, as in http://127.0.0.1:50051"
                    .to_owned()
            }
            Self::KeysUrl => {
                "https://HOST/PATH without a user, or http:// to this machine, as in https://id.example.org/jwks.json"
                    .to_owned()
            }
            Self::LogUrl => "nats://, tls://, amqp:// or amqps:// and HOST:PORT, as in nats://127.0.0.1:4222, without a user or password (--log-user, MERCURIO_LOG_PASSWORD)".to_owned(),
            Self::Name => "1 to 64 letters, digits, - or _".to_owned(),
            Self::Origin => {
                "an origin as browsers send it, SCHEME://HOST[:PORT], as in https://app.example.org"
                    .to_owned()
            }
            Self::Network => "an address or a network, as in 10.0.0.7, 10.0.0.0/8 or fd00::/8".to_owned(),
            Self::CookieName => "a cookie's name: letters, digits and !#$%&'*+-.^_`|~".to_owned(),
            Self::LogFilter => {
                "error, warn, info, debug, trace or off, or by module as in info,mercurio_core=debug"
                    .to_owned()
            }
        }
    }

    /// A value as it may be shown: of a URL, right or wrong, what may be secret is left out.
    #[must_use]
    pub fn shown(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::CoreUrl | Self::KeysUrl | Self::LogUrl | Self::Origin => shown_url(text),
            _ => text.into(),
        }
    }

    /// Reads a value; `None` where it is not what [`Kind::wanted`] says.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Address => is_address(text).then(|| Value::Text(text.to_owned())),
            Self::Text { max } => {
                let fits = (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
                fits.then(|| Value::Text(text.to_owned()))
            }
            Self::Path => {
                let fits = !text.is_empty() && !text.contains('\0');
                fits.then(|| Value::Path(PathBuf::from(text)))
            }
            Self::Switch => match text {
                "true" => Some(Value::Switch(true)),
                "false" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Duration { min, max } => {
                let read = humantime::parse_duration;
                let (value, min, max) = (read(text).ok()?, read(min).ok()?, read(max).ok()?);
                (min..=max)
                    .contains(&value)
                    .then_some(Value::Duration(value))
            }
            Self::Number { min, max } => {
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let value = text.parse().ok().filter(|_| digits)?;
                (min..=max).contains(&value).then_some(Value::Number(value))
            }
            Self::Ratio => {
                let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                let value: f64 = text.parse().ok().filter(|_| is_decimal)?;
                (0.0..=1.0)
                    .contains(&value)
                    .then(|| Value::Text(text.to_owned()))
            }
            Self::Choice(choices) => choices
                .contains(&text)
                .then(|| Value::Text(text.to_owned())),
            Self::CoreUrl => {
                is_origin(text, &["http", "https"]).then(|| Value::Text(text.to_owned()))
            }
            Self::KeysUrl => is_keys_url(text).then(|| Value::Text(text.to_owned())),
            Self::LogUrl => is_log_url(text).then(|| Value::Text(text.to_owned())),
            Self::Name => {
                let fits = (1..=64).contains(&text.len())
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
                fits.then(|| Value::Text(text.to_owned()))
            }
            Self::Origin => {
                let fits = is_origin(text, &["http", "https"]) && !text.ends_with('/');
                fits.then(|| Value::Text(text.to_ascii_lowercase()))
            }
            Self::Network => network(text).map(|_| Value::Text(text.to_owned())),
            // A cookie's name is a token, as a header's is.
            Self::CookieName => {
                let fits = HeaderName::from_bytes(text.as_bytes()).is_ok();
                fits.then(|| Value::Text(text.to_owned()))
            }
            Self::LogFilter => {
                let fits = !text.trim().is_empty() && EnvFilter::builder().parse(text).is_ok();
                fits.then(|| Value::Text(text.to_owned()))
            }
        }
    }
}

/// The network that is meant.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let whole = text.parse::<IpAddr>().map(IpNet::from);
    whole.or_else(|_| text.parse()).ok()
}

/// A URL as it may be shown: without user, password, query and fragment.
///
/// It may be no URL at all. A password that is not escaped may have `/`, `?` and `@` in it: so all
/// in front of the last `@` is left out first, and too much rather than too little.
#[must_use]
pub fn shown_url(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::from(text);
    if let Some((before, host)) = text.rsplit_once('@') {
        let is_scheme = |it: &&str| {
            it.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
        };
        let scheme = before.split_once("://").map(|(scheme, _)| scheme);
        shown = match scheme.filter(is_scheme) {
            Some(scheme) => format!("{scheme}://…@{host}").into(),
            None => format!("…@{host}").into(),
        };
    }
    match shown.find(['?', '#']) {
        Some(end) => format!("{}…", &shown[..=end]).into(),
        None => shown,
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let part_of_name = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
            !host.is_empty() && host.bytes().all(part_of_name)
        }
    };
    host_fits && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// RabbitMQ's path is a virtual host.
fn is_log_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let is_amqp = matches!(uri.scheme_str(), Some("amqp" | "amqps"));
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    uri.host().is_some_and(|host| !host.is_empty())
        && !text.contains('@')
        && (is_amqp || is_bare && matches!(uri.scheme_str(), Some("nats" | "tls")))
}

fn is_origin(text: &str, schemes: &[&str]) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let has_host = uri.authority().is_some_and(|authority| {
        // A user or password would end up in logs.
        !authority.host().is_empty() && !authority.as_str().contains('@')
    });
    let scheme_fits = uri
        .scheme_str()
        .is_some_and(|scheme| schemes.contains(&scheme));
    let ends_there = uri.path() == "/" && uri.query().is_none() && !text.contains(['?', '#']);
    has_host && scheme_fits && ends_there
}

/// Whoever can change the keys on their way can make tokens: beyond this machine only TLS will do.
fn is_keys_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let is_plain = uri
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let scheme_fits = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_here,
        _ => false,
    };
    is_plain && scheme_fits && !text.contains('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Kind = Kind::duration("1s", "1d");
    const NUMBER: Kind = Kind::number(1, 100);

    #[test]
    fn good_values_are_read() {
        for (kind, text) in [
            (Kind::Address, "127.0.0.1:0"),
            (Kind::Address, "[::1]:8000"),
            (Kind::Address, "localhost:65535"),
            (Kind::Text { max: 3 }, "abc"),
            (Kind::Path, "a b/c"),
            (Kind::Switch, "false"),
            (TIME, "1m 30s"),
            (NUMBER, "100"),
            (Kind::Ratio, "0"),
            (Kind::Ratio, "0.05"),
            (Kind::Ratio, "1"),
            (Kind::Choice(&["text", "json"]), "json"),
            (Kind::CoreUrl, "http://core.internal:50051"),
            (Kind::CoreUrl, "http://[::1]:50051/"),
            (Kind::CoreUrl, "https://core.internal"),
            (Kind::KeysUrl, "https://id.example.org/keys?v=1"),
            (Kind::KeysUrl, "http://127.0.0.1:8080/jwks.json"),
            (Kind::LogUrl, "nats://127.0.0.1:4222"),
            (Kind::LogUrl, "tls://nats.internal"),
            (Kind::LogUrl, "amqps://rabbit.internal:5671/inbox"),
            (Kind::Name, "mercurio-2_a"),
            (Kind::Origin, "https://app.example.org"),
            (Kind::Origin, "http://localhost:3000"),
            (Kind::Network, "10.0.0.7"),
            (Kind::Network, "2001:db8::/32"),
            (Kind::CookieName, "__Host-session"),
            (Kind::LogFilter, "info,mercurio_core=debug"),
        ] {
            assert!(kind.read(text).is_some(), "{kind:?} {text:?}");
        }
    }

    #[test]
    fn of_a_url_only_what_is_no_secret_is_shown() {
        for (text, shown) in [
            ("nats://nats:4222", "nats://nats:4222"),
            ("nats://bob:PASS@nats:4222", "nats://…@nats:4222"),
            ("amqp://bob:PA/S?S@PA#SS@mq/inbox", "amqp://…@mq/inbox"),
            ("bob:PASS@nats:4222", "…@nats:4222"),
            ("bob:PASS://x@nats", "…@nats"),
            (
                "https://id.example/keys?key=PASS",
                "https://id.example/keys?…",
            ),
            ("https://id.example/keys#PASS", "https://id.example/keys#…"),
            ("https://a:PASS@id.example/?PASS", "https://…@id.example/?…"),
            ("", ""),
        ] {
            for kind in [Kind::CoreUrl, Kind::KeysUrl, Kind::LogUrl, Kind::Origin] {
                assert_eq!(kind.shown(text), shown);
            }
        }
        assert_eq!(Kind::Path.shown("a?b@c"), "a?b@c");
    }

    #[test]
    fn bad_values_are_refused() {
        for (kind, text) in [
            (Kind::Address, "8000"),
            (Kind::Address, ":8000"),
            (Kind::Address, "::1:8000"),
            (Kind::Address, "localhost:65536"),
            (Kind::Address, "localhost:+80"),
            (Kind::Address, "http://localhost:80"),
            (Kind::Text { max: 3 }, ""),
            (Kind::Text { max: 3 }, "abcd"),
            (Kind::Text { max: 3 }, "a\n"),
            (Kind::Path, ""),
            (Kind::Switch, "yes"),
            (TIME, "10"),
            (TIME, "500ms"),
            (TIME, "2d"),
            (NUMBER, "0"),
            (NUMBER, "101"),
            (NUMBER, "+5"),
            (NUMBER, "1e2"),
            (Kind::Ratio, "1.01"),
            (Kind::Ratio, "-0.1"),
            (Kind::Ratio, "1e-3"),
            (Kind::Ratio, "NaN"),
            (Kind::Ratio, ""),
            (Kind::Choice(&["text", "json"]), "xml"),
            (Kind::CoreUrl, "ftp://core:50051"),
            (Kind::CoreUrl, "core:50051"),
            (Kind::CoreUrl, "http://user:pw@core:50051"),
            (Kind::CoreUrl, "http://core:50051/v1"),
            (Kind::KeysUrl, "http://id.example.org/keys"),
            (Kind::KeysUrl, "https://me:pw@id.example.org/keys"),
            (Kind::KeysUrl, "/keys"),
            (Kind::LogUrl, "127.0.0.1:4222"),
            (Kind::LogUrl, "http://127.0.0.1:4222"),
            (Kind::LogUrl, "nats://user:pw@nats:4222"),
            (Kind::LogUrl, "nats://nats:4222/x"),
            (Kind::Name, ""),
            (Kind::Name, "a.b"),
            (Kind::Origin, "https://app.example.org/"),
            (Kind::Origin, "app.example.org"),
            (Kind::Origin, "*"),
            (Kind::Network, "10.0.0.0/33"),
            (Kind::Network, "proxy.internal"),
            (Kind::CookieName, "a b"),
            (Kind::LogFilter, "verbose=loud"),
            (Kind::LogFilter, ""),
        ] {
            assert!(kind.read(text).is_none(), "{kind:?} {text:?}");
        }
    }
}
