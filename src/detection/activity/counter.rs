//! Attempts and failures counted in time buckets.
//!
//! Only buckets in which something happened are kept, the newest `KEEP` of them. Adding commutes: which buckets survive
//! depends on what was added, not on its order.

use super::table::{make_room, vec_bytes};
use crate::detection::attempt::Timestamp;
use crate::detection::codec::{Fault, Reader, put_count};

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Attempts, whatever became of them.
    pub attempts: u32,
    /// Attempts that failed because of the password.
    pub failures: u32,
    /// Attempts that succeeded, where they are counted: nobody needs them per minute or per user.
    pub successes: u32,
}

impl Counts {
    /// One attempt.
    pub const ATTEMPT: Self = Self { attempts: 1, failures: 0, successes: 0 };
    /// One failure (its attempt is counted on its own).
    pub const FAILURE: Self = Self { attempts: 0, failures: 1, successes: 0 };
    /// One success (its attempt is counted on its own).
    pub const SUCCESS: Self = Self { attempts: 0, failures: 0, successes: 1 };

    fn minus(self, less: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(less.attempts),
            failures: self.failures.saturating_sub(less.failures),
            successes: self.successes.saturating_sub(less.successes),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(more.attempts),
            failures: self.failures.saturating_add(more.failures),
            successes: self.successes.saturating_add(more.successes),
        }
    }
}

/// What happened in one stretch of `WIDTH_MS`. 16 bytes: there are millions of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its number since the epoch. 2³¹ minutes are four thousand years.
    number: i32,
    counts: Counts,
}

/// Counts in buckets of `WIDTH_MS`, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counter<const WIDTH_MS: i64, const KEEP: usize> {
    buckets: Vec<Bucket>,
}

/// Bytes of one bucket in the stored form.
const BUCKET_BYTES: usize = 16;

impl<const WIDTH_MS: i64, const KEEP: usize> Counter<WIDTH_MS, KEEP> {
    /// Adds `counts` at `ts`.
    pub fn add(&mut self, ts: Timestamp, counts: Counts) {
        let number = Self::bucket(ts);
        match self.buckets.binary_search_by_key(&number, |bucket| bucket.number) {
            Ok(place) => self.buckets[place].counts = self.buckets[place].counts.plus(counts),
            Err(0) if self.buckets.len() >= KEEP => {}
            Err(place) if self.buckets.len() >= KEEP => {
                self.buckets.remove(0);
                self.buckets.insert(place - 1, Bucket { number, counts });
            }
            Err(place) => {
                make_room(&mut self.buckets);
                self.buckets.insert(place, Bucket { number, counts });
            }
        }
    }

    /// Takes back `counts` that were added at `ts`. What is no longer kept has been forgotten anyway.
    pub fn take(&mut self, ts: Timestamp, counts: Counts) {
        let number = Self::bucket(ts);
        if let Ok(place) = self.buckets.binary_search_by_key(&number, |bucket| bucket.number) {
            let left = self.buckets[place].counts.minus(counts);
            if left == Counts::default() {
                self.buckets.remove(place);
            } else {
                self.buckets[place].counts = left;
            }
        }
    }

    /// What happened in the last `window_ms` before `ts`, to the width of a bucket: the bucket of `ts` counts, the one in
    /// which the window begins does not.
    pub fn sum(&self, ts: Timestamp, window_ms: i64) -> Counts {
        let last = Self::bucket(ts);
        let before = Self::bucket(ts.plus_millis(window_ms.saturating_neg()));
        self.buckets
            .iter()
            .rev()
            .skip_while(|bucket| bucket.number > last)
            .take_while(|bucket| bucket.number > before)
            .fold(Counts::default(), |sum, bucket| sum.plus(bucket.counts))
    }

    /// The beginning of the newest bucket before that of `ts` in which there was an attempt.
    pub fn last_before(&self, ts: Timestamp) -> Option<Timestamp> {
        let end = Self::bucket(ts);
        let earlier = self.buckets.iter().rev().find(|bucket| bucket.number < end && bucket.counts.attempts > 0);
        earlier.map(|bucket| Self::beginning(bucket.number))
    }

