//! How far a training is, as a bar on stderr where that is a terminal; elsewhere nothing is shown.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::learning::training::{Progress, Stage};

/// An empty bar.
pub fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Shows one step.
pub fn show(bar: &ProgressBar, step: Progress) {
    let (name, unit) = match step.stage {
        Stage::Tuning => ("tuning", "fits"),
        Stage::Network => ("network", "epochs"),
        Stage::Logistic => ("logistic regression", "steps"),
        Stage::Forest => ("forest", "trees"),
    };
    bar.set_prefix(name);
    bar.set_length(u64::from(step.of));
    bar.set_position(u64::from(step.done));
    bar.set_message(step.loss.map_or(unit.to_owned(), |loss| format!("{unit}, loss {loss:.4}")));
}

/// Shows what a daemon says in `status` about the training that it runs; nothing where it says nothing.
pub fn show_status(bar: &ProgressBar, status: &Value) {
    let progress = &status["training"]["progress"];
    if let Ok(step) = serde_json::from_value::<Progress>(progress.clone()) {
        show(bar, step);
    }
}
