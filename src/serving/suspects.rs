//! Who is under suspicion beforehand: the networks of the operator's list files, and what a blocklist service has said.
//!
//! It answers from memory. Files are read and services asked by tasks, which put here what they found.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::blocklist::Blocklist;
use crate::detection::networks::NetworkSet;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Suspects {
    files: ArcSwap<Vec<Arc<NetworkSet>>>,
    /// The answers of the service, and the addresses to ask it about.
    pub blocklist: Blocklist,
}

impl Suspects {
    /// Replaces the networks of all files in one step.
    pub fn set_files(&self, files: Vec<Arc<NetworkSet>>) {
        self.files.store(Arc::new(files));
    }

    /// Whether `ip` lies in a network of a file. Neither waits nor allocates.
    pub fn in_files(&self, ip: IpAddr) -> bool {
        self.files.load().iter().any(|networks| networks.contains(ip))
    }
}
