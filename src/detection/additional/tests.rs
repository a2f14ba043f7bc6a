//! What is looked at of a request, and how the list grows.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn given(features: &Value, encoding: &Value) -> Result<Given, RecordError> {
    Given::read(features.as_object(), encoding.as_object(), &Pseudonymizer::new([7; 32]))
}

fn proposal(name: &str) -> Proposal {
    Proposal { name: name.into(), kind: Kind::Number }
}

fn names(list: &FeatureList) -> Vec<&str> {
    list.live().map(|slot| slot.name.as_str()).collect()
}

#[test]
fn values_are_taken_as_what_they_are_and_texts_as_keyed_hashes() {
    let given = given(&json!({"n": -3, "b": true, "t": " Text ", "e": "x"}), &json!({"e": "embedding"})).unwrap();
    let key = Pseudonymizer::new([7; 32]);

    let of = |name: &str| given.features.iter().find(|feature| feature.name == name).unwrap();
    assert_eq!((of("n").value, of("n").kind), (GivenValue::Number(-3.0), Kind::Number));
    assert_eq!((of("b").value, of("b").kind), (GivenValue::Bool(true), Kind::Bool));
    assert_eq!((of("t").value, of("t").kind), (GivenValue::Text(key.feature("t", "text")), Kind::OneHot));
    assert_eq!((of("e").kind, given.skipped), (Kind::Embedding, 0));
    assert_ne!(key.feature("t", "text"), key.feature("u", "text"));
    assert_ne!(key.feature("t", "text"), Pseudonymizer::new([8; 32]).feature("t", "text"));
}

#[test]
fn what_every_attempt_has_is_no_feature_and_what_is_out_of_bounds_is_skipped() {
    let known = given(&json!({"ClientIP": "a", "client_ip": "a", "Username": "a", "username": "a"}), &json!({}));
    let odd = json!({"": 1, "a b": 1, "ü": 1, "x".repeat(65): 1, "long": "x".repeat(257), "empty": " "});
    let huge = given(&json!({"n": 1e300, "m": -1e300}), &json!({})).unwrap();

    assert_eq!(known.unwrap(), Given::default());
    assert_eq!(given(&odd, &json!({})).unwrap(), Given { features: vec![], skipped: 6 });
    assert_eq!(huge.features[0].value, GivenValue::Number(-NUMBER_MAX));
    assert_eq!(huge.features[1].value, GivenValue::Number(NUMBER_MAX));
    for wrong in [json!({"t": "hashed"}), json!({"t": 1}), json!({"other": null})] {
        assert_eq!(given(&json!({"t": "x"}), &wrong).unwrap_err().field, "encoding");
    }
}

#[test]
fn of_a_thousand_features_the_first_by_name_are_looked_at() {
    let many: Map<_, _> = (0..1000).map(|number| (format!("f{number:04}"), json!(number))).collect();

    let given = given(&Value::Object(many), &json!({})).unwrap();

    assert_eq!((given.features.len(), given.skipped), (GIVEN_MAX, 1000 - GIVEN_MAX));
    assert_eq!(given.features[0].name, "f0000");
}

#[test]
fn d16_the_list_takes_what_fits_and_keeps_the_places_of_what_was_removed() {
    let list = FeatureList::default().with(&["a", "b", "a", "c", "d"].map(proposal), 3, 5);
    assert_eq!((names(&list), list.slots()[0].first_seen_ms), (vec!["a", "b", "c"], 5));

    let (fewer, unknown) = list.without(&["x".into(), "b".into(), "b".into(), "x".into()], 5);
    assert_eq!((names(&fewer), fewer.slots().len()), (vec!["a", "c"], 3));
    assert_eq!(unknown, ["x"], "what is there goes, and what is not there is told");
    assert_eq!(fewer.without(&["b".into()], 5), (fewer.clone(), vec!["b".to_owned()]));

    let again = fewer.allowing(&["b".into()]).with(&[proposal("b"), proposal("d")], 3, 6);
    assert_eq!((names(&again), again.slots().len()), (vec!["a", "c", "b"], 4));
    assert_eq!(again.without(&["b".into()], 7).0.slots().iter().filter(|slot| slot.removed).count(), 2);
}

