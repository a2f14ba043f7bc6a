//! Where the blocks of additional features stand, and how values of one list are read with another.
//!
//! The blocks stand behind the standard features in the order of the fleet's list. A list grows at its end, so an older one
//! is a beginning of it; where it has closed up, earlier generations are known as well. How a block is computed is written in
//! `blocks`; what the list takes in is not decided here.

use sha2::{Digest, Sha256};

use super::super::additional::{FeatureList, Kind, Slot};
use super::{FeatureSchema, Group, blocks};

/// The blocks of one generation of the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    generation: u32,
    slots: Vec<Slot>,
    prefixes: Vec<(u64, usize)>,
}

/// What one value of a block of an additional feature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A number or truth value itself.
    Value,
    /// Whether a text falls into this bucket, counted from 0: 0, or its sign.
    Bucket(usize),
    /// How often attempts with the text failed of late.
    FailureShare,
    /// 1 if nothing is known of the text.
    Novel,
    /// 1 if the request gives no value that fits: then the others say nothing.
    Missing,
}

/// What a value of a block is about; see [`FeatureSchema::additional_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The feature.
    pub slot: &'a Slot,
    /// What of it.
    pub part: Part,
    /// Place of the value that tells whether it is missing.
    pub missing_at: usize,
}

/// Generation, places, and the prefixes up to the end of them.
type Beginning<'a> = (u32, &'a [Slot], &'a [(u64, usize)]);

impl FeatureSchema {
    /// The same profile with the blocks of `list` behind it, and no others.
    pub fn with_additional(&self, list: &FeatureList) -> Self {
        let mut schema = self.clone();
        let standard = self.prefixes[0];
        schema.names.truncate(standard.1);
        schema.groups.truncate(standard.1);
        for slot in list.slots() {
            schema.names.extend(blocks::names(slot));
        }
        schema.groups.resize(schema.names.len(), Group::Protocol);
        schema.prefixes = prefixes(standard, list.slots(), list.generation());
        let layout = |(generation, slots): (u32, &[Slot])| Layout {
            generation,
            slots: slots.to_vec(),
            prefixes: prefixes(standard, slots, generation),
        };
        schema.former = list.former().map(layout).collect();
        schema.additional = list.clone();
        schema
    }

    /// Whether `width` values of the schema `fingerprint` are this schema or a beginning of it.
    pub fn accepts(&self, fingerprint: u64, width: usize) -> bool {
        self.prefixes.contains(&(fingerprint, width))
    }

    /// Whether [`align_to`](Self::align_to) can read and write `width` values of the schema `fingerprint`: a beginning of
    /// this schema, or of one with an earlier generation of the list.
    pub fn reads(&self, fingerprint: u64, width: usize) -> bool {
        self.find(fingerprint, width).is_some()
    }

    /// The schema `fingerprint` of that width itself, if it is one that this one [`reads`](Self::reads).
    pub fn read_as(&self, fingerprint: u64, width: usize) -> Option<Self> {
        let (generation, slots, _) = self.find(fingerprint, width)?;
        let slots: Vec<Slot> = slots.iter().map(|slot| Slot { removed: !self.counts(slot), ..slot.clone() }).collect();
        Some(self.with_additional(&FeatureList::beginning(&slots, generation)))
    }

    /// Brings values of a schema that this one reads to `width`, the width of a beginning of this one; see
    /// [`align_to`](Self::align_to).
    pub fn align(&self, fingerprint: u64, values: &[f32], width: usize) -> Option<Vec<f32>> {
        let wanted = self.prefixes.iter().find(|prefix| prefix.1 == width)?;
        self.align_to(fingerprint, values, *wanted)
    }

    /// Brings values of a schema that this one reads to another one that it reads (fingerprint and width): each block goes
    /// where its feature is, and where there was none stands one that says "missing", as the blocks of removed features do.
    /// `None` when it cannot read one of them.
    pub fn align_to(&self, fingerprint: u64, values: &[f32], wanted: (u64, usize)) -> Option<Vec<f32>> {
        let (_, have, offsets) = self.find(fingerprint, values.len())?;
        let (_, want, _) = self.find(wanted.0, wanted.1)?;
        let mut aligned = values[..self.prefixes[0].1].to_vec();
        for slot in want {
            match have.iter().position(|other| self.counts(slot) && is_same(other, slot)) {
                Some(place) => aligned.extend_from_slice(&values[offsets[place].1..offsets[place + 1].1]),
                None => blocks::push_missing(&mut aligned, slot.kind),
            }
        }
        Some(aligned)
    }

