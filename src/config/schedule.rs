//! When a training is due: cron expressions in a time zone, as pure functions of instants.
//!
//! A schedule lives on the wall clock of its zone. A slot inside the hour that a zone skips is served at the first instant
//! after the gap; a slot inside the hour that a zone repeats is served the first time only. So every intended slot is
//! served once, also by schedules that run every few minutes. Nothing here reads a clock or waits.

use std::str::FromStr;

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::TrainingConfig;
use crate::detection::attempt::Timestamp;

/// The fields of an expression with seconds, in order; the ones without begin at `minute`.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];
/// Short names and what they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
/// 2000-01-01T00:00:00Z. Where the search for a first slot begins: before any 29 February or leap cycle that matters, and
/// fixed, because whether an expression can ever fire must not depend on the day it is read.
const SEARCH_FROM: i64 = 946_684_800;

/// Why an expression is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression has neither five nor six fields.
    #[error(
        "schedule {name:?} has {found} fields; it needs 5 (minute first) or 6 (second first), or a name like @hourly"
    )]
    FieldCount {
        /// Name of the schedule.
        name: String,
        /// Fields found.
        found: usize,
    },
    /// An `@name` that is none.
    #[error(
        "schedule {name:?}: {nickname:?} is not one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"
    )]
    Nickname {
        /// Name of the schedule.
        name: String,
        /// What was written.
        nickname: String,
    },
    /// One field cannot be read.
    #[error("schedule {name:?}: the field {field:?} at column {column} cannot be {text:?}: {reason}")]
    Field {
        /// Name of the schedule.
        name: String,
        /// Which field.
        field: &'static str,
        /// Where it begins, counted in characters from 1.
        column: usize,
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The fields are fine one by one, but the expression is not.
    #[error("schedule {name:?} cannot be read: {reason}")]
    Expression {
        /// Name of the schedule.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No date fits the expression, as for 31 February.
    #[error("schedule {name:?} would never fire: no date fits it")]
    NeverFires {
        /// Name of the schedule.
        name: String,
    },
    /// The zone is not in the tz database.
    #[error(
        "schedule {name:?}: {timezone:?} is not a time zone of the tz database (like \"UTC\" or \"Europe/Berlin\")"
    )]
    Timezone {
        /// Name of the schedule.
        name: String,
        /// What was written.
        timezone: String,
    },
}

/// A schedule that is known to fire.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    cron: Cron,
    timezone: Tz,
}

impl Schedule {
    /// Reads `expression` (five fields, six with seconds first, or `@hourly` and its like) in the zone `timezone`.
    /// `name` identifies the schedule to the fleet and in errors.
    pub fn parse(name: &str, expression: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let name = name.to_owned();
        let Ok(zone) = Tz::from_str(timezone) else {
            return Err(ScheduleError::Timezone { name, timezone: timezone.to_owned() });
        };
        let expanded = expand(&name, expression)?;
        let found = expanded.split_whitespace().count();
        if !(5..=6).contains(&found) {
            return Err(ScheduleError::FieldCount { name, found });
        }
        let cron = match parser().parse(expanded) {
            Ok(cron) => cron,
            Err(error) => return Err(locate(name, expanded, &error.to_string())),
        };
        let schedule = Self { name, cron, timezone: zone };
        if schedule.next_after(Timestamp::from_millis(SEARCH_FROM * 1000)).is_none() {
            return Err(ScheduleError::NeverFires { name: schedule.name });
        }
        Ok(schedule)
    }

    /// The name given to [`parse`](Self::parse).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first slot later than `after`; `None` only beyond the calendar's end.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = DateTime::from_timestamp(after.millis().div_euclid(1000), 0)?;
        // Search on the wall clock (carried as if it were UTC), then find the instant: see the module documentation.
        let mut wall = after.with_timezone(&self.timezone).naive_local();
        loop {
            wall = self.cron.find_next_occurrence(&wall.and_utc(), false).ok()?.naive_utc();
            let slot = self.instant(wall)?;
            // Not later inside a repeated hour, whose slots were served the first time round.
            if slot > after {
                return Some(Timestamp::from_millis(slot.timestamp_millis()));
            }
        }
    }

    /// The next three slots later than `after`, for people.
    pub fn next_three(&self, after: Timestamp) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |slot| self.next_after(*slot)).take(3).collect()
    }

    /// The newest slot that has come (`<= now_ms`) and is not served, all in milliseconds since the epoch.
    ///
    /// `last_slot` is the last slot served anywhere in the fleet, `None` if there never was one; then slots count from
    /// `started_ms`, so that nothing is due at a first start until the next slot comes. Of several missed slots only the
    /// newest is due: one catch-up, not a series.
    pub fn due(&self, last_slot: Option<i64>, started_ms: i64, now_ms: i64) -> Option<i64> {
        let served = last_slot.unwrap_or(started_ms);
        let comes_by_now = |after_s: i64| {
            self.next_after(Timestamp::from_millis(after_s * 1000)).filter(|slot| slot.millis() <= now_ms)
        };
        let mut before = served.div_euclid(1000);
        let mut newest = comes_by_now(before)?;
        // Bisection for the last second with a slot between it and now; slots lie on whole seconds.
        let mut end = now_ms.div_euclid(1000);
        while end - before > 1 {
            let middle = before + (end - before) / 2;
            match comes_by_now(middle) {
                Some(slot) => (before, newest) = (middle, slot),
                None => end = middle,
            }
        }
        Some(newest.millis())
    }

    fn instant(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        match self.timezone.from_local_datetime(&wall) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Some(instant.to_utc()),
            LocalResult::None => {
                // Zones change their offset on whole minutes; no gap was ever longer than a day.
                let minute = wall.with_second(0)?;
                (1..=24 * 60).find_map(|minutes| {
                    let later = minute.checked_add_signed(Duration::minutes(minutes))?;
                    self.timezone.from_local_datetime(&later).earliest().map(|instant| instant.to_utc())
                })
            }
        }
    }
}

