//! Who said what about which request, and what the last training made of it. Nothing is decided here: which items count
//! and whose were set aside is what `learning::feedback` and the history say.

use serde_json::{Value, json};

use super::{ControlError, ControlHandle};
use crate::learning::feedback::{Fate, fates, per_author_max};
use crate::learning::sample::Feedback;
use crate::store::Position;

/// Items read in one go.
const PAGE: usize = 1000;
/// Entries of the history among which the last training is.
const HISTORY_MAX: usize = 200;

/// What the last training that looked at feedback found.
struct Found {
    per_author_max: usize,
    unheeded: Vec<String>,
}

impl Found {
    fn of(history: &[Vec<u8>]) -> Self {
        let entries = history.iter().filter_map(|entry| serde_json::from_slice::<Value>(entry).ok());
        let told = entries.map(|entry| entry["feedback"].clone()).find(Value::is_object).unwrap_or_default();
        let of_one = told["per_author"].as_u64().and_then(|most| usize::try_from(most).ok());
        let unheeded = told["set_aside_authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            per_author_max: of_one.unwrap_or_else(|| per_author_max(0.0)),
            unheeded: unheeded.map(str::to_owned).collect(),
        }
    }
}

impl ControlHandle {
    /// The newest items, at most `limit`, newest first.
    pub(super) async fn feedback_list(&self, limit: usize) -> Result<Value, ControlError> {
        let registry = self.store.registry().await?;
        let seen = registry.watermark.max(registry.considered);
        let found = Found::of(&self.store.history(HISTORY_MAX).await?);
        let mut items: Vec<(Position, Feedback)> = Vec::new();
        let mut after = Position::START;
        loop {
            // The store takes no more than `limits.feedback_max`.
            let page = self.store.read_feedback(after, PAGE).await?;
            let full = page.len() == PAGE;
            for (position, bytes) in page {
                after = position;
                // What cannot be read no training reads either; it says so.
                let Ok(mut item) = Feedback::decode(&bytes) else { continue };
                item.values = Vec::new();
                items.push((position, item));
            }
            if !full {
                break;
            }
        }
        Ok(shown(items, seen, &found, limit))
    }
}

fn shown(items: Vec<(Position, Feedback)>, seen: Position, found: &Found, limit: usize) -> Value {
    let (positions, items): (Vec<Position>, Vec<Feedback>) = items.into_iter().unzip();
    let known = positions.partition_point(|position| *position <= seen);
    let fates = fates(&items[..known], found.per_author_max);
    let state = |place: usize, item: &Feedback| match fates.get(place) {
        None => "waiting",
        Some(Fate::Replaced) => "replaced",
        Some(Fate::Contradicted) => "contradicted",
        Some(Fate::Repeated) => "repeated",
        Some(Fate::Counted) if found.unheeded.contains(&item.author) => "set_aside",
        Some(Fate::Counted) => "counted",
    };
    let newest = items.iter().enumerate().rev().take(limit);
    newest
        .map(|(place, item)| {
            json!({
                "at": item.given_at.to_string(), "request": hex::encode(item.request.0), "attempt_at": item.ts.to_string(),
                "client_ip": item.client_ip, "author": item.author, "is_brute_force": item.is_attack,
                "state": state(place, item),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::sample::tests::feedback;

    #[test]
    fn every_item_says_what_became_of_it_and_the_newest_come_first() {
        let items = [
            feedback(1, true, "c"),
            feedback(2, true, "c"),
            feedback(2, false, "d"),
            feedback(3, true, "mallory"),
            feedback(4, false, "c"),
            feedback(4, true, "c"),
            feedback(5, true, "mallory"),
        ];
        let placed = (1..).map(|major| Position { major, minor: 0 }).zip(items).collect();
        let found = Found { per_author_max: 10, unheeded: vec!["mallory".to_owned()] };

        let list = shown(placed, Position { major: 6, minor: 0 }, &found, 6);

        let states: Vec<_> = list.as_array().expect("a list").iter().map(|item| item["state"].clone()).collect();
        assert_eq!(states, ["waiting", "counted", "replaced", "set_aside", "contradicted", "contradicted"]);
        assert_eq!((&list[0]["author"], &list[0]["is_brute_force"]), (&json!("mallory"), &json!(true)));
        assert_eq!(list[0]["request"], hex::encode(feedback(5, true, "x").request.0));
    }

    #[test]
    fn the_last_training_that_saw_feedback_says_whose_is_set_aside() {
        let history = [
            json!({ "outcome": "reset" }),
            json!({ "feedback": { "per_author": 12, "set_aside_authors": ["mallory"] } }),
            json!({ "feedback": { "per_author": 99, "set_aside_authors": ["c"] } }),
        ];
        let found = Found::of(&history.map(|entry| entry.to_string().into_bytes()));

        assert_eq!((found.per_author_max, found.unheeded), (12, vec!["mallory".to_owned()]));
        assert_eq!(Found::of(&[]).per_author_max, 10);
    }
}
