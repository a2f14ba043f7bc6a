//! The query of routes that show the newest entries of something: how many at most. What they show is theirs.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use super::problem::Problem;

/// Entries without `limit`: what a person reads on a screen or two.
const LIMIT_DEFAULT: usize = 100;

/// The query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// Most entries, 1 to 1000.
    limit: Option<usize>,
}

/// How many are asked for; the command that shows them bounds it.
///
/// # Errors
/// 400 for anything but a `limit` that is a number.
pub fn limit(query: Result<Query<Newest>, QueryRejection>) -> Result<usize, Problem> {
    let Query(Newest { limit }) =
        query.map_err(|_| Problem::field("limit", "must be a number, and the only parameter"))?;
    Ok(limit.unwrap_or(LIMIT_DEFAULT))
}
