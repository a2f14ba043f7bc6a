//! What a training needs and seldom has: honest attempts on accounts that are under attack, old passwords away from home,
//! and attackers who are at home.
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
//! guesses of attackers, and some logins of owners at home once more while somebody else guesses there.
//!
//! Measures, calibration and thresholds never see any of these rows.

use super::dataset::{Dataset, Row};
use super::labels::Label;
use crate::detection::features::{Crossing, FeatureSchema};
use crate::numeric::{Rng, exp, ln_1p};

/// Crossed rows for each row of a training. Half as many do half as much for the devices; with three times their weight
/// twice as many mistyped names looked like attacks (measured on generated traffic).
const SHARE: f64 = 0.1;
/// The same for old passwords in strange places, and for guesses at home.
const SHARE_OF_OTHERS: f64 = 0.02;
/// From so many guesses at one account from one address on nobody has just forgotten a password …
const GUESSES_MIN: f64 = 12.0;
/// … and at home, where passwords are told apart, more than these are not counted.
const GUESSES_MAX: f64 = 33.0;
/// ln(1 + x) of more than any count.
const LOG_MAX: f64 = 30.0;

/// Rows to be trained on beside `rows`, in the scale of the features, drawn with `seed`: honest ones on accounts under attack
/// (half of them failures from anywhere, half logins from an address that the user is known at), old passwords in strange
/// places, guesses at home, owners beside them. Empty where `schema` does not tell accounts from addresses, or where there is nothing to cross.
pub fn crossed(rows: &Dataset, schema: &FeatureSchema, seed: u64) -> Dataset {
    let Some(crossing) = schema.crossing() else { return Dataset::default() };
    let of = |label: Label| rows.rows.iter().filter(move |row| row.label == label);
    let failed: Vec<&Row> = of(Label::Legit).filter(|row| row.failed).collect();
    let familiar: Vec<&Row> = of(Label::Legit).filter(|row| row.values[crossing.familiar] > 0.5).collect();
    let attacks: Vec<&Row> = of(Label::Attack).collect();
    let mut rng = Rng::new(seed, "crossed rows");
    let mut any = |rows: &[&Row]| rows.get(rng.below(rows.len().max(1) as u64) as usize).map(|row| (*row).clone());
    let wanted = (rows.rows.len() as f64 * SHARE) as usize;
    let made = (0..wanted).filter_map(|nth| {
        let honest = any(if nth % 2 == 0 { &failed } else { &familiar })?;
        Some(attacked(honest, &any(&attacks)?, &crossing))
    });
    let mut made: Vec<Row> = made.collect();

    let outdated: Vec<&Row> = failed.iter().filter(|row| row.values[crossing.outdated] > 0.5).copied().collect();
    let at_home: Vec<&Row> = failed.iter().filter(|row| row.values[crossing.familiar] > 0.5).copied().collect();
    let known: Vec<&Row> = familiar.iter().filter(|row| row.values[crossing.repeated] > 0.5).copied().collect();
    let least = ln_1p(GUESSES_MIN);
    let guessers: Vec<&Row> = attacks.iter().filter(|row| row.values[crossing.guesses] >= least).copied().collect();
    let mut rng = Rng::new(seed, "crossed places");
    let mut any = |rows: &[&Row]| rows.get(rng.below(rows.len().max(1) as u64) as usize).map(|row| (*row).clone());
    for _ in 0..(rows.rows.len() as f64 * SHARE_OF_OTHERS) as usize {
        made.extend(any(&outdated).zip(any(&attacks)).map(|(device, attack)| elsewhere(device, &attack, &crossing)));
        made.extend(any(&at_home).zip(any(&guessers)).map(|(slip, attack)| guessing(slip, &attack, &crossing)));
        made.extend(any(&known).zip(any(&guessers)).map(|(owner, attack)| beside(owner, &attack, &crossing)));
    }
    Dataset { rows: made }
}

