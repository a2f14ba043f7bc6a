//! What a fitted forest promises.

use super::*;

/// Attacks lie where exactly one of the first two values is positive, which no straight line can tell; the third value
/// says nothing, and one row in twenty is labelled wrongly.
fn points(n: usize) -> Vec<(Vec<f64>, bool)> {
    let mut rng = Rng::new(8, "forest test");
    (0..n)
        .map(|_| {
            let values = vec![rng.normal(), rng.normal(), rng.normal()];
            let attack = (values[0] > 0.0) != (values[1] > 0.0);
            (values, attack != (rng.uniform() < 0.05))
        })
        .collect()
}

fn rows(points: &[(Vec<f64>, bool)]) -> Vec<TrainingRow<'_>> {
    points.iter().map(|(values, attack)| TrainingRow { values, attack: *attack, weight: 1.0 }).collect()
}

fn options() -> ForestOptions {
    ForestOptions { trees: 12, depth: 6, ..ForestOptions::default() }
}

#[test]
fn our_answer_is_the_one_of_smartcore_prediction_by_prediction() {
    let points = points(800);
    for (depth, leaf_min) in [(1, 5), (4, 5), (12, 1)] {
        let options = ForestOptions { depth, leaf_min, ..options() };
        let ours = Forest::fit(&rows(&points), &options).unwrap();

        // The fit puts attacks first.
        let (mut attacks, legit): (Vec<_>, Vec<_>) = points.iter().cloned().partition(|(_, attack)| *attack);
        attacks.extend(legit);
        let values = attacks.iter().map(|(values, _)| values.clone()).collect();
        let matrix = DenseMatrix::from_2d_vec(&values).unwrap();
        let labels: Vec<f64> = attacks.iter().map(|(_, attack)| f64::from(u8::from(*attack))).collect();
        let weights = vec![1.0; 800];
        let unseen = super::tests::points(3_000).split_off(800);
        let asked: Vec<_> = attacks.iter().chain(&unseen).map(|(values, _)| values.clone()).collect();
        let asked_matrix = DenseMatrix::from_2d_vec(&asked).unwrap();
        let mut seeds = Rng::new(1, "forest");
        let mut answers = vec![0.0; asked.len()];
        for _ in 0..12 {
            let parameters = RandomForestRegressorParameters::default()
                .with_n_trees(1)
                .with_max_depth(depth + 1)
                .with_min_samples_leaf(leaf_min)
                .with_min_samples_split(2 * leaf_min)
                .with_m(1)
                .with_seed(seeds.next_u64());
            let theirs = RandomForestRegressor::fit_with_weights(&matrix, &labels, &weights, parameters).unwrap();
            for (sum, answer) in answers.iter_mut().zip(theirs.predict(&asked_matrix).unwrap()) {
                *sum += answer;
            }
        }
        answers.iter_mut().for_each(|sum| *sum /= 12.0);

        for (row, answer) in asked.iter().zip(&answers) {
            assert_eq!(ours.probability(row), *answer, "{row:?}");
        }
        assert!(answers.iter().any(|answer| *answer < 0.5) && answers.iter().any(|answer| *answer > 0.5));
        // Depth 1 is one question.
        assert!(ours.trees.iter().all(|tree| depth > 1 || tree.nodes.len() <= 3));
    }
}

