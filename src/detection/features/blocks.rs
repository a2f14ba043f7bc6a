//! The values behind the standard features: one block of fixed width for each place in the list of additional features.
//!
//! | kind | values |
//! |---|---|
//! | number | ±ln(1 + abs(x)) / ln(1 + 10⁹), missing |
//! | bool | value, missing |
//! | text, one-hot | 16 buckets of which one is +1 or −1, missing |
//! | text, embedding | (f + 20·⅛) / (n + 20) of a week's outcomes with this text, novel, missing |
//!
//! A block whose value is missing is the same whatever the reason: not sent, of another kind, removed, or older than the
//! feature. Hashing follows Weinberger et al., Feature Hashing for Large Scale Multitask Learning (2009); the smoothed rate
//! Micci-Barreca, A Preprocessing Scheme for High-Cardinality Categorical Attributes (2001). Rates come from the past only.

use super::super::activity::{Activity, Counts};
use super::super::additional::{GivenValue, Kind, NUMBER_MAX, Slot};
use super::super::attempt::Timestamp;
use super::Part;
use crate::numeric::{exp, ln_1p};

/// Buckets of a one-hot text: the low four bits of its hash choose one, the highest bit its sign.
const BUCKETS: usize = 16;
/// Share of failures that is assumed of a text of which nothing is known.
const PRIOR: f64 = 0.125;
/// As many outcomes as that assumption weighs.
const PRIOR_WEIGHT: f64 = 20.0;

/// Names of a block's values: as many as it has.
pub(super) fn names(slot: &Slot) -> Vec<String> {
    let name = &slot.name;
    let mut names = match slot.kind {
        Kind::Number | Kind::Bool => vec![name.clone()],
        Kind::OneHot => (0..BUCKETS).map(|bucket| format!("{name}.{bucket}")).collect(),
        Kind::Embedding => vec![format!("{name}.failure_share"), format!("{name}.novel")],
    };
    names.push(format!("{name}.missing"));
    names
}

/// How many values a block has.
pub(super) const fn width(kind: Kind) -> usize {
    match kind {
        Kind::Number | Kind::Bool => 2,
        Kind::OneHot => BUCKETS + 1,
        Kind::Embedding => 3,
    }
}

/// The way back from a value of a block: a number as it was sent, to five significant digits; what it is else, shares to four
/// digits.
pub(super) fn raw(kind: Kind, part: Part, value: f32) -> f64 {
    let value = f64::from(value);
    if (kind, part) != (Kind::Number, Part::Value) {
        return (value * 1e4).round() / 1e4;
    }
    let size = exp(value.abs().min(1.0) * ln_1p(NUMBER_MAX)) - 1.0;
    // Powers of ten below 1 have no exact form, so that 0.3 is 3 / 10.
    let power = |exponent: u32| (0..exponent).fold(1.0, |power, _| power * 10.0);
    let rounded = (0..=9).rev().map(power).find(|unit| size * unit < 1e5).map(|unit| (size * unit).round() / unit);
    let rounded = rounded.unwrap_or_else(|| {
        let unit = (1..=9).map(power).find(|unit| size / unit < 1e5).unwrap_or(1.0);
        (size / unit).round() * unit
    });
    rounded.min(NUMBER_MAX) * if value < 0.0 { -1.0 } else { 1.0 }
}

/// Appends the block of a value that is not there.
pub(super) fn push_missing(values: &mut Vec<f32>, kind: Kind) {
    match kind {
        Kind::Number | Kind::Bool => values.push(0.0),
        Kind::OneHot => values.extend([0.0; BUCKETS]),
        Kind::Embedding => values.extend([PRIOR as f32, 0.0]),
    }
    values.push(1.0);
}