    /// Where the newest bucket begins.
    pub fn newest(&self) -> Option<Timestamp> {
        self.buckets.last().map(|bucket| Self::beginning(bucket.number))
    }

    /// Whether a failure lies in any bucket that is still kept.
    pub fn any_failure(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.counts.failures > 0)
    }

    /// Whether a success lies in any bucket that is still kept.
    pub fn any_success(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.counts.successes > 0)
    }

    /// Forgets the buckets that ended before `oldest`.
    pub fn trim(&mut self, oldest: Timestamp) {
        let oldest = Self::bucket(oldest);
        self.buckets.retain(|bucket| bucket.number >= oldest);
    }

    /// How many buckets are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Estimated heap bytes.
    pub fn heap_bytes(&self) -> usize {
        vec_bytes::<Bucket>(self.buckets.len())
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn bucket(ts: Timestamp) -> i32 {
        let number = ts.millis().div_euclid(WIDTH_MS);
        i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
    }

    fn beginning(number: i32) -> Timestamp {
        Timestamp::from_millis(i64::from(number).saturating_mul(WIDTH_MS))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.buckets.len());
        for Bucket { number, counts } in &self.buckets {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&counts.attempts.to_le_bytes());
            out.extend_from_slice(&counts.failures.to_le_bytes());
            out.extend_from_slice(&counts.successes.to_le_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = reader.count(BUCKET_BYTES)?;
        if count > KEEP {
            return Err(Fault::Value);
        }
        let mut buckets: Vec<Bucket> = Vec::with_capacity(count);
        for _ in 0..count {
            let number = i32::from_le_bytes(reader.array()?);
            let counts = Counts { attempts: reader.u32()?, failures: reader.u32()?, successes: reader.u32()? };
            if buckets.last().is_some_and(|before| before.number >= number) {
                return Err(Fault::Value);
            }
            buckets.push(Bucket { number, counts });
        }
        Ok(Self { buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Minutes = Counter<60_000, 4>;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_window_holds_what_is_not_later_and_not_too_old() {
        let mut counter = Minutes::default();
        counter.add(at(30), Counts::ATTEMPT);
        counter.add(at(90), Counts::ATTEMPT);
        counter.add(at(90), Counts::FAILURE);
        counter.add(at(200), Counts::ATTEMPT);

        assert_eq!(counter.sum(at(119), 120_000), Counts { attempts: 2, failures: 1, successes: 0 });
        assert_eq!(counter.sum(at(150), 120_000), Counts { attempts: 1, failures: 1, successes: 0 });
        assert_eq!(counter.sum(at(10), 120_000).attempts, 1, "to the width of a bucket");
        assert_eq!(counter.sum(at(-1), 120_000), Counts::default());
    }

    #[test]
    fn the_newest_buckets_survive_in_any_order() {
        let mut ascending = Minutes::default();
        let mut descending = Minutes::default();
        for minute in 0..10 {
            ascending.add(at(minute * 60), Counts::ATTEMPT);
            descending.add(at((9 - minute) * 60), Counts::ATTEMPT);
        }

        assert_eq!(ascending, descending);
        assert_eq!(ascending.len(), 4);
        assert_eq!(ascending.sum(at(600), 600_000).attempts, 4);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut counter = Minutes::default();
        counter.add(Timestamp::from_millis(i64::MIN), Counts::ATTEMPT);
        counter.add(Timestamp::from_millis(i64::MAX), Counts::ATTEMPT);

        assert_eq!(counter.sum(Timestamp::from_millis(i64::MAX), i64::MAX).attempts, 1);
        assert!(counter.last_before(Timestamp::from_millis(i64::MAX)).is_some());
        counter.trim(at(0));
        assert_eq!(counter.len(), 1);
    }
}