#[test]
fn places_and_bytes_are_bounded_and_never_used_up_however_often_features_come_and_go() {
    let mut list = FeatureList::default();
    for number in 0..100 {
        let junk: Vec<_> =
            (0..SLOTS_MAX).map(|place| proposal(&format!("{}{number}-{place}", "f".repeat(50)))).collect();
        list = list.with(&junk, 16, 0);
        assert_eq!(list.live().count(), 16, "round {number}");
        list = list.without(&names(&list).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), 0).0;
        assert!(list.slots().len() <= SLOTS_MAX && list.encode().len() <= LIST_BYTES_MAX);
        assert_eq!(FeatureList::decode(&list.encode()).unwrap(), list);
    }
    assert_eq!((list.former().count(), list.refused(0).count()), (FORMER_MAX, REFUSED_MAX));
    assert_eq!(list.former().next().map(|(generation, _)| generation + 1), Some(list.generation()));
}

#[test]
fn a_list_whose_places_were_used_up_before_they_could_be_freed_closes_up_for_a_new_feature() {
    let slots: Vec<_> = (0..SLOTS_MAX)
        .map(|n| json!({"name": format!("f{n}"), "kind": "bool", "first_seen_ms": 1, "removed": n > 0}))
        .collect();
    let list = FeatureList::decode(json!({"v": 1, "slots": slots}).to_string().as_bytes()).unwrap();

    let next = list.with(&[proposal("new")], 16, 2);

    assert_eq!((names(&next), next.slots().len(), next.generation()), (vec!["f0", "new"], 2, 1));
}

#[test]
fn a_removed_name_is_refused_for_thirty_days_or_until_it_is_allowed_again() {
    let list = FeatureList::default().with(&["a", "b"].map(proposal), 16, 5).without(&["a".into()], 1000).0;
    let with_a = |list: &FeatureList, now_ms| names(&list.with(&[proposal("a")], 16, now_ms)).contains(&"a");

    assert!(list.refuses("a", 1000) && !list.refuses("b", 1000));
    assert!(!with_a(&list, 1000) && !with_a(&list, 999 + REFUSED_MS) && with_a(&list, 1000 + REFUSED_MS));
    assert!(with_a(&list.allowing(&["a".into()]), 1000));
    let again = list.allowing(&["a".into(), "unheard of".into()]);
    assert_eq!((again.refused(1000).count(), list.refused(1000).count()), (0, 1));
}

#[test]
fn a_list_comes_back_and_a_foreign_one_is_refused() {
    let list = FeatureList::default().with(&["a", "b"].map(proposal), 16, 7).without(&["a".into()], 8).0;
    let bare = FeatureList::default().with(&["a", "b"].map(proposal), 16, 7);
    let slot = json!({"name": "a", "kind": "one-hot", "first_seen_ms": 1, "removed": false});
    let refused =
        |document: Value| assert!(FeatureList::decode(document.to_string().as_bytes()).is_err(), "{document}");

    assert_eq!(FeatureList::decode(&list.encode()).unwrap(), list);
    assert_eq!(FeatureList::decode(&bare.encode()).unwrap(), bare);
    assert!(String::from_utf8(bare.encode()).unwrap().starts_with(r#"{"v":1,"slots":["#), "older nodes read it");
    assert!(FeatureList::decode(json!({"v": 1, "slots": [slot]}).to_string().as_bytes()).is_ok());
    refused(json!({"v": 2, "slots": []}));
    refused(json!({"v": 3, "slots": [], "generation": 1, "former": [[]]}));
    refused(json!({"v": 2, "slots": [], "generation": 1}));
    refused(json!({"v": 2, "slots": [], "generation": 1, "former": [[slot, slot]]}));
    refused(json!({"v": 2, "slots": [], "refused": [{"name": "a b", "since_ms": 1}]}));
    refused(json!({"v": 1, "slots": [slot, slot]}));
    refused(json!({"v": 1, "slots": [{"name": "a b", "kind": "bool", "first_seen_ms": 1, "removed": false}]}));
    refused(json!({"v": 1, "slots": [{"name": "a", "kind": "date", "first_seen_ms": 1, "removed": false}]}));
    refused(json!({"v": 1, "slots": (0..33).map(|n| {
        json!({"name": format!("f{n}"), "kind": "bool", "first_seen_ms": 1, "removed": false})
    }).collect::<Vec<_>>()}));
    assert!(FeatureList::decode(&vec![b' '; LIST_BYTES_MAX + 1]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = FeatureList::decode(&bytes);
    }
}
