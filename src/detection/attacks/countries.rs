//! Countries, and parts of them, whose share of the failing accounts has jumped.
//!
//! Accounts count, not failures: a traveller whose telephone fails every minute is one. Two hours are held against the day
//! before them. A country from which the site's users log in is never to be blocked, whatever comes from it;
//! a part of it from which next to nobody logs in may.

use std::collections::BTreeMap;

use super::AttackOptions;
use super::baseline::share_surprise;
use super::unique::Unique;
use super::windows::hour_of;
use crate::detection::attempt::Timestamp;
use crate::detection::client::{Country, Region};

/// Hours kept: two that are judged and a day before them. There are at most 676 countries of two letters.
const HOURS_KEPT: usize = 26;
/// Hours that are judged.
const JUDGED: i64 = 2;
/// Accounts that every country is taken to have had, and all together, before anything is known.
const PRIOR: (f64, f64) = (1.0, 10.0);
/// How many times its usual share a country must have.
const JUMP: f64 = 2.0;

/// Parts of countries that are followed; the one that nothing came from for longest goes.
const PARTS_MAX: usize = 512;
/// Countries of two letters that there can be.
const COUNTRIES: usize = 26 * 26;

#[derive(Debug, Clone, PartialEq, Default)]
struct Hour {
    attempts: u64,
    failing: Unique,
    successes: u64,
    newest: Option<Timestamp>,
    /// It was found to have more than its share, and next to no user lives there: it says nothing about what is usual.
    jumped: bool,
}

/// A country, or a part of one, whose share has jumped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CountryReport {
    /// Which.
    pub region: Region,
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

/// The hours of each region.
#[derive(Debug, Clone, PartialEq, Default)]
struct Shares(BTreeMap<Region, BTreeMap<i64, Hour>>);

/// The tables: countries as a whole, and their parts as far as they are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Countries {
    whole: Shares,
    parts: Shares,
}

impl Countries {
    /// Somebody tried from `region`, whatever became of it.
    pub fn attempt(&mut self, ts: Timestamp, region: Region) {
        self.whole.update(ts, region.whole(), |hour| hour.attempts += 1);
    }

    /// A stranger from `region` failed at the account of the keyed hash `account`.
    pub fn failure(&mut self, ts: Timestamp, region: Region, account: u64) {
        self.each(ts, region, |hour| {
            hour.failing.add(account);
            hour.newest = hour.newest.max(Some(ts));
        });
    }

    /// Notes what [`found`](Self::found) has found at `now`: the hours of such an attack do not become usual.
    pub fn note(&mut self, found: &[CountryReport], now: Timestamp) {
        let last = hour_of(now);
        for report in found.iter().filter(|report| report.blockable) {
            let shares = if report.region.subdivision.is_none() { &mut self.whole } else { &mut self.parts };
            let hours = shares.0.get_mut(&report.region).into_iter();
            hours.flat_map(|hours| hours.range_mut(last - JUDGED + 1..=last)).for_each(|(_, hour)| hour.jumped = true);
        }
    }

    /// Forgets the failures up to `until` that could still be judged, and those of its hour.
    pub fn forget_failures(&mut self, until: Timestamp) {
        let last = hour_of(until);
        for hours in self.whole.0.values_mut().chain(self.parts.0.values_mut()) {
            for (_, hour) in hours.range_mut(last - JUDGED + 1..=last) {
                (hour.failing, hour.newest) = (Unique::default(), None);
            }
        }
    }

    /// Somebody logged in from `region`.
    pub fn success(&mut self, ts: Timestamp, region: Region) {
        self.each(ts, region, |hour| hour.successes += 1);
    }

    fn each(&mut self, ts: Timestamp, region: Region, change: impl Fn(&mut Hour)) {
        self.whole.update(ts, region.whole(), &change);
        if region.subdivision.is_some() {
            self.parts.make_room(ts, region);
            self.parts.update(ts, region, &change);
        }
    }

