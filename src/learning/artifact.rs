//! The published form of a model: an envelope around a coded payload. The only file that names the codec.
//!
//! The envelope is checked from the outside in (magic, format, lengths, content hash) before one byte of the payload is
//! decoded, the decoder is limited to the declared length, and what comes out must be well-formed, finite, of the
//! expected schema, and must reproduce its own self-test. Layout (little-endian), also in `docs/protocol.md`:
//!
//! ```text
//! magic "NNML" | format u16 | codec u8 | header length u16 | header | payload length u32 | SHA-256 of payload | payload
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::dataset::Counts;
use super::drift::Reference;
use super::ensemble::Ensemble;
use super::evaluation::Evaluation;
use super::standardizer::Standardizer;
use super::threshold::Thresholds;
use super::training::TrainingOptions;
use crate::detection::features::FeatureSchema;
use crate::numeric;

/// The artifact format that this version writes; it reads this one and refuses newer ones.
pub const FORMAT: u16 = 3;
/// Rows up to this wide are scaled without asking for memory.
const ON_STACK: usize = 256;
const MAGIC: [u8; 4] = *b"NNML";
/// bincode 2, standard configuration. 2 is reserved for postcard, the way out of an unmaintained codec.
const CODEC_BINCODE: u8 = 1;
/// Largest payload: a login model is tens of KiB.
const PAYLOAD_MAX: usize = 4 * 1024 * 1024;
const HEADER_MAX: usize = 1024;
/// The self-test must be reproduced to this.
const SELF_TEST_TOLERANCE: f64 = 1e-9;
const SELF_TEST_MAX: usize = 64;
const BACKGROUND_MAX: usize = 64;
const ATTACK: &str = "attack";

/// Who made an artifact, when, and for which place in the registry. Not covered by the content hash: the same training
/// on the same data has the same content wherever it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactHeader {
    /// Of the registry that it was made for.
    pub lineage: [u8; 16],
    /// Its running number in that lineage, from 1.
    pub generation: u64,
    /// Clock of the node that made it, in milliseconds since the epoch.
    pub trained_at_ms: i64,
    /// Name of that node, for people; cut to 255 bytes when it is written.
    pub node: String,
}

/// The schema that a model was trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSchema {
    /// The features in the order of the inputs.
    pub names: Vec<String>,
    /// Of names, kinds and order; a snapshot with another one cannot be scored.
    pub fingerprint: u64,
}

impl From<&FeatureSchema> for ArtifactSchema {
    fn from(schema: &FeatureSchema) -> Self {
        Self { names: schema.names().to_vec(), fingerprint: schema.fingerprint() }
    }
}

/// How a model was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// How many rows went where.
    pub counts: Counts,
    /// Everything that shaped the fit.
    pub options: TrainingOptions,
    /// Share of legitimate attempts that the block threshold may stop, above 0 and at most 0.5: as configured, or as the
    /// costs of errors imply.
    pub false_positive_budget: f64,
    /// Width, learning rate and weight decay come from a search; later trainings of the profile go on with them.
    pub tuned: bool,
}

/// A trained model with everything that scoring and judging it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelArtifact {
    /// Features and kind of model by name, as in `ml.profile`.
    pub profile: String,
    /// What a high probability means; always `attack`.
    pub positive_class: String,
    /// The features that it takes.
    pub schema: ArtifactSchema,
    /// Who votes; the output is the logit of an attack.
    pub model: Ensemble,
    /// What the features are brought to before the voters see them; `None` where the schema scales them itself.
    pub standardizer: Option<Standardizer>,
    /// From the held-out legitimate rows; a missing one was not supported by them.
    pub thresholds: Thresholds,
    /// On the held-out rows, at the block threshold.
    pub evaluation: Evaluation,
    /// What it was trained on, and how.
    pub training: TrainingSummary,
    /// A few inputs with the logits that the trainer computed for them.
    pub self_test: Vec<(Vec<f64>, f64)>,
    /// Snapshots of ordinary logins that explanations compare with; may be empty.
    pub background: Vec<Vec<f32>>,
    /// The same recipe without the rows that were held out, if that is another model: what later challengers are compared
    /// with, so that neither side has seen the rows that decide.
    pub trial: Option<Trial>,
    /// How the rows that it was trained on were distributed, to measure drift against.
    pub reference: Option<Reference>,
}

