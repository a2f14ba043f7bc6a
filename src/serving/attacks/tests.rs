//! What the watch is told, what it never holds up, and what a login is told in each row of the table.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::detection::attacks::ThreatLevel;
use crate::detection::client::Country;
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::learning::artifact::tests::artifact;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::geo::GeoDatabases;
use crate::serving::mode::LearningMode;
use crate::serving::schema::SchemaSlot;
use crate::serving::scorer::{ScoreAnswer, Scorer, ScorerParts};
use crate::serving::slot::{ModelSlot, ServedModel};
use crate::store::registry::ModelId;
use crate::telemetry::metrics::Metrics;

const HOME: &str = "192.0.2.7";
const STRANGE: &str = "203.0.113.9";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
}

struct Site {
    scorer: Scorer,
    slot: Arc<ModelSlot>,
    log: Arc<AttemptLog>,
}

/// A node with a model that finds nothing suspicious.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    let mut config = Config::default();
    change(&mut config);
    let metrics = Arc::new(Metrics::new("0"));
    let log = Arc::new(AttemptLog::new(BootId([1; 16]), 10_000, metrics.status().clone()));
    let slot = Arc::new(ModelSlot::new());
    let mut model = artifact(1);
    model.thresholds.watch = None;
    let id = ModelId { lineage: [1; 16], generation: 1, sha256: [1; 32] };
    slot.swap(Some(Arc::new(ServedModel { id, artifact: model })));
    let scorer = Scorer::new(ScorerParts {
        config: Arc::new(ArcSwap::from_pointee(config)),
        schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
        geo: GeoDatabases::default(),
        slot: slot.clone(),
        mode: Arc::new(LearningMode::default()),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: log.clone(),
        metrics,
    });
    Site { scorer, slot, log }
}

fn record(fields: &Value) -> AttemptRecord {
    AttemptRecord::parse(fields.to_string().as_bytes()).expect("a record")
}

impl Site {
    /// Scores a login of alice that happens `second` seconds in.
    fn score(&self, second: i64, ip: &str, more: &Value) -> ScoreAnswer {
        let mut fields = json!({ "request_id": format!("{second}-{ip}"), "client_ip": ip, "username": "alice" });
        fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.scorer.score(record(&fields), at(second), 0).expect("a sound attempt")
    }

    fn tell(&self, second: i64, ip: &str, username: &str, success: bool) {
        let fields = json!({
            "request_id": format!("{second}-{ip}-{username}"), "client_ip": ip, "username": username,
            "success": success, "password_hash": format!("{second}"),
        });
        self.scorer.outcome(record(&fields), at(second)).expect("a sound attempt");
    }

    fn account(&self, name: &str) -> AccountId {
        self.scorer.pseudonymizer().name(name).into()
    }

    fn force(&self, second: i64, change: impl FnOnce(&mut Protection)) {
        let mut protection = Protection::default();
        change(&mut protection);
        self.scorer.attacks().merge(&protection, at(second));
    }

    /// Everything that can be in force against alice and the strange network, from second 0 on.
    fn everything(&self) {
        let account = self.account("alice");
        self.force(0, |protection| {
            protection.protect_account(account, at(0));
            protection.limit(ip(STRANGE), at(0));
            protection.block_region(Country::from_code("XA").expect("a country").into(), at(0));
            protection.protect_site(at(0));
        });
    }

