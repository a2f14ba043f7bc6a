//! Large sets of client networks: how a line of a list is read, and whether an address lies in one of them.
//!
//! Overlapping and adjoining networks become one range, so a look-up is one binary search without allocation. Where the
//! lines come from, and what it means to be in such a set, is decided elsewhere.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Most networks that a node holds in all its lists; in the worst case (IPv6, nothing adjoins) they take 32 MB.
pub const NETWORKS_MAX: usize = 1_000_000;

/// What a line of a list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Nothing: it is empty or a comment.
    Nothing,
    /// One network; a single address is one of its own.
    Network(IpNet),
    /// Neither address nor network, or one with bits behind its prefix, or all addresses there are.
    Bad,
}

/// Reads one line: an address or a network, then perhaps a comment that begins with `#` or `;`. Comments may be of any
/// encoding. IPv4 written as IPv6 (`::ffff:192.0.2.0/120`) is IPv4.
pub fn parse_line(line: &[u8]) -> Line {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let end = line.iter().position(|byte| matches!(byte, b'#' | b';')).unwrap_or(line.len());
    let text = line[..end].trim_ascii();
    if text.is_empty() {
        return Line::Nothing;
    }
    let Ok(text) = std::str::from_utf8(text) else { return Line::Bad };
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match network.map(canonical) {
        Some(network) if network.prefix_len() > 0 && network.trunc() == network => Line::Network(network),
        _ => Line::Bad,
    }
}

/// IPv4 written as IPv6 becomes IPv4.
pub(super) fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(addr, prefix)| Ipv4Net::new(addr, prefix).ok()).map_or(network, IpNet::V4)
}

/// Whether an address is of the public internet, as far as its form tells: not private, of this host, of this link, shared
/// between customers (RFC 6598), multicast or reserved.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || a == 0 || a >= 224)
        }
        // Everything public is in 2000::/3 or translated from IPv4.
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000 || ip.segments()[..2] == [0x64, 0xff9b],
    }
}

/// A set of networks, made by a [`NetworkSetBuilder`] and then fixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSet {
    /// First and last address, sorted, without overlap.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl NetworkSet {
    /// Whether `ip` lies in one of the networks; IPv4 written as IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.v4) + size_of_val(&*self.v6)
    }
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], at: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= at);
    after > 0 && at <= ranges[after - 1].1
}

/// Collects networks in any order.
#[derive(Debug, Default)]
pub struct NetworkSetBuilder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl NetworkSetBuilder {
    /// Adds a network.
    pub fn add(&mut self, network: IpNet) {
        match canonical(network) {
            IpNet::V4(v4) => self.v4.push((v4.network().to_bits(), v4.broadcast().to_bits())),
            IpNet::V6(v6) => self.v6.push((v6.network().to_bits(), v6.broadcast().to_bits())),
        }
    }

    /// Networks added so far.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set of all that was added.
    pub fn build(self) -> NetworkSet {
        NetworkSet { v4: merged(self.v4, |last| last.checked_add(1)), v6: merged(self.v6, |last| last.checked_add(1)) }
    }
}

