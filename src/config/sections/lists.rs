//! `[lists]`: networks and accounts that are known beforehand. Applies at once.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The `[lists]` section. In the environment, `,` separates the entries of a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListsConfig {
    /// Client networks that are always allowed and never trained on (CIDR or single address). Default: none. Meant for
    /// monitoring and for webmail hosts that log in for many users.
    #[serde(deserialize_with = "networks")]
    pub trusted_networks: Vec<IpNet>,
    /// Accounts that are always allowed and never trained on. Default: none. Meant for monitoring accounts.
    #[serde(deserialize_with = "accounts")]
    pub trusted_accounts: Vec<String>,
    /// Client networks for which the feature `SuspiciousNetwork` is 1 (CIDR or single address). Default: none.
    #[serde(deserialize_with = "networks")]
    pub suspicious_networks: Vec<IpNet>,
    /// Files of such networks, one a line, at most 16 of 64 MiB with a million networks together. Default: none. Looked at
    /// every minute and at each reload; only a file that changed is read again.
    #[serde(deserialize_with = "paths")]
    pub suspicious_files: Vec<PathBuf>,
    /// Service that is asked whether it has a client address on its list, `http://` only. Default: none. Never waited for.
    pub blocklist_url: Option<String>,
}

fn accounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, &[','])
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let mut networks = Vec::new();
    let mut wrong = Vec::new();
    for entry in text_list(deserializer, &[','])? {
        match entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from)) {
            Some(network) => networks.push(network),
            None => wrong.push(entry),
        }
    }
    if wrong.is_empty() {
        Ok(networks)
    } else {
        Err(de::Error::custom(format_args!("not a network: {}", wrong.join(", "))))
    }
}

/// A list of paths, in either form of [`text_list`].
pub(super) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(text_list(deserializer, &[','])?.into_iter().map(PathBuf::from).collect())
}

/// A list of strings, or one string that `separators` divide (the only form that an environment variable has).
pub(super) fn text_list<'de, D: Deserializer<'de>>(
    deserializer: D,
    separators: &'static [char],
) -> Result<Vec<String>, D::Error> {
    struct List(&'static [char]);

    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(self.0).map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element::<String>()? {
                list.push(entry);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(List(separators))
}
