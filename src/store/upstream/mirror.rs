//! Writes what is known of distributed attacks to the keys of the original's scripts (`multilayer:…`), in one step.
//!
//! Any number of nodes may do it at once. None of them holds a lock there, because each knows names that the others have
//! never heard: an attacked account carries the time of its evidence, and the newer stays; numbers stay where a node that
//! has counted more wrote them just now. Every key lives no longer than the original's, at most a week. A key of another
//! type stops everything before anything is written. Nothing is read back to be believed. Each attempt and each address is
//! the matter of `mirror_members`.

use std::collections::BTreeMap;

use redis::Script;
use serde::Serialize;

use super::source::{ReadError, Source};
use crate::detection::attacks::{Metrics, Settings};
use crate::detection::attempt::Timestamp;

/// Most accounts, and most networks, that stand there, whichever nodes wrote them.
pub const MEMBERS_MAX: usize = 1000;
/// Longest name of an account that becomes part of a key.
pub const NAME_MAX: usize = 256;
/// Hours that are written at most.
pub const HOURS_MAX: usize = 24;
/// Seconds for which the numbers of a node that has counted more are left alone.
const FRESH_S: u32 = 30;
const HOUR_S: u32 = 3600;
const DAY_S: u32 = 24 * HOUR_S;

/// What is written; lists that are too long are cut off.
#[derive(Debug, Clone, PartialEq)]
pub struct AttackState {
    /// Now.
    pub at: Timestamp,
    /// The last hour.
    pub hour: Metrics,
    /// Hours by their names (`YYYY-MM-DD-HH`), each with the time up to which it was counted.
    pub hours: Vec<(String, Timestamp, Metrics)>,
    /// How threatened the site is, 0–1.
    pub threat: f64,
    /// The settings in force.
    pub settings: Settings,
    /// The threshold in force; 1 where the model blocks nothing.
    pub ml_threshold: f64,
    /// Tries a minute that a stranger is told to keep to, where tries are limited.
    pub rate_limit_max: u32,
    /// Accounts with a measure, newest evidence first.
    pub accounts: Vec<MirroredAccount>,
    /// Names of accounts that had one when this node wrote before and have none now.
    pub ended: Vec<String>,
    /// Evidence from before this time holds no longer.
    pub since: Timestamp,
    /// Blocked regions, as codes.
    pub regions: Vec<String>,
    /// Networks that are slowed down, those longest to stay first.
    pub networks: Vec<String>,
    /// Attempts of the last day by code of the country, the most first.
    pub countries: Vec<(String, u64)>,
}

/// One account at which strangers need a second proof.
#[derive(Debug, Clone, PartialEq)]
pub struct MirroredAccount {
    /// Its name.
    pub name: String,
    /// The newest evidence.
    pub evidence: Timestamp,
    /// Networks that guess at it and their failures within the hour, as far as this node has counted them.
    pub counted: Option<(u32, u32)>,
}

/// KEYS: as the plan names them by number, from 1. ARGV: the plan. Answers with the number of a key of another type and
/// that type, or with 0.
const SCRIPT: &str = "
local plan = cjson.decode(ARGV[1])
for i, kind in ipairs(plan.kinds) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= kind then return {i, found} end
end
local function hash(key, value)
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(value.fields))
  redis.call('EXPIRE', key, value.ttl)
end
local function set(key, members, ttl)
  redis.call('DEL', key)
  if #members > 0 then
    redis.call('SADD', key, unpack(members))
    redis.call('EXPIRE', key, ttl)
  end
end
local function behind(key, value)
  local theirs = tonumber(redis.call('HGET', key, 'attempts') or '')
  if not theirs or theirs <= value.attempts then return false end
  if not value.fresh then return true end
  local updated = tonumber(redis.call('HGET', key, 'last_updated') or '')
  return updated and math.abs(plan.now - updated) <= value.fresh
end
local speaks = not behind(KEYS[1], plan.numbers[1])
for _, value in ipairs(plan.numbers) do
  if (value.key == 1 and speaks) or (value.key ~= 1 and not behind(KEYS[value.key], value)) then
    hash(KEYS[value.key], value)
  end
end
if speaks then hash(KEYS[2], plan.settings) end
set(KEYS[3], plan.regions, 3600)
set(KEYS[4], plan.networks, 3600)
local attacked = KEYS[5]
local function leave(names)
  for _, name in ipairs(names) do redis.call('ZREM', attacked, name) end