impl TrainingConfig {
    /// The schedules of this configuration, each named by its expression as written: nodes with the same expression
    /// share its slots, and a changed expression is another schedule.
    pub fn schedules(&self) -> Result<Vec<Schedule>, ScheduleError> {
        self.schedule.iter().map(|expression| Schedule::parse(expression, expression, &self.timezone)).collect()
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

fn expand<'a>(name: &str, expression: &'a str) -> Result<&'a str, ScheduleError> {
    let trimmed = expression.trim();
    if !trimmed.starts_with('@') {
        return Ok(expression);
    }
    let known = NICKNAMES.iter().find(|(nickname, _)| nickname.eq_ignore_ascii_case(trimmed));
    match known {
        Some((_, fields)) => Ok(fields),
        None => Err(ScheduleError::Nickname { name: name.to_owned(), nickname: trimmed.to_owned() }),
    }
}

/// Finds the field that is to blame by trying each one with all others left open.
fn locate(name: String, expression: &str, reason: &str) -> ScheduleError {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let skipped = FIELDS.len() - fields.len();
    for (index, text) in fields.iter().enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[index] = text;
        if let Err(error) = parser().parse(&alone.join(" ")) {
            // The field is a slice of the expression, so their distance is where it begins.
            let offset = text.as_ptr() as usize - expression.as_ptr() as usize;
            let column = expression[..offset].chars().count() + 1;
            let field = FIELDS[index + skipped];
            let reason = plain(&error.to_string());
            return ScheduleError::Field { name, field, column, text: (*text).to_owned(), reason };
        }
    }
    ScheduleError::Expression { name, reason: plain(reason) }
}