    /// The additional features of a beginning of this schema or of an earlier one: generation, places, and the prefixes up to
    /// the end of them.
    fn find(&self, fingerprint: u64, width: usize) -> Option<Beginning<'_>> {
        let own = std::iter::once((self.additional.generation(), self.additional.slots(), self.prefixes.as_slice()));
        let former = self.former.iter().map(|layout| (layout.generation, &layout.slots[..], &layout.prefixes[..]));
        own.chain(former).find_map(|(generation, slots, prefixes)| {
            let end = prefixes.iter().position(|prefix| *prefix == (fingerprint, width))?;
            Some((generation, &slots[..end], &prefixes[..=end]))
        })
    }

    /// Whether that feature is on the list now: one that was removed and came again is another one.
    fn counts(&self, slot: &Slot) -> bool {
        self.additional.live().any(|live| is_same(live, slot))
    }

    /// Of which additional feature the value in this place tells something, and what; `None` for standard features.
    pub fn additional_at(&self, place: usize) -> Option<Told<'_>> {
        let at = self.prefixes.windows(2).position(|ends| (ends[0].1..ends[1].1).contains(&place))?;
        let (begin, end) = (self.prefixes[at].1, self.prefixes[at + 1].1);
        let slot = &self.additional.slots()[at];
        let part = match (slot.kind, place - begin) {
            _ if place + 1 == end => Part::Missing,
            (Kind::Number | Kind::Bool, _) => Part::Value,
            (Kind::OneHot, bucket) => Part::Bucket(bucket),
            (Kind::Embedding, 0) => Part::FailureShare,
            (Kind::Embedding, _) => Part::Novel,
        };
        Some(Told { slot, part, missing_at: end - 1 })
    }
}

/// Whether both are one feature, in whatever generation of the list.
fn is_same(one: &Slot, other: &Slot) -> bool {
    one.name == other.name && one.kind == other.kind && one.first_seen_ms == other.first_seen_ms
}

/// Fingerprint and width after the standard features and after each block.
fn prefixes(standard: (u64, usize), slots: &[Slot], generation: u32) -> Vec<(u64, usize)> {
    let mut prefixes = vec![standard];
    let (mut fingerprint, mut width) = (of_generation(standard.0, generation), standard.1);
    for slot in slots {
        fingerprint = extended(fingerprint, slot);
        width += blocks::width(slot.kind);
        prefixes.push((fingerprint, width));
    }
    prefixes
}

