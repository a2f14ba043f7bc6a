//! The little DER (X.690) that a public key is made of: sequences, integers, one bit string. Anything else is refused.

use super::KeyMaterial;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `AlgorithmIdentifier` of rsaEncryption with its NULL (RFC 8017, appendix C), without the sequence around it.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// `AlgorithmIdentifier` of id-ecPublicKey on secp256r1 (RFC 5480), without the sequence around it.
const P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A `SubjectPublicKeyInfo` (RFC 5280).
pub(super) fn public_key(bytes: &[u8]) -> Option<KeyMaterial> {
    let info = whole(SEQUENCE, bytes)?;
    let (algorithm, rest) = element(SEQUENCE, info)?;
    // The first byte counts unused bits: none.
    let key = whole(BIT_STRING, rest)?.strip_prefix(&[0])?;
    match algorithm {
        RSA => rsa_public_key(key),
        P256 if key.len() == 65 && key[0] == 4 => Some(KeyMaterial::P256(key.to_vec())),
        _ => None,
    }
}

/// An `RSAPublicKey` (RFC 8017, appendix A.1.1).
pub(super) fn rsa_public_key(bytes: &[u8]) -> Option<KeyMaterial> {
    let (n, rest) = element(INTEGER, whole(SEQUENCE, bytes)?)?;
    let e = whole(INTEGER, rest)?;
    Some(KeyMaterial::Rsa { n: n.to_vec(), e: e.to_vec() })
}

/// The content of an element that is everything there is.
fn whole(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    element(tag, bytes).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the first element, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // At most 64 KiB: a key of 8192 bits has one.
        0x81 | 0x82 => {
            let (long, rest) = rest.split_at_checked(usize::from(short - 0x80))?;
            (long.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| first == tag)
}
