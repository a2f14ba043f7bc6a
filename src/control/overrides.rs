//! Commands about single pairs: an operator releases or blocks an account from a network until some time, takes that back, or
//! asks what stands.
//!
//! Bounds are checked here for every way in. What comes back tells no name, because results of the channel lie in the store;
//! only the list does, as far as this node has heard one.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::invalid;
use super::{CHANNEL, Caller, ControlError, ControlHandle};
use crate::clock;
use crate::detection::attempt::Timestamp;
use crate::detection::overrides::{
    AUTHOR_MAX, DEFAULT_MS, LONGEST_MS, OVERRIDES_MAX, Override, OverrideId, OverrideKind, REASON_MAX, SHORTEST_MS,
    parse_network,
};
use crate::detection::record::USERNAME_MAX;
use crate::serving::overrides::OverrideSlot;
use crate::store::overrides::{OverridesChange, OverridesReply};

/// Most orders that one answer shows.
pub const OVERRIDES_SHOWN_MAX: usize = 200;

/// Longest entries of one answer together, in bytes: the store keeps results of the channel up to 256 KiB. With long reasons
/// a page ends before [`OVERRIDES_SHOWN_MAX`].
const PAGE_BYTES: usize = 192 * 1024;

/// One request about pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideCommand {
    /// Show a part of what stands, newest first.
    List(OverridePage),
    /// Order something for a pair; an earlier order for it is replaced.
    Put(OverrideOrder),
    /// Take an order back.
    Remove(OverridePair),
}

/// Which part of the list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverridePage {
    /// Newer orders that are passed over, 0 to [`OVERRIDES_MAX`].
    pub offset: usize,
    /// Most that are shown, 1 to [`OVERRIDES_SHOWN_MAX`].
    pub limit: usize,
}

impl OverridePage {
    /// The page that somebody asks for who may leave out both.
    pub fn new(offset: Option<usize>, limit: Option<usize>) -> Self {
        Self { offset: offset.unwrap_or(0), limit: limit.unwrap_or(OVERRIDES_SHOWN_MAX) }
    }
}

/// An order as somebody gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideOrder {
    /// What.
    pub kind: OverrideKind,
    /// The account, or the name as typed; in any case.
    pub username: String,
    /// An address, which stands for its /24 or /64, or a network.
    pub network: String,
    /// RFC 3339; `None`: as long as `duration` says.
    pub until: Option<String>,
    /// Like `90m`; `None`: a day. Only one of the two may be given.
    pub duration: Option<String>,
    /// Why, for people: 1 to [`REASON_MAX`] characters.
    pub reason: String,
}

/// Which order is meant: by its id, or by name and network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverridePair {
    /// As the list shows it.
    pub id: Option<String>,
    /// As it was given; only without `id`.
    pub username: Option<String>,
    /// As it was given; only without `id`.
    pub network: Option<String>,
}

impl OverrideCommand {
    /// The name on the channel, in metrics and in the audit trail.
    pub fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "override_list",
            Self::Put(OverrideOrder { kind: OverrideKind::Release, .. }) => "override_release",
            Self::Put(OverrideOrder { kind: OverrideKind::Block, .. }) => "override_block",
            Self::Remove(_) => "override_remove",
        }
    }

    /// Whether the command is audited.
    pub fn changes_something(&self) -> bool {
        !matches!(self, Self::List(_))
    }

    /// Checks the bounds of the arguments as far as they do not depend on the time.
    ///
    /// # Errors
    /// The first argument out of bounds.
    pub fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::List(page) => {
                if page.offset > OVERRIDES_MAX {
                    return Err(invalid("offset", format!("must be at most {OVERRIDES_MAX}")));
                }
                if !(1..=OVERRIDES_SHOWN_MAX).contains(&page.limit) {
                    return Err(invalid("limit", format!("must be 1 to {OVERRIDES_SHOWN_MAX}")));
                }
                Ok(())
            }
            Self::Put(order) => {
                check_name(&order.username)?;
                parse_network(&order.network).map_err(|error| invalid("network", error))?;
                if order.reason.trim().is_empty() {
                    return Err(invalid("reason", "is empty"));
                }
                if order.reason.chars().count() > REASON_MAX {
                    return Err(invalid("reason", format!("is longer than {REASON_MAX} characters")));
                }
                if order.reason.chars().any(char::is_control) {
                    return Err(invalid("reason", "has control characters"));
                }
                order.until(Timestamp::from_millis(0)).map(drop)
            }
            Self::Remove(pair) => match (&pair.id, &pair.username, &pair.network) {
                (Some(id), None, None) => {
                    OverrideId::parse(id).map(drop).ok_or_else(|| invalid("id", "is no id of 16 hexadecimal digits"))
                }
                (None, Some(username), Some(network)) => {
                    check_name(username)?;
                    parse_network(network).map(drop).map_err(|error| invalid("network", error))
                }
                _ => Err(invalid("id", "is needed, or username and network in its place")),
            },
        }
    }
}