/// A model that never serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// As [`ModelArtifact::model`].
    pub model: Ensemble,
    /// As [`ModelArtifact::standardizer`].
    pub standardizer: Option<Standardizer>,
}

/// What the caller knows about an artifact before it is read. Everything known must hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expectation {
    /// Of the schema that the caller scores with; `None`: any schema.
    pub fingerprint: Option<u64>,
    /// Of the payload, as the registry names it; `None`: any content that matches its own hash.
    pub sha256: Option<[u8; 32]>,
}

/// An encoded artifact and the hash of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Envelope and payload: what is stored.
    pub bytes: Vec<u8>,
    /// Of the payload alone, without the header.
    pub sha256: [u8; 32],
}

/// Why an artifact was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Another magic, or a format that was never published.
    #[error("it is not a model artifact")]
    Foreign,
    /// Fewer bytes than it declares.
    #[error("it ends too early")]
    Truncated,
    /// A header of more than 1 KiB, a payload of more than 4 MiB, or bytes after the end.
    #[error("it has more bytes than it declares, or more than allowed")]
    Oversized,
    /// A format above [`FORMAT`].
    #[error("it has format {found}, this node reads {FORMAT}; upgrade this node")]
    NewerFormat {
        /// The format in the envelope.
        found: u16,
    },
    /// A payload in another encoding.
    #[error("it uses codec {found}, which this node does not know; upgrade this node")]
    UnknownCodec {
        /// The codec in the envelope.
        found: u8,
    },
    /// The payload differs from the hash in the envelope, or that from the expected one.
    #[error("its content does not match its hash")]
    HashMismatch,
    /// The codec refused a payload whose hash is right.
    #[error("its payload cannot be decoded")]
    Undecodable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The codec refused a model that is sound.
    #[error("its payload cannot be encoded")]
    Unencodable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Sound, but its fingerprint is not the expected one.
    #[error("it was trained for another feature schema")]
    WrongSchema,
    /// Well-formed, but not a network that may score.
    #[error("its numbers are not a sound network: {what}")]
    Unsound {
        /// The first check that failed, for people.
        what: &'static str,
    },
}

impl ArtifactError {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::NewerFormat { .. } | Self::UnknownCodec { .. } => "newer_format",
            Self::HashMismatch => "hash_mismatch",
            Self::Undecodable(_) | Self::Unencodable(_) => "undecodable",
            Self::WrongSchema => "wrong_schema",
            Self::Unsound { .. } => "unsound",
        }
    }
}

impl ModelArtifact {
    /// A new artifact for `schema`, meaning probability of attack.
    pub fn new(
        profile: &str,
        schema: &FeatureSchema,
        model: Ensemble,
        thresholds: Thresholds,
        evaluation: Evaluation,
        training: TrainingSummary,
    ) -> Self {
        let mut artifact = Self {
            profile: profile.to_owned(),
            positive_class: ATTACK.to_owned(),
            schema: schema.into(),
            model,
            standardizer: None,
            thresholds,
            evaluation,
            training,
            self_test: Vec::new(),
            background: Vec::new(),
            trial: None,
            reference: None,
        };
        artifact.self_test = self_test(&artifact.model);
        artifact
    }

    /// Probability of attack for a snapshot of this artifact's schema, or of one that it is a beginning of.
    pub fn probability(&self, values: &[f32]) -> f64 {
        numeric::sigmoid(self.logit(values))
    }

    /// The same before the sigmoid.
    pub fn logit(&self, values: &[f32]) -> f64 {
        scaled_logit(&self.model, self.standardizer.as_ref(), values)
    }

    /// The logit of the model that challengers are compared with: the trial, or else the model itself.
    pub fn trial_logit(&self, values: &[f32]) -> f64 {
        match &self.trial {
            Some(trial) => scaled_logit(&trial.model, trial.standardizer.as_ref(), values),
            None => self.logit(values),
        }
    }

    /// The artifact, if `schema` is the one that it was trained for, begins with it, or reads it as one of before its list
    /// closed up.
    ///
    /// # Errors
    /// [`ArtifactError::WrongSchema`] otherwise.
    pub fn accepted_by(self, schema: &FeatureSchema) -> Result<Self, ArtifactError> {
        let accepted = schema.reads(self.schema.fingerprint, self.model.inputs());
        if accepted { Ok(self) } else { Err(ArtifactError::WrongSchema) }
    }

