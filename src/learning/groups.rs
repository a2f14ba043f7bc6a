//! Which rows may depend on each other: rows of one campaign, or of one person, are one piece of evidence.
//!
//! A campaign from one place shares its client network, one against an account shares the account, and a person has one
//! account in several networks. So a row belongs to its client network or to its account, whichever has more rows in the
//! data (the network where both have as many). A spray from hundreds of networks at hundreds of accounts falls apart into
//! many groups; nothing in a sample holds it together.

use std::collections::HashMap;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::detection::attempt::{Pseudonym, client_network};

/// How many rows each network and each account has. Only looked up, never walked through: its order does not show.
#[derive(Debug, Default)]
pub(super) struct Groups {
    networks: HashMap<IpAddr, u32>,
    users: HashMap<Pseudonym, u32>,
}

impl Groups {
    /// Counts one row.
    pub(super) fn count(&mut self, client_ip: IpAddr, user: Pseudonym) {
        *self.networks.entry(client_network(client_ip)).or_default() += 1;
        *self.users.entry(user).or_default() += 1;
    }

    /// The group of a row, after all were counted: a hash that is the same wherever the same rows are there.
    pub(super) fn of(&self, client_ip: IpAddr, user: Pseudonym) -> u64 {
        let network = client_network(client_ip);
        let rows_of_user = self.users.get(&user).copied().unwrap_or(0);
        let mut hash = Sha256::new();
        if rows_of_user > self.networks.get(&network).copied().unwrap_or(0) {
            hash.update([0]);
            hash.update(user.0);
        } else {
            match network {
                IpAddr::V4(v4) => {
                    hash.update([4]);
                    hash.update(v4.octets());
                }
                IpAddr::V6(v6) => {
                    hash.update([6]);
                    hash.update(v6.octets());
                }
            }
        }
        u64::from_le_bytes(hash.finalize()[..8].try_into().expect("eight of thirty-two bytes"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn groups_of(rows: &[([u8; 4], u8)]) -> Vec<u64> {
        let rows: Vec<_> = rows.iter().map(|(ip, user)| (IpAddr::from(*ip), Pseudonym([*user; 16]))).collect();
        let mut groups = Groups::default();
        rows.iter().for_each(|(ip, user)| groups.count(*ip, *user));
        rows.iter().map(|(ip, user)| groups.of(*ip, *user)).collect()
    }

    fn distinct(groups: &[u64]) -> usize {
        groups.iter().collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn a_dictionary_from_one_network_is_one_group() {
        let rows: Vec<_> = (0..50).map(|n| ([10, 0, 0, n], n)).collect();

        assert_eq!(distinct(&groups_of(&rows)), 1);
    }

    #[test]
    fn a_botnet_on_one_account_is_one_group_and_so_is_a_person_in_three_networks() {
        let mut rows: Vec<_> = (0..50).map(|n| ([10, 0, n, 1], 7)).collect();
        rows.extend((0..9).map(|n| ([10, 1, n % 3, 1], 8)));

        let groups = groups_of(&rows);

        assert_eq!((distinct(&groups[..50]), distinct(&groups[50..]), distinct(&groups)), (1, 1, 2));
    }

    #[test]
    fn what_shares_neither_stays_apart() {
        let rows: Vec<_> = (0..20).map(|n| ([10, 2, n, 1], n)).collect();

        assert_eq!(distinct(&groups_of(&rows)), 20);
    }
}