fn check_name(username: &str) -> Result<(), ControlError> {
    if username.trim().is_empty() || username.len() > USERNAME_MAX {
        return Err(invalid("username", format!("must have 1 to {USERNAME_MAX} bytes")));
    }
    Ok(())
}

impl OverrideOrder {
    /// When it ends if it is given `now`.
    fn until(&self, now: Timestamp) -> Result<Timestamp, ControlError> {
        match (&self.until, &self.duration) {
            (Some(_), Some(_)) => Err(invalid("until", "and duration cannot be given together")),
            (Some(until), None) => Timestamp::parse(until).ok_or_else(|| invalid("until", "is not an RFC 3339 time")),
            (None, duration) => {
                let lasts = duration.as_deref().map(humantime::parse_duration).transpose();
                let lasts = lasts.map_err(|_| invalid("duration", "is no duration like 90m"))?;
                let millis = |lasts: Duration| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
                Ok(now.plus_millis(lasts.map_or(DEFAULT_MS, millis)))
            }
        }
    }

    /// The same, if it lies neither too near nor too far.
    fn ends(&self, now: Timestamp) -> Result<Timestamp, ControlError> {
        let until = self.until(now)?;
        let field = if self.until.is_some() { "until" } else { "duration" };
        if until < now.plus_millis(SHORTEST_MS) {
            return Err(invalid(field, "must lie at least a minute ahead"));
        }
        if until > now.plus_millis(LONGEST_MS) {
            return Err(invalid(field, "must lie at most a year ahead"));
        }
        Ok(until)
    }
}

impl ControlHandle {
    pub(super) async fn overridden(&self, command: OverrideCommand, caller: &Caller) -> Result<Value, ControlError> {
        match command {
            OverrideCommand::List(page) => Ok(self.list_overrides(page, caller).await),
            OverrideCommand::Put(order) => self.put_override(&order, caller).await,
            OverrideCommand::Remove(pair) => self.remove_override(&pair).await,
        }
    }

    async fn put_override(&self, order: &OverrideOrder, caller: &Caller) -> Result<Value, ControlError> {
        let now = clock::now();
        let account = self.scorer.pseudonymizer().name(&order.username);
        let by = caller.who.chars().filter(|c| !c.is_control()).take(AUTHOR_MAX).collect();
        let put = Override {
            account,
            network: parse_network(&order.network).map_err(|error| invalid("network", error))?,
            kind: order.kind,
            since: now,
            until: order.ends(now)?,
            by,
            reason: order.reason.trim().to_owned(),
        };
        let answer = shown(&put);
        match self.overrides.change(&OverridesChange::Put(put)).await? {
            OverridesReply::Done(_) => {
                self.scorer.overrides().learn_name(account, &order.username);
                Ok(answer)
            }
            OverridesReply::Full => {
                Err(ControlError::Conflict(format!("{OVERRIDES_MAX} overrides are in force; remove some first")))
            }
        }
    }

