//! What a mail site has: orders of operators for single pairs, web mail and proxies, aliases, spellings, look-ups, and attempts
//! that somebody else has refused.

use serde_json::{Value, json};

use super::*;
use crate::detection::activity::{Counts, DAY_MS, HOUR_MS};
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::overrides::{Override, OverrideKind, Overrides, parse_network};
use crate::detection::record::AttemptRecord;
use crate::detection::verdict::Verdict;
use crate::learning::artifact::tests::artifact;
use crate::serving::overrides::Orders;
use crate::serving::slot::ServedModel;
use crate::store::registry::ModelId;

const NOW: Timestamp = Timestamp::from_millis(1_767_571_200_000);
const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "203.0.113.9";
/// Places in a snapshot of `compat-6`.
const FAILED: usize = 1;
const NAMES: usize = 2;

struct Site {
    scorer: Scorer,
    log: Arc<AttemptLog>,
    metrics: Arc<Metrics>,
}

/// A node that trusts 10.0.0.1, with a model that blocks whatever it is asked about.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    let mut config = Config::default();
    config.lists.trusted_networks = vec!["10.0.0.1/32".parse().expect("a network")];
    config.ml.threshold = Some(1e-12);
    change(&mut config);
    let metrics = Arc::new(Metrics::new("0"));
    let log = Arc::new(AttemptLog::new(BootId([1; 16]), 10_000, metrics.status().clone()));
    let slot = Arc::new(ModelSlot::new());
    let id = ModelId { lineage: [1; 16], generation: 1, sha256: [1; 32] };
    slot.swap(Some(Arc::new(ServedModel { id, artifact: artifact(1) })));
    let scorer = Scorer::new(ScorerParts {
        config: Arc::new(ArcSwap::from_pointee(config)),
        schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
        geo: GeoDatabases::default(),
        slot,
        mode: Arc::default(),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: log.clone(),
        metrics: metrics.clone(),
    });
    Site { scorer, log, metrics }
}

fn record(number: usize, ip: &str, username: &str, more: &Value) -> AttemptRecord {
    let mut fields = json!({ "request_id": format!("r{number}"), "client_ip": ip, "username": username });
    fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    AttemptRecord::parse(fields.to_string().as_bytes()).expect("a record")
}

impl Site {
    /// Scores and returns the answer with the features, those at [`FAILED`] and [`NAMES`] as counts.
    fn score(&self, number: usize, ip: &str, username: &str, more: &Value) -> (ScoreAnswer, Vec<f32>) {
        let answer = self.scorer.score(record(number, ip, username, more), NOW, 0).expect("a sound attempt");
        let remembered = self.scorer.remembered(RequestKey::of(&format!("r{number}")));
        let snapshot = remembered.and_then(|remembered| remembered.snapshot);
        let mut values = snapshot.map(|snapshot| snapshot.values.clone()).unwrap_or_default();
        for (place, scale) in [(FAILED, 100.0), (NAMES, 20.0)] {
            if let Some(value) = values.get_mut(place) {
                *value = (*value * scale).round();
            }
        }
        (answer, values)
    }

    /// Tells a whole attempt: failed, unless `more` says otherwise.
    fn tell(&self, number: usize, ip: &str, username: &str, more: &Value) {
        let mut fields = json!({ "success": false });
        fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let at = NOW.plus_millis(number as i64 - 100_000);
        self.scorer.outcome(record(number, ip, username, &fields), at).expect("a sound attempt");
    }

    /// How many of the events that are told to the fleet can teach something.
    fn samples(&self) -> (usize, usize) {
        let entries = self.log.oldest(10_000).map(|(_, entries)| entries).unwrap_or_default();
        (entries.len(), entries.iter().filter(|entry| entry.sample.is_some()).count())
    }

    fn watched(&self) -> (u64, u64, u64) {
        let hour = self.scorer.attacks().look(|monitor| monitor.window(NOW, 3600));
        (hour.attempts, hour.strange_failures, hour.unique_users)
    }

    fn order(&self, kind: OverrideKind, username: &str, network: &str) {
        let order = Override {
            account: self.scorer.pseudonymizer().name(username),
            network: parse_network(network).expect("a network"),
            kind,
            since: NOW,
            until: NOW.plus_millis(HOUR_MS),
            by: "alice".to_owned(),
            reason: "ticket 4711".to_owned(),
        };
        self.scorer.overrides().follow(Orders { revision: Some("1".to_owned()), overrides: Overrides::new([order]) });
    }

    fn user_counts(&self, username: &str) -> Counts {
        let user = self.scorer.pseudonymizer().name(username);
        self.scorer.lock().tracker.activity().user_counts(user, NOW, DAY_MS)
    }

    fn network_counts(&self, ip: &str) -> Counts {
        let record = record(77_777, ip, "nobody", &json!({}));
        let checked = self.scorer.check_live(record, NOW).expect("a sound attempt");
        self.scorer.lock().tracker.activity().view(&checked.attempt).network_counts(DAY_MS)
    }
}

