//! Sixty wrong logins from one address, through the shipped script, against a daemon that has been trained.
//!
//! With a static limit of ten a minute the original blocked fifty of them; with its network trained on top, none. What
//! stands in for Nauthilus here keeps that limit and tells its hits as Nauthilus does.

use super::beside;
use super::login::login;
use super::nauthilus::{Nauthilus, Version};
use crate::support::daemon::{Daemon, Setup};
use crate::support::redis::RedisServer;
use crate::support::traffic::{self, generated, under_attack};
use nauthilus_neural::traffic::TrafficOptions;
use serde_json::json;

/// Wrong logins of a story.
const TRIES: usize = 60;
/// What the static rule lets an address have in a minute.
const LIMIT: usize = 10;

/// A node of a real Redis whose model has learnt from generated traffic and may block.
async fn trained(server: &RedisServer, name: &str) -> Daemon {
    // Without its measures against distributed attacks: what blocks here is the rule or the model.
    let setup = Setup::on(server, name).set("attacks.enabled", "false").set("ml.false_positive_budget", "0.01");
    let daemon = Daemon::start(setup).await;
    daemon.ingest(&generated(&TrafficOptions { seed: 41, days: 3.0, users: 60, ..under_attack() })).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    assert!(trained["evaluation"]["threshold"].is_number(), "it may block: {trained}");
    assert_eq!(daemon.http.get("/v1/learning-mode").await.body["learning_mode"], false);
    daemon
}

/// What became of the sixty.
#[derive(Debug, Default)]
struct Seen {
    /// The static rule hit.
    hits: usize,
    /// The static rule hit, and the script refused.
    hits_blocked: usize,
    /// The script refused.
    blocked: usize,
    /// The first that the script refused, counted from 1.
    first: Option<usize>,
}

/// Plays them: a wrong password each time, from the address and for the name that `who` says. `rule`: the static rule is on.
fn play(nauthilus: &Nauthilus, story: &str, rule: bool, who: impl Fn(usize) -> (String, String)) -> Seen {
    let mut seen = Seen::default();
    for number in 0..TRIES {
        nauthilus.next_request();
        let mut request = login(&format!("{story}-{number}"));
        let (address, name) = who(number);
        request["client_ip"] = json!(address);
        request["username"] = json!(name);
        request["password"] = json!(format!("guess{}", "x".repeat(number)));
        // All of them come within a minute.
        let hit = rule && number >= LIMIT;
        if hit {
            request["brute_force_bucket"] = json!("b_1min");
        }
        let refused = nauthilus.before(&request);
        assert!(!nauthilus.log().contains_key("neural_error"), "{:?}", nauthilus.log());
        seen.hits += usize::from(hit);
        seen.hits_blocked += usize::from(hit && refused);
        seen.blocked += usize::from(refused);
        if refused {
            seen.first = seen.first.or(Some(number + 1));
            request["feature"] = json!("neural");
        } else {
            request["authenticated"] = json!(false);
            request["user_found"] = json!(true);
        }
        nauthilus.after(&request);
        assert!(!nauthilus.log().contains_key("neural_error"), "{:?}", nauthilus.log());
    }
    seen
}

/// One address guesses at one account.
fn at_one_account(_: usize) -> (String, String) {
    ("203.0.113.99".to_owned(), "anna.attacked@example.org".to_owned())
}

/// One address tries each name once.
fn at_many_accounts(number: usize) -> (String, String) {
    ("203.0.113.98".to_owned(), format!("name{number}@example.org"))
}

/// Everybody errs once, at home: nothing that a model would mind.
fn by_everybody(number: usize) -> (String, String) {
    (format!("198.51.{number}.1"), format!("user{number}@example.org"))
}

/// D2: a network that was trained on top took the hits of the static rule back.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d2_every_hit_of_the_static_rule_is_blocked_with_a_trained_model_on_top() {
    let server = RedisServer::start();
    let daemon = trained(&server, "a").await;
    let nauthilus = beside(&daemon, Version::V2);
    nauthilus.load("lua-plugins.d/neural.lua");

    let attack = play(&nauthilus, "attack", true, at_one_account);
    let quiet = play(&nauthilus, "quiet", true, by_everybody);

    println!("with the static rule: {attack:?}, and where the model minds nothing: {quiet:?}");
    assert_eq!((attack.hits, attack.hits_blocked), (TRIES - LIMIT, TRIES - LIMIT), "{attack:?}");
    assert_eq!(
        (quiet.hits_blocked, quiet.blocked),
        (TRIES - LIMIT, TRIES - LIMIT),
        "a rule alone is enough: {quiet:?}"
    );
}

/// D3: the network alone could never block, whatever it saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d3_without_a_static_rule_the_model_blocks_three_quarters_of_an_attack_and_nobody_else() {
    let server = RedisServer::start();
    let daemon = trained(&server, "a").await;
    let nauthilus = beside(&daemon, Version::V2);
    nauthilus.load("lua-plugins.d/neural.lua");

    let one = play(&nauthilus, "one", false, at_one_account);
    let many = play(&nauthilus, "many", false, at_many_accounts);
    let quiet = play(&nauthilus, "quiet", false, by_everybody);

    println!("without a static rule: {one:?}, over many accounts: {many:?}");
    assert!(one.hits == 0 && one.blocked >= 45, "{one:?}");
    assert!(many.blocked >= 45, "{many:?}");
    assert_eq!(quiet.blocked, 0, "{quiet:?}");
    let again = traffic::attempt(1, "203.0.113.99", "anna.attacked@example.org");
    let again = daemon.http.post("/v1/score", &again).await.body;
    assert_eq!(again["reason"], "the probability of attack exceeds the block threshold", "{again}");
}