    async fn remove_override(&self, pair: &OverridePair) -> Result<Value, ControlError> {
        let id = match (&pair.id, &pair.username, &pair.network) {
            (Some(id), ..) => OverrideId::parse(id),
            (None, Some(username), Some(network)) => {
                let account = self.scorer.pseudonymizer().name(username);
                parse_network(network).ok().map(|network| OverrideId::of(account, network))
            }
            _ => None,
        };
        let id = id.ok_or_else(|| invalid("id", "is needed, or username and network in its place"))?;
        match self.overrides.change(&OverridesChange::Remove(id)).await? {
            OverridesReply::Done(1..) => Ok(json!({ "removed": id })),
            _ => Err(ControlError::NotFound("there is no such override; see `override list`".into())),
        }
    }

    /// A part of what counts now, the newest first; without the store what was last known. A result of the channel lies in
    /// the store: it has pseudonyms in the place of names.
    async fn list_overrides(&self, page: OverridePage, caller: &Caller) -> Value {
        if let Err(error) = self.overrides.follow().await {
            tracing::debug!("showing the overrides as they were last known: {error}");
        }
        let (now, slot) = (clock::now(), self.scorer.overrides());
        let orders = slot.orders();
        let mut active: Vec<_> = orders.overrides.iter().filter(|order| order.active(now)).collect();
        active.sort_by_key(|order| (std::cmp::Reverse(order.since), order.id()));
        let entry = |order: &Override| {
            let mut entry = shown(order);
            let named = caller.origin != CHANNEL;
            entry["account"] =
                if named { slot.shown(order.account) } else { OverrideSlot::unnamed(order.account) }.into();
            entry["by"] = order.by.as_str().into();
            entry["reason"] = order.reason.as_str().into();
            entry
        };
        let total = active.len();
        let shown = bounded(active.into_iter().skip(page.offset).take(page.limit).map(entry));
        let end = page.offset.saturating_add(shown.len());
        json!({ "total": total, "overrides": shown, "next": (end < total).then_some(end) })
    }
}

/// As many entries as one answer takes.
fn bounded(entries: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut bytes = 0;
    entries
        .take_while(|entry| {
            bytes += entry.to_string().len() + 1;
            bytes <= PAGE_BYTES
        })
        .collect()
}

