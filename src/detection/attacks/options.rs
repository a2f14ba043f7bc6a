//! Every threshold of the detection of distributed attacks, with its default.
//!
//! The numbers stand for one site of any size: nothing here is compared with absolute traffic but the minima, which say
//! how much evidence a judgement needs.

/// Thresholds and caps. Fractions are 0–1, counts are of the window named.
#[derive(Debug, Clone, PartialEq)]
pub struct AttackOptions {
    /// An account is attacked when more than this many strange networks guess at it within an hour … (10)
    pub account_networks_hour: u32,
    /// … or more than this many within a day. (30)
    pub account_networks_day: u32,
    /// Networks per failure of those that fail rarely, from which full weight is given. (0.8)
    pub account_ratio: f64,
    /// Different passwords that must have been tried where the caller tells passwords apart: a device that roams with a
    /// stale password repeats one. (3)
    pub account_passwords_min: u32,
    /// Bytes for accounts (estimated). (8 MiB)
    pub accounts_bytes_max: usize,
    /// One password failing for this many accounts within an hour is a spray. (20)
    pub tag_accounts_hour: u32,
    /// One password failing for this many accounts within a day is a spray. (60)
    pub tag_accounts_day: u32,
    /// One network failing for this many accounts within three hours, none of which logged in from there, is a spray … (15)
    pub network_accounts: u32,
    /// … if these are at least so many times the accounts that did log in from there within a day. (1.5)
    pub network_ratio: f64,
    /// Password tags whose failures are followed. (4096)
    pub tags_max: usize,
    /// Networks whose outcomes are followed. (8192)
    pub networks_max: usize,
    /// −log₁₀ of the probability by chance, from which a deviation from the baseline counts. (6)
    pub surprise_min: f64,
    /// Networks with strange failures within an hour below which nothing is a spike. (30)
    pub spike_networks_min: u64,
    /// Variance beyond Poisson of an hour's failures, relative to the mean squared: busy Mondays, holidays. (0.25)
    pub spike_dispersion: f64,
    /// Hours of history below which there is no baseline. (24)
    pub baseline_hours_min: usize,
    /// Accounts failing from one country within an hour below which its share is no evidence. (20)
    pub country_accounts_min: u64,
    /// A country with at least this share of the site's successes of a day is never blocked. (0.02)
    pub country_success_share: f64,
    /// Networks failing within an hour below which their ratio to accounts is no evidence. (30)
    pub ratio_networks_min: u64,
    /// How long the threat must stay lower before it falls, in seconds. (900)
    pub threat_hold_s: u32,
    /// Time in which it then falls by half, in seconds. (600)
    pub threat_half_life_s: u32,
    /// How long a protective measure holds after the newest evidence for it, in seconds. (3600)
    pub measure_s: u32,
    /// What a rate-limited source is told to wait, in seconds. (60)
    pub retry_after_s: u32,
    /// What the threshold for blocking is lowered to under severe threat. (0.5)
    pub threshold_severe: f64,
    /// Rate-limited networks. (4096)
    pub limited_ips_max: usize,
    /// Accounts that need a second proof. (4096)
    pub captcha_accounts_max: usize,
    /// A network from which this many accounts logged in within a day is shared by users and not rate-limited. (3)
    pub shared_network_accounts: usize,
}

impl Default for AttackOptions {
    fn default() -> Self {
        Self {
            account_networks_hour: 10,
            account_networks_day: 30,
            account_ratio: 0.8,
            account_passwords_min: 3,
            accounts_bytes_max: 8 << 20,
            tag_accounts_hour: 20,
            tag_accounts_day: 60,
            network_accounts: 15,
            network_ratio: 1.5,
            tags_max: 4096,
            networks_max: 8192,
            surprise_min: 6.0,
            spike_networks_min: 30,
            spike_dispersion: 0.25,
            baseline_hours_min: 24,
            country_accounts_min: 20,
            country_success_share: 0.02,
            ratio_networks_min: 30,
            threat_hold_s: 900,
            threat_half_life_s: 600,
            measure_s: 3600,
            retry_after_s: 60,
            threshold_severe: 0.5,
            limited_ips_max: 4096,
            captcha_accounts_max: 4096,
            shared_network_accounts: 3,
        }
    }
}
