//! Which of several layouts gives the model, the additional features and learning mode, and why one of them gives nothing.
//!
//! Nothing is guessed: layouts that contradict each other are told, and the operator names one. What was read is foreign and
//! bounded already; whether the daemon can use it, the daemon says.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::detection::additional::Kind;
use crate::store::upstream::FormatError;
use crate::store::upstream::convert::convert;
use crate::store::upstream::flags::Flags;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::model::UpstreamModel;
use crate::store::upstream::read::{Item, LayoutFound};

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The training records
    Training,
    /// The model, as a candidate that waits for `approve`
    Model,
    /// Names and encodings of additional features
    #[value(alias = "encodings")]
    Features,
    /// The flag `dry_run`, as learning mode of the fleet
    #[value(alias = "flags")]
    LearningMode,
}

/// What there is of one part.
#[derive(Debug, Clone, PartialEq)]
pub enum Chosen<T> {
    /// It was not asked for.
    NotAsked,
    /// Nothing can be taken, for this reason.
    Nothing(String),
    /// This, from the layout of that name.
    Take(T, String),
}

/// What is handed to the daemon beside the records.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// One that can be converted.
    pub model: Chosen<UpstreamModel>,
    /// Texts with their encoding, by name.
    pub features: Chosen<BTreeMap<String, Kind>>,
    /// Names of which nobody knows what they hold.
    pub unknown_features: Vec<String>,
    /// Whether it is on.
    pub learning_mode: Chosen<bool>,
}

/// What a layout has under a key that is not what the original writes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} of layout {layout} cannot be used: {error}")]
pub struct Rubbish {
    what: &'static str,
    layout: String,
    error: FormatError,
}

impl Choice {
    /// Chooses from what was found.
    ///
    /// # Errors
    /// For the first value of a part that is asked for which the original did not write.
    pub fn of(layouts: &[LayoutFound], asked: impl Fn(Part) -> bool) -> Result<Self, Rubbish> {
        let mut choice = Self {
            model: Chosen::NotAsked,
            features: Chosen::NotAsked,
            unknown_features: Vec::new(),
            learning_mode: Chosen::NotAsked,
        };
        for found in layouts {
            if asked(Part::Model) {
                usable("model", &found.layout, &found.model)?;
                usable("time of the last training", &found.layout, &found.last_training)?;
            }
            if asked(Part::Features) {
                usable("encodings", &found.layout, &found.encodings)?;
                usable("list of features", &found.layout, &found.feature_names)?;
            }
            if asked(Part::LearningMode) || asked(Part::Model) {
                usable("flags", &found.layout, &found.flags)?;
            }
        }
        if asked(Part::Model) {
            choice.model = model(layouts);
        }
        if asked(Part::Features) {
            (choice.features, choice.unknown_features) = features(layouts);
        }
        if asked(Part::LearningMode) {
            choice.learning_mode = learning_mode(layouts);
        }
        Ok(choice)
    }

    /// The first reason for which a part that is asked for gives nothing.
    pub fn missing(&self) -> Option<&str> {
        [reason(&self.model), reason(&self.features), reason(&self.learning_mode)].into_iter().flatten().next()
    }

    /// The request to the daemon (`POST /v1/import-state`); `None` when nothing is to be taken over.
    pub fn request(&self, insist: bool, check: bool) -> Option<Value> {
        let mut request = json!({ "insist": insist, "check": check });
        if let Chosen::Take(model, _) = &self.model {
            request["model"] = json!(model);
        }
        if let Chosen::Take(features, _) = &self.features {
            let feature = |(name, kind): (&String, &Kind)| json!({ "name": name, "encoding": kind.encoding() });
            request["features"] = features.iter().map(feature).collect();
        }
        if let Chosen::Take(on, _) = &self.learning_mode {
            request["learning_mode"] = json!(on);
        }
        (request.as_object().map(serde_json::Map::len) > Some(2)).then_some(request)
    }
}

fn usable<T>(what: &'static str, layout: &Layout, item: &Item<T>) -> Result<(), Rubbish> {
    match item {
        Item::Unusable(error) => Err(Rubbish { what, layout: layout.to_string(), error: error.clone() }),
        Item::Missing | Item::Found(_) => Ok(()),
    }
}