/// Appends the block of a value; one that does not fit the kind is missing.
pub(super) fn push(values: &mut Vec<f32>, kind: Kind, value: Option<GivenValue>, activity: &Activity, ts: Timestamp) {
    match (kind, value) {
        (Kind::Number, Some(GivenValue::Number(number))) => {
            let size = ln_1p(number.abs().min(NUMBER_MAX)) / ln_1p(NUMBER_MAX);
            values.push(if number < 0.0 { -size } else { size } as f32);
        }
        (Kind::Bool, Some(GivenValue::Bool(is))) => values.push(if is { 1.0 } else { 0.0 }),
        (Kind::OneHot, Some(GivenValue::Text(hash))) => {
            let (bucket, sign) = bucket(hash);
            values.extend((0..BUCKETS).map(|each| if each == bucket { sign } else { 0.0 }));
        }
        (Kind::Embedding, Some(GivenValue::Text(hash))) => {
            let Counts { failures, successes, .. } = activity.category_outcomes(hash, ts);
            let (failures, known) = (f64::from(failures), f64::from(failures) + f64::from(successes));
            values.push(((failures + PRIOR_WEIGHT * PRIOR) / (known + PRIOR_WEIGHT)) as f32);
            values.push(if known == 0.0 { 1.0 } else { 0.0 });
        }
        _ => return push_missing(values, kind),
    }
    values.push(0.0);
}

fn bucket(hash: u64) -> (usize, f32) {
    ((hash % BUCKETS as u64) as usize, if hash >> 63 == 0 { 1.0 } else { -1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::pseudonym::Pseudonymizer;

    /// Stored models depend on these: another hash or another cut is another feature.
    #[test]
    fn d16_texts_fall_into_the_buckets_that_are_written_down() {
        let key = Pseudonymizer::new(std::array::from_fn(|place| place as u8));
        let hash = |name, text| key.feature(name, text);

        assert_eq!(hash("realm", "staff"), 0xf2da_fdab_59db_0543);
        assert_eq!(bucket(hash("realm", "staff")), (3, -1.0));
        assert_eq!(bucket(hash("realm", "students")), (2, -1.0));
        assert_eq!(bucket(hash("tier", "staff")), (11, -1.0));
        assert_eq!((bucket(0x8000_0000_0000_0005), bucket(0x7fff_ffff_ffff_fff5)), ((5, -1.0), (5, 1.0)));
    }

    #[test]
    fn d11_a_block_has_its_width_whatever_is_in_it() {
        let activity = Activity::default();
        let values = [None, Some(GivenValue::Number(-5.0)), Some(GivenValue::Bool(true)), Some(GivenValue::Text(99))];
        for kind in [Kind::Number, Kind::Bool, Kind::OneHot, Kind::Embedding] {
            let slot = Slot { name: "x".into(), kind, first_seen_ms: 0, removed: false };
            let width = width(kind);
            assert_eq!((width, names(&slot).len()), ([2, 2, 17, 3][kind as usize], width));
            for value in values {
                let mut block = Vec::new();
                push(&mut block, kind, value, &activity, Timestamp::from_millis(0));
                assert_eq!(block.len(), width, "{kind:?} {value:?}");
                assert!(block.iter().all(|value| (-1.0..=1.0).contains(value)), "{block:?}");
            }
        }
    }

    #[test]
    fn numbers_keep_their_sign_and_order() {
        let of = |number: f64| {
            let mut block = Vec::new();
            let value = Some(GivenValue::Number(number));
            push(&mut block, Kind::Number, value, &Activity::default(), Timestamp::from_millis(0));
            block[0]
        };

        assert_eq!((of(0.0), of(NUMBER_MAX), of(-NUMBER_MAX)), (0.0, 1.0, -1.0));
        assert!(of(-2.0) < of(-1.0) && of(-1.0) < of(1.0) && of(1.0) < of(1000.0));
    }

    #[test]
    fn the_raw_value_of_a_number_is_what_was_sent() {
        let of = |number: f64| {
            let mut block = Vec::new();
            let value = Some(GivenValue::Number(number));
            push(&mut block, Kind::Number, value, &Activity::default(), Timestamp::from_millis(0));
            raw(Kind::Number, Part::Value, block[0])
        };

        for number in [0.0, 1.0, -1.0, 0.3, 900.0, -42.5, 12_345.0, NUMBER_MAX, -NUMBER_MAX] {
            assert_eq!(of(number), number);
        }
        assert_eq!((of(1_234_567.0), of(1e12)), (1_234_600.0, NUMBER_MAX));
        assert_eq!(raw(Kind::Number, Part::Value, f32::MAX), NUMBER_MAX, "whatever another node sends");
        assert_eq!(raw(Kind::Embedding, Part::FailureShare, 0.123_456), 0.1235);
    }
}
