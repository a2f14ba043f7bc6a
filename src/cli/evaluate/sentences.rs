//! Sentences about a measured model that stand both on the console and in the report.

use serde_json::Value;

/// Why nothing, or not everything, could be blocked; `None` where every attempt could have been.
pub fn watch_only(report: &Value) -> Option<String> {
    if report["watch_only"] == true {
        let support = &report["support"];
        let Some((held_out, needed)) = support["held_out"].as_u64().zip(support["needed"].as_u64()) else {
            return Some("watch only: what is held out supports no threshold by price; nothing is blocked".to_owned());
        };
        return Some(format!(
            "watch only: {held_out} held-out legitimate attempts, {needed} are needed for a false-positive budget of {}; \
             nothing is blocked",
            support["budget"]
        ));
    }
    let watched = report["periods"].as_array()?.iter().filter(|period| period["threshold"].is_null());
    let watched: u64 = watched.filter_map(|period| period["attempts"].as_u64()).sum();
    (watched > 0).then(|| {
        format!("watch only: {watched} attempts came while no model had a block threshold, so rates of the whole test are not measured")
    })
}

/// How many campaigns were found, of those that could have been.
pub fn campaigns(report: &Value) -> String {
    let of = |key: &str| report["campaigns"][key].as_u64().unwrap_or(0);
    let (total, detected, unmeasured) = (of("total"), of("detected"), of("not_measured"));
    let measured = total.saturating_sub(unmeasured);
    match (measured, unmeasured) {
        (_, 0) => format!("campaigns of 40 attempts and more: {detected} of {total} detected"),
        (0, _) => format!("campaigns of 40 attempts and more: {total}, not measured, because nothing is blocked"),
        _ => format!(
            "campaigns of 40 attempts and more: {detected} of {measured} detected, {unmeasured} more not measured, because \
             nothing was blocked while they lasted"
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watch_only_model_says_what_it_lacks() {
        let mut report = json!({ "watch_only": true, "support": { "held_out": 800, "needed": 3000, "budget": 0.001 } });
        let numbers = "800 held-out legitimate attempts, 3000 are needed for a false-positive budget of 0.001";
        assert!(watch_only(&report).is_some_and(|sentence| sentence.contains(numbers)), "{report}");

        report["support"] = Value::Null;
        assert!(watch_only(&report).is_some_and(|sentence| sentence.contains("price")), "{report}");
        report["watch_only"] = json!(false);
        assert_eq!(watch_only(&report), None);
        report["periods"] = json!([{ "threshold": null, "attempts": 70 }, { "threshold": 0.8, "attempts": 30 }]);
        assert!(watch_only(&report).is_some_and(|sentence| sentence.contains("70 attempts")), "{report}");
    }

    #[test]
    fn what_nobody_could_block_is_not_called_missed() {
        let said = |detected: u32, unmeasured: u32| {
            campaigns(&json!({ "campaigns": { "total": 9, "detected": detected, "not_measured": unmeasured } }))
        };

        assert!(said(3, 0).ends_with("3 of 9 detected"));
        assert!(said(0, 9).contains("9, not measured"));
        assert!(said(3, 4).contains("3 of 5 detected, 4 more not measured"));
    }
}