#[test]
fn an_order_is_obeyed_and_counted_and_changes_nothing_that_is_learned() {
    let (plain, ordered) = (site(|_| {}), site(|_| {}));
    ordered.order(OverrideKind::Release, "alice", CLIENT);
    for site in [&plain, &ordered] {
        site.tell(1, CLIENT, "alice", &json!({}));
        site.score(2, CLIENT, "alice", &json!({}));
        site.tell(2, CLIENT, "alice", &json!({}));
    }

    let (blocked, _) = plain.score(3, CLIENT, "alice", &json!({}));
    let (released, _) = ordered.score(3, CLIENT, "Alice ", &json!({}));

    assert_eq!((blocked.verdict, blocked.override_id), (Verdict::Block, None));
    assert_eq!(released.verdict, Verdict::Allow);
    assert!(released.override_id.is_some());
    let [without, with] = [&plain, &ordered].map(|site| {
        let (_, entries) = site.log.oldest(100).expect("told");
        let samples: Vec<_> = entries.into_iter().map(|entry| entry.sample.expect("it teaches").bytes).collect();
        samples
    });
    assert_eq!(without, with, "the same samples");
    assert_eq!(plain.watched(), ordered.watched());
    let text = ordered.metrics.render(None);
    assert!(text.contains("nauthilus_neural_override_verdicts_total{kind=\"release\"} 2"), "{text}");
}

#[test]
fn the_breaker_does_not_look_at_what_an_operator_has_decided() {
    for (kind, expected) in [(None, (1, 1)), (Some(OverrideKind::Release), (0, 0)), (Some(OverrideKind::Block), (0, 0))]
    {
        let site = site(|_| {});
        site.tell(1, CLIENT, "alice", &json!({ "success": true }));
        if let Some(kind) = kind {
            site.order(kind, "alice", CLIENT);
        }

        site.score(2, CLIENT, "alice", &json!({}));

        let counts = site.scorer.block_counts(NOW);
        assert_eq!((counts.attempts, counts.blocks), expected, "{kind:?}");
    }
}

#[test]
fn attack_protection_asks_nothing_of_a_released_pair() {
    let site = site(|config| config.ml.threshold = Some(1.0));
    let account = site.scorer.pseudonymizer().name("alice").into();
    let mut protection = crate::detection::attacks::Protection::default();
    protection.protect_account(account, NOW);
    protection.limit(CLIENT.parse().expect("an address"), NOW);
    site.scorer.attacks().merge(&protection, NOW);
    let (limited, _) = site.score(1, CLIENT, "alice", &json!({}));
    assert_eq!((limited.verdict, limited.retry_after_s), (Verdict::Block, Some(60)));

    site.order(OverrideKind::Release, "alice", CLIENT);

    let (released, _) = site.score(2, CLIENT, "alice", &json!({}));
    assert_eq!((released.verdict, released.would_be, released.retry_after_s), (Verdict::Allow, Verdict::Allow, None));
    assert_eq!(site.score(3, CLIENT, "bob", &json!({})).0.verdict, Verdict::Block, "the network still has to wait");
}

#[test]
fn a_trusted_proxy_is_never_one_attacker() {
    let site = site(|_| {});
    for number in 0..30 {
        site.tell(number, PROXY, &format!("user{number}"), &json!({}));
    }
    site.tell(30, PROXY, "alice", &json!({}));

    let (answer, values) = site.score(31, PROXY, "alice", &json!({}));

    assert_eq!((values[FAILED], values[NAMES]), (0.0, 1.0), "nothing is known of its address");
    assert_eq!(site.network_counts("10.0.0.2"), Counts::default(), "nor of its neighbours'");
    assert_eq!((answer.verdict, site.watched()), (Verdict::Allow, (0, 0, 0)));
    assert_eq!(site.samples(), (31, 0), "told to the fleet, and nothing is learned from it");
    assert_eq!(site.user_counts("alice").failures, 1, "who is aimed at there is aimed at");

    // Peers count by their own lists, and a restored checkpoint goes on with them.
    let peer = self::site(|_| {});
    let (_, entries) = site.log.oldest(100).expect("told");
    for entry in entries {
        peer.scorer.apply_remote(&AttemptEvent::decode(&entry.event).expect("just encoded"), BootId([2; 16]));
    }
    assert!(peer.scorer.restore(&peer.scorer.checkpoint(NOW), NOW).counters);
    peer.tell(40, PROXY, "bob", &json!({}));
    let (_, values) = peer.score(41, PROXY, "carol", &json!({}));
    assert_eq!((values[FAILED], values[NAMES], peer.watched()), (0.0, 1.0, (0, 0, 0)));
}

