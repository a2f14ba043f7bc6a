//! Countries whose share of the failing accounts has jumped.
//!
//! Accounts count, not failures: a traveller whose telephone fails every minute is one. Two hours are held against the day
//! before them. A country from which the site's users log in is never to be blocked, whatever comes from it.

use std::collections::BTreeMap;

use super::AttackOptions;
use super::baseline::share_surprise;
use super::unique::Unique;
use super::windows::hour_of;
use crate::detection::attempt::Timestamp;
use crate::detection::client::Country;

/// Hours kept: two that are judged and a day before them. There are at most 676 countries of two letters.
const HOURS_KEPT: usize = 26;
/// Hours that are judged.
const JUDGED: i64 = 2;
/// Accounts that every country is taken to have had, and all together, before anything is known.
const PRIOR: (f64, f64) = (1.0, 10.0);
/// How many times its usual share a country must have.
const JUMP: f64 = 2.0;

#[derive(Debug, Clone, PartialEq, Default)]
struct Hour {
    failing: Unique,
    successes: u64,
    newest: Option<Timestamp>,
}

/// A country whose share has jumped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CountryReport {
    /// Which.
    pub country: Country,
    /// Accounts that strangers from there failed at.
    pub accounts: u64,
    /// Its share of all of them, 0–1.
    pub share: f64,
    /// What its share was the day before, 0–1.
    pub usual: f64,
    /// −log₁₀ of the probability by chance.
    pub surprise: f64,
    /// Whether few enough users log in from there that it may be blocked.
    pub blockable: bool,
    /// The newest failure that counts.
    pub evidence: Timestamp,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Countries(BTreeMap<Country, BTreeMap<i64, Hour>>);

impl Countries {
    /// A stranger from `country` failed at the account of the keyed hash `account`.
    pub fn failure(&mut self, ts: Timestamp, country: Country, account: u64) {
        self.update(ts, country, |hour| {
            hour.failing.add(account);
            hour.newest = hour.newest.max(Some(ts));
        });
    }

    /// Somebody logged in from `country`.
    pub fn success(&mut self, ts: Timestamp, country: Country) {
        self.update(ts, country, |hour| hour.successes += 1);
    }

    fn update(&mut self, ts: Timestamp, country: Country, change: impl FnOnce(&mut Hour)) {
        let hours = self.0.entry(country).or_default();
        let number = hour_of(ts);
        if hours.len() >= HOURS_KEPT && !hours.contains_key(&number) {
            if hours.first_key_value().is_some_and(|(&oldest, _)| oldest > number) {
                return;
            }
            hours.pop_first();
        }
        change(hours.entry(number).or_default());
    }

    /// The countries whose share has jumped, the most surprising first.
    pub fn found(&self, now: Timestamp, options: &AttackOptions) -> Vec<CountryReport> {
        let last = hour_of(now);
        let judged = last - JUDGED + 1..=last;
        let before = last - HOURS_KEPT as i64 + 1..=last - JUDGED;
        let observed: Vec<(Country, u64)> =
            self.0.iter().map(|(&country, hours)| (country, failing(hours.range(judged.clone())))).collect();
        let first = self.0.values().filter_map(|hours| hours.keys().next()).min().copied();
        let needed = options.baseline_hours_min.min(HOURS_KEPT - 1) as i64;
        if first.is_none_or(|first| first > last - needed) {
            return Vec::new();
        }
        let all: u64 = observed.iter().map(|(_, accounts)| accounts).sum();
        if observed.iter().all(|&(_, accounts)| accounts < options.country_accounts_min) {
            return Vec::new();
        }
        let past = |hours: &BTreeMap<i64, Hour>| -> u64 {
            hours.range(before.clone()).map(|(_, hour)| hour.failing.count()).sum()
        };
        let successes = |hours: &BTreeMap<i64, Hour>| -> u64 {
            hours.range(*before.start()..=last).map(|(_, hour)| hour.successes).sum()
        };
        let past_all: u64 = self.0.values().map(past).sum();
        let successes_all: u64 = self.0.values().map(successes).sum();
        let enough = observed.into_iter().filter(|&(_, accounts)| accounts >= options.country_accounts_min);
        let judge = |(country, accounts): (Country, u64)| {
            let hours = &self.0[&country];
            let usual = (past(hours) as f64 + PRIOR.0) / (past_all as f64 + PRIOR.1);
            let share = accounts as f64 / all as f64;
            let surprise = share_surprise(accounts, all, (usual * JUMP).min(1.0));
            let newest = hours.range(judged.clone()).filter_map(|(_, hour)| hour.newest).max();
            let home = options.country_success_share * successes_all as f64;
            (surprise >= options.surprise_min).then_some(CountryReport {
                country,
                accounts,
                share,
                usual,
                surprise,
                // Where nobody has logged in yet, nothing is known of where users live.
                blockable: successes_all > 0 && (successes(hours) as f64) < home,
                evidence: newest.unwrap_or(now),
            })
        };
        let mut found: Vec<_> = enough.filter_map(judge).collect();
        found.sort_unstable_by(|a, b| b.surprise.total_cmp(&a.surprise).then(a.country.cmp(&b.country)));
        found
    }