/// Sorts ranges and joins those that overlap or adjoin, in place.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    // The later range goes first into `dedup_by`, and away if the kept one can take it in.
    ranges.dedup_by(|next, kept| {
        let joins = after(kept.1).is_none_or(|follows| next.0 <= follows);
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    ranges.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    fn set(networks: &[&str]) -> NetworkSet {
        let mut builder = NetworkSetBuilder::default();
        for network in networks {
            builder.add(network.parse().unwrap());
        }
        builder.build()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_of_known_lists_are_read_and_rubbish_is_told_apart() {
        let read = |line: &str| match parse_line(line.as_bytes()) {
            Line::Network(network) => network.to_string(),
            other => format!("{other:?}"),
        };
        for (line, meant) in [
            ("192.0.2.0/24 ; SBL1", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            (" 2001:db8::/32;SBL2\r", "2001:db8::/32"),
            ("2001:db8::1 # one", "2001:db8::1/128"),
            ("\u{feff}198.51.100.0/25", "198.51.100.0/25"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("; Spamhaus DROP List", "Nothing"),
            ("  ", "Nothing"),
            ("0.0.0.0/0", "Bad"),
            ("::/0", "Bad"),
            ("::ffff:0:0/96", "Bad"),
            ("192.0.2.7/24", "Bad"),
            ("192.0.2.0/33", "Bad"),
            ("192.0.2.0/24 192.0.3.0/24", "Bad"),
            ("<html>", "Bad"),
        ] {
            assert_eq!(read(line), meant, "{line:?}");
        }
        assert_eq!(parse_line(b"192.0.2.7 # caf\xe9"), Line::Network("192.0.2.7/32".parse().unwrap()));
        assert_eq!(parse_line(b"\xff\xfe1"), Line::Bad);
    }

    #[test]
    fn a_look_up_finds_first_and_last_address_and_nothing_beside_them() {
        let set = set(&["192.0.2.0/24", "192.0.2.128/25", "10.0.0.0/9", "10.128.0.0/9", "255.255.255.255/32"]);

        for inside in
            ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "10.127.255.255", "10.200.0.1", "255.255.255.255"]
        {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in ["192.0.1.255", "192.0.3.0", "9.255.255.255", "11.0.0.0", "0.0.0.0", "::1", "::c000:209"] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert_eq!(set.bytes(), 3 * 8, "what overlaps or adjoins is one range");
        assert!(!NetworkSet::default().contains(ip("192.0.2.1")));
    }

    #[test]
    fn a_set_says_what_a_walk_over_its_networks_says() {
        let mut rng = Rng::new(11, "networks");
        let mut address = |v6: bool| {
            let bits = rng.next_u64();
            // Few distinct beginnings, so that networks overlap and addresses hit.
            if v6 {
                IpAddr::from(
                    (0x2001_0db8_u128 << 96 | u128::from(bits & 0xff) << 64 | u128::from(bits >> 60)).to_be_bytes(),
                )
            } else {
                IpAddr::from(((bits & 0xfff) as u32 | 0xc000_0000).to_be_bytes())
            }
        };
        let mut networks = Vec::new();
        for number in 0..400_u32 {
            let v6 = number % 2 == 0;
            let prefix = if v6 { 56 + (number % 73) as u8 } else { 26 + (number % 7) as u8 };
            networks.push(IpNet::new(address(v6), prefix).unwrap().trunc());
        }
        let mut builder = NetworkSetBuilder::default();
        networks.iter().for_each(|network| builder.add(*network));
        let set = builder.build();

        let mut hits = 0;
        for number in 0..4000 {
            let ip = address(number % 2 == 0);
            let expected = networks.iter().any(|network| network.contains(&ip));
            assert_eq!(set.contains(ip), expected, "{ip}");
            hits += u32::from(expected);
        }
        assert!((400..3900).contains(&hits), "{hits} of 4000 tell something");
    }

    #[test]
    fn a_million_networks_of_the_widest_kind_take_32_megabytes() {
        let mut builder = NetworkSetBuilder::default();
        for number in 0..NETWORKS_MAX as u128 {
            let first = 0x2001_0db8_u128 << 96 | number << 1;
            builder.add(IpNet::from(IpAddr::from(first.to_be_bytes())));
        }
        assert_eq!(builder.len(), NETWORKS_MAX);
        let set = builder.build();

        assert_eq!(set.bytes(), 32 * NETWORKS_MAX);
        assert!(set.contains(ip("2001:db8::2")) && !set.contains(ip("2001:db8::3")));
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "223.1.1.1", "2001:db8::1", "2a00::1", "::ffff:8.8.8.8"]
        {
            assert!(is_public(ip(public)), "{public}");
        }
        for not in [
            "127.0.0.1",
            "10.1.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_public(ip(not)), "{not}");
        }
    }
}
