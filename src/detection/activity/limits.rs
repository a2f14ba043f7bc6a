//! How much the tables may hold, and how full they are.

/// How many bytes each kind of entry may take (estimated).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivityLimits {
    /// Client addresses.
    pub sources_bytes_max: usize,
    /// Client networks.
    pub networks_bytes_max: usize,
    /// Users as the aim of attempts.
    pub users_bytes_max: usize,
    /// Users who have logged in.
    pub accounts_bytes_max: usize,
    /// Pairs of user and client network.
    pub pairs_bytes_max: usize,
    /// Pairs of user and client address.
    pub visits_bytes_max: usize,
    /// Password tags.
    pub tags_bytes_max: usize,
    /// Autonomous systems.
    pub systems_bytes_max: usize,
    /// Values of additional features.
    pub categories_bytes_max: usize,
}

impl ActivityLimits {
    /// All kinds together take at most about `bytes_max`. Addresses get the most, because an attacker has the most of
    /// them; what a success makes gets nearly half, because a month of it must fit.
    pub const fn of_total(bytes_max: usize) -> Self {
        let share = bytes_max / 64;
        Self {
            sources_bytes_max: 16 * share,
            networks_bytes_max: 6 * share,
            users_bytes_max: 10 * share,
            accounts_bytes_max: 8 * share,
            pairs_bytes_max: 8 * share,
            visits_bytes_max: 10 * share,
            tags_bytes_max: 4 * share,
            systems_bytes_max: share,
            categories_bytes_max: share,
        }
    }
}

impl Default for ActivityLimits {
    /// 64 MiB in all. Measured: some 32 000 addresses and 26 000 users that are tried once; 25 000 to 30 000 accounts
    /// (depending on what is told of their clients), 31 000 pairs and 55 000 visits that log in. An address or user under constant attack takes up to ten times as much.
    fn default() -> Self {
        Self::of_total(64 << 20)
    }
}

/// How full one kind of entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindStats {
    /// Entries held.
    pub entries: usize,
    /// Estimated bytes that they take.
    pub bytes: usize,
    /// Entries that had to go because of the cap, since the start.
    pub evicted: u64,
}

/// How full an [`Activity`](super::Activity) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActivityStats {
    /// Client addresses.
    pub sources: KindStats,
    /// Client networks.
    pub networks: KindStats,
    /// Users as the aim of attempts.
    pub users: KindStats,
    /// Users who have logged in.
    pub accounts: KindStats,
    /// Pairs of user and client network.
    pub pairs: KindStats,
    /// Pairs of user and client address.
    pub visits: KindStats,
    /// Password tags.
    pub tags: KindStats,
    /// Autonomous systems.
    pub systems: KindStats,
    /// Values of additional features.
    pub categories: KindStats,
}

/// Entries that had to leave each table since the start, by the table's name.
pub type Evictions = [(&'static str, u64); 9];

impl ActivityStats {
    /// Entries that had to leave each table since the start, by table.
    pub fn evictions(&self) -> Evictions {
        self.kinds().map(|(name, kind)| (name, kind.evicted))
    }

    /// Every kind with its name.
    pub fn kinds(&self) -> [(&'static str, KindStats); 9] {
        [
            ("sources", self.sources),
            ("networks", self.networks),
            ("users", self.users),
            ("accounts", self.accounts),
            ("pairs", self.pairs),
            ("visits", self.visits),
            ("tags", self.tags),
            ("systems", self.systems),
            ("categories", self.categories),
        ]
    }
}
