//! What became of an overlay's attempts: how many were flagged, from how many sources, how soon, and at what price.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::super::super::render;
use super::super::measure::{Lived, median, share};
use super::{Laid, Origin};
use crate::detection::record::TrueLabel;

/// Sources by their number of attempts: up to so many belong to the class of that name.
const SIZES: [(usize, &str); 4] = [(1, "1"), (10, "2-10"), (100, "11-100"), (usize::MAX, "more")];

/// The measures of one overlay, under the names of `evaluate --json`. Rates are `null` where a model could only watch.
pub fn measure(laid: &Laid, lived: &[Lived]) -> Value {
    let of_overlay = || {
        let rows = laid.test.iter().zip(&laid.origin).zip(lived);
        rows.filter_map(|((record, origin), lived)| match origin {
            Origin::Overlay { mapped } => Some((record.attempt.client_ip, *mapped, lived.flagged)),
            Origin::Test => None,
        })
    };
    let legit = laid.test.iter().zip(lived).filter(|(record, _)| record.truth.label == Some(TrueLabel::Legit));
    let mut sources: BTreeMap<IpAddr, Vec<Option<bool>>> = BTreeMap::new();
    for (ip, _, flagged) in of_overlay() {
        sources.entry(ip).or_default().push(flagged);
    }
    let mut detections: Vec<usize> = sources
        .values()
        .filter_map(|flags| flags.iter().position(|flag| *flag == Some(true)).map(|index| index + 1))
        .collect();
    let detected = detections.len();
    let recall = share(of_overlay().map(|(_, _, flagged)| flagged));
    let of_mapped = |wanted: bool| {
        let flags = of_overlay().filter(move |(_, mapped, _)| *mapped == wanted).map(|(_, _, flagged)| flagged);
        json!({ "attempts": flags.clone().count(), "recall": share(flags) })
    };
    json!({
        "attempts": of_overlay().count(),
        "recall": recall,
        "sources": sources.len(),
        "sources_detected": recall.map(|_| detected as f64 / sources.len() as f64),
        "median_time_to_detect": median(&mut detections),
        "realised_fpr": share(legit.map(|(_, lived)| lived.flagged)),
        "mapped_names": of_mapped(true),
        "other_names": of_mapped(false),
        "sources_by_attempts": by_size(&sources),
        "dropped_fields": laid.dropped,
        "cut": laid.cut,
        "skipped": laid.skipped,
        "unnamed": laid.unnamed,
        "begin": laid.begin.to_string(),
    })
}

/// By how many attempts a source made: how many such sources there are, and the share of their attempts that was flagged.
fn by_size(sources: &BTreeMap<IpAddr, Vec<Option<bool>>>) -> Map<String, Value> {
    let mut least = 0;
    let mut classes = Map::new();
    for (most, name) in SIZES {
        let inside = || sources.values().filter(|flags| flags.len() > least && flags.len() <= most);
        let recall = share(inside().flatten().copied());
        let attempts = inside().map(Vec::len).sum::<usize>();
        classes.insert(name.to_owned(), json!({ "sources": inside().count(), "attempts": attempts, "recall": recall }));
        least = most;
    }
    classes
}

/// As a table, one line for each overlay of the report.
pub fn show(report: &Value) {
    let Some(overlays) = report.as_object().filter(|overlays| !overlays.is_empty()) else { return };
    let heading = ["overlay", "attempts", "flagged", "sources", "detected", "median attempts to detection", "FPR"];
    let mut table = render::table(&heading);
    for (name, overlay) in overlays {
        let keys = ["attempts", "recall", "sources", "sources_detected", "median_time_to_detect", "realised_fpr"];
        let cells = keys.map(|key| render::text(&overlay[key]));
        table.add_row([name.clone()].into_iter().chain(cells).collect::<Vec<_>>());
    }
    out!("{table}");
}
