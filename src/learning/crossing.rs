//! What a training needs and seldom has: honest attempts on accounts that are under attack, old passwords away from home,
//! forgotten ones at new addresses, devices that repeat themselves amid attacks, and attackers who are at home.
//!
//! That somebody attacks an account says nothing about the account's own devices. But few sites have seen both at once
//! before a model is trained, and what was never seen together is judged by chance: a telephone with an old password
//! becomes an attacker as soon as a botnet tries its owner's account. So some honest rows are trained on a second time,
//! with what an attack does to an account added to their counters.
//!
//! In the same way a device that repeats an old password is nearly always at home when it does so, and whoever guesses is
//! nearly always a stranger: a device on a journey, or behind a new dynamic address, would be taken for an attacker by its
//! place, and a colleague behind the same office address for the user. So some devices are trained on once more in the
//! places of attackers, amid all that attackers do there (what repeats an old password guesses nothing, however fast it is,
//! whoever else fails there, and whoever else is tried with that password), some mistakes at home once more with the
//! guesses of attackers, and some logins of owners at home once more while somebody else guesses there. What merely repeats
//! its password where that is excused, under a mistyped name too, is trained on amid attacks where it is: without it a device
//! that fails forty times an hour in an office was taken for an attacker by its number (measured on generated traffic). And
//! who has forgotten a password and tries several at home is trained on at the addresses that users move to nearby: few of
//! those who move have forgotten one just then.
//!
//! Measures, calibration and thresholds never see any of these rows.

use super::dataset::{Dataset, Row};
use super::labels::Label;
use crate::detection::features::{Crossing, FeatureSchema};
use crate::numeric::{Rng, exp, ln_1p};

/// Crossed rows for each row of a training. Half as many do half as much for the devices; with three times their weight
/// twice as many mistyped names looked like attacks (measured on generated traffic).
const SHARE: f64 = 0.1;
/// The same for each of the other kinds …
const SHARE_OF_OTHERS: f64 = 0.02;
/// … of which no row is crossed more often than this on average: one person's afternoon must not become a fiftieth of all.
const TIMES_MAX: usize = 20;
/// So many guesses of the owner are no mere slip.
const FORGOTTEN_MIN: f64 = 2.5;
/// From so many guesses at one account from one address on nobody has just forgotten a password …
const GUESSES_MIN: f64 = 12.0;
/// … and at home, where passwords are told apart, more than these are not counted.
const GUESSES_MAX: f64 = 33.0;
/// ln(1 + x) of more than any count.
const LOG_MAX: f64 = 30.0;

/// Rows to be trained on beside `rows`, in the scale of the features, drawn with `seed`: honest ones on accounts under attack
/// (half of them failures from anywhere, half logins from an address that the user is known at), old passwords in strange
/// places, guesses at home, owners beside them, forgotten passwords at new addresses, repeats amid attacks. Empty where
/// `schema` does not tell accounts from addresses, or where there is nothing to cross.
pub fn crossed(rows: &Dataset, schema: &FeatureSchema, seed: u64) -> Dataset {
    let Some(crossing) = schema.crossing() else { return Dataset::default() };
    let (honest, attacks): (Vec<&Row>, Vec<&Row>) = rows.rows.iter().partition(|row| row.label == Label::Legit);
    let is = |row: &Row, place: usize| row.values[place] > 0.5;
    let failed = those(&honest, |row| row.failed);
    let familiar = those(&honest, |row| is(row, crossing.familiar));
    let mut rng = Rng::new(seed, "crossed rows");
    let mut any = |rows: &[&Row]| rows.get(rng.below(rows.len().max(1) as u64) as usize).map(|row| (*row).clone());
    let wanted = (rows.rows.len() as f64 * SHARE) as usize;
    let made = (0..wanted).filter_map(|nth| {
        let honest = any(if nth % 2 == 0 { &failed } else { &familiar })?;
        Some(attacked(honest, &any(&attacks)?, &crossing))
    });
    let mut made: Vec<Row> = made.collect();

    let outdated = those(&failed, |row| is(row, crossing.outdated));
    let repeating = those(&failed, |row| is(row, crossing.repeated) && !is(row, crossing.outdated));
    let at_home = those(&failed, |row| is(row, crossing.familiar));
    let several = ln_1p(FORGOTTEN_MIN)..ln_1p(GUESSES_MIN);
    let forgetful = those(&at_home, |row| several.contains(&row.values[crossing.guesses]));
    let known = those(&familiar, |row| is(row, crossing.repeated));
    let stranger = |row: &Row| crossing.strangers.iter().any(|place| is(row, *place));
    let moved = those(&honest, |row| is(row, crossing.moved) && !stranger(row));
    let guessers = those(&attacks, |row| row.values[crossing.guesses] >= ln_1p(GUESSES_MIN));
    let mut rng = Rng::new(seed, "crossed places");
    let mut any = |rows: &[&Row]| rows.get(rng.below(rows.len().max(1) as u64) as usize).map(|row| (*row).clone());
    let wanted = (rows.rows.len() as f64 * SHARE_OF_OTHERS) as usize;
    let mut cross = |honest: &[&Row], others: &[&Row], with: fn(Row, &Row, &Crossing) -> Row| {
        for _ in 0..wanted.min(honest.len() * TIMES_MAX) {
            made.extend(any(honest).zip(any(others)).map(|(honest, other)| with(honest, &other, &crossing)));
        }
    };
    cross(&outdated, &attacks, elsewhere);
    cross(&at_home, &guessers, guessing);
    cross(&known, &guessers, beside);
    cross(&forgetful, &moved, at_new_address);
    cross(&repeating, &attacks, amid);
    Dataset { rows: made }
}