    /// Attempts of the last day by country, the most first; of equal ones the first letters.
    pub fn attempts(&self, now: Timestamp) -> Vec<(Country, u64)> {
        let last = hour_of(now);
        let of_day = |hours: &BTreeMap<i64, Hour>| hours.range(last - 23..=last).map(|(_, hour)| hour.attempts).sum();
        let counted = self.whole.0.iter().map(|(&region, hours)| (region.country, of_day(hours)));
        let mut counted: Vec<(Country, u64)> = counted.filter(|&(_, attempts)| attempts > 0).collect();
        counted.sort_by_key(|&(country, attempts)| (std::cmp::Reverse(attempts), country));
        counted
    }

    /// The regions whose share has jumped, the most surprising first: countries among all countries, and parts among all
    /// parts. Parts of a country that may be blocked as a whole are left out.
    pub fn found(&self, now: Timestamp, options: &AttackOptions) -> Vec<CountryReport> {
        let mut found = self.whole.found(now, options);
        let mut parts = self.parts.found(now, options);
        parts.retain(|part| !found.iter().any(|whole| whole.blockable && whole.region == part.region.whole()));
        found.append(&mut parts);
        found.sort_unstable_by(|a, b| b.surprise.total_cmp(&a.surprise).then(a.region.cmp(&b.region)));
        found
    }

    /// Estimated bytes.
    pub fn bytes(&self) -> usize {
        self.whole.bytes() + self.parts.bytes()
    }
}

impl Shares {
    /// Lets the region go that nothing came from for longest, if `region` is new and there is no room for it.
    fn make_room(&mut self, ts: Timestamp, region: Region) {
        if self.0.len() < PARTS_MAX || self.0.contains_key(&region) {
            return;
        }
        let newest = |hours: &BTreeMap<i64, Hour>| hours.keys().next_back().copied().unwrap_or(i64::MIN);
        let idle = self.0.iter().map(|(&region, hours)| (newest(hours), region)).min();
        if let Some((_, region)) = idle.filter(|(hour, _)| *hour <= hour_of(ts)) {
            self.0.remove(&region);
        }
    }

    fn update(&mut self, ts: Timestamp, region: Region, change: impl FnOnce(&mut Hour)) {
        if self.0.len() >= PARTS_MAX.max(COUNTRIES) && !self.0.contains_key(&region) {
            return;
        }
        let hours = self.0.entry(region).or_default();
        let number = hour_of(ts);
        if hours.len() >= HOURS_KEPT && !hours.contains_key(&number) {
            if hours.first_key_value().is_some_and(|(&oldest, _)| oldest > number) {
                return;
            }
            hours.pop_first();
        }
        change(hours.entry(number).or_default());
    }