end
leave(plan.ended)
leave(redis.call('ZRANGEBYSCORE', attacked, '-inf', '(' .. plan.since, 'LIMIT', 0, 5000))
leave(redis.call('ZRANGEBYSCORE', attacked, '(' .. plan.now + 60, '+inf', 'LIMIT', 0, 5000))
for _, account in ipairs(plan.accounts) do
  local known = tonumber(redis.call('ZSCORE', attacked, account.name) or '')
  if not known or known < account.evidence then redis.call('ZADD', attacked, account.evidence, account.name) end
end
leave(redis.call('ZRANGE', attacked, 0, -1 - plan.most))
redis.call('EXPIRE', attacked, 172800)
set(KEYS[6], redis.call('ZRANGE', attacked, 0, -1), 3600)
for _, key in ipairs(plan.forgotten) do redis.call('DEL', KEYS[key]) end
for _, value in ipairs(plan.counted) do hash(KEYS[value.key], value) end
set(KEYS[7], plan.countries, 86400)
for i, key in ipairs(plan.country_keys) do redis.call('SET', KEYS[key], plan.country_counts[i], 'EX', 86400) end
return {0, ''}";

/// A hash that is written as a whole.
#[derive(Debug, Serialize)]
struct Hash {
    key: usize,
    /// Names and values in turn.
    fields: Vec<String>,
    ttl: u32,
    attempts: u64,
    /// Seconds for which greater numbers there are left alone; for ever if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Member<'a> {
    name: &'a str,
    evidence: i64,
}

/// What the script does.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    kinds: Vec<&'static str>,
    now: i64,
    since: i64,
    most: usize,
    numbers: Vec<Hash>,
    settings: Hash,
    regions: &'a [String],
    networks: &'a [String],
    ended: &'a [String],
    accounts: Vec<Member<'a>>,
    forgotten: Vec<usize>,
    counted: Vec<Hash>,
    countries: Vec<&'a str>,
    country_keys: Vec<usize>,
    country_counts: Vec<String>,
}

/// The keys, each with its type and what may be said of it: a name of an account is not.
#[derive(Debug, Default)]
struct Keys {
    names: Vec<String>,
    kinds: Vec<&'static str>,
    shown: Vec<String>,
    root: String,
}

impl Keys {
    fn add(&mut self, rest: &str, kind: &'static str) -> usize {
        let key = format!("{}multilayer:{rest}", self.root);
        self.shown.push(key.clone());
        self.push(key, kind)
    }

    fn account(&mut self, name: &str) -> usize {
        self.shown.push(format!("{}multilayer:account:…:metrics", self.root));
        self.push(format!("{}multilayer:account:{name}:metrics", self.root), "hash")
    }

    fn push(&mut self, key: String, kind: &'static str) -> usize {
        self.names.push(key);
        self.kinds.push(kind);
        self.names.len()
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.millis().div_euclid(1000)
}

fn fields<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn numbers(key: usize, metrics: &Metrics, at: Timestamp, ttl: u32, fresh: Option<u32>) -> Hash {
    let fields = fields([
        ("attempts", metrics.attempts.to_string()),
        ("unique_ips", metrics.unique_ips.to_string()),
        ("unique_users", metrics.unique_users.to_string()),
        ("attempts_per_ip", metrics.attempts_per_ip.to_string()),
        ("attempts_per_user", metrics.attempts_per_user.to_string()),
        ("ips_per_user", metrics.ips_per_user.to_string()),
        ("last_updated", seconds(at).to_string()),
    ]);
    Hash { key, fields, ttl, attempts: metrics.attempts, fresh }
}

impl AttackState {
    fn settings_fields(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut told = fields([
            ("captcha_enabled", settings.captcha_enabled.to_string()),
            ("rate_limit_enabled", settings.rate_limit_enabled.to_string()),
            ("monitoring_mode", settings.monitoring_mode.to_string()),
            ("ml_threshold", self.ml_threshold.to_string()),
            ("threat_level", self.threat.to_string()),
        ]);
        if settings.rate_limit_enabled {
            told.extend(fields([("rate_limit_max", self.rate_limit_max.to_string())]));
        }
        told
    }

