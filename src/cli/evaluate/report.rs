//! `--report`: what `evaluate` measured, as pages for people: `report.md` with its plots beside it, and `report.html`,
//! which holds everything and loads nothing.
//!
//! The numbers are those of `--json`; only curves, bins and campaigns are computed here, from the scores.

mod facts;
mod html;
mod markdown;
mod plots;
mod sections;
mod svg;

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::failure::Failure;
use super::measure::Lived;
use crate::detection::record::CheckedRecord;
use facts::Facts;
use sections::Block;

const TITLE: &str = "Evaluation of a login model";

/// Writes the report into `directory`, which is made if it is missing. Files of an earlier report are replaced.
///
/// # Errors
/// When something cannot be written.
pub fn write(directory: &Path, test: &[CheckedRecord], lived: &[Lived], report: &Value) -> Result<(), Failure> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::output(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let sections = sections::all(report, &Facts::new(test, lived));
    let save = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))
    };
    for block in sections.iter().flat_map(|section| &section.blocks) {
        if let Block::Plot { name, svg, .. } = block {
            save(&format!("{name}.svg"), svg)?;
        }
    }
    save("report.md", &markdown::render(TITLE, &sections))?;
    save("report.html", &html::render(TITLE, &sections))
}

/// Text for HTML and SVG, in elements and in quoted attributes. Characters that XML does not allow become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests;