/// An order without what is personal.
fn shown(order: &Override) -> Value {
    json!({
        "id": order.id(), "kind": order.kind, "network": order.network,
        "since": order.since.to_string(), "until": order.until.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::Pseudonym;

    fn order() -> OverrideOrder {
        OverrideOrder {
            kind: OverrideKind::Block,
            username: "alice".to_owned(),
            network: "198.51.100.7".to_owned(),
            until: None,
            duration: None,
            reason: "ticket 4711".to_owned(),
        }
    }

    fn field<T: std::fmt::Debug>(refused: Result<T, ControlError>) -> &'static str {
        match refused.expect_err("refused") {
            ControlError::Invalid { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_longest_page_fits_a_result_of_the_channel() {
        let order = Override {
            account: Pseudonym([255; 16]),
            network: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().expect("a network"),
            kind: OverrideKind::Release,
            since: clock::now(),
            until: clock::now(),
            by: "\u{10ffff}".repeat(AUTHOR_MAX),
            reason: "\u{10ffff}".repeat(REASON_MAX),
        };
        let mut entry = shown(&order);
        entry["by"] = order.by.into();
        entry["reason"] = order.reason.into();

        let page = bounded(std::iter::repeat_n(entry, OVERRIDES_SHOWN_MAX));

        assert!(Value::from(page.clone()).to_string().len() < crate::store::entry::DOCUMENT_MAX - 1024);
        assert!((50..OVERRIDES_SHOWN_MAX).contains(&page.len()), "{}", page.len());
    }

    #[test]
    fn a_page_out_of_bounds_is_refused_by_its_field() {
        let list = |offset, limit| OverrideCommand::List(OverridePage::new(offset, limit)).check();

        for (offset, limit) in [(None, None), (Some(0), Some(1)), (Some(OVERRIDES_MAX), Some(OVERRIDES_SHOWN_MAX))] {
            assert!(list(offset, limit).is_ok(), "{offset:?} {limit:?}");
        }
        assert_eq!(field(list(Some(OVERRIDES_MAX + 1), None)), "offset");
        assert_eq!(field(list(None, Some(0))), "limit");
        assert_eq!(field(list(None, Some(OVERRIDES_SHOWN_MAX + 1))), "limit");
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_by_its_field() {
        assert!(OverrideCommand::Put(order()).check().is_ok());
        let some = |text: &str| Some(text.to_owned());
        for (wrong, name) in [
            (OverrideOrder { username: " ".to_owned(), ..order() }, "username"),
            (OverrideOrder { username: "x".repeat(USERNAME_MAX + 1), ..order() }, "username"),
            (OverrideOrder { network: "198.51.100.0/33".to_owned(), ..order() }, "network"),
            (OverrideOrder { network: "0.0.0.0/0".to_owned(), ..order() }, "network"),
            (OverrideOrder { reason: " ".to_owned(), ..order() }, "reason"),
            (OverrideOrder { reason: "x".repeat(REASON_MAX + 1), ..order() }, "reason"),
            (OverrideOrder { reason: "a\nb".to_owned(), ..order() }, "reason"),
            (OverrideOrder { until: some("tomorrow"), ..order() }, "until"),
            (OverrideOrder { duration: some("soon"), ..order() }, "duration"),
            (OverrideOrder { until: some("2030-01-01T00:00:00Z"), duration: some("1h"), ..order() }, "until"),
        ] {
            assert_eq!(field(OverrideCommand::Put(wrong.clone()).check()), name, "{wrong:?}");
        }
        let pair = |id: Option<&str>, username: Option<&str>, network: Option<&str>| {
            let [id, username, network] = [id, username, network].map(|text| text.map(str::to_owned));
            OverrideCommand::Remove(OverridePair { id, username, network }).check()
        };
        assert!(pair(Some("0011223344556677"), None, None).is_ok());
        assert!(pair(None, Some("alice"), Some("198.51.100.0/24")).is_ok());
        assert_eq!(field(pair(Some("x"), None, None)), "id");
        assert_eq!(field(pair(None, Some("alice"), None)), "id");
        assert_eq!(field(pair(Some("0011223344556677"), Some("alice"), None)), "id");
        assert_eq!(field(pair(None, Some("alice"), Some("x"))), "network");
    }

    #[test]
    fn an_order_lasts_from_a_minute_to_a_year_and_a_day_where_nobody_says() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let lasting = |duration: &str| OverrideOrder { duration: Some(duration.to_owned()), ..order() };
        let until = |until: &str| OverrideOrder { until: Some(until.to_owned()), ..order() };

        assert_eq!(order().ends(now).expect("a day").to_string(), "2026-01-02T00:00:00.000Z");
        for good in [
            lasting("1m"),
            lasting("365d"),
            lasting("1y"),
            lasting("366d"),
            until("2026-01-01T00:01:00Z"),
            until("2027-01-01T01:00:00+01:00"),
        ] {
            assert!(good.ends(now).is_ok(), "{good:?}");
        }
        for (bad, name) in [
            (lasting("59s"), "duration"),
            (lasting("367d"), "duration"),
            (lasting("300000000y"), "duration"),
            (until("2025-12-31T23:59:59Z"), "until"),
            (until("2026-01-01T00:00:59Z"), "until"),
            (until("2027-01-02T00:00:01Z"), "until"),
        ] {
            assert_eq!(field(bad.ends(now)), name, "{bad:?}");
        }
    }

    #[test]
    fn what_is_answered_and_recorded_holds_no_name() {
        let put = Override {
            account: crate::detection::attempt::Pseudonym([1; 16]),
            network: parse_network("198.51.100.7").expect("an address"),
            kind: OverrideKind::Release,
            since: Timestamp::from_millis(0),
            until: Timestamp::from_millis(60_000),
            by: "alice".to_owned(),
            reason: "bob is on holiday".to_owned(),
        };

        let answer = shown(&put);

        let expected = json!({
            "id": put.id().to_string(), "kind": "release", "network": "198.51.100.0/24",
            "since": "1970-01-01T00:00:00.000Z", "until": "1970-01-01T00:01:00.000Z",
        });
        assert_eq!(answer, expected);
    }
}
