//! Systems that are told of what happens: where they are, and the secrets that sign what they are told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{Authorities, account, secret};
use crate::domain::definition::NAME_CHARS_MAX;
use crate::domain::document::Cursor;

/// Shortest secret: it is all that tells our events from anybody's.
const SECRET_CHARS_MIN: usize = 16;

/// A receiver of events.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Where events are posted. A secret, because receivers like to put a token into the path or query.
    pub url: SecretString,
    /// Signs the events.
    pub secret: SecretString,
    /// Whether the receiver may be at an address that is not public.
    pub allow_private: bool,
    /// Certificate authorities that are trusted for it besides the machine's.
    pub authorities: Option<Authorities>,
}

/// Reads the section.
pub(super) fn read_all(cursor: &Cursor<'_>) -> Option<BTreeMap<String, WebhookConfig>> {
    let mut webhooks = BTreeMap::new();
    let mut complete = true;
    for (name, cursor) in cursor.entries()? {
        let fits = !name.is_empty() && name.trim() == name && name.chars().count() <= NAME_CHARS_MAX;
        if !fits {
            cursor.key_problem::<()>("is not a usable name", format_args!("use 1 to {NAME_CHARS_MAX} characters"));
        }
        match read(&cursor) {
            Some(webhook) if fits => {
                webhooks.insert(name.to_owned(), webhook);
            }
            Some(_) | None => complete = false,
        }
    }
    complete.then_some(webhooks)
}

fn read(cursor: &Cursor<'_>) -> Option<WebhookConfig> {
    let fields = cursor.fields()?;
    let url = secret::required(&fields, "url", "url_file", "");
    let secret = secret::required(&fields, "secret", "secret_file", "");
    let allow_private = fields.or("allow_private", false, |cursor| cursor.boolean());
    let authorities = fields.or("ca_file", None, |cursor| account::read_authorities(&cursor).map(Some));
    fields.close();
    let (url, secret, allow_private, authorities) = (url?, secret?, allow_private?, authorities?);
    if secret.expose().chars().count() < SECRET_CHARS_MIN {
        return secret.cursor.problem(
            format_args!("must have at least {SECRET_CHARS_MIN} characters"),
            "make one with: openssl rand -hex 32",
        );
    }
    if let Err((problem, remedy)) = check_url(url.value.expose_secret(), allow_private) {
        return url.cursor.problem(problem, remedy);
    }
    Some(WebhookConfig { url: url.value, secret: secret.value, allow_private, authorities })
}

fn check_url(text: &str, allow_private: bool) -> Result<(), (&'static str, &'static str)> {
    const PRIVATE: &str = "set allow_private: true if the receiver is in your own network";
    let url = Url::parse(text).map_err(|_| ("is not a URL", "write it as https://host/path"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("must not contain a user name or password", "what we send is signed"));
    }
    if url.fragment().is_some() {
        return Err(("must not contain `#`", "nobody sends what stands behind it"));
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => {
            return Err(("must begin with https://", "http is for receivers in your own network: allow_private: true"));
        }
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let private = host == "localhost" || literal.is_ok_and(|address| !is_public(address));
    if private && !allow_private { Err(("is not a public address", PRIVATE)) } else { Ok(()) }
}

/// Whether an address is one of the public internet: not this machine, not somebody's own network, not a special one.
/// Addresses that carry one of version 4 inside are as good as that one.
// Source: IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = match (first, second, third) {
        // This network, loopback, multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, _, _) => true,
        // Shared by carriers; link-local, where clouds keep their metadata.
        (100, 64..=127, _) | (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, the retired relay of 6to4, benchmarks.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match parts {
        // Mapped and translated.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4 carries the address behind its prefix.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Protocol assignments with Teredo, and both blocks for documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is given out as global lies here.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, public: bool) {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in
            ["93.184.215.14", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.0.3.1", "100.63.0.1", "223.255.255.1"]
        {
            check(address, true);
        }
        for address in ["2606:2800:21f:cb07::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2a00::1"] {
            check(address, true);
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            check(address, false);
            check(&format!("::ffff:{address}"), false);
            let mapped = address.parse::<Ipv4Addr>().unwrap().to_ipv6_mapped();
            check(&format!("64:ff9b::{:x}:{:x}", mapped.segments()[6], mapped.segments()[7]), false);
        }
        for address in [
            "::",
            "::1",
            "::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "64:ff9b:1::1",
            "100::1",
        ] {
            check(address, false);
        }
    }

    #[test]
    fn addresses_of_receivers_are_checked_as_written() {
        for url in ["https://crm.example.org/hook?token=x", "https://93.184.215.14:8443/"] {
            assert!(check_url(url, false).is_ok(), "{url}");
        }
        for url in [
            "crm",
            "ftp://crm.example.org",
            "http://crm.example.org",
            "https://me:pw@crm.example.org",
            "https://a.example/#b",
            "https://localhost/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
        ] {
            assert!(check_url(url, false).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:9/", "https://localhost/", "http://crm.internal/"] {
            assert!(check_url(url, true).is_ok(), "{url}");
        }
    }
}