/// The parser's sentence without its category and full stop.
fn plain(reason: &str) -> String {
    let sentence = reason.split_once(": ").map_or(reason, |(_, rest)| rest);
    sentence.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a valid time in a test")
    }

    fn schedule(expression: &str, timezone: &str) -> Schedule {
        Schedule::parse("test", expression, timezone).expect("a valid schedule in a test")
    }

    fn slots(expression: &str, timezone: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = schedule(expression, timezone);
        std::iter::successors(schedule.next_after(at(from)), |slot| schedule.next_after(*slot))
            .take_while(|slot| *slot <= at(to))
            .map(|slot| slot.to_utc().format("%dT%H:%M").to_string())
            .collect()
    }

    #[test]
    fn five_fields_six_fields_and_names_are_read() {
        let from = at("2026-11-21T10:15:20Z");
        for (expression, next) in [
            ("0 */12 * * *", "2026-11-21T12:00:00Z"),
            ("30 0 */12 * * *", "2026-11-21T12:00:30Z"),
            ("@hourly", "2026-11-21T11:00:00Z"),
            ("@Daily", "2026-11-22T00:00:00Z"),
            ("15 10 * * MON-FRI", "2026-11-23T10:15:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(schedule(expression, "UTC").next_after(from), Some(at(next)), "{expression}");
        }
    }

    #[test]
    fn next_three_are_in_order() {
        let slots = schedule("0 */12 * * *", "UTC").next_three(at("2026-11-21T12:00:00Z"));

        assert_eq!(slots, ["2026-11-22T00:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T00:00:00Z"].map(at));
    }

    #[test]
    fn an_error_names_the_schedule_the_field_and_the_column() {
        let error = Schedule::parse("nightly", "0  25 * * *", "UTC").expect_err("hour 25");

        let ScheduleError::Field { name, field, column, text, .. } = &error else { panic!("{error:?}") };
        assert_eq!((name.as_str(), *field, *column, text.as_str()), ("nightly", "hour", 4, "25"));
        let error = Schedule::parse("nightly", "99 0 0 * * *", "UTC").expect_err("second 99");
        assert!(matches!(error, ScheduleError::Field { field: "second", column: 1, .. }), "{error}");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for expression in
            ["", "   ", "* * * *", "0 0 0 1 1 * 2030", "@reboot", "@", "é * * * *", "a b c d e", "5-1 * * * *"]
        {
            assert!(Schedule::parse("test", expression, "UTC").is_err(), "{expression:?}");
        }
        let error = Schedule::parse("test", "@hourly", "Mars/Olympus").expect_err("no such zone");
        assert!(matches!(error, ScheduleError::Timezone { .. }));
    }

    #[test]
    fn a_schedule_that_never_fires_is_refused() {
        for expression in ["0 0 31 2 *", "0 0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            let error = Schedule::parse("test", expression, "UTC").expect_err(expression);
            assert!(matches!(error, ScheduleError::NeverFires { .. }), "{error:?}");
        }
    }

    // Europe/Berlin 2026: clocks go from 02:00 to 03:00 on 29 March (01:00 UTC) and from 03:00 to 02:00 on 25 October
    // (01:00 UTC).
    #[test]
    fn a_slot_in_a_skipped_hour_is_served_once_after_the_gap() {
        let slots = slots("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");

        assert_eq!(slots, ["28T01:30", "29T01:00", "30T00:30"]);
    }

    #[test]
    fn several_slots_in_a_skipped_hour_are_served_as_one() {
        let slots = slots("*/20 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");

        assert_eq!(slots, ["29T00:40", "29T01:00", "29T01:20"]);
    }

    #[test]
    fn a_slot_in_a_repeated_hour_is_served_the_first_time_only() {
        let daily = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        let half_hourly = slots("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", "2026-10-25T02:30:00Z");

        assert_eq!(daily, ["25T00:30", "26T01:30"]);
        assert_eq!(half_hourly, ["25T00:00", "25T00:30", "25T02:00", "25T02:30"]);
    }

    #[test]
    fn a_daily_slot_stays_at_its_wall_time_all_year() {
        let schedule = schedule("0 4 * * *", "Europe/Berlin");
        let mut after = at("2026-01-01T00:00:00Z");
        for _ in 0..365 {
            after = schedule.next_after(after).expect("another day");
            assert_eq!(after.to_utc().with_timezone(&chrono_tz::Europe::Berlin).hour(), 4);
        }
        assert_eq!(after, at("2026-12-31T03:00:00Z"));
    }

    #[test]
    fn nothing_is_due_at_a_first_start_until_the_next_slot() {
        let schedule = schedule("0 */12 * * *", "UTC");
        let started = at("2026-11-21T11:59:00Z").millis();
        let slot = at("2026-11-21T12:00:00Z").millis();

        assert_eq!(schedule.due(None, started, started), None);
        assert_eq!(schedule.due(None, started, slot - 1), None);
        assert_eq!(schedule.due(None, started, slot), Some(slot));
        assert_eq!(schedule.due(Some(slot), started, slot + 1000), None);
    }

    #[test]
    fn of_many_missed_slots_only_the_newest_is_due() {
        let schedule = schedule("*/10 * * * *", "UTC");
        let last = at("2026-01-01T00:00:00Z").millis();
        let now = at("2026-11-21T12:34:56Z").millis();

        let due = schedule.due(Some(last), now, now);

        assert_eq!(due, Some(at("2026-11-21T12:30:00Z").millis()));
        assert_eq!(schedule.due(due, now, now), None);
    }

    #[test]
    fn nothing_is_due_when_the_clock_went_back() {
        let schedule = schedule("@hourly", "UTC");
        let served = at("2026-11-21T12:00:00Z").millis();

        assert_eq!(schedule.due(Some(served), 0, at("2026-11-21T09:30:00Z").millis()), None);
    }

    #[test]
    fn the_default_schedule_fires_twice_a_day() {
        let schedules = TrainingConfig::default().schedules().expect("the default");

        assert_eq!(schedules.iter().map(Schedule::name).collect::<Vec<_>>(), ["0 */12 * * *"]);
        assert_eq!(schedules[0].next_after(at("2026-11-21T01:00:00Z")), Some(at("2026-11-21T12:00:00Z")));
    }

    proptest! {
        #[test]
        fn bisection_finds_what_a_walk_finds(
            expression in prop::sample::select(vec!["*/20 * * * *", "30 2,14 * * *", "7 */5 * * MON", "15 30 1-3 * * *"]),
            // Around both changes of the clock in 2026.
            base in prop::sample::select(vec!["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"]),
            last in 0i64..100_000, ahead in 0i64..200_000,
        ) {
            let schedule = schedule(expression, "Europe/Berlin");
            let last = at(base).plus_millis(last * 1000);
            let now = last.plus_millis(ahead * 1000 + 500);

            let walked = std::iter::successors(schedule.next_after(last), |slot| schedule.next_after(*slot))
                .take_while(|slot| *slot <= now)
                .last()
                .map(Timestamp::millis);

            prop_assert_eq!(schedule.due(Some(last.millis()), 0, now.millis()), walked);
        }

        #[test]
        fn no_expression_makes_the_parser_panic(expression in "\\PC{0,40}") {
            let _ = Schedule::parse("test", &expression, "UTC");
        }

        #[test]
        fn no_cron_like_expression_makes_the_parser_panic(expression in "[0-9*/,#LW?@A-Z +-]{0,30}") {
            let _ = Schedule::parse("test", &expression, "UTC");
        }
    }
}
