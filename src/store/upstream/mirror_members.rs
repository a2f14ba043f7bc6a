//! The sorted sets of the original's scripts (each attempt, address and user of a window), the names that fail most, and
//! the log of threats: members are added in bounded batches.
//!
//! All nodes add what they were told themselves; a member has one time, and the newer stays, so it makes no difference who
//! comes first or comes twice. Only the counts of failed names are sums: they are sent once, and rather lost than counted
//! twice. What has left its window is taken away with each write. A key of another type is left alone and reported; the
//! others are written. Nothing is read back to be believed, and which attempts count is not decided here.

use std::collections::BTreeMap;

use redis::Script;
use serde::Serialize;

use super::source::{ReadError, Source};
use crate::detection::attacks::{Metrics, Settings, WINDOWS_S};
use crate::detection::attempt::Timestamp;

/// Most members of a sorted set of a window, whichever nodes wrote them; the newest stay.
pub const WINDOW_MAX: usize = 20_000;
/// Most members of a sorted set of one account.
pub const ACCOUNT_WINDOW_MAX: usize = 1000;
/// Names that fail most: so many stand there.
pub const FAILED_MAX: usize = 100;
/// Seconds after which counts of failed names have fallen by half.
pub const HALF_LIFE_S: u32 = 12 * HOUR_S;
const HOUR_S: u32 = 3600;
const DAY_S: u32 = 24 * HOUR_S;
/// Threats below this are none.
const THREAT_MIN: f64 = 0.5;
/// Members of one call: a thousand take the server about a millisecond.
const BATCH_MEMBERS: usize = 1000;
/// Keys of one call.
const BATCH_KEYS: usize = 200;

/// Members with their newest times in seconds; of too many the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    most: usize,
    members: BTreeMap<String, i64>,
}

impl Newest {
    /// None yet, at most `most`.
    pub fn new(most: usize) -> Self {
        Self { most, members: BTreeMap::new() }
    }

    /// Takes in a member that was seen at `second`.
    pub fn note(&mut self, member: String, second: i64) {
        let known = self.members.entry(member).or_insert(second);
        *known = second.max(*known);
        if self.members.len() > 2 * self.most {
            self.trim();
        }
    }

    /// Members that were seen after `second`, at most as many as are allowed.
    fn after(&self, second: i64) -> Vec<(i64, &str)> {
        let mut found: Vec<_> = self.members.iter().map(|(member, &at)| (at, member.as_str())).collect();
        found.retain(|&(at, _)| at > second);
        found.sort_unstable();
        found.split_off(found.len().saturating_sub(self.most))
    }

    fn trim(&mut self) {
        let kept: Vec<(i64, String)> =
            self.after(i64::MIN).into_iter().map(|(at, member)| (at, member.to_owned())).collect();
        self.members = kept.into_iter().map(|(at, member)| (member, at)).collect();
    }
}

/// What one account was tried from, and when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountMembers {
    /// Addresses.
    pub ips: Newest,
    /// Failures.
    pub fails: Newest,
}

impl Default for AccountMembers {
    fn default() -> Self {
        Self { ips: Newest::new(ACCOUNT_WINDOW_MAX), fails: Newest::new(ACCOUNT_WINDOW_MAX) }
    }
}

/// A name under which somebody failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedName {
    /// As typed.
    pub name: String,
    /// Failures since this node wrote last.
    pub more: u64,
    /// All that this node knows of: what counts where the name does not stand there, because others failed more.
    pub all: u64,
}

/// What is to be said of the threat.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedThreat {
    /// 0–1.
    pub threat: f64,
    /// The measures in force.
    pub settings: Settings,
    /// The last hour.
    pub hour: Metrics,
}

/// What has passed a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    /// Attempts.
    pub attempts: Newest,
    /// Addresses.
    pub ips: Newest,
    /// Users.
    pub users: Newest,
    /// Accounts by name.
    pub accounts: BTreeMap<String, AccountMembers>,
    /// Accounts against which nothing is held any more, by name.
    pub reset: Vec<String>,
    /// Names that fail.
    pub failed: Vec<FailedName>,
    /// The threat now.
    pub threat: Option<LoggedThreat>,
}

impl Default for Members {
    fn default() -> Self {
        let [attempts, ips, users] = [WINDOW_MAX; 3].map(Newest::new);
        Self { attempts, ips, users, accounts: BTreeMap::new(), reset: Vec::new(), failed: Vec::new(), threat: None }
    }
}

/// KEYS: one for each step. ARGV: the time and the steps. Answers with the numbers of keys of another type, each followed
/// by that type.
const SCRIPT: &str = "
local now = tonumber(ARGV[1])
local foreign = {}
local function window(key, step)
  for _, member in ipairs(step.members) do
    local known = tonumber(redis.call('ZSCORE', key, member[2]) or '')
    if not known or known < member[1] then redis.call('ZADD', key, member[1], member[2]) end
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', step.since)
  redis.call('ZREMRANGEBYSCORE', key, '(' .. now + 60, '+inf')
  redis.call('ZREMRANGEBYRANK', key, 0, -1 - step.most)
  if #step.members > 0 then redis.call('EXPIRE', key, step.ttl) end
