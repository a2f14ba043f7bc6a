//! From samples and feedback to rows.

use std::collections::HashSet;

use super::Row;
use super::split::sort;
use crate::detection::attempt::Outcome;
use crate::detection::features::FeatureSchema;
use crate::learning::groups::Groups;
use crate::learning::labels::{Label, LabelPolicy};
use crate::learning::sample::{Feedback, Sample};

pub(super) fn labelled(
    samples: Vec<(f64, Sample)>,
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
    groups: &Groups,
) -> Vec<Row> {
    let mut rows: Vec<Row> = samples
        .into_iter()
        .filter_map(|(inclusion_weight, mut sample)| {
            // One of an older list of additional features says "missing" where the newer ones stand.
            sample.values = schema.align(sample.fingerprint, &sample.values, schema.len())?;
            let labelled = policy.label(&sample, schema)?;
            Some(Row {
                ts: sample.ts,
                request: sample.request,
                values: sample.values.iter().map(|value| f64::from(*value)).collect(),
                label: labelled.label,
                weight: labelled.weight * inclusion_weight,
                represents: inclusion_weight,
                word: None,
                failed: sample.outcome == Outcome::Failure,
                group: groups.of(sample.client_ip, sample.user),
            })
        })
        .collect();
    sort(&mut rows);
    // The same request may have been recorded by two nodes; the sort has put the two side by side.
    let mut seen = HashSet::with_capacity(rows.len());
    rows.retain(|row| seen.insert(row.request));
    rows
}

pub(super) fn feedback_row(item: &Feedback, weight: f64, groups: &Groups) -> Row {
    Row {
        ts: item.ts,
        request: item.request,
        values: item.values.iter().map(|value| f64::from(*value)).collect(),
        label: if item.is_attack { Label::Attack } else { Label::Legit },
        weight,
        represents: 1.0,
        word: Some(item.request),
        failed: false,
        group: groups.of(item.client_ip, item.user),
    }
}