    /// Encodes the artifact into its envelope.
    ///
    /// # Errors
    /// When the model is unsound or larger than an artifact may be.
    pub fn encode(&self, header: &ArtifactHeader) -> Result<Encoded, ArtifactError> {
        self.check()?;
        let payload = bincode::serde::encode_to_vec(self, bincode::config::standard())
            .map_err(|error| ArtifactError::Unencodable(Box::new(error)))?;
        if payload.len() > PAYLOAD_MAX {
            return Err(ArtifactError::Oversized);
        }
        let sha256: [u8; 32] = Sha256::digest(&payload).into();
        let header = header.encode();
        let mut bytes = Vec::with_capacity(payload.len() + header.len() + 64);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.push(CODEC_BINCODE);
        bytes.extend_from_slice(&u16::try_from(header.len()).expect("a header is bounded").to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&u32::try_from(payload.len()).expect("a payload is bounded").to_le_bytes());
        bytes.extend_from_slice(&sha256);
        bytes.extend_from_slice(&payload);
        Ok(Encoded { bytes, sha256 })
    }

    /// Decodes and verifies an artifact.
    ///
    /// # Errors
    /// For anything but a whole, sound artifact that meets `expectation`.
    pub fn decode(bytes: &[u8], expectation: &Expectation) -> Result<(ArtifactHeader, Self), ArtifactError> {
        let mut rest = bytes;
        if take(&mut rest, 4)? != MAGIC {
            return Err(ArtifactError::Foreign);
        }
        let format = u16::from_le_bytes(array(&mut rest)?);
        if format != FORMAT {
            return Err(if format > FORMAT {
                ArtifactError::NewerFormat { found: format }
            } else {
                ArtifactError::Foreign
            });
        }
        let [codec] = array(&mut rest)?;
        if codec != CODEC_BINCODE {
            return Err(ArtifactError::UnknownCodec { found: codec });
        }
        let header_len = usize::from(u16::from_le_bytes(array(&mut rest)?));
        if header_len > HEADER_MAX {
            return Err(ArtifactError::Oversized);
        }
        let header = ArtifactHeader::decode(take(&mut rest, header_len)?)?;
        let payload_len = u32::from_le_bytes(array(&mut rest)?) as usize;
        let sha256: [u8; 32] = array(&mut rest)?;
        if payload_len > PAYLOAD_MAX || rest.len() > payload_len {
            return Err(ArtifactError::Oversized);
        }
        let payload = take(&mut rest, payload_len)?;
        let digest: [u8; 32] = Sha256::digest(payload).into();
        if digest != sha256 || expectation.sha256.is_some_and(|expected| expected != sha256) {
            return Err(ArtifactError::HashMismatch);
        }
        let limited = bincode::config::standard().with_limit::<PAYLOAD_MAX>();
        let (artifact, consumed): (Self, usize) = bincode::serde::decode_from_slice(payload, limited)
            .map_err(|error| ArtifactError::Undecodable(Box::new(error)))?;
        if consumed != payload.len() {
            return Err(ArtifactError::Oversized);
        }
        artifact.check()?;
        if expectation.fingerprint.is_some_and(|expected| expected != artifact.schema.fingerprint) {
            return Err(ArtifactError::WrongSchema);
        }
        Ok((header, artifact))
    }

    fn check(&self) -> Result<(), ArtifactError> {
        let unsound = |what| Err(ArtifactError::Unsound { what });
        if self.positive_class != ATTACK {
            return unsound("a high output does not mean attack");
        }
        let names = self.schema.names.len();
        let trial = self.trial.as_ref().map(|trial| (&trial.model, trial.standardizer.as_ref()));
        for (model, standardizer) in [(&self.model, self.standardizer.as_ref())].into_iter().chain(trial) {
            check_model(model, standardizer, names).map_err(|what| ArtifactError::Unsound { what })?;
        }
        let inputs = self.model.inputs();
        for threshold in [self.thresholds.block, self.thresholds.watch].into_iter().flatten() {
            if !(0.0..=1.0).contains(&threshold) {
                return unsound("a threshold is not a probability");
            }
        }
        if let (Some(block), Some(watch)) = (self.thresholds.block, self.thresholds.watch)
            && watch > block
        {
            return unsound("it would block before it watches");
        }
        let sound_row =
            |row: &Vec<f32>| row.len() == self.schema.names.len() && row.iter().all(|value| value.is_finite());
        if self.background.len() > BACKGROUND_MAX || !self.background.iter().all(sound_row) {
            return unsound("the rows to compare with are too many, of another width or not finite");
        }
        if self.self_test.is_empty() || self.self_test.len() > SELF_TEST_MAX {
            return unsound("the self-test is missing or too long");
        }
        for (input, logit) in &self.self_test {
            let sound = input.len() == inputs
                && input.iter().all(|value| value.is_finite())
                && (self.model.logit(input) - logit).abs() <= SELF_TEST_TOLERANCE;
            if !sound {
                return unsound("the self-test is not reproduced");
            }
        }
        Ok(())
    }
}