    /// Estimated bytes.
    pub fn bytes(&self) -> usize {
        let hours = self.0.values().flat_map(BTreeMap::values);
        hours.map(|hour| size_of::<(i64, Hour)>() + hour.failing.heap_bytes()).sum()
    }
}

fn failing<'a>(hours: impl Iterator<Item = (&'a i64, &'a Hour)>) -> u64 {
    let mut all = Unique::default();
    hours.for_each(|(_, hour)| all.merge(&hour.failing));
    all.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    fn country(code: &str) -> Country {
        Country::from_code(code).unwrap()
    }

    /// A day of a German site with a few failing accounts an hour, some of them abroad.
    fn day() -> Countries {
        let mut countries = Countries::default();
        let mut rng = Rng::new(1, "test/countries");
        for hour in 0..24 {
            for nth in 0..10 {
                countries.failure(at(hour * 3600), country(if nth < 8 { "DE" } else { "FR" }), rng.next_u64());
                countries.success(at(hour * 3600), country("DE"));
            }
        }
        countries
    }

    #[test]
    fn a_country_that_was_rare_and_makes_most_failures_is_found_and_may_be_blocked() {
        let mut countries = day();
        let mut rng = Rng::new(2, "test/countries");
        for nth in 0..40 {
            countries.failure(at(86_400 + nth * 30), country("BR"), rng.next_u64());
        }

        let found = countries.found(at(86_400 + 1200), &AttackOptions::default());

        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].country, found[0].accounts, found[0].blockable), (country("BR"), 40, true));
        assert_eq!(found[0].evidence, at(86_400 + 39 * 30));
    }

    #[test]
    fn the_country_where_users_live_is_not_blocked_and_its_usual_share_is_no_jump() {
        let mut countries = day();
        let mut rng = Rng::new(2, "test/countries");
        for nth in 0..200 {
            countries.failure(at(86_400 + nth), country("DE"), rng.next_u64());
        }
        assert!(countries.found(at(86_400 + 300), &AttackOptions::default()).is_empty());

        countries.success(at(86_400), country("BR"));
        for nth in 0..300 {
            countries.success(at(86_400), country(if nth % 10 == 0 { "BR" } else { "DE" }));
            countries.failure(at(86_400 + nth), country("BR"), rng.next_u64());
        }
        let found = countries.found(at(86_400 + 300), &AttackOptions::default());
        assert!(found.len() == 1 && !found[0].blockable, "{found:?}");
    }

    #[test]
    fn a_traveller_with_a_stale_device_is_one_account() {
        let mut countries = day();
        for nth in 0..500 {
            countries.failure(at(86_400 + nth), country("BR"), 7);
        }

        assert!(countries.found(at(86_400 + 600), &AttackOptions::default()).is_empty());
    }

    #[test]
    fn on_its_first_day_a_site_has_no_usual_shares() {
        let mut countries = Countries::default();
        let mut rng = Rng::new(2, "test/countries");
        for nth in 0..200 {
            countries.failure(at(nth * 60), country("BR"), rng.next_u64());
        }

        assert!(countries.found(at(12_000), &AttackOptions::default()).is_empty());
    }
}