end
local function failed(key, step)
  redis.call('ZREMRANGEBYRANK', key, 0, -1 - step.most)
  local left = redis.call('TTL', key)
  local halvings = left < 0 and 0 or math.floor((step.ttl - left) / step.half_life)
  if halvings > 0 then
    local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do
      local less = math.floor(tonumber(all[i + 1]) / 2 ^ halvings)
      if less >= 1 then redis.call('ZADD', key, less, all[i]) else redis.call('ZREM', key, all[i]) end
    end
  end
  for _, name in ipairs(step.names) do
    if redis.call('ZSCORE', key, name[3]) then
      redis.call('ZINCRBY', key, name[1], name[3])
    else
      redis.call('ZADD', key, name[2], name[3])
    end
  end
  redis.call('ZREMRANGEBYRANK', key, 0, -1 - step.most)
  if left < 0 or halvings > 0 then redis.call('EXPIRE', key, step.ttl) end
end
local function log(key, step)
  local known = tonumber(redis.call('HGET', key, 'threat_level') or '')
  if not known or known <= step.threat then
    redis.call('DEL', key)
    redis.call('HSET', key, unpack(step.fields))
    redis.call('EXPIRE', key, step.ttl)
  end
end
for i, step in ipairs(cjson.decode(ARGV[2])) do
  local key, found = KEYS[i], redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= step.kind then
    foreign[#foreign + 1] = i
    foreign[#foreign + 1] = found
  elseif step.how == 'window' then window(key, step)
  elseif step.how == 'failed' then failed(key, step)
  elseif step.how == 'log' then log(key, step)
  else redis.call('DEL', key) end
end
return foreign";

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
enum How<'a> {
    Window { since: i64, most: usize, ttl: u32, members: Vec<(i64, &'a str)> },
    Failed { most: usize, ttl: u32, half_life: u32, names: Vec<(u64, u64, &'a str)> },
    Log { threat: f64, ttl: u32, fields: Vec<String> },
    Forget,
}

impl How<'_> {
    /// About how much it gives the server to do.
    fn cost(&self) -> usize {
        match self {
            Self::Window { members, .. } => 1 + members.len(),
            Self::Failed { names, .. } => 1 + FAILED_MAX + names.len(),
            Self::Log { .. } | Self::Forget => 1,
        }
    }
}

/// What is done to one key.
#[derive(Debug, Serialize)]
struct Step<'a> {
    #[serde(skip)]
    key: String,
    /// The key as it may be shown: without the name of an account.
    #[serde(skip)]
    shown: String,
    kind: &'static str,
    #[serde(flatten)]
    how: How<'a>,
}

/// A key of another type than the original's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The key, without names of accounts.
    pub key: String,
    /// Its type.
    pub kind: String,
}

/// How long a window lives after its last member: as long as the original's, twice its length. A day and a week, which only
/// scripts of 1.12 and later have, live no longer than what stands in them counts.
fn life(window: u32) -> u32 {
    if window <= HOUR_S { 2 * window } else { window }
}

struct Steps<'a> {
    root: &'a str,
    now: i64,
    steps: Vec<Step<'a>>,
}

impl<'a> Steps<'a> {
    fn push(&mut self, rest: &str, shown: &str, kind: &'static str, how: How<'a>) {
        let [key, shown] = [rest, shown].map(|rest| format!("{}{rest}", self.root));
        self.steps.push(Step { key, shown, kind, how });
    }

    /// One window, in steps that fit into a call each.
    fn window(&mut self, rest: &str, shown: &str, seconds: u32, newest: &'a Newest) {
        let since = self.now - i64::from(seconds);
        let members = newest.after(since);
        let step = |members: &[(i64, &'a str)]| How::Window {
            since,
            most: newest.most,
            ttl: life(seconds),
            members: members.to_vec(),
        };
        if members.is_empty() {
            self.push(rest, shown, "zset", step(&[]));
        }
        for some in members.chunks(BATCH_MEMBERS) {
            self.push(rest, shown, "zset", step(some));
        }
    }
}

fn response(settings: &Settings) -> String {
    let measures = [
        ("captcha", settings.captcha_enabled),
        ("rate_limit", settings.rate_limit_enabled),
        ("monitoring", settings.monitoring_mode),
    ];
    let told: Vec<&str> = measures.into_iter().filter(|measure| measure.1).map(|measure| measure.0).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn log_fields(log: &LoggedThreat) -> Vec<String> {
    let hour = &log.hour;
    let metrics = serde_json::json!({
        "attempts": hour.attempts,
        "unique_ips": hour.unique_ips,
        "unique_users": hour.unique_users,
        "attempts_per_ip": hour.attempts_per_ip,
        "attempts_per_user": hour.attempts_per_user,
        "ips_per_user": hour.ips_per_user,
    });
    let pairs = [
        ("threat_level", log.threat.to_string()),
        ("response", response(&log.settings)),
        ("metrics", metrics.to_string()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

impl Members {
    fn steps<'a>(&'a self, root: &'a str, now: i64) -> Vec<Step<'a>> {
        let mut steps = Steps { root, now, steps: Vec::new() };
        let account_keys =
            ["ips", "fails"].map(|what| move |name: &str| format!("multilayer:account:{name}:{what}:{HOUR_S}"));
        for name in &self.reset {
            for key in account_keys {
                steps.push(&key(name), &key("…"), "zset", How::Forget);
            }
        }
        let kinds = [("auth_attempts", &self.attempts), ("unique_ips", &self.ips), ("unique_users", &self.users)];
        for (kind, newest) in kinds {
            for seconds in WINDOWS_S {
                let key = format!("multilayer:global:{kind}:{seconds}");
                steps.window(&key, &key, seconds, newest);
            }
        }
        for (name, account) in &self.accounts {
            for (key, newest) in account_keys.into_iter().zip([&account.ips, &account.fails]) {
                steps.window(&key(name), &key("…"), HOUR_S, newest);
            }
        }
        let names = self.failed.iter().map(|failed| (failed.more, failed.all, failed.name.as_str())).collect();
        let how = How::Failed { most: FAILED_MAX, ttl: 4 * HALF_LIFE_S, half_life: HALF_LIFE_S, names };
        steps.push("top_failed_logins", "top_failed_logins", "zset", how);
        if let Some(log) = self.threat.as_ref().filter(|log| log.threat >= THREAT_MIN) {
            // By the hour, so that all nodes write of one threat, and a month has a bound.
            let key = format!("multilayer:security:log:{}", now - now.rem_euclid(i64::from(HOUR_S)));
            let how = How::Log { threat: log.threat, ttl: 31 * DAY_S, fields: log_fields(log) };
            steps.push(&key, &key, "hash", how);
        }
        steps.steps
    }
}

impl Source {
    /// Adds what has passed a node before `at` behind `root`, and takes away what has left its window. Answers with the keys
    /// of another type than the original's: these were left alone, all others were written.
    ///
    /// # Errors
    /// When the server does not answer or refuses; some of it may have been written then. It may be sent again, but not
    /// [`Members::failed`].
    pub async fn put_members(
        &self,
        root: &str,
        at: Timestamp,
        members: &Members,
    ) -> Result<Vec<ForeignKey>, ReadError> {
        let now = at.millis().div_euclid(1000);
        let steps = members.steps(root, now);
        let script = Script::new(SCRIPT);
        let mut foreign = Vec::new();
        let mut rest = steps.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(fitting(rest));
            rest = later;
            let text = serde_json::to_string(batch).map_err(|_| ReadError::Unexpected)?;
            let mut call = script.prepare_invoke();
            for step in batch {
                call.key(&step.key);
            }
            let found: Vec<(usize, String)> = call
                .arg(now)
                .arg(text)
                .invoke_async(&mut self.connection.clone())
                .await
                .map_err(|source| ReadError::Unavailable { operation: "write the attempts to", source })?;
            for (number, kind) in found {
                let step = number.checked_sub(1).and_then(|place| batch.get(place)).ok_or(ReadError::Unexpected)?;
                let found = ForeignKey { key: step.shown.clone(), kind };
                if !foreign.contains(&found) {
                    foreign.push(found);
                }
            }
        }
        Ok(foreign)
    }
}

/// How many of some steps fit into one call; at least one.
fn fitting(steps: &[Step<'_>]) -> usize {
    let mut cost = 0;
    let fits = steps.iter().take(BATCH_KEYS).take_while(|step| {
        cost += step.how.cost();
        cost <= BATCH_MEMBERS
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_members_the_newest_stay_whatever_order_they_come_in() {
        let mut newest = Newest::new(3);
        for second in [5, 1, 9, 7, 3, 8, 2, 6, 4] {
            newest.note(format!("m{second}"), second);
        }
        newest.note("m9".to_owned(), 2);

        assert_eq!(newest.after(0), [(7, "m7"), (8, "m8"), (9, "m9")]);
        assert_eq!(newest.after(8), [(9, "m9")]);
        assert!(newest.members.len() <= 6);
    }

    #[test]
    fn each_call_is_bounded_and_nothing_is_left_out() {
        let mut members = Members::default();
        for number in 0..2500 {
            members.attempts.note(format!("a{number}"), 1000);
        }
        for number in 0..300 {
            let account = members.accounts.entry(format!("user{number}")).or_default();
            account.ips.note("198.51.100.7".to_owned(), 1000);
        }
        members.failed = (0..5000).map(|number| FailedName { name: number.to_string(), more: 1, all: 1 }).collect();

        let steps = members.steps("ntc:", 1000);
        let (mut rest, mut told) = (steps.as_slice(), 0);
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(fitting(rest));
            rest = later;
            told += batch.len();
            let cost: usize = batch.iter().map(|step| step.how.cost()).sum();
            assert!(batch.len() == 1 || cost <= BATCH_MEMBERS, "{cost}");
            assert!(batch.len() <= BATCH_KEYS);
        }

        assert_eq!(told, 6 * 3 + 2 * 6 + 2 * 300 + 1, "three calls for each window of attempts");
        assert!(steps.iter().all(|step| !step.shown.contains("user1")), "no names are shown");
    }
}