fn reason<T>(chosen: &Chosen<T>) -> Option<&str> {
    match chosen {
        Chosen::Nothing(reason) => Some(reason),
        Chosen::NotAsked | Chosen::Take(..) => None,
    }
}

fn found<T>(item: &Item<T>) -> Option<&T> {
    match item {
        Item::Found(value) => Some(value),
        Item::Missing | Item::Unusable(_) => None,
    }
}

/// The model that was trained last, of those whose flags say that they were trained at all.
fn model(layouts: &[LayoutFound]) -> Chosen<UpstreamModel> {
    if !layouts.iter().any(|layout| found(&layout.model).is_some()) {
        return Chosen::Nothing("no model lies there".to_owned());
    }
    let trained = |layout: &&LayoutFound| found(&layout.flags).is_some_and(|flags: &Flags| flags.trained);
    let models: Vec<_> = layouts
        .iter()
        .filter(trained)
        .filter_map(|layout| Some((found(&layout.model)?, found(&layout.last_training), &layout.layout)))
        .collect();
    let Some(newest) = models.iter().map(|(_, at, _)| *at).max() else {
        return Chosen::Nothing("its flags say that it was never trained: its numbers are random".to_owned());
    };
    let newest: Vec<_> = models.iter().filter(|(_, at, _)| *at == newest).collect();
    let (model, _, layout) = newest[0];
    if newest.iter().any(|(other, ..)| other != model) {
        return Chosen::Nothing(
            "several layouts have different models, and no times that tell the newest: name one with --layout or --instance"
                .to_owned(),
        );
    }
    match convert(model) {
        Ok(_) => Chosen::Take((*model).clone(), layout.to_string()),
        Err(error) => Chosen::Nothing(error.to_string()),
    }
}

/// All texts of all layouts with their encoding, and the names of which nothing is known.
fn features(layouts: &[LayoutFound]) -> (Chosen<BTreeMap<String, Kind>>, Vec<String>) {
    let mut kinds: BTreeMap<String, Option<Kind>> = BTreeMap::new();
    let mut from: Vec<String> = Vec::new();
    for layout in layouts {
        let (encodings, names) = (found(&layout.encodings), found(&layout.feature_names));
        if encodings.is_some() || names.is_some() {
            from.push(layout.layout.to_string());
        }
        for (name, kind) in encodings.into_iter().flat_map(|encodings| &encodings.texts) {
            let known = kinds.entry(name.clone()).or_insert(Some(*kind));
            if *known != Some(*kind) {
                // Two layouts contradict each other: nobody knows.
                *known = None;
            }
        }
    }
    for layout in layouts {
        let inputs = found(&layout.encodings).into_iter().flat_map(|encodings| encodings.inputs.keys());
        for name in inputs.chain(found(&layout.feature_names).into_iter().flatten()) {
            kinds.entry(name.clone()).or_insert(None);
        }
    }
    let unknown = kinds.iter().filter(|(_, kind)| kind.is_none()).map(|(name, _)| name.clone()).collect();
    let texts: BTreeMap<_, _> = kinds.into_iter().filter_map(|(name, kind)| Some((name, kind?))).collect();
    let chosen = match (from.is_empty(), texts.is_empty()) {
        (true, _) => Chosen::Nothing("no encodings lie there".to_owned()),
        (_, true) => Chosen::Nothing("the encodings name no text".to_owned()),
        _ => Chosen::Take(texts, from.join(", ")),
    };
    (chosen, unknown)
}

fn learning_mode(layouts: &[LayoutFound]) -> Chosen<bool> {
    let flags: Vec<_> =
        layouts.iter().filter_map(|layout| Some((found(&layout.flags)?.dry_run, &layout.layout))).collect();
    let Some((on, layout)) = flags.first() else {
        return Chosen::Nothing("no flags lie there".to_owned());
    };
    if flags.iter().any(|(other, _)| other != on) {
        let contradict = "dry_run is set in one layout and not in another: name one with --layout or --instance";
        return Chosen::Nothing(contradict.to_owned());
    }
    Chosen::Take(*on, layout.to_string())
}

#[cfg(test)]
mod tests;