/// `device`, which repeats an old password, in the place of `attack` and amid it; its guesses stay its own.
fn elsewhere(mut device: Row, attack: &Row, crossing: &Crossing) -> Row {
    for &place in &crossing.place {
        device.values[place] = attack.values[place];
    }
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
mod tests {
    use super::*;
    use crate::detection::attempt::{RequestKey, Timestamp};

    fn row(at: i64, width: usize, label: Label) -> Row {
        Row {
            ts: Timestamp::from_millis(at),
            request: RequestKey::of(&at.to_string()),
            values: vec![0.0; width],
            label,
            weight: 0.5,
            represents: 1.0,
            from_feedback: false,
            failed: false,
            group: 0,
        }
    }

    fn some_rows(schema: &FeatureSchema) -> Dataset {
        let counted = schema.index_of("user_failures_1h").expect("it is one of ours");
        let familiar = schema.index_of("user_address_succeeded_7d").expect("it is one of ours");
        let rows = (0..100).map(|at| {
            let mut row = row(at, schema.len(), if at < 20 { Label::Attack } else { Label::Legit });
            row.failed = at < 60;
            row.values[familiar] = if at >= 60 { 1.0 } else { 0.0 };
            row.values[counted] = ln_1p(if at < 20 { 40.0 } else { 2.0 });
            row
        });
        Dataset { rows: rows.collect() }
    }

    #[test]
    fn an_attack_on_the_account_adds_to_what_its_own_devices_do() {
        let schema = FeatureSchema::ext();
        let crossed = crossed(&some_rows(&schema), &schema, 1);
        let counted = schema.index_of("user_failures_1h").expect("it is one of ours");
        assert_eq!(crossed.rows.len(), 10);
        for row in &crossed.rows {
            assert_eq!(row.label, Label::Legit);
            assert!((row.values[counted] - ln_1p(42.0)).abs() < 1e-6, "{}", row.values[counted]);
        }
        assert_eq!(crossed.rows.iter().filter(|row| row.failed).count(), 5, "half of them are failures");
    }

    #[test]
    fn an_old_password_is_honest_in_the_place_of_an_attacker_and_many_guesses_are_an_attack_at_home() {
        let schema = FeatureSchema::ext();
        let at = |name: &str| schema.index_of(name).expect("it is one of ours");
        let (outdated, strange, guesses) =
            (at("password_outdated"), at("user_new_network"), at("user_address_guesses_24h"));
        let (familiar, failures) = (at("user_address_succeeded_7d"), at("source_failures_24h"));
        let (sprayed, repeated) = (at("password_other_users_24h"), at("password_repeated_excused"));
        let mut rows = some_rows(&schema);
        for row in &mut rows.rows {
            let attack = row.label == Label::Attack;
            row.values[strange] = f64::from(u8::from(attack));
            row.values[guesses] = ln_1p(if attack { 50.0 } else { 1.0 });
            row.values[failures] = ln_1p(if attack { 29.0 } else { 3.0 });
            row.values[sprayed] = ln_1p(if attack { 60.0 } else { 0.0 });
            row.values[outdated] = f64::from(u8::from(!attack && row.failed));
            if !attack {
                row.values[familiar] = 1.0;
                row.values[repeated] = 1.0;
            }
        }

        let crossed = crossed(&rows, &schema, 1).rows;

        let away: Vec<_> =
            crossed.iter().filter(|row| row.values[outdated] > 0.5 && row.values[strange] > 0.5).collect();
        assert_eq!(away.len(), 2);
        assert!(away.iter().all(|row| row.label == Label::Legit && row.values[familiar] < 0.5));
        assert!(away.iter().all(|row| row.values[failures] == ln_1p(29.0)), "others fail there, too");
        assert!(away.iter().all(|row| row.values[sprayed] == ln_1p(60.0)), "and try others with that password");
        assert!(away.iter().all(|row| row.values[guesses] == ln_1p(1.0)), "it guesses nothing");
        let home: Vec<_> = crossed.iter().filter(|row| row.label == Label::Attack).collect();
        assert_eq!(home.len(), 2);
        assert!(home.iter().all(|row| row.values[familiar] > 0.5 && row.values[strange] < 0.5));
        assert!(home.iter().all(|row| row.values[failures] == ln_1p(29.0)));
        assert!(
            home.iter().all(|row| row.values[outdated] == 0.0 && row.values[repeated] == 0.0),
            "what is guessed was not known before"
        );
        let beside: Vec<_> = crossed
            .iter()
            .filter(|row| row.label == Label::Legit && row.values[familiar] > 0.5 && row.values[guesses] > ln_1p(12.0))
            .collect();
        assert_eq!(beside.len(), 2);
        assert!(beside.iter().all(|row| row.values[repeated] > 0.5), "only who repeats a password that is known");
        assert!(beside.iter().all(|row| row.values[failures] == ln_1p(29.0)));
        assert!(
            home.iter().all(|row| (row.values[guesses] - ln_1p(33.0)).abs() < 1e-6),
            "as many as are counted at home"
        );
    }

    #[test]
    fn nothing_is_crossed_where_accounts_and_addresses_are_not_told_apart_or_nothing_is_there() {
        let schema = FeatureSchema::ext();
        let rows = some_rows(&schema);
        assert_eq!(crossed(&rows, &FeatureSchema::compat6(), 1), Dataset::default());
        let honest = Dataset { rows: rows.rows.into_iter().filter(|row| row.label == Label::Legit).collect() };
        assert_eq!(crossed(&honest, &schema, 1), Dataset::default());
        assert_eq!(crossed(&Dataset::default(), &schema, 1), Dataset::default());
    }
}
