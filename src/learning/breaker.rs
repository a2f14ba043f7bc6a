//! When a model that serves has to stop: pure, from counts of what it would do to users at home.
//!
//! Counted are attempts of pairs of user and client network that logged in together within a week, and how many of those the
//! model would block. A model that is right blocks next to none of them; one that suddenly blocks many is wrong about the
//! site, whatever it was promoted for. Who counts, and what follows, is somebody else's work.

use super::gate::binomial;

/// How far back the sliding window reaches.
pub const WINDOW_MS: i64 = 15 * 60 * 1000;
/// How far back the baseline reaches before the window.
pub const BASELINE_MS: i64 = 24 * 3600 * 1000;
/// Blocked attempts of one pair that count within a window; more are left out altogether, here and in the baseline. So one
/// stale device is at most a fifth of the evidence that is needed.
pub const BLOCKS_PER_PAIR: usize = 4;

/// Fewer blocked attempts than this prove nothing.
const BLOCKS_MIN: u64 = 20;
/// On at least so many pairs, so many users and so many networks: neither a botnet on one account nor a guesser in one office
/// may switch the model off for everybody.
const PAIRS_MIN: u64 = 10;
const USERS_MIN: u64 = 5;
const NETWORKS_MIN: u64 = 3;
/// A share that is never alarming, and the multiple of the baseline that is.
const RATE_MIN: f64 = 0.01;
const TIMES_BASELINE: f64 = 5.0;
/// How often chance alone may look like that: 95 % confidence.
const CHANCE_MAX: f64 = 0.05;

/// What one node counted of pairs that logged in together within a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockCounts {
    /// Their attempts in the window.
    pub attempts: u64,
    /// How many of these the model would have blocked.
    pub blocks: u64,
    /// Of the blocked ones: different pairs.
    pub pairs: u64,
    /// … different users.
    pub users: u64,
    /// … different client networks.
    pub networks: u64,
    /// Attempts in the baseline.
    pub baseline_attempts: u64,
    /// How many of these the model of their time would have blocked.
    pub baseline_blocks: u64,
}

impl BlockCounts {
    /// Whether the model has to stop: enough evidence, on enough different people and places, of a share above 1 % and above
    /// five times the baseline, by more than chance.
    pub fn alarming(&self) -> bool {
        let enough = self.blocks >= BLOCKS_MIN
            && self.pairs >= PAIRS_MIN
            && self.users >= USERS_MIN
            && self.networks >= NETWORKS_MIN;
        enough && binomial::at_least(self.blocks, self.attempts, self.tolerated()) <= CHANCE_MAX
    }

    /// The share up to which nothing is alarming.
    fn tolerated(&self) -> f64 {
        // Without a baseline there is nothing to multiply: the fixed share alone decides.
        let baseline = self.baseline_blocks as f64 / self.baseline_attempts.max(1) as f64;
        (TIMES_BASELINE * baseline).clamp(RATE_MIN, 1.0)
    }

    /// The numbers for people.
    pub fn sentence(&self) -> String {
        format!(
            "within 15 minutes {} of {} attempts of users in networks that they log in from would have been blocked \
             ({} users, {} networks); in the day before {} of {}",
            self.blocks, self.attempts, self.users, self.networks, self.baseline_blocks, self.baseline_attempts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenth of 300 attempts, on enough people and places, after a day with next to none.
    fn jump() -> BlockCounts {
        BlockCounts {
            attempts: 300,
            blocks: 30,
            pairs: 15,
            users: 15,
            networks: 12,
            baseline_attempts: 20_000,
            baseline_blocks: 8,
        }
    }

    #[test]
    fn a_jump_on_many_people_and_places_is_alarming() {
        assert!(jump().alarming());
        assert!(BlockCounts { baseline_attempts: 0, baseline_blocks: 0, ..jump() }.alarming(), "also on a new node");
    }

    #[test]
    fn little_evidence_or_few_people_and_places_are_not() {
        for few in [
            BlockCounts { blocks: 19, attempts: 50, ..jump() },
            BlockCounts { pairs: 9, ..jump() },
            BlockCounts { users: 4, ..jump() },
            BlockCounts { networks: 2, ..jump() },
            BlockCounts::default(),
        ] {
            assert!(!few.alarming(), "{few:?}");
        }
        let edge = BlockCounts { blocks: 20, attempts: 300, pairs: 10, users: 5, networks: 3, ..jump() };
        assert!(edge.alarming());
    }

    #[test]
    fn a_share_within_the_tolerated_one_or_above_it_by_chance_is_not() {
        // 1 % of 2500 is 25; 30 is what chance does, 40 is not.
        assert!(!BlockCounts { attempts: 2500, blocks: 30, ..jump() }.alarming());
        assert!(BlockCounts { attempts: 2500, blocks: 40, ..jump() }.alarming());
    }

    #[test]
    fn what_has_always_been_so_is_not() {
        let usual = BlockCounts { baseline_blocks: 500, ..jump() };
        assert!(!usual.alarming(), "10 % after 2.5 %");
        assert!(BlockCounts { baseline_blocks: 200, ..jump() }.alarming(), "10 % after 1 %");
        let everything = BlockCounts { baseline_blocks: 10_000, attempts: 30, ..jump() };
        assert!(!everything.alarming(), "more than all cannot be asked for");
    }

    #[test]
    fn the_sentence_has_the_numbers() {
        let sentence = jump().sentence();
        assert!(sentence.contains("30 of 300") && sentence.contains("8 of 20000"), "{sentence}");
    }
}
