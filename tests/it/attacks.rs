//! Distributed attacks in generated traffic: days without any leave the monitor calm, campaigns do not.
//!
//! Everything runs on event time, as a replay does. The traffic is made up; what holds here must be confirmed on real logs.

use nauthilus_neural::detection::activity::Activity;
use nauthilus_neural::detection::attacks::{AttackMonitor, AttackOptions, Period, ThreatLevel};
use nauthilus_neural::detection::attempt::{Outcome, Timestamp};
use nauthilus_neural::detection::pseudonym::Pseudonymizer;
use nauthilus_neural::detection::record::AttemptRecord;
use nauthilus_neural::traffic::{Profile, Scenario, TrafficOptions, generate};

/// Time between two assessments.
const ASSESS_MS: i64 = 300_000;

/// What the monitor made of some traffic.
#[derive(Debug, Default)]
struct Seen {
    max_threat: f64,
    /// Most accounts called attacked at one time.
    accounts: usize,
    sprays: usize,
    countries: usize,
    /// Campaigns during which, or up to an hour after which, the threat was high.
    caught: Vec<String>,
    campaigns: Vec<String>,
    /// Rises of the threat that the week's report counts.
    events: u32,
}

fn text(field: Option<&String>) -> &str {
    field.map_or("", String::as_str)
}

/// Plays the traffic; `tags`: the caller tells passwords apart.
fn run(options: &TrafficOptions, tags: bool) -> Seen {
    let records: Vec<AttemptRecord> = generate(options);
    let pseudonymizer = Pseudonymizer::new([7; 32]);
    let mut activity = Activity::default();
    let mut monitor = AttackMonitor::new(AttackOptions::default(), [1, 2]);
    let mut seen = Seen::default();
    let mut next = i64::MIN;
    let mut running: Vec<(String, i64)> = Vec::new();
    let mut now = options.start;
    for mut record in records {
        if !tags {
            record.password_hash = None;
        }
        let campaign = text(record.campaign.as_ref()).to_owned();
        let success = record.success == Some(true);
        let ts = Timestamp::parse(text(record.ts.as_ref())).expect("RFC 3339");
        let checked = record.check(None, ts, &pseudonymizer, String::new).expect("a sound record");
        let attempt = checked.attempt;
        now = ts;
        let outcome = if success { Outcome::Success } else { Outcome::Failure };
        let at_home = activity.known_good(attempt.user, attempt.client_ip, ts)
            || activity.at_home(attempt.user, attempt.client_ip, ts);
        activity.apply_attempt(&attempt);
        activity.apply_outcome(&attempt, outcome);
        monitor.attempt(&attempt);
        monitor.outcome(&attempt, outcome, at_home);
        if !campaign.is_empty() {
            match running.iter_mut().find(|known| known.0 == campaign) {
                Some(known) => known.1 = ts.millis(),
                None => running.push((campaign.clone(), ts.millis())),
            }
            if !seen.campaigns.contains(&campaign) {
                seen.campaigns.push(campaign);
            }
        }
        if ts.millis() < next {
            continue;
        }
        next = ts.millis() + ASSESS_MS;
        let found = monitor.assess(ts);
        seen.max_threat = seen.max_threat.max(found.threat);
        seen.accounts = seen.accounts.max(found.findings.accounts.len());
        seen.sprays = seen.sprays.max(found.findings.sprays.len());
        seen.countries = seen.countries.max(found.findings.countries.len());
        running.retain(|known| known.1 > ts.millis() - 3_600_000);
        if found.level >= ThreatLevel::High {
            for (campaign, _) in &running {
                if !seen.caught.contains(campaign) {
                    seen.caught.push(campaign.clone());
                }
            }
        }
    }
    seen.events = monitor.report(Period::Weekly, now).event_count;
    seen
}

fn week(seed: u64, attack_share: f64, scenarios: Vec<Scenario>) -> TrafficOptions {
    let users = 300;
    TrafficOptions {
        seed,
        days: 7.0,
        users,
        attack_share,
        scenarios,
        profile: Profile::Hard,
        ..TrafficOptions::default()
    }
}

#[test]
fn an_honest_week_calls_no_account_attacked_and_stays_calm() {
    for (seed, tags) in [(11, true), (12, false), (13, true), (14, false)] {
        let seen = run(&week(seed, 0.0, Vec::new()), tags);

        assert!(seen.max_threat < 0.5, "seed {seed}: {seen:?}");
        assert_eq!((seen.accounts, seen.sprays, seen.countries), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn campaigns_of_many_networks_and_over_many_accounts_raise_the_threat() {
    for scenario in [Scenario::BotnetOne, Scenario::Spray, Scenario::SlowSpray24, Scenario::RoleAccounts] {
        let seen = run(&week(21, 0.1, vec![scenario]), true);

        assert!(seen.campaigns.len() >= 3, "{scenario}: {seen:?}");
        assert_eq!(seen.caught.len(), seen.campaigns.len(), "{scenario}: {seen:?}");
        assert!(seen.events > 0, "{scenario}: {seen:?}");
    }
}
