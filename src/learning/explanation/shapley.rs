//! Exact interventional Shapley values of a score over groups of features.
//!
//! The value of a coalition of groups is the mean score over the background rows, with the coalition's features taken from
//! the attempt and all others from the row (Lundberg and Lee 2017; Janzing et al. 2020). It knows no features and no model:
//! any function of a row will do. Nothing is sampled.
//!
//! The mean over rows is a sum of games, one for each row, and Shapley values add up over games. In the game of one row a
//! group that has the row's own values changes nothing, so only the groups that differ take part in it.

/// Most groups that may differ: each one more doubles the work.
pub const GROUPS_MAX: usize = 12;

/// How a score came about: `base` and all parts add up to `score`, but for rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution<G> {
    /// Mean score of the background rows.
    pub base: f64,
    /// Score of the row that is explained.
    pub score: f64,
    /// What each group adds, in the order in which the groups first appear among the features.
    pub parts: Vec<(G, f64)>,
}

/// Why there is no attribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributionError {
    /// There is nothing to compare with.
    #[error("cannot attribute a score: there are no background rows")]
    NoBackground,
    /// The row, the groups or a background row are not of one width.
    #[error("cannot attribute a score: the rows are not of one width")]
    Width,
    /// More than [`GROUPS_MAX`] groups.
    #[error("cannot attribute a score: {0} groups are more than {GROUPS_MAX}")]
    TooManyGroups(usize),
}

/// Attributes the score of `row` to the groups of its features, `groups` naming the group of each. It calls `score` at most
/// 1 + rows · 2^groups times, with `row`, with background rows and with mixtures of both.
///
/// # Errors
/// See [`AttributionError`].
pub fn attribute<T: Copy + PartialEq, G: Copy + PartialEq>(
    row: &[T],
    background: &[Vec<T>],
    groups: &[G],
    mut score: impl FnMut(&[T]) -> f64,
) -> Result<Attribution<G>, AttributionError> {
    if background.is_empty() {
        return Err(AttributionError::NoBackground);
    }
    if groups.len() != row.len() || background.iter().any(|other| other.len() != row.len()) {
        return Err(AttributionError::Width);
    }
    let members = members(groups);
    if members.len() > GROUPS_MAX {
        return Err(AttributionError::TooManyGroups(members.len()));
    }
    let whole = score(row);
    let weights: Vec<Vec<f64>> = (0..=members.len()).map(weights).collect();
    let mut game = Game { row, mixed: row.to_vec(), players: Vec::with_capacity(members.len()) };
    let mut parts: Vec<(G, f64)> = members.iter().map(|(group, _)| (*group, 0.0)).collect();
    let mut base = 0.0;
    for other in background {
        let differs = |features: &[usize]| features.iter().any(|&feature| row[feature] != other[feature]);
        game.players.clear();
        game.players.extend((0..members.len()).filter(|&group| differs(&members[group].1)));
        base += if game.players.is_empty() {
            whole
        } else {
            game.play(other, &members, &weights[game.players.len()], &mut parts, &mut score)
        };
    }
    let rows = background.len() as f64;
    for (_, part) in &mut parts {
        *part /= rows;
    }
    Ok(Attribution { base: base / rows, score: whole, parts })
}

/// Mean score of `row` with `features` taken from the background rows instead. `background` must not be empty.
pub fn mean_without<T: Copy>(
    row: &[T],
    background: &[Vec<T>],
    features: &[usize],
    mut score: impl FnMut(&[T]) -> f64,
) -> f64 {
    let mut mixed = row.to_vec();
    let mut sum = 0.0;
    for other in background {
        for &feature in features {
            mixed[feature] = other[feature];
        }
        sum += score(&mixed);
    }
    sum / background.len() as f64
}

/// The groups in the order of their first feature, each with all of its features.
pub fn members<G: Copy + PartialEq>(groups: &[G]) -> Vec<(G, Vec<usize>)> {
    let mut members: Vec<(G, Vec<usize>)> = Vec::new();
    for (feature, group) in groups.iter().enumerate() {
        match members.iter_mut().find(|(known, _)| known == group) {
            Some((_, features)) => features.push(feature),
            None => members.push((*group, vec![feature])),
        }
    }
    members
}

/// Weight of what a player adds to a coalition of 0, 1, … of the other players: s! (n − s − 1)! / n!.
fn weights(players: usize) -> Vec<f64> {
    let mut weights = Vec::with_capacity(players);
    // 1 / (n · C(n − 1, s)), the binomial coefficient from the one before it.
    let mut choices = 1.0;
    for size in 0..players {
        weights.push(1.0 / (players as f64 * choices));
        choices = choices * (players - 1 - size) as f64 / (size + 1) as f64;
    }
    weights
}

/// The buffers of the game that is played with each background row.
struct Game<'a, T> {
    row: &'a [T],
    mixed: Vec<T>,
    /// The groups that differ from the background row.
    players: Vec<usize>,
}

impl<T: Copy> Game<'_, T> {
    /// Adds the Shapley values of one row's game to `parts` and returns the value of the empty coalition. Coalitions come
    /// in the order of a Gray code: from one to the next a single group changes sides.
    fn play<G>(
        &mut self,
        other: &[T],
        members: &[(G, Vec<usize>)],
        weights: &[f64],
        parts: &mut [(G, f64)],
        score: &mut impl FnMut(&[T]) -> f64,
    ) -> f64 {
        self.mixed.copy_from_slice(other);
        let empty = score(&self.mixed);
        let mut coalition = 0_u32;
        self.share(coalition, empty, weights, parts);
        for step in 1_u32..1 << self.players.len() {
            let player = step.trailing_zeros();
            coalition ^= 1 << player;
            let source = if coalition & (1 << player) == 0 { other } else { self.row };
            for &feature in &members[self.players[player as usize]].1 {
                self.mixed[feature] = source[feature];
            }
            let value = score(&self.mixed);
            self.share(coalition, value, weights, parts);
        }
        empty
    }

    /// A coalition's value counts for those in it and against those who are not.
    fn share<G>(&self, coalition: u32, value: f64, weights: &[f64], parts: &mut [(G, f64)]) {
        let size = coalition.count_ones() as usize;
        let gain = if size > 0 { value * weights[size - 1] } else { 0.0 };
        let loss = if size < weights.len() { value * weights[size] } else { 0.0 };
        for (player, &group) in self.players.iter().enumerate() {
            parts[group].1 += if coalition & (1 << player) == 0 { -loss } else { gain };
        }
    }
}

#[cfg(test)]
mod tests;