fn scaled_logit(model: &Ensemble, standardizer: Option<&Standardizer>, values: &[f32]) -> f64 {
    let width = model.inputs();
    // On the stack for every usual width: this is the request path, and an explanation asks thousands of times.
    let (mut small, mut large) = ([0.0; ON_STACK], Vec::new());
    let row = if width <= ON_STACK {
        &mut small[..width]
    } else {
        large.resize(width, 0.0);
        &mut large[..]
    };
    match standardizer {
        None => row.iter_mut().zip(values).for_each(|(slot, value)| *slot = f64::from(*value)),
        Some(standardizer) => standardizer.apply(values.get(..width).unwrap_or(values), row),
    }
    model.logit(row)
}

fn check_model(model: &Ensemble, standardizer: Option<&Standardizer>, names: usize) -> Result<(), &'static str> {
    model.check()?;
    if names != model.inputs() {
        return Err("the shape contradicts the schema");
    }
    if standardizer.is_some_and(|standardizer| standardizer.width() != model.inputs()) {
        return Err("the standardizer has another width");
    }
    Ok(())
}

impl ArtifactHeader {
    fn encode(&self) -> Vec<u8> {
        let node: Vec<u8> = self.node.bytes().take(255).collect();
        let mut out = Vec::with_capacity(34 + node.len());
        out.extend_from_slice(&self.lineage);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.trained_at_ms.to_le_bytes());
        out.push(u8::try_from(node.len()).expect("cut to 255"));
        out.extend_from_slice(&node);
        out
    }

    fn decode(mut rest: &[u8]) -> Result<Self, ArtifactError> {
        let lineage = array(&mut rest)?;
        let generation = u64::from_le_bytes(array(&mut rest)?);
        let trained_at_ms = i64::from_le_bytes(array(&mut rest)?);
        let [node_len] = array(&mut rest)?;
        let node = String::from_utf8_lossy(take(&mut rest, usize::from(node_len))?).into_owned();
        if !rest.is_empty() {
            return Err(ArtifactError::Oversized);
        }
        Ok(Self { lineage, generation, trained_at_ms, node })
    }
}

