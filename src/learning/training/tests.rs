//! Training: it learns, it is reproducible, and it stops when told.

use super::*;

/// Two clouds of points in three dimensions; every fourth is an attack and lies to the upper right.
fn clouds(n: usize) -> Vec<([f64; 3], bool)> {
    let mut rng = Rng::new(11, "clouds");
    (0..n)
        .map(|index| {
            let attack = index % 4 == 0;
            let centre = if attack { 1.5 } else { -0.5 };
            ([centre + rng.normal(), centre + rng.normal(), rng.normal()], attack)
        })
        .collect()
}

fn rows(points: &[([f64; 3], bool)]) -> Vec<TrainingRow<'_>> {
    points.iter().map(|(values, attack)| TrainingRow { values, attack: *attack, weight: 1.0 }).collect()
}

fn quick() -> TrainingOptions {
    TrainingOptions { epochs: 20, optimizer: Optimizer::Adam { learning_rate: 0.02 }, ..TrainingOptions::default() }
}

fn train(rows: &[TrainingRow<'_>], options: &TrainingOptions) -> Result<Mlp, TrainingError> {
    fit(rows, options, &AtomicBool::new(false), &mut |_| {})
}

/// Mean probability of attacks and of legitimate attempts.
fn mean_scores(mlp: &Mlp, rows: &[TrainingRow<'_>]) -> (f64, f64) {
    let mean = |attack: bool| {
        let scores: Vec<f64> =
            rows.iter().filter(|row| row.attack == attack).map(|row| mlp.probability(row.values)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    (mean(true), mean(false))
}

#[test]
fn attacks_score_higher_than_legitimate_attempts_after_training() {
    let points = clouds(400);
    let rows = rows(&points);
    for activation in Activation::ALL {
        let mlp = train(&rows, &TrainingOptions { activation, ..quick() }).unwrap();

        let (attack, legit) = mean_scores(&mlp, &rows);

        assert!(attack > legit + 0.5, "{activation}: attacks {attack}, legitimate {legit}");
    }
    let sgd = TrainingOptions { optimizer: Optimizer::Sgd { learning_rate: 0.5 }, ..quick() };
    let (attack, legit) = mean_scores(&train(&rows, &sgd).unwrap(), &rows);
    assert!(attack > legit + 0.4, "gradient descent: attacks {attack}, legitimate {legit}");
}

#[test]
fn the_same_seed_gives_the_same_network_bit_by_bit() {
    let points = clouds(200);
    let rows = rows(&points);
    let bits = |seed| {
        let mlp = train(&rows, &TrainingOptions { seed, epochs: 5, ..quick() }).unwrap();
        mlp.parts().into_iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>()
    };

    assert_eq!(bits(1), bits(1));
    assert_ne!(bits(1), bits(2));
}

#[test]
fn a_set_flag_cancels_before_the_first_batch_and_in_the_middle() {
    let points = clouds(100);
    let rows = rows(&points);
    assert_eq!(fit(&rows, &quick(), &AtomicBool::new(true), &mut |_| {}), Err(TrainingError::Cancelled));

    let cancel = AtomicBool::new(false);
    let mut last = 0;
    let result = fit(&rows, &quick(), &cancel, &mut |progress| {
        last = progress.done;
        if progress.done == 3 {
            cancel.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!((result, last), (Err(TrainingError::Cancelled), 3));
}

#[test]
fn every_epoch_is_run_and_reported_and_the_loss_falls() {
    let points = clouds(300);
    let mut seen = Vec::new();
    fit(&rows(&points), &quick(), &AtomicBool::new(false), &mut |progress| seen.push(progress)).unwrap();

    assert_eq!(seen.iter().map(|p| p.done).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert!(seen.iter().all(|p| (p.of, p.stage) == (20, Stage::Network)));
    let loss = |epoch: usize| seen[epoch - 1].loss.unwrap_or(f64::NAN);
    assert!(loss(20) < 0.5 * loss(1), "{} then {}", loss(1), loss(20));
}

#[test]
fn without_epochs_the_network_answers_with_the_weighted_share_of_attacks() {
    let values = [0.0; 3];
    let row = |attack, weight| TrainingRow { values: &values, attack, weight };
    let options = TrainingOptions { epochs: 0, activation: Activation::Tanh, ..quick() };

    let mlp = train(&[row(true, 1.0), row(false, 2.0), row(false, 1.0)], &options).unwrap();

    assert!((mlp.probability(&values) - 0.25).abs() < 1e-12);
}

#[test]
fn rows_that_cannot_be_trained_on_are_refused() {
    let (good, short, bad) = ([0.0, 1.0], [0.0], [0.0, f64::NAN]);
    let row = |values, weight| TrainingRow { values, attack: true, weight };
    let refused = |rows: &[TrainingRow<'_>]| train(rows, &quick()).unwrap_err();

    assert_eq!(refused(&[]), TrainingError::NoRows);
    assert_eq!(refused(&[row(&good, 0.0)]), TrainingError::NoRows);
    assert_eq!(refused(&[row(&good, 1.0), row(&short, 1.0)]), TrainingError::Shape);
    assert_eq!(refused(&[row(&[], 1.0)]), TrainingError::Shape);
    assert_eq!(refused(&[row(&bad, 1.0)]), TrainingError::NonFinite { epoch: 0 });
    assert_eq!(refused(&[row(&good, -1.0)]), TrainingError::NonFinite { epoch: 0 });
    assert_eq!(refused(&[row(&good, f64::INFINITY)]), TrainingError::NonFinite { epoch: 0 });
    let hidden = TrainingOptions { hidden: 0, ..quick() };
    assert_eq!(train(&[row(&good, 1.0)], &hidden), Err(TrainingError::Shape));
}

#[test]
fn a_run_that_diverges_is_reported_and_gives_no_network() {
    let values = [1e300, 1e300];
    let rows = [TrainingRow { values: &values, attack: true, weight: 1.0 }];
    let options = TrainingOptions {
        activation: Activation::LeakyRelu,
        optimizer: Optimizer::Sgd { learning_rate: 1e300 },
        ..quick()
    };

    assert!(matches!(train(&rows, &options), Err(TrainingError::NonFinite { epoch: 1.. })));
}

#[test]
fn rows_without_weight_do_not_matter_for_the_direction() {
    let points = clouds(120);
    let mut weighed = rows(&points);
    for row in &mut weighed {
        row.attack = !row.attack;
        row.weight = 0.0;
    }
    weighed.extend(rows(&points));

    let (attack, legit) = mean_scores(&train(&weighed, &quick()).unwrap(), &rows(&points));

    assert!(attack > legit + 0.4, "attacks {attack}, legitimate {legit}");
}

#[test]
fn the_batch_grows_with_the_set_up_to_its_limit() {
    let options = TrainingOptions::default();
    let sizes = [1, 100, 320, 1_000, 4_096, 100_000].map(|rows| options.batch_for(rows));
    assert_eq!(sizes, [16, 16, 20, 62, 256, 256]);
    assert_eq!(TrainingOptions { batch: 0, ..options }.batch_for(100), 1);
}

#[test]
fn the_learning_rate_falls_to_a_twentieth() {
    let options = TrainingOptions { epochs: 10, ..TrainingOptions::default() };
    let mut schedule = Schedule::new(&options, 7);
    let rates: Vec<f64> = (0..70).map(|_| schedule.next()).collect();

    assert_eq!(rates[0], 3e-3);
    assert!((rates[69] - 1.5e-4).abs() < 1e-15);
    assert!(rates.windows(2).all(|pair| pair[1] < pair[0]));
}