    /// The plan and the keys that it speaks of; the first seven are those that the script knows by number.
    fn plan(&self, root: &str) -> (Keys, Plan<'_>) {
        let mut keys = Keys { root: root.to_owned(), ..Keys::default() };
        let current = keys.add("global:current_metrics", "hash");
        let settings = keys.add("global:settings", "hash");
        keys.add("global:blocked_regions", "set");
        keys.add("global:rate_limited_ips", "set");
        keys.add("distributed_attack:accounts", "zset");
        keys.add("global:captcha_accounts", "set");
        keys.add("global:countries", "set");
        let mut hashes = vec![numbers(current, &self.hour, self.at, HOUR_S, Some(FRESH_S))];
        // Where clocks are set back an hour comes twice under one name: the one with more attempts stays.
        let named: BTreeMap<&str, _> =
            self.hours.iter().map(|(name, at, metrics)| (name.as_str(), (*at, *metrics))).collect();
        for (name, (at, metrics)) in named.into_iter().rev().take(HOURS_MAX) {
            let key = keys.add(&format!("global:historical_metrics:{name}"), "hash");
            let mut hash = numbers(key, &metrics, at, 7 * DAY_S, None);
            hash.fields.extend(fields([("timestamp", seconds(at).to_string())]));
            hashes.push(hash);
        }
        let sound = |name: &str| !name.is_empty() && name.len() <= NAME_MAX;
        let mut counted = Vec::new();
        let mut accounts = Vec::new();
        for account in self.accounts.iter().filter(|account| sound(&account.name)).take(MEMBERS_MAX) {
            accounts.push(Member { name: &account.name, evidence: seconds(account.evidence) });
            if let Some((networks, failures)) = account.counted {
                let key = keys.account(&account.name);
                let ratio = if failures == 0 { 0.0 } else { f64::from(networks) / f64::from(failures) };
                let fields = fields([
                    ("unique_ips", networks.to_string()),
                    ("failed_attempts", failures.to_string()),
                    ("ip_to_fail_ratio", ratio.to_string()),
                    ("last_updated", seconds(self.at).to_string()),
                ]);
                counted.push(Hash { key, fields, ttl: 2 * HOUR_S, attempts: 0, fresh: None });
            }
        }
        let ended = &self.ended[..self.ended.len().min(MEMBERS_MAX)];
        let forgotten = ended.iter().map(|name| keys.account(name)).collect();
        let countries: Vec<&str> = self.countries.iter().map(|(code, _)| code.as_str()).collect();
        let country_keys = countries.iter().map(|code| keys.add(&format!("global:country:{code}"), "string")).collect();
        let plan = Plan {
            kinds: keys.kinds.clone(),
            now: seconds(self.at),
            since: seconds(self.since),
            most: MEMBERS_MAX,
            numbers: hashes,
            settings: Hash { key: settings, fields: self.settings_fields(), ttl: HOUR_S, attempts: 0, fresh: None },
            regions: &self.regions[..self.regions.len().min(MEMBERS_MAX)],
            networks: &self.networks[..self.networks.len().min(MEMBERS_MAX)],
            ended,
            accounts,
            forgotten,
            counted,
            country_counts: self.countries.iter().map(|(_, attempts)| attempts.to_string()).collect(),
            countries,
            country_keys,
        };
        (keys, plan)
    }
}

impl Source {
    /// Writes the state of attacks behind `root` (`ntc:` in the releases, the prefix of the keys from 1.12 on).
    ///
    /// # Errors
    /// When the server does not answer or refuses, or a key is of another type than the original's; nothing has changed
    /// then.
    pub async fn put_attacks(&self, root: &str, state: &AttackState) -> Result<(), ReadError> {
        let (keys, plan) = state.plan(root);
        let text = serde_json::to_string(&plan).map_err(|_| ReadError::Unexpected)?;
        let script = Script::new(SCRIPT);
        let mut call = script.prepare_invoke();
        for key in &keys.names {
            call.key(key);
        }
        let (foreign, kind): (usize, String) = call
            .arg(text)
            .invoke_async(&mut self.connection.clone())
            .await
            .map_err(|source| ReadError::Unavailable { operation: "write the state of attacks to", source })?;
        match foreign.checked_sub(1).and_then(|place| keys.shown.get(place)) {
            Some(key) => Err(ReadError::Foreign { key: key.clone(), kind }),
            None => Ok(()),
        }
    }
}
