//! Ordinary logins to compare with: a few legitimate training rows that stand for all of them.
//!
//! Chosen like the first medoids of a clustering (the BUILD step of PAM, Kaufman and Rousseeuw 1990): the most central row
//! first, then always the row that brings the others closest to one that is chosen. Rows without company are not sought,
//! as the farthest-point choice would. There is no chance in it: equal rows in equal order give equal choices. Weights of
//! rows are not looked at.

use super::super::dataset::Row;
use super::super::labels::Label;
use super::super::standardizer::Standardizer;

/// Most rows that are chosen.
pub const ROWS: usize = 16;
/// Most rows that are looked at: the choice takes time with the square of them.
const CANDIDATES: usize = 512;

/// At most [`ROWS`] legitimate rows of `rows`, as they were recorded, fewer when there are fewer that differ. `width` is the
/// number of features of each row.
pub fn choose(rows: &[Row], width: usize) -> Vec<Vec<f32>> {
    let legitimate: Vec<&Row> = rows.iter().filter(|row| row.label == Label::Legit).collect();
    let candidates: Vec<Vec<f32>> = spread(&legitimate).map(Row::snapshot).collect();
    let standardizer = Standardizer::fit(width, candidates.iter().map(|row| (row.as_slice(), 1.0)));
    let standardised: Vec<Vec<f64>> = candidates
        .iter()
        .map(|row| {
            let mut out = vec![0.0; width];
            standardizer.apply(row, &mut out);
            out
        })
        .collect();
    medoids(&distances(&standardised), candidates.len()).into_iter().map(|chosen| candidates[chosen].clone()).collect()
}

/// At most [`CANDIDATES`] rows at even distances: the rows are in the order of time, so that all of it is covered.
fn spread<'a>(rows: &'a [&'a Row]) -> impl Iterator<Item = &'a Row> {
    let count = rows.len().min(CANDIDATES);
    (0..count).map(move |place| rows[place * rows.len() / count])
}

/// The sums of absolute differences of all pairs, one row of `rows.len()` after the other.
fn distances(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut distances = vec![0.0; rows.len() * rows.len()];
    for (first, a) in rows.iter().enumerate() {
        for (second, b) in rows.iter().enumerate().take(first) {
            let distance = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
            distances[first * rows.len() + second] = distance;
            distances[second * rows.len() + first] = distance;
        }
    }
    distances
}

/// The places of the chosen rows among `count`, in the order of their choice.
fn medoids(distances: &[f64], count: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    // How far each row is from the nearest chosen one. Nothing is farther than this from anything.
    let farthest = distances.iter().copied().fold(0.0, f64::max) + 1.0;
    let mut nearest = vec![farthest; count];
    while chosen.len() < ROWS {
        let mut best = (0.0, None);
        for candidate in 0..count {
            let from = &distances[candidate * count..(candidate + 1) * count];
            let gain: f64 = nearest.iter().zip(from).map(|(nearest, distance)| (nearest - distance).max(0.0)).sum();
            if gain > best.0 {
                best = (gain, Some(candidate));
            }
        }
        // No gain: every row equals one that is chosen.
        let (_, Some(candidate)) = best else { break };
        let from = &distances[candidate * count..(candidate + 1) * count];
        nearest.iter_mut().zip(from).for_each(|(nearest, distance)| *nearest = nearest.min(*distance));
        chosen.push(candidate);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::{RequestKey, Timestamp};
    use crate::numeric::Rng;

    fn row(number: usize, values: Vec<f64>, label: Label) -> Row {
        let ts = Timestamp::from_millis(number as i64 * 1000);
        Row {
            ts,
            request: RequestKey([0; 16]),
            values,
            label,
            weight: 1.0,
            represents: 1.0,
            group: 0,
            word: None,
            failed: false,
        }
    }

    /// Rows around each of `centres`, one after the other, with small differences.
    fn around(centres: &[f64], count: usize) -> Vec<Row> {
        let mut rng = Rng::new(1, "background test");
        (0..count)
            .map(|number| {
                let centre = centres[number % centres.len()];
                let values = vec![centre + 0.1 * rng.uniform(), rng.uniform()];
                row(number, values, Label::Legit)
            })
            .collect()
    }

    #[test]
    fn the_rows_stand_for_every_cluster_and_no_attack_is_among_them() {
        let mut rows = around(&[0.0, 10.0, 20.0], 900);
        rows.extend((900..1000).map(|number| row(number, vec![500.0, 500.0], Label::Attack)));

        let chosen = choose(&rows, 2);

        assert_eq!(chosen.len(), ROWS);
        for centre in [0.0, 10.0, 20.0] {
            let near = chosen.iter().filter(|values| (values[0] - centre).abs() < 1.0).count();
            assert!((3..=8).contains(&near), "{near} of {ROWS} are near {centre}: {chosen:?}");
        }
        assert!(chosen.iter().all(|values| values[0] < 100.0), "{chosen:?}");
    }

    #[test]
    fn the_first_is_a_central_one_and_not_a_stray_one() {
        let mut rows = around(&[0.0], 300);
        rows.push(row(300, vec![1000.0, 1000.0], Label::Legit));

        assert!(choose(&rows, 2)[0][0] < 1.0);
    }

    #[test]
    fn rows_that_are_all_alike_are_chosen_once() {
        let alike: Vec<Row> =
            (0..50).map(|number| row(number, vec![f64::from(number as u8 % 2), 0.0], Label::Legit)).collect();

        assert_eq!(choose(&alike, 2).len(), 2);
        assert_eq!(choose(&alike[..1], 2), [[0.0, 0.0]]);
        assert!(choose(&[], 2).is_empty());
    }

    #[test]
    fn the_same_rows_give_the_same_choice_whatever_their_weights() {
        let rows = around(&[0.0, 3.0], 2000);
        let mut heavier = rows.clone();
        heavier.iter_mut().step_by(3).for_each(|row| row.weight = 50.0);

        assert_eq!(choose(&rows, 2), choose(&heavier, 2));
    }
}