fn those<'a>(rows: &[&'a Row], hold: impl Fn(&Row) -> bool) -> Vec<&'a Row> {
    rows.iter().filter(|row| hold(row)).copied().collect()
}

/// `device`, which repeats an old password, in the place of `attack` and amid it; its guesses stay its own.
fn elsewhere(device: Row, attack: &Row, crossing: &Crossing) -> Row {
    amid(moved_to(device, attack, crossing), attack, crossing)
}

/// `honest` in the place of `there`.
fn moved_to(mut honest: Row, there: &Row, crossing: &Crossing) -> Row {
    for &place in &crossing.place {
        honest.values[place] = there.values[place];
    }
    honest.weight = 1.0;
    honest
}

/// `slip` of somebody at home who tries several passwords, at the new address of `there`.
fn at_new_address(slip: Row, there: &Row, crossing: &Crossing) -> Row {
    let mut slip = moved_to(slip, there, crossing);
    if slip.values[crossing.moved_network] > 0.5 && slip.values[crossing.outdated] < 0.5 {
        // Away from home every failure counts as a guess, and a repeated password excuses nothing.
        slip.values[crossing.repeated] = 0.0;
        let guesses = exp(slip.values[crossing.failures].clamp(0.0, LOG_MAX));
        slip.values[crossing.guesses] = slip.values[crossing.guesses].max(f64::from(ln_1p(guesses) as f32));
    }
    slip
}

/// `device`, which repeats a password, amid `attack`; its guesses stay its own.
fn amid(mut device: Row, attack: &Row, crossing: &Crossing) -> Row {
    for &around in &crossing.surroundings {
        device.values[around] = device.values[around].max(attack.values[around]);
    }
    device.weight = 1.0;
    device
}

/// Somebody who guesses as `attack` does, where `slip` was made: at home.
fn guessing(mut slip: Row, attack: &Row, crossing: &Crossing) -> Row {
    for &place in &crossing.visit {
        slip.values[place] = slip.values[place].max(attack.values[place]);
    }
    // Through f32, as every recorded value.
    slip.values[crossing.guesses] = slip.values[crossing.guesses].min(f64::from(ln_1p(GUESSES_MAX) as f32));
    slip.values[crossing.outdated] = 0.0;
    slip.values[crossing.repeated] = 0.0;
    slip.label = Label::Attack;
    slip.weight = 1.0;
    slip
}

/// `owner`, who repeats a password at home, while somebody else guesses there as `attack` does.
fn beside(mut owner: Row, attack: &Row, crossing: &Crossing) -> Row {
    for &place in &crossing.visit {
        owner.values[place] = owner.values[place].max(attack.values[place]);
    }
    owner.values[crossing.guesses] = owner.values[crossing.guesses].min(f64::from(ln_1p(GUESSES_MAX) as f32));
    owner.weight = 1.0;
    owner
}

/// `honest` while what happened on the account of `attack` happens on its account too.
fn attacked(mut honest: Row, attack: &Row, crossing: &Crossing) -> Row {
    let count = |row: &Row, place: usize| exp(row.values[place].clamp(0.0, LOG_MAX)) - 1.0;
    for &place in &crossing.account {
        // Through f32, as every recorded value.
        honest.values[place] = f64::from(ln_1p(count(&honest, place) + count(attack, place)) as f32);
    }
    // An ordinary row's: what it stands for is made up.
    honest.weight = 1.0;
    honest
}

#[cfg(test)]
mod tests;
