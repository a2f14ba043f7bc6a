//! A daemon that has stopped, and one that is frozen: what a login loses by it. Nothing but time, and little of that.

use std::time::{Duration, Instant};

use serde_json::json;

use super::login::login;
use super::nauthilus::{Nauthilus, Version};
use super::pair;
use crate::support::daemon::Setup;

/// Logins of each story.
const LOGINS: usize = 50;

/// Plays logins; checks that each goes on. Returns what the script added to each before the password check, sorted.
fn added(nauthilus: &Nauthilus, story: &str, error: Option<&str>) -> Vec<Duration> {
    let mut added = Vec::new();
    for number in 0..LOGINS {
        nauthilus.next_request();
        let mut request = login(&format!("{story}-{number}"));
        let begun = Instant::now();
        let refused = nauthilus.before(&request);
        added.push(begun.elapsed());
        assert!(!refused && nauthilus.status_message().is_none(), "{story} {number}: {:?}", nauthilus.log());
        let said = nauthilus.log().get("neural_error").cloned();
        match error {
            Some(error) => assert!(said.is_some_and(|said| said.contains(error)), "{story} {number}"),
            None => assert_eq!(said, None, "{story} {number}"),
        }
        // One post action is enough: it waits as long, but nobody waits for it.
        if number == 0 {
            request["authenticated"] = json!(true);
            nauthilus.after(&request);
        }
    }
    added.sort_unstable();
    let milliseconds = |at: usize| added[at].as_secs_f64() * 1000.0;
    println!("{story}: p50 {:.2} ms, max {:.2} ms added", milliseconds(LOGINS / 2), milliseconds(LOGINS - 1));
    added
}

/// Returns once nobody answers any more: a signal stops one thread after the other.
fn frozen(nauthilus: &Nauthilus) {
    let silent = (0..100).any(|number| {
        nauthilus.next_request();
        nauthilus.before(&login(&format!("freezing-{number}")));
        nauthilus.log().contains_key("neural_error")
    });
    assert!(silent, "the daemon goes on answering");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_login_fails_and_none_waits_long_while_the_daemon_is_stopped_or_frozen() {
    let (mut daemon, nauthilus) = pair(Setup::new("a"), Version::V2).await;
    nauthilus.load("lua-plugins.d/neural.lua");
    added(&nauthilus, "serving", None);
    nauthilus.keep_time();

    daemon.signal("STOP");
    frozen(&nauthilus);
    // The quickest one: other programs may hold the core, and only ever add to it.
    let added_frozen = added(&nauthilus, "frozen", Some("deadline exceeded"));
    daemon.signal("CONT");
    assert!(added_frozen[0] <= Duration::from_millis(150), "{added_frozen:?}");

    daemon.stop().await;
    let stopped = added(&nauthilus, "stopped", Some("cannot reach"));
    assert!(stopped[LOGINS / 2] <= Duration::from_millis(5), "{stopped:?}");
}