#[test]
fn behind_a_trusted_proxy_the_forwarded_address_counts() {
    let site = site(|_| {});
    let forwarded = json!({ "forwarded_ip": CLIENT });
    for number in 0..12 {
        site.tell(number, PROXY, &format!("user{number}"), &forwarded);
    }

    let (answer, values) = site.score(12, PROXY, "alice", &forwarded);

    assert_eq!((values[FAILED], values[NAMES]), (12.0, 13.0));
    assert_eq!(answer.verdict, Verdict::Block, "it is not the proxy that is judged");
    assert_eq!((site.samples(), site.watched().1), ((12, 12), 12));
    assert_eq!(site.network_counts(CLIENT).failures, 12);
    let direct = site.score(13, CLIENT, "alice", &json!({})).1;
    assert_eq!(direct[NAMES], 13.0, "the same client, whichever way it comes");
    let other = site.score(14, PROXY, "alice", &json!({ "forwarded_ip": "198.51.100.1" })).1;
    assert_eq!((other[FAILED], other[NAMES]), (0.0, 1.0), "another client of the same proxy");
}

#[test]
fn nobody_else_may_say_who_the_client_is() {
    let site = site(|_| {});
    for number in 0..12 {
        site.tell(number, CLIENT, &format!("user{number}"), &json!({ "forwarded_ip": format!("198.51.100.{number}") }));
    }

    let (_, values) = site.score(12, CLIENT, "alice", &json!({ "forwarded_ip": PROXY }));

    assert_eq!((values[FAILED], values[NAMES]), (12.0, 13.0));
    assert_eq!(site.score(13, CLIENT, "alice", &json!({ "forwarded_ip": PROXY })).0.verdict, Verdict::Block);
}

#[test]
fn a_trusted_account_is_known_by_alias_and_in_any_spelling_and_teaches_nothing() {
    let site = site(|config| config.lists.trusted_accounts = vec!["Monitor@Example.org".to_owned()]);
    let alias = json!({ "account": " monitor@example.ORG" });
    for (number, (username, more)) in [("MONITOR@example.org", json!({})), ("probe", alias)].into_iter().enumerate() {
        assert_eq!(site.score(number, CLIENT, username, &more).0.verdict, Verdict::Allow, "{username}");
        site.tell(number, CLIENT, username, &more);
    }

    assert_eq!((site.samples(), site.watched()), ((2, 0), (0, 0, 0)));
    assert_eq!(site.score(9, CLIENT, "monitor2@example.org", &json!({})).0.verdict, Verdict::Block);
}

#[test]
fn aliases_and_spellings_of_an_account_are_one_account() {
    let site = site(|_| {});
    for number in 0..6 {
        site.tell(number, CLIENT, &format!("alias{number}"), &json!({ "account": "Alice@Example.org" }));
    }
    for (number, spelling) in [(6, "ALICE@example.org"), (7, " alice@EXAMPLE.org ")] {
        site.tell(number, CLIENT, spelling, &json!({}));
    }

    let (_, values) = site.score(8, CLIENT, "alias9", &json!({ "account": "alice@example.org" }));

    assert_eq!((values[FAILED], values[NAMES]), (8.0, 1.0));
    assert_eq!(site.user_counts("alice@example.org").failures, 8);
    assert_eq!(site.watched().2, 1, "one account for the watch as well");
    let (_, values) = site.score(9, CLIENT, "bob", &json!({}));
    assert_eq!(values[NAMES], 2.0);
}

#[test]
fn a_look_up_is_neither_a_failure_nor_a_guess() {
    let site = site(|_| {});
    let look_up = json!({ "no_auth": true });
    for number in 0..30 {
        site.score(number, CLIENT, &format!("user{number}"), &look_up);
        site.tell(number, CLIENT, &format!("user{number}"), &look_up);
    }
    let fields = json!({ "ts": NOW.to_string(), "no_auth": true, "success": false });
    let bulk = site.scorer.check(record(50, CLIENT, "alice", &fields), NOW).expect("sound");
    assert_eq!(site.scorer.ingest(bulk, NOW), Ok(None));

    let (_, values) = site.score(60, CLIENT, "alice", &json!({}));

    assert_eq!(
        (values[0], values[FAILED], values[NAMES]),
        (site.score(61, "192.0.2.1", "x", &json!({})).1[0], 0.0, 1.0)
    );
    assert_eq!(site.samples(), (0, 0), "nobody is told");
    assert_eq!(site.watched(), (2, 0, 2), "only the two attempts");
    assert_eq!(site.user_counts("user1"), Counts::default());
}

#[test]
fn what_was_refused_before_us_is_an_attempt_and_no_failure_and_teaches_nothing() {
    let site = site(|_| {});
    let blocked = json!({ "success": null, "blocked": true });
    for number in 0..12 {
        site.tell(number, CLIENT, &format!("user{number}"), &blocked);
    }
    site.tell(12, CLIENT, "alice", &blocked);

    let (_, values) = site.score(13, CLIENT, "alice", &json!({}));

    assert_eq!((values[FAILED], values[NAMES]), (0.0, 13.0), "names were tried, passwords were not");
    assert_eq!(site.user_counts("alice"), Counts { attempts: 2, failures: 0, successes: 0 });
    let (attempts, failures, _) = site.watched();
    assert_eq!((attempts, failures), (14, 0));
    assert_eq!(site.samples(), (13, 0));
}
