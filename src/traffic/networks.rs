//! Where addresses come from: access networks, carrier NAT, offices, foreign networks and hosting.
//!
//! All ranges are private, shared, benchmark or documentation space. No range belongs to attackers alone in the hard
//! profile; countries and autonomous systems depend on the range only, so they tell no more than the address does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sampling::{chance, index, pick, weighted, whole};
use super::scenario::Profile;
use crate::numeric::Rng;

/// Access providers that users live in; each has one /16 of 10.0.0.0/8 and one /48 of 2001:db8::/32.
pub(super) const ISPS: u8 = 8;

/// Their market shares (assumed).
const ISP_SHARES: [f64; ISPS as usize] = [0.3, 0.2, 0.15, 0.1, 0.1, 0.07, 0.05, 0.03];

/// People who share one office and one set of carrier NAT addresses. 1500 users get 6 offices (assumed).
pub(super) const GROUP: u32 = 250;

/// Carrier NAT addresses per group: 1500 users share 24 of them (assumed).
const CGNAT_PER_GROUP: u64 = 4;

/// Exits of the VPN providers that some users like, in the middle of a hosting network.
const VPN_EXITS: u64 = 6;

/// Share of IPv6 among residential bots (assumed, below the users' own share).
const BOT_V6: f64 = 0.12;

const FOREIGN: [&str; 8] = ["FR", "NL", "IT", "US", "BR", "VN", "NG", "CN"];
const HOSTING: [&str; 4] = ["NL", "US", "DE", "RU"];

/// An address provider, by market share.
pub(super) fn isp(rng: &mut Rng) -> u8 {
    weighted(rng, &ISP_SHARES) as u8
}

/// Second octet of a provider's /16.
const fn isp_octet(isp: u8) -> u8 {
    10 + isp * 20
}

/// A host number that is neither the network nor the broadcast address of a /24.
fn host(rng: &mut Rng) -> u8 {
    whole(rng, 1, 254) as u8
}

/// Any octet.
fn octet(rng: &mut Rng) -> u8 {
    rng.below(256) as u8
}

/// An address anywhere in a provider's /16.
pub(super) fn anywhere_in(isp: u8, rng: &mut Rng) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, isp_octet(isp), octet(rng), host(rng)))
}

/// An address in the /21 that a provider's dynamic pool gives to one part of a town.
pub(super) fn dynamic_in(isp: u8, part: u8, rng: &mut Rng) -> IpAddr {
    let third = (part % 32) * 8 + rng.below(8) as u8;
    IpAddr::V4(Ipv4Addr::new(10, isp_octet(isp), third, host(rng)))
}

/// A host with a temporary interface identifier in one customer's /64.
pub(super) fn v6_in(isp: u8, customer: u16, rng: &mut Rng) -> IpAddr {
    let id = rng.next_u64();
    let part = |shift: u32| ((id >> shift) & 0xffff) as u16;
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x10 + u16::from(isp), customer, part(48), part(32), part(16), part(0)))
}

/// One of the carrier NAT addresses of a group of people.
pub(super) fn cgnat(group: u32, rng: &mut Rng) -> IpAddr {
    let [.., high, low] = group.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(100, 64 + low % 64, high, 1 + rng.below(CGNAT_PER_GROUP) as u8 + (low / 64) * 16))
}

/// The one address of a group's office.
pub(super) fn office(group: u32) -> IpAddr {
    let [.., high, low] = group.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 200 + low % 50, high, 1 + low / 50))
}

/// A network that travellers meet: hotels, roaming partners, public wireless.
pub(super) fn foreign(rng: &mut Rng) -> IpAddr {
    if chance(rng, 0.1) {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, host(rng)))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, *pick(rng, &[18, 19]), octet(rng), host(rng)))
    }
}

/// A rented server.
pub(super) fn hosting(rng: &mut Rng) -> IpAddr {
    if chance(rng, 0.1) {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, host(rng)))
    } else {
        IpAddr::V4(Ipv4Addr::new(172, 16 + rng.below(16) as u8, octet(rng), host(rng)))
    }
}

/// A VPN exit that users share.
pub(super) fn vpn(rng: &mut Rng) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 18, 7, 1 + rng.below(VPN_EXITS) as u8))
}

/// Another host of the same /24 (the same address for IPv6).
pub(super) fn neighbour(ip: IpAddr, host: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, host))
        }
        IpAddr::V6(_) => ip,
    }
}

/// The address of one attacking machine. `groups`: how many groups of users there are.
pub(super) fn bot(profile: Profile, groups: u32, rng: &mut Rng) -> IpAddr {
    if profile == Profile::Easy {
        return hosting(rng);
    }
    // Residential proxies in the users' own networks first: what makes the hard profile hard (assumed).
    match weighted(rng, &[0.5, 0.1, 0.2, 0.2]) {
        0 => {
            let isp = isp(rng);
            if chance(rng, BOT_V6) { v6_in(isp, rng.below(1 << 16) as u16, rng) } else { anywhere_in(isp, rng) }
        }
        1 => cgnat(index(rng, groups as usize) as u32, rng),
        2 => foreign(rng),
        _ => hosting(rng),
    }
}

/// Autonomous system of an address, as a lookup in a database of ranges would answer. The numbers are those for
/// documentation (RFC 5398); residential bots have those of the users among whom they live.
pub(super) fn asn(ip: IpAddr) -> u64 {
    const FIRST: u64 = 64_496;
    let of_isp = |isp: u8| FIRST + u64::from(isp % ISPS);
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            // Offices are connected by the providers of the town.
            [10, octet, ..] if octet >= 200 => of_isp(octet % ISPS),
            [10, octet, ..] => of_isp(octet.saturating_sub(10) / 20),
            [100, ..] => FIRST + 8,
            [198, b, ..] => FIRST + 9 + u64::from(b % 2),
            [172, b, ..] => FIRST + 11 + u64::from(b % 4),
            _ => FIRST + 15,
        },
        IpAddr::V6(v6) => of_isp((v6.segments()[2].saturating_sub(0x10) % u16::from(ISPS)) as u8),
    }
}

/// Country of an address, as a lookup in a database of ranges would answer.
pub(super) fn country(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [10, octet, ..] if octet == isp_octet(6) => "AT",
            [10, octet, ..] if octet == isp_octet(7) => "CH",
            [10 | 100, ..] => "DE",
            [198, b, c, _] => FOREIGN[usize::from(b ^ (c >> 5)) % FOREIGN.len()],
            [172, b, ..] => HOSTING[usize::from(b) % HOSTING.len()],
            [192, ..] => "US",
            _ => "FR",
        },
        IpAddr::V6(v6) => match v6.segments()[2] {
            0x16 => "AT",
            0x17 => "CH",
            _ => "DE",
        },
    }
}
