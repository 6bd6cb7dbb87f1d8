//! Where a request comes from: the client's address, as far as those in between are trusted to
//! say it.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Proxies between client and gateway that are looked through.
const HOPS_MAX: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word is taken for whom they speak for.
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    /// A proxy that is not trusted was spoken of.
    warned: AtomicBool,
}

impl Proxies {
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self {
            trusted,
            warned: AtomicBool::new(false),
        }
    }

    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The client's address: the last one in the heads that no trusted proxy has. Whatever stands
    /// before it may be made up. Two heads that disagree are not both the proxies': then none
    /// counts.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.is_trusted(peer) {
            self.notice(peer, headers);
            return peer;
        }
        let usual = self.last_hop(peer, headers, &X_FORWARDED_FOR, address);
        let standard = self.last_hop(peer, headers, &header::FORWARDED, forwarded_for);
        match (usual, standard) {
            (Some(one), Some(other)) if one != other => peer,
            (one, other) => one.or(other).unwrap_or(peer),
        }
    }

    /// `None`: there is no such head.
    fn last_hop(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        read: fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let values = headers.get_all(name).iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        let mut client = None;
        for hop in hops.take(HOPS_MAX) {
            let Some(hop) = read(hop.trim()) else {
                // Whoever wrote this is as far as can be seen.
                return client.or(Some(peer));
            };
            client = Some(hop);
            if !self.is_trusted(hop) {
                break;
            }
        }
        client
    }

    /// All that a proxy brings counts as one address', until somebody says that it is one.
    fn notice(&self, peer: IpAddr, headers: &HeaderMap) {
        let is_proxy =
            headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
        if self.trusted.is_empty() && is_proxy && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "requests come through a proxy that is not trusted, and count as one address': if \
                 it is yours, name it by --trusted-proxy"
            );
        }
    }
}

/// `for=` of an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| address(value.trim().trim_matches('"')))?
    })
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            // One colon: a port behind it. Several: IPv6.
            Some((host, port)) if !port.contains(':') => host,
            _ => text,
        },
    };
    bare.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, heads: &[(&'static str, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in heads {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let proxies = Proxies::new(trusted.to_vec());
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn who_is_not_trusted_speaks_for_nobody() {
        let made_up = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
        ];
        assert_eq!(client("198.51.100.7", &made_up), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        for (name, value, expected) in [
            ("x-forwarded-for", "192.0.2.1", "192.0.2.1"),
            (
                "x-forwarded-for",
                "6.6.6.6, 192.0.2.1, 10.9.9.9",
                "192.0.2.1",
            ),
            ("x-forwarded-for", "192.0.2.1:4711", "192.0.2.1"),
            ("x-forwarded-for", "2001:db8:9::5", "2001:db8:9::5"),
            (
                "x-forwarded-for",
                "2001:db8:9::5,2001:db8:1::7",
                "2001:db8:9::5",
            ),
            ("x-forwarded-for", "::ffff:192.0.2.1", "192.0.2.1"),
            // All of them are ours: the first is where it came from.
            ("x-forwarded-for", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
            // What can't be read ends it: at the proxy, or at the last one it named.
            ("x-forwarded-for", "192.0.2.1, unknown", "10.0.0.1"),
            ("x-forwarded-for", "evil, 10.2.2.2", "10.2.2.2"),
            ("x-forwarded-for", "", "10.0.0.1"),
            (
                "forwarded",
                "for=192.0.2.1;proto=https;by=10.0.0.1",
                "192.0.2.1",
            ),
            (
                "forwarded",
                "for=6.6.6.6, For=\"[2001:db8:9::5]:4711\"",
                "2001:db8:9::5",
            ),
            ("forwarded", "for=_hidden", "10.0.0.1"),
            ("forwarded", "proto=https", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[(name, value)]), expected, "{value}");
        }
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(client("::ffff:10.0.0.1", &lines), "192.0.2.1");
        // One of them is the client's own invention; which, nobody knows.
        let both = |standard| [("x-forwarded-for", "192.0.2.1"), ("forwarded", standard)];
        assert_eq!(client("10.0.0.1", &both("for=6.6.6.6")), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &both("for=192.0.2.1")), "192.0.2.1");
    }
}