/// Inputs at the corners and the middle of the feature space, with their logits.
fn self_test(model: &Ensemble) -> Vec<(Vec<f64>, f64)> {
    [0.0, 0.5, 1.0]
        .into_iter()
        .map(|fill| {
            let input: Vec<f64> = (0..model.inputs()).map(|index| fill / (1 + index % 3) as f64).collect();
            let logit = model.logit(&input);
            (input, logit)
        })
        .collect()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], ArtifactError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(ArtifactError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ArtifactError> {
    Ok(take(rest, N)?.try_into().expect("taken to length"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::ensemble::Learner;
    use super::super::mlp::{Activation, Mlp};
    use super::*;
    use crate::numeric::Rng;

    pub(crate) fn artifact(seed: u64) -> ModelArtifact {
        let schema = FeatureSchema::compat6();
        let network = Mlp::init(schema.len(), 8, Activation::Sigmoid, 0.2, &mut Rng::new(seed, "test"));
        let training = TrainingSummary {
            counts: Counts::default(),
            options: TrainingOptions::default(),
            false_positive_budget: 0.001,
            tuned: false,
        };
        let thresholds = Thresholds { block: Some(0.9), watch: Some(0.5) };
        ModelArtifact::new("compat-6", &schema, network.into(), thresholds, Evaluation::default(), training)
    }

    fn header() -> ArtifactHeader {
        ArtifactHeader { lineage: [7; 16], generation: 3, trained_at_ms: 1_700_000_000_000, node: "mx1".into() }
    }

    fn decode(bytes: &[u8]) -> Result<(ArtifactHeader, ModelArtifact), ArtifactError> {
        ModelArtifact::decode(bytes, &Expectation::default())
    }

    #[test]
    fn d10_what_is_published_comes_back_and_equal_content_has_an_equal_hash() {
        let encoded = artifact(1).encode(&header()).expect("sound");
        let elsewhere = ArtifactHeader { generation: 9, node: "mx2".into(), ..header() };

        let (read, model) = decode(&encoded.bytes).expect("whole");

        assert_eq!((read, model), (header(), artifact(1)));
        assert_eq!(artifact(1).encode(&elsewhere).expect("sound").sha256, encoded.sha256);
        assert_ne!(artifact(2).encode(&header()).expect("sound").sha256, encoded.sha256);
    }

    #[test]
    fn every_truncation_and_every_trailing_byte_is_refused() {
        let mut bytes = artifact(1).encode(&header()).expect("sound").bytes;
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        bytes.push(0);
        assert!(matches!(decode(&bytes), Err(ArtifactError::Oversized)));
    }

    #[test]
    fn no_flipped_bit_of_the_content_is_accepted() {
        let encoded = artifact(1).encode(&header()).expect("sound");
        let expectation = Expectation { fingerprint: None, sha256: Some(encoded.sha256) };
        let content = encoded.bytes.len() - payload_and_hash(&encoded.bytes);
        for byte in (0..9).chain(content..encoded.bytes.len()) {
            for bit in 0..8 {
                let mut flipped = encoded.bytes.clone();
                flipped[byte] ^= 1 << bit;
                assert!(ModelArtifact::decode(&flipped, &expectation).is_err(), "byte {byte} bit {bit}");
            }
        }
    }

    fn payload_and_hash(bytes: &[u8]) -> usize {
        let header_len = usize::from(u16::from_le_bytes([bytes[7], bytes[8]]));
        bytes.len() - 9 - header_len
    }

    #[test]
    fn a_newer_format_asks_for_an_upgrade() {
        let mut bytes = artifact(1).encode(&header()).expect("sound").bytes;
        bytes[4] = FORMAT as u8 + 1;

        let error = decode(&bytes).expect_err("newer");

        assert!(error.to_string().contains("upgrade this node"), "{error}");
    }

    #[test]
    fn another_schema_or_another_meaning_is_refused() {
        let encoded = artifact(1).encode(&header()).expect("sound");
        let expectation = Expectation { fingerprint: Some(1), sha256: None };
        assert!(matches!(ModelArtifact::decode(&encoded.bytes, &expectation), Err(ArtifactError::WrongSchema)));

        let inverted = ModelArtifact { positive_class: "legit".into(), ..artifact(1) };
        assert!(matches!(inverted.encode(&header()), Err(ArtifactError::Unsound { .. })));
    }

    fn network(artifact: &mut ModelArtifact) -> &mut Mlp {
        match &mut artifact.model.voters[0].learner {
            Learner::Network(network) => network,
            other => panic!("a {} votes", other.name()),
        }
    }

    #[test]
    fn d14_numbers_that_are_not_a_network_are_refused() {
        let broken = |change: fn(&mut ModelArtifact)| {
            let mut artifact = artifact(1);
            change(&mut artifact);
            artifact.encode(&header()).expect_err("unsound").kind()
        };

        assert_eq!(broken(|artifact| network(artifact).w1[0] = f64::NAN), "unsound");
        assert_eq!(broken(|artifact| network(artifact).b2 = 1e9), "unsound");
        assert_eq!(broken(|artifact| network(artifact).w2.clear()), "unsound");
        assert_eq!(broken(|artifact| network(artifact).b1[0] += 0.5), "unsound");
        assert_eq!(broken(|artifact| artifact.thresholds.block = Some(1.5)), "unsound");
        assert_eq!(broken(|artifact| artifact.background = vec![vec![0.5; 6]; 65]), "unsound");
        assert_eq!(broken(|artifact| artifact.background = vec![vec![0.5; 5]]), "unsound");
        assert_eq!(broken(|artifact| artifact.background = vec![vec![f32::INFINITY; 6]]), "unsound");
    }
}
