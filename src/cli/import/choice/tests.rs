//! Layouts that agree, contradict each other, or hold rubbish.

use super::*;
use crate::store::upstream::encodings::Encodings;

const MODEL: &str = include_str!("../../../../tests/fixtures/upstream/model.json");
const TRAINED: &str = include_str!("../../../../tests/fixtures/upstream/model-trained.json");
const ENCODINGS: &str = include_str!("../../../../tests/fixtures/upstream/encodings.json");

fn decoded(text: &str) -> UpstreamModel {
    UpstreamModel::decode(text.as_bytes()).expect("a model")
}

fn encodings(text: &str) -> Item<Encodings> {
    Item::Found(Encodings::decode(text.as_bytes()).expect("encodings"))
}

/// A layout with a model, trained at `at`.
fn layout(layout: Layout, text: &str, at: Option<i64>) -> LayoutFound {
    LayoutFound {
        layout,
        model: Item::Found(decoded(text)),
        encodings: Item::Missing,
        feature_names: Item::Missing,
        flags: Item::Found(Flags { trained: true, dry_run: false }),
        last_training: at.map_or(Item::Missing, Item::Found),
    }
}

fn choose(layouts: &[LayoutFound]) -> Choice {
    Choice::of(layouts, |_| true).expect("usable")
}

#[test]
fn the_model_that_was_trained_last_is_taken_and_nothing_is_guessed() {
    let (old, new) = (layout(Layout::Common, MODEL, Some(5)), layout(Layout::Global, TRAINED, Some(9)));
    assert_eq!(choose(&[old.clone(), new.clone()]).model, Chosen::Take(decoded(TRAINED), "global".to_owned()));

    let same = LayoutFound { last_training: Item::Found(5), ..new.clone() };
    let Chosen::Nothing(reason) = choose(&[old.clone(), same]).model else { panic!("guessed") };
    assert!(reason.contains("--layout or --instance"), "{reason}");
    let equal = LayoutFound { layout: Layout::Global, ..old.clone() };
    assert_eq!(choose(&[old.clone(), equal]).model, Chosen::Take(decoded(MODEL), "common".to_owned()));

    let random = LayoutFound { flags: Item::Missing, ..new };
    assert_eq!(choose(&[old, random.clone()]).model, Chosen::Take(decoded(MODEL), "common".to_owned()));
    let Chosen::Nothing(reason) = choose(&[random]).model else { panic!("an untrained model was taken") };
    assert!(reason.contains("never trained"), "{reason}");
}

#[test]
fn texts_of_all_layouts_are_taken_and_contradictions_are_left() {
    let one = LayoutFound { encodings: encodings(ENCODINGS), ..layout(Layout::Common, MODEL, None) };
    let other = ENCODINGS.replace("\"country_code\":\"embedding\"", "\"country_code\":\"one-hot\",\"rate\":\"\"");
    let names = Item::Found(["identifier", "risk"].map(str::to_owned).into());
    let two = LayoutFound { encodings: encodings(&other), feature_names: names, ..layout(Layout::Global, MODEL, None) };

    let choice = choose(&[one, two]);

    let texts = BTreeMap::from([("identifier".to_owned(), Kind::OneHot)]);
    assert_eq!(choice.features, Chosen::Take(texts, "common, global".to_owned()));
    assert_eq!(choice.unknown_features, ["country_code", "rate", "risk"]);
}

#[test]
fn flags_that_contradict_each_other_switch_nothing() {
    let off = layout(Layout::Common, MODEL, None);
    let on = LayoutFound {
        flags: Item::Found(Flags { trained: true, dry_run: true }),
        ..layout(Layout::Released { instance: "mx1".to_owned() }, MODEL, None)
    };
    assert_eq!(choose(std::slice::from_ref(&on)).learning_mode, Chosen::Take(true, "released (mx1)".to_owned()));
    let both = choose(&[off, on]);
    assert!(matches!(both.learning_mode, Chosen::Nothing(_)), "{both:?}");
    assert!(both.missing().is_some());
}

#[test]
fn rubbish_refuses_the_parts_that_are_asked_for_and_no_others() {
    let error = UpstreamModel::decode(b"{}").expect_err("no model");
    let bad = LayoutFound { model: Item::Unusable(error), ..layout(Layout::Common, MODEL, None) };

    let refused = Choice::of(std::slice::from_ref(&bad), |_| true).expect_err("rubbish").to_string();
    assert!(refused.starts_with("the model of layout common cannot be used: "), "{refused}");
    let rest = Choice::of(&[bad], |part| part == Part::LearningMode).expect("usable");
    assert_eq!((&rest.model, &rest.learning_mode), (&Chosen::NotAsked, &Chosen::Take(false, "common".to_owned())));
    assert_eq!(rest.request(true, false), Some(json!({ "insist": true, "check": false, "learning_mode": false })));
    assert_eq!(Choice::of(&[], |_| true).expect("nothing").request(false, false), None);
}