#[test]
fn attacks_score_higher_than_legitimate_attempts() {
    let points = points(3_000);
    let (seen, unseen) = points.split_at(2_000);
    let forest = Forest::fit(&rows(seen), &options()).unwrap();
    let mean = |attack| {
        let scores: Vec<_> =
            unseen.iter().filter(|point| point.1 == attack).map(|point| forest.probability(&point.0)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    assert!(mean(true) > 0.65 && mean(false) < 0.3, "{} {}", mean(true), mean(false));
}

#[test]
fn a_fit_is_cancelled_between_two_trees_and_tells_each_of_them() {
    let points = points(400);
    let cancel = AtomicBool::new(false);
    let mut told = Vec::new();
    let cancelled = Forest::fit_watched(&rows(&points), &options(), &cancel, &mut |progress| {
        told.push((progress.stage, progress.done, progress.of));
        cancel.store(progress.done == 3, Ordering::Relaxed);
    });

    assert!(matches!(cancelled, Err(ForestError::Cancelled)));
    assert_eq!(told, [1, 2, 3].map(|tree| (Stage::Forest, tree, 12)));
}

#[test]
fn heavy_rows_count_more_and_weightless_ones_not_at_all() {
    // At each place as many attacks as legitimate attempts.
    let places: Vec<_> = (0..400).map(|i| vec![f64::from(i / 2)]).collect();
    let with = |of_attacks: f64| {
        let rows: Vec<_> = places
            .iter()
            .zip([true, false].into_iter().cycle())
            .map(|(values, attack)| TrainingRow { values, attack, weight: if attack { of_attacks } else { 1.0 } })
            .collect();
        Forest::fit(&rows, &ForestOptions { depth: 1, leaf_min: 50, ..options() }).unwrap().probability(&[100.0])
    };
    let (light, even, heavy) = (with(1.0 / 9.0), with(1.0), with(9.0));
    assert!(
        (light - 0.1).abs() < 0.05 && (even - 0.5).abs() < 0.08 && (heavy - 0.9).abs() < 0.05,
        "{light} {even} {heavy}"
    );

    let points = points(600);
    let mut weighted = rows(&points);
    weighted.iter_mut().skip(300).for_each(|row| row.weight = 0.0);
    assert_eq!(Forest::fit(&weighted, &options()).unwrap(), Forest::fit(&rows(&points[..300]), &options()).unwrap());
}

#[test]
fn the_same_rows_and_seed_give_the_same_forest_and_another_seed_another_one() {
    let points = points(500);
    let with = |seed| Forest::fit(&rows(&points), &ForestOptions { seed, rows_max: 300, ..options() }).unwrap();
    assert_eq!(with(3), with(3));
    assert_ne!(with(3), with(4));
}

#[test]
fn too_many_rows_are_drawn_by_weight_with_both_classes_kept() {
    let points: Vec<_> = (0..10_000).map(|i| (vec![f64::from(i)], i % 100 == 0)).collect();
    let mut rows = rows(&points);
    rows.iter_mut().filter(|row| row.values[0] >= 5_000.0).for_each(|row| row.weight = 4.0);
    let (chosen, weights) = choose(&rows, &ForestOptions { rows_max: 1_000, ..options() });

    let attacks = chosen.iter().filter(|row| row.attack).count();
    assert_eq!(attacks, 100, "a rare class stays whole");
    assert!(chosen.len() <= 1_000 && chosen.len() > 700, "{}", chosen.len());
    let sum = |attack, from: f64| -> f64 {
        let counted = chosen.iter().zip(&weights).filter(|(row, _)| row.attack == attack && row.values[0] >= from);
        counted.map(|(_, weight)| weight).sum()
    };
    // The draw leaves the weight of either class as it was, and that of a half of the rows nearly so.
    assert!((sum(true, 0.0) - 250.0).abs() < 1e-6);
    assert!((sum(false, 0.0) - 99.0 * 250.0).abs() < 1e-6);
    assert!((sum(false, 5_000.0) - 99.0 * 200.0).abs() < 99.0);

    let (all, _) = choose(&rows, &ForestOptions { rows_max: 10_000, ..options() });
    assert_eq!(all.len(), 10_000);
}

#[test]
fn where_all_attempts_are_of_one_class_no_question_is_left() {
    let points: Vec<_> = (0..200).map(|i| (vec![f64::from(i)], i >= 100)).collect();
    let forest = Forest::fit(&rows(&points), &ForestOptions { leaf_min: 1, ..options() }).unwrap();
    assert!(forest.trees.iter().all(|tree| tree.nodes.len() == 3), "{forest:?}");
    assert_eq!((forest.probability(&[0.0]), forest.probability(&[199.0])), (0.0, 1.0));
}

#[test]
fn rows_and_options_that_cannot_be_fitted_are_refused() {
    let (good, short, bad) = ([0.0, 1.0], [0.0], [f64::NAN, 1.0]);
    let row = |values, attack| TrainingRow { values, attack, weight: 1.0 };
    let fit = |rows: &[TrainingRow<'_>]| Forest::fit(rows, &options()).unwrap_err();

    assert!(matches!(fit(&[]), ForestError::OneClass));
    assert!(matches!(fit(&[row(&good, true), row(&good, true)]), ForestError::OneClass));
    assert!(matches!(fit(&[row(&good, true), row(&short, false)]), ForestError::Shape));
    assert!(matches!(fit(&[row(&[], true), row(&[], false)]), ForestError::Shape));
    assert!(matches!(fit(&[row(&good, true), row(&bad, false)]), ForestError::NonFinite));
    let weighted = |weight| TrainingRow { weight, ..row(&good, true) };
    assert!(matches!(fit(&[weighted(0.0), row(&good, false)]), ForestError::OneClass));
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(fit(&[weighted(weight), row(&good, true), row(&good, false)]), ForestError::NonFinite));
    }
    let both = [row(&good, true), row(&good, false)];
    for options in [
        ForestOptions { trees: 0, ..options() },
        ForestOptions { trees: TREES_MAX + 1, ..options() },
        ForestOptions { depth: 0, ..options() },
        ForestOptions { depth: DEPTH_MAX + 1, ..options() },
        ForestOptions { rows_max: 1, ..options() },
    ] {
        assert!(matches!(Forest::fit(&both, &options), Err(ForestError::Options)), "{options:?}");
    }
    assert!(Forest::fit(&both, &options()).unwrap().check(2), "two rows are enough for a forest of single leaves");
}