    fn found(&self, now: Timestamp, options: &AttackOptions) -> Vec<CountryReport> {
        let last = hour_of(now);
        let judged = last - JUDGED + 1..=last;
        let before = last - HOURS_KEPT as i64 + 1..=last - JUDGED;
        let observed: Vec<(Region, u64)> =
            self.0.iter().map(|(&region, hours)| (region, failing(hours.range(judged.clone())))).collect();
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
            hours.range(before.clone()).filter(|(_, hour)| !hour.jumped).map(|(_, hour)| hour.failing.count()).sum()
        };
        let successes = |hours: &BTreeMap<i64, Hour>| -> u64 {
            hours.range(*before.start()..=last).map(|(_, hour)| hour.successes).sum()
        };
        let past_all: u64 = self.0.values().map(past).sum();
        let successes_all: u64 = self.0.values().map(successes).sum();
        let enough = observed.into_iter().filter(|&(_, accounts)| accounts >= options.country_accounts_min);
        let judge = |(region, accounts): (Region, u64)| {
            let hours = &self.0[&region];
            let usual = (past(hours) as f64 + PRIOR.0) / (past_all as f64 + PRIOR.1);
            let share = accounts as f64 / all as f64;
            let surprise = share_surprise(accounts, all, (usual * JUMP).min(1.0));
            let newest = hours.range(judged.clone()).filter_map(|(_, hour)| hour.newest).max();
            let home = options.country_success_share * successes_all as f64;
            (surprise >= options.surprise_min).then_some(CountryReport {
                region,
                accounts,
                share,
                usual,
                surprise,
                // Where nobody has logged in yet, nothing is known of where users live.
                blockable: successes_all > 0 && (successes(hours) as f64) < home,
                evidence: newest.unwrap_or(now),
            })
        };
        enough.filter_map(judge).collect()
    }

    fn bytes(&self) -> usize {
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

    fn country(code: &str) -> Region {
        Region::from_code(code).unwrap()
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
        assert_eq!((found[0].region, found[0].accounts, found[0].blockable), (country("BR"), 40, true));
        assert_eq!(found[0].evidence, at(86_400 + 39 * 30));
    }

    #[test]
    fn an_attack_from_a_country_does_not_hide_the_next_one_from_there_and_users_who_live_there_make_it_usual() {
        for users in [false, true] {
            let mut countries = day();
            let mut rng = Rng::new(2, "test/countries");
            let mut attack = |countries: &mut Countries, hour: i64| {
                for nth in 0..60 {
                    countries.failure(at(hour * 3600 + nth), country("BR"), rng.next_u64());
                }
                for _ in 0..if users { 20 } else { 0 } {
                    countries.success(at(hour * 3600), country("BR"));
                }
                let found = countries.found(at(hour * 3600 + 60), &AttackOptions::default());
                countries.note(&found, at(hour * 3600 + 60));
                found.len()
            };
            let found: Vec<usize> = [24, 27, 30, 33].map(|hour| attack(&mut countries, hour)).to_vec();

            let expected = if users { [1, 1, 1, 0] } else { [1, 1, 1, 1] };
            assert_eq!(found, expected, "users live there: {users}");
        }
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
    fn a_part_of_the_country_where_users_live_may_be_blocked_where_none_of_them_does() {
        let mut countries = Countries::default();
        let mut rng = Rng::new(1, "test/regions");
        for hour in 0..24 {
            for nth in 0..10 {
                countries.failure(at(hour * 3600), country(if nth < 9 { "DE-BY" } else { "DE-HB" }), rng.next_u64());
                countries.success(at(hour * 3600), country("DE-BY"));
            }
        }
        for nth in 0..60 {
            countries.failure(at(86_400 + nth * 20), country("DE-HB"), rng.next_u64());
        }

        let found = countries.found(at(86_400 + 1200), &AttackOptions::default());

        let shown: Vec<_> = found.iter().map(|report| (report.region.to_string(), report.blockable)).collect();
        assert_eq!(shown, [("DE-HB".to_owned(), true)], "the country itself has no other share than ever");
    }

    #[test]
    fn parts_of_a_country_that_is_blocked_as_a_whole_are_not_told_apart() {
        let mut countries = day();
        let mut rng = Rng::new(2, "test/regions");
        for hour in 0..24 {
            countries.success(at(hour * 3600), country("DE-BY"));
        }
        for nth in 0..200 {
            countries.failure(at(86_400 + nth), country(["BR-SP", "BR-RJ"][nth as usize % 2]), rng.next_u64());
        }

        let found = countries.found(at(86_400 + 300), &AttackOptions::default());

        assert!(found.len() == 1 && found[0].region == country("BR") && found[0].blockable, "{found:?}");
    }

    #[test]
    fn made_up_parts_push_out_idle_ones_and_stay_bounded() {
        let mut countries = Countries::default();
        countries.failure(at(0), country("DE-BY"), 1);
        for nth in 0..3000_i64 {
            let code = format!("BR-{:03}", nth % 1000);
            countries.failure(at(3600 + nth / 1000), country(&code), nth as u64);
        }

        assert_eq!(countries.parts.0.len(), PARTS_MAX);
        assert!(!countries.parts.0.contains_key(&country("DE-BY")));
        assert_eq!(countries.whole.0.len(), 2);
    }

    #[test]
    fn attempts_are_counted_by_country_for_a_day() {
        let mut countries = Countries::default();
        for (seconds, code) in [(0, "DE"), (3600, "BR"), (3601, "BR"), (90_000, "DE"), (90_001, "AT")] {
            countries.attempt(at(seconds), country(code));
        }

        let shown = |seconds| {
            let counted = countries.attempts(at(seconds)).into_iter();
            counted.map(|(country, attempts)| format!("{country} {attempts}")).collect::<Vec<_>>()
        };
        assert_eq!(shown(0), ["DE 1"]);
        assert_eq!(shown(82_800), ["BR 2", "DE 1"]);
        assert_eq!(shown(90_001), ["AT 1", "DE 1"], "what is older than a day is over");
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