/// What the fingerprints of the blocks begin with: that of the profile, from the first generation on hashed with its number
/// (u32).
fn of_generation(standard: u64, generation: u32) -> u64 {
    if generation == 0 {
        return standard;
    }
    let mut hash = Sha256::new();
    hash.update(b"nauthilus-neural/additional-features/generation/1\0");
    hash.update(standard.to_le_bytes());
    hash.update(generation.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
}

/// The fingerprint of a schema with one more block: of the one before (u64), the length of the name (u32), the name, and
/// the kind: 0 number, 1 bool, 2 one-hot, 3 embedding. Whether it was removed makes no difference.
fn extended(before: u64, slot: &Slot) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"nauthilus-neural/additional-feature/1\0");
    hash.update(before.to_le_bytes());
    hash.update((slot.name.len() as u32).to_le_bytes());
    hash.update(slot.name.as_bytes());
    hash.update([match slot.kind {
        Kind::Number => 0,
        Kind::Bool => 1,
        Kind::OneHot => 2,
        Kind::Embedding => 3,
    }]);
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::super::super::activity::Activity;
    use super::super::super::additional::Proposal;
    use super::super::FeatureContext;
    use super::*;

    fn list(names: &[(&str, Kind)]) -> FeatureList {
        let proposals: Vec<_> =
            names.iter().map(|(name, kind)| Proposal { name: (*name).into(), kind: *kind }).collect();
        FeatureList::default().with(&proposals, 16, 0)
    }

    const NUMBER: (&str, Kind) = ("risk", Kind::Number);
    const TEXT: (&str, Kind) = ("realm", Kind::OneHot);
    const RATE: (&str, Kind) = ("device", Kind::Embedding);

    #[test]
    fn d17_blocks_stand_behind_and_leave_the_standard_features_what_they_are() {
        let longer = FeatureSchema::compat6().with_additional(&list(&[NUMBER, TEXT, RATE]));

        assert_eq!((longer.len(), longer.groups().len()), (6 + 2 + 17 + 3, 6 + 2 + 17 + 3));
        assert_eq!(longer.standard_names(), FeatureSchema::compat6().names());
        assert_eq!(longer.with_additional(&FeatureList::default()), FeatureSchema::compat6());
        for other in [[NUMBER, RATE, TEXT], [NUMBER, TEXT, ("device", Kind::OneHot)], [TEXT, NUMBER, RATE]] {
            let other = FeatureSchema::compat6().with_additional(&list(&other));
            assert_ne!(other.fingerprint(), longer.fingerprint());
        }
        let removed = longer.additional().without(&["realm".into()], 0).0;
        assert_eq!(FeatureSchema::compat6().with_additional(&removed).fingerprint(), longer.fingerprint());
    }

    #[test]
    fn an_older_schema_is_a_beginning_and_a_foreign_one_is_not() {
        let (short, long) = (list(&[NUMBER]), list(&[NUMBER, TEXT, RATE]));
        let short = FeatureSchema::ext().with_additional(&short);
        let long = FeatureSchema::ext().with_additional(&long);

        for known in [&FeatureSchema::ext(), &short, &long] {
            assert!(long.accepts(known.fingerprint(), known.len()));
        }
        assert!(!short.accepts(long.fingerprint(), long.len()), "it was longer");
        assert!(!long.accepts(short.fingerprint(), short.len() + 1));
        assert!(!long.accepts(FeatureSchema::compat6().fingerprint(), 6));
    }

    #[test]
    fn old_values_are_filled_up_with_missing_and_new_ones_cut() {
        let short = FeatureSchema::compat6().with_additional(&list(&[NUMBER]));
        let long = FeatureSchema::compat6().with_additional(&list(&[NUMBER, TEXT, RATE]));
        let attempt = crate::detection::record::AttemptRecord {
            client_ip: Some("192.0.2.1".into()),
            username: Some("alice".into()),
            ..Default::default()
        };
        let now = crate::detection::attempt::Timestamp::from_millis(1_700_000_000_000);
        let key = crate::detection::pseudonym::Pseudonymizer::new([7; 32]);
        let attempt = attempt.check(Some(now), now, &key, || "r".into()).unwrap().attempt;
        let context = FeatureContext::default();
        let nothing_given = |schema: &FeatureSchema| schema.snapshot(&Activity::default(), &attempt, &context);
        let (old, new) = (nothing_given(&short), nothing_given(&long));

        assert_eq!(long.align(old.fingerprint, &old.values, long.len()), Some(new.values.clone()));
        assert_eq!(long.align(new.fingerprint, &new.values, short.len()), Some(old.values.clone()));
        let mut told = new.values.clone();
        told[6] = 0.5;
        let removed = long.with_additional(&long.additional().without(&["risk".into()], 0).0);
        assert_eq!(long.align(new.fingerprint, &told, long.len()), Some(told.clone()));
        assert_eq!(
            removed.align(new.fingerprint, &told, long.len()),
            Some(new.values.clone()),
            "what was is forgotten"
        );
        assert_eq!(long.align(old.fingerprint, &old.values, 6).map(|values| values.len()), Some(6));
        assert_eq!(short.align(new.fingerprint, &new.values, 6), None, "of a schema that is not known here");
        assert_eq!(long.align(new.fingerprint, &new.values, 7), None, "no schema ends there");
        assert_eq!(long.align(new.fingerprint, &new.values[..6], 6), None, "cut short");
    }

    #[test]
    fn what_was_made_before_the_list_closed_up_is_mapped_by_name() {
        let names: Vec<String> = (0..17).map(|number| format!("f{number}")).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), Kind::Number)).collect();
        let proposals: Vec<_> = all.iter().map(|(name, kind)| Proposal { name: (*name).into(), kind: *kind }).collect();
        let before = FeatureList::default().with(&proposals, 17, 0);
        let after = before.without(&names[..15], 1).0.with(&[Proposal { name: "new".into(), kind: Kind::Bool }], 17, 2);
        let (old, new) =
            (FeatureSchema::compat6().with_additional(&before), FeatureSchema::compat6().with_additional(&after));
        assert_eq!((after.generation(), new.len()), (1, 6 + 3 * 2));
        let mut values = vec![0.25; 6];
        values.extend((0..17).flat_map(|number| [number as f32 / 100.0, 0.0]));

        let read = new.align(old.fingerprint(), &values, new.len()).expect("an earlier generation");

        assert_eq!(read[6..], [0.15, 0.0, 0.16, 0.0, 0.0, 1.0]);
        let back = new.align_to(new.fingerprint(), &read, (old.fingerprint(), old.len())).expect("the same");
        assert_eq!((back.len(), &back[36..]), (old.len(), &[0.15, 0.0, 0.16, 0.0][..]));
        assert!(back[6..36].chunks(2).all(|block| block == [0.0, 1.0]), "removed ones are missing: {back:?}");
        let as_old = new.read_as(old.fingerprint(), old.len()).expect("known");
        assert_eq!((as_old.fingerprint(), as_old.names()), (old.fingerprint(), old.names()));
        assert_eq!(as_old.additional().live().count(), 2);
        assert!(new.reads(old.fingerprint(), old.len()) && !new.accepts(old.fingerprint(), old.len()));
        assert!(!old.reads(new.fingerprint(), new.len()), "it has not heard of it");
    }

    #[test]
    fn a_name_that_came_again_is_another_feature_whose_past_is_not_known() {
        let proposals: Vec<_> =
            (0..17).map(|number| Proposal { name: format!("f{number}"), kind: Kind::Number }).collect();
        let before = FeatureList::default().with(&proposals, 17, 0);
        let gone: Vec<String> = proposals.iter().map(|proposal| proposal.name.clone()).collect();
        let after = before.without(&gone, 1).0.allowing(&gone).with(&proposals[..1], 17, 2);
        let (old, new) =
            (FeatureSchema::compat6().with_additional(&before), FeatureSchema::compat6().with_additional(&after));

        let read = new.align(old.fingerprint(), &vec![0.0; old.len()], new.len()).expect("known");

        assert_eq!(read[6..], [0.0, 1.0]);
        assert_ne!(new.fingerprint(), old.read_as(old.prefixes[1].0, 8).expect("its beginning").fingerprint());
    }
}