    fn attempts(&self, second: i64) -> (u64, u64) {
        let hour = self.scorer.attacks().look(|monitor| monitor.window(at(second), 3600));
        (hour.attempts, hour.strange_failures)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn network(number: i64) -> String {
    format!("198.18.{number}.1")
}

/// Said of an answer: verdict, what would be, seconds to wait, and the beginning of the reason.
fn said(answer: &ScoreAnswer) -> (Verdict, Verdict, Option<u64>) {
    (answer.verdict, answer.would_be, answer.retry_after_s)
}

#[test]
fn each_attempt_is_taken_in_once_whichever_way_it_comes_and_what_does_not_count_is_left_out() {
    let site = site(|config| config.lists.trusted_networks = vec!["10.0.0.0/8".parse().expect("a network")]);
    site.scorer.passing().switch(true);
    site.score(0, STRANGE, &json!({}));
    assert_eq!(site.attempts(1), (1, 0), "at once, before the outcome");
    let outcome = json!({ "request_id": format!("0-{STRANGE}"), "success": false });
    for _ in 0..2 {
        site.scorer.outcome(record(&outcome), at(1)).expect("told");
        site.score(0, STRANGE, &json!({}));
    }
    assert_eq!(site.attempts(2), (1, 1));
    site.tell(2, STRANGE, "bob", false);
    assert_eq!(site.attempts(3), (2, 2), "a whole attempt");
    let bulk = |second: i64| json!({ "ts": at(second).to_string(), "client_ip": STRANGE, "username": "carol", "success": false });
    for second in [-60, -90_000] {
        let checked = site.scorer.check(record(&bulk(second)), at(3)).expect("sound");
        site.scorer.ingest(checked, at(3)).expect("taken");
    }
    assert_eq!(site.attempts(4), (3, 3), "one of two days ago is history");

    site.tell(5, "10.0.0.1", "dave", false);
    site.score(6, "10.0.0.1", &json!({}));
    site.score(7, STRANGE, &json!({ "no_auth": true }));
    assert_eq!(site.attempts(8), (3, 3), "neither trusted ones nor look-ups");

    let peer = self::site(|config| config.lists.trusted_networks = vec!["10.0.0.0/8".parse().expect("a network")]);
    peer.scorer.passing().switch(true);
    let (_, entries) = site.log.oldest(100).expect("something to tell");
    for _ in 0..2 {
        for entry in &entries {
            let event = AttemptEvent::decode(&entry.event).expect("just encoded");
            peer.scorer.apply_remote(&event, BootId([2; 16]));
        }
    }
    assert_eq!(peer.attempts(8), (3, 3), "a peer takes in the same");

    let passed = site.scorer.passing().take();
    let failures = passed.iter().filter(|passing| passing.outcome == Some(Outcome::Failure)).count();
    let names: BTreeSet<&str> = passed.iter().filter_map(|passing| passing.name.as_deref()).collect();
    assert_eq!((passed.iter().filter(|passing| passing.new).count(), failures), (3, 3), "so does the mirror");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_eq!(peer.scorer.passing().take(), [], "but only of the node that was told");
}

#[test]
fn no_login_waits_for_whoever_walks_over_the_monitor() {
    let site = site(|_| {});
    site.everything();

    // The lock is held while this is scored, told, and told by others: waiting for it would never end.
    let answer = site.scorer.attacks().look(|_| {
        site.tell(1, STRANGE, "bob", false);
        site.score(2, STRANGE, &json!({}))
    });

    assert_eq!(answer.verdict, Verdict::Block);
    assert_eq!(site.attempts(3), (2, 1), "and both were taken in afterwards");
}

#[test]
fn d46_strangers_at_an_attacked_account_need_a_second_proof() {
    let site = site(|_| {});
    assert_eq!(said(&site.score(0, HOME, &json!({}))), (Verdict::Allow, Verdict::Allow, None));
    let account = site.account("alice");
    site.force(0, |protection| protection.protect_account(account, at(0)));

    let answer = site.score(1, HOME, &json!({}));

    assert_eq!(said(&answer), (Verdict::StepUp, Verdict::StepUp, None));
    assert!(answer.reason.contains("many networks guess at this account"), "{}", answer.reason);
}

#[test]
fn d46_a_network_that_takes_part_is_refused_and_told_how_long_to_wait() {
    let site = site(|_| {});
    site.force(0, |protection| protection.limit(ip(STRANGE), at(0)));

    let answer = site.score(1, "203.0.113.200", &json!({}));

    assert_eq!(said(&answer), (Verdict::Block, Verdict::Block, Some(60)));
    assert!(answer.reason.contains("takes part in an attack"), "{}", answer.reason);
    assert_eq!(said(&site.score(2, HOME, &json!({}))), (Verdict::Allow, Verdict::Allow, None), "others are not");
}

#[test]
fn d46_a_blocked_country_is_blocked_for_strangers_only() {
    let site = site(|_| {});
    site.tell(-90_000, HOME, "alice", true);
    site.everything();

    let stranger = site.score(1, "198.51.100.1", &json!({ "country": "XA" }));
    let owner = site.score(2, HOME, &json!({ "country": "XA" }));

    assert_eq!(stranger.verdict, Verdict::Block);
    assert!(stranger.reason.contains("country"), "{}", stranger.reason);
    assert_eq!(said(&owner), (Verdict::Allow, Verdict::Allow, None));
}

#[test]
fn d46_under_severe_threat_strangers_step_up_and_the_threshold_is_lowered() {
    let site = site(|config| config.attacks.threshold_severe = 0.001);
    site.force(0, |protection| protection.protect_site(at(0)));

    let answer = site.score(1, HOME, &json!({}));

    assert_eq!((answer.verdict, answer.threshold, answer.retry_after_s), (Verdict::Block, Some(0.001), Some(60)));
    assert!(answer.reason.contains("exceeds the block threshold"), "{}", answer.reason);
    let site = self::site(|config| config.attacks.threshold_severe = 0.99);
    site.force(0, |protection| protection.protect_site(at(0)));
    let answer = site.score(1, HOME, &json!({}));
    assert_eq!((answer.verdict, answer.threshold), (Verdict::StepUp, Some(0.9)), "a cap never raises a threshold");
    assert!(answer.reason.contains("severe attack"), "{}", answer.reason);
}

#[test]
fn known_good_networks_get_in_and_the_breaker_counts_the_model_alone() {
    let site = site(|_| {});
    site.tell(-90_000, HOME, "alice", true);
    site.tell(-3600, STRANGE, "alice", true);
    site.everything();

    assert_eq!(said(&site.score(1, HOME, &json!({}))), (Verdict::Allow, Verdict::Allow, None));
    // At home there, but only since an hour ago: that may be the attacker's.
    let recent = site.score(2, STRANGE, &json!({}));
    assert_eq!(recent.verdict, Verdict::Block);
    let counts = site.scorer.block_counts(at(3));
    assert_eq!((counts.attempts, counts.blocks), (2, 0));
}

#[test]
fn what_is_trusted_is_never_bothered() {
    let site = site(|config| config.lists.trusted_accounts = vec!["alice".to_owned()]);
    site.everything();

    assert_eq!(said(&site.score(1, STRANGE, &json!({}))), (Verdict::Allow, Verdict::Allow, None));
}

#[test]
fn where_only_static_rules_decide_protection_shows_in_would_be() {
    let dry: fn(&mut Config) = |config| config.ml.dry_run = true;
    let off: fn(&mut Config) = |config| config.ml.enabled = false;
    for (untrained, change) in [(false, dry), (false, off), (true, |_: &mut Config| {})] {
        let site = site(change);
        if untrained {
            site.slot.swap(None);
        }
        site.everything();

        assert_eq!(said(&site.score(1, STRANGE, &json!({}))), (Verdict::Allow, Verdict::Block, None));
        let ruled = site.score(2, HOME, &json!({ "static_rule_triggered": true }));
        assert_eq!((ruled.verdict, ruled.would_be), (Verdict::Block, Verdict::StepUp));
    }
}

#[test]
fn switched_off_it_neither_watches_nor_acts() {
    let site = site(|config| config.attacks.enabled = false);
    site.everything();
    site.tell(0, STRANGE, "bob", false);

    assert_eq!(said(&site.score(1, STRANGE, &json!({}))), (Verdict::Allow, Verdict::Allow, None));
    assert_eq!(site.attempts(2), (0, 0));
}

#[test]
fn d45_measures_end_on_time_whatever_traffic_there_is() {
    let site = site(|_| {});
    for number in 0..20 {
        site.tell(number, &network(number), "alice", false);
    }
    let found = site.scorer.attacks().assess(at(20));
    assert_eq!((found.level, found.findings.accounts.len()), (ThreatLevel::High, 1));
    assert_eq!(site.score(21, STRANGE, &json!({})).verdict, Verdict::StepUp);

    for second in (30..3700).step_by(10) {
        site.tell(second, HOME, "bob", true);
        site.score(second, STRANGE, &json!({}));
        site.scorer.attacks().assess(at(second));
    }

    assert_eq!(site.score(3701, STRANGE, &json!({})).verdict, Verdict::Allow);
}

#[test]
fn d43_what_is_reset_is_what_is_in_force() {
    let site = site(|_| {});
    let attack = |from: i64| {
        for number in 0..20 {
            site.tell(from + number, &network(number), "alice", false);
        }
        site.scorer.attacks().assess(at(from + 20));
    };
    attack(0);
    site.scorer.attacks().reset_account(site.account("alice"), at(21));
    site.scorer.attacks().assess(at(22));
    assert_eq!(site.score(23, STRANGE, &json!({})).verdict, Verdict::Allow);
    assert_eq!(site.score(24, &network(3), &json!({})).verdict, Verdict::Block, "the networks stay slowed down");

    site.scorer.attacks().reset_protection(at(25));
    let found = site.scorer.attacks().assess(at(26));
    assert_eq!((found.threat, site.score(27, &network(3), &json!({})).verdict), (0.0, Verdict::Allow));
    attack(100);
    assert_eq!(site.score(130, STRANGE, &json!({})).verdict, Verdict::StepUp, "what comes later counts again");
}

#[test]
fn names_are_kept_for_attacked_accounts_only_and_bounded() {
    let site = site(|_| {});
    site.tell(0, STRANGE, "bob", false);
    assert!(!site.scorer.attacks().wants_names());
    for number in 0..20 {
        site.tell(number, &network(number), "Alice ", false);
    }
    site.scorer.attacks().assess(at(20));
    let attacks = site.scorer.attacks();
    assert_eq!(attacks.shown(site.account("alice")), site.account("alice").to_string(), "not heard since");

    site.tell(21, STRANGE, " Alice", false);
    site.tell(22, STRANGE, "bob", false);

    assert_eq!(attacks.shown(site.account("alice")), "Alice");
    assert_eq!(attacks.shown(site.account("bob")).len(), 16);
    attacks.assess(at(90_000));
    assert_eq!(attacks.shown(site.account("alice")).len(), 16, "forgotten after the attack");
}

#[test]
fn d49_hours_threats_and_measures_outlive_a_restart() {
    let before = site(|_| {});
    for number in 0..20 {
        before.tell(number, &network(number), "alice", false);
    }
    before.scorer.attacks().assess(at(20));
    let written = serde_json::to_vec(&before.scorer.attacks().kept(at(21))).expect("plain data");

    let after = site(|_| {});
    after.scorer.attacks().restore(&serde_json::from_slice(&written).expect("read back"), at(30));

    assert_eq!(after.score(31, STRANGE, &json!({})).verdict, Verdict::StepUp);
    let (hours, report) = after
        .scorer
        .attacks()
        .look(|monitor| (monitor.history(at(31)), monitor.report(crate::detection::attacks::Period::Daily, at(31))));
    assert_eq!((hours[0].metrics.attempts, report.high_events, report.failures), (20, 1, 20));
}

#[test]
fn what_the_stream_tells_from_before_a_checkpoint_is_counted_by_the_watch_once_and_at_home_is_at_home() {
    let before = site(|_| {});
    // A day ago alice logged in; now she slips once at home and logs in thirty times: more than are remembered.
    before.tell(0, HOME, "alice", true);
    before.tell(86_400, HOME, "alice", false);
    (1..=30).for_each(|nth| before.tell(86_400 + nth, HOME, "alice", true));
    (40..60).for_each(|nth| before.tell(86_400 + nth, &network(nth), "bob", false));
    // One attempt is open, and announced.
    before.score(86_470, STRANGE, &json!({}));
    before.scorer.announce_all(at(86_471), 1);
    let end = 86_472;
    let known = |site: &Site| {
        let bob = site.scorer.attacks().look(|monitor| monitor.account(site.account("bob"), at(end)));
        (site.attempts(end), bob.map(|report| (report.networks_hour, report.failures_hour)))
    };
    assert_eq!(known(&before), ((52, 20), Some((20, 20))));
    let (_, entries) = before.log.oldest(1000).expect("something waits");
    let events: Vec<_> =
        entries.iter().map(|entry| AttemptEvent::decode(&entry.event).expect("just encoded")).collect();
    let checkpoint = before.scorer.checkpoint(at(end));

    let after = site(|_| {});
    assert!(after.scorer.restore(&checkpoint, at(end)).counters);
    // Up to the position of the checkpoint, and what lies behind it though the counters hold it; one is told twice.
    let (first, rest) = events.split_at(events.len() / 2);
    first.iter().for_each(|event| after.scorer.remember(event));
    first.iter().take(5).for_each(|event| after.scorer.remember(event));
    for event in rest {
        assert_eq!(after.scorer.apply_remote(event, BootId([2; 16])), crate::detection::tracker::Applied::default());
    }
    assert_eq!(known(&after), known(&before));

    // The outcome of the open attempt comes: counted once.
    let told = json!({ "request_id": format!("86470-{STRANGE}"), "success": false });
    after.scorer.outcome(record(&told), at(end)).expect("it is known");
    assert_eq!(after.attempts(end), (52, 21));
}

#[test]
fn more_news_than_fit_are_dropped_and_counted() {
    let site = site(|_| {});
    site.tell(0, STRANGE, "bob", false);
    let attempt =
        site.scorer.remembered(crate::detection::attempt::RequestKey::of("0-203.0.113.9-bob")).expect("known");
    let attacks = Attacks::new(&Config::default());
    for _ in 0..NEWS_MAX + 5 {
        attacks.note(&attempt.attempt, true, None);
    }

    assert_eq!(attacks.dropped(), 5);
    assert_eq!(attacks.look(|monitor| monitor.window(at(1), 60).attempts), NEWS_MAX as u64);
}

#[test]
fn a_failure_alarms_where_it_belongs_to_an_attack_against_which_nothing_is_done_yet() {
    let site = site(|_| {});
    let attacks = site.scorer.attacks();
    for number in 0..10 {
        site.tell(number, &network(number), "alice", false);
    }
    assert!(!attacks.alarmed(), "ten networks are no attack");
    site.tell(10, &network(10), "alice", false);
    assert!(attacks.alarmed() && attacks.alarmed(), "until somebody looks");
    attacks.assess(at(11));
    site.tell(12, &network(12), "alice", false);
    assert!(!attacks.alarmed(), "the account is protected by now");

    for number in 0..14 {
        site.tell(20 + number, STRANGE, &format!("user-{number}"), false);
    }
    assert!(!attacks.alarmed());
    site.tell(40, STRANGE, "user-15", false);
    assert!(attacks.alarmed(), "one network over fifteen accounts");
    attacks.assess(at(41));
    site.tell(42, STRANGE, "user-16", false);
    assert!(!attacks.alarmed());
}
