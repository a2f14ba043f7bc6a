//! Keyed pseudonyms: user names, password tags and names of programs never leave the border of this program as they came.
//!
//! HMAC-SHA256 under one key of the site, with a separate domain for each of them, cut to the width that the
//! tables need. All nodes of a fleet must hold the same key, otherwise they count one user as many. Where the key is
//! kept is not decided here.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::attempt::{PasswordTag, Pseudonym};
use super::client::ClientTag;

/// Domain of user names and accounts: both share it, because a name that is its own account must be equal to it.
const NAME_DOMAIN: &[u8] = b"nauthilus-neural/name/1\0";
/// Domain of password tags.
const TAG_DOMAIN: &[u8] = b"nauthilus-neural/password-tag/1\0";
/// Domain of user agents.
const AGENT_DOMAIN: &[u8] = b"nauthilus-neural/user-agent/1\0";
/// Domain of the texts of additional features.
const FEATURE_DOMAIN: &[u8] = b"nauthilus-neural/feature/1\0";
/// Domain of client ids.
const CLIENT_ID_DOMAIN: &[u8] = b"nauthilus-neural/client-id/1\0";

/// Turns names and tags into pseudonyms. Cloning is cheap; the key cannot be read back from it.
#[derive(Clone)]
pub struct Pseudonymizer {
    // The states after the key and the domain: each pseudonym then hashes its own bytes only.
    name: Hmac<Sha256>,
    tag: Hmac<Sha256>,
    agent: Hmac<Sha256>,
    client_id: Hmac<Sha256>,
    feature: Hmac<Sha256>,
}

impl Pseudonymizer {
    /// From the site's key (32 random bytes, the same on every node).
    pub fn new(key: [u8; 32]) -> Self {
        let keyed = |domain: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
            mac.update(domain);
            mac
        };
        Self {
            name: keyed(NAME_DOMAIN),
            tag: keyed(TAG_DOMAIN),
            agent: keyed(AGENT_DOMAIN),
            client_id: keyed(CLIENT_ID_DOMAIN),
            feature: keyed(FEATURE_DOMAIN),
        }
    }

    /// Pseudonym of a user name or account. White space around it and upper case make no difference.
    pub fn name(&self, name: &str) -> Pseudonym {
        let digest = digest(&self.name, fold(name).as_bytes());
        Pseudonym(*digest.first_chunk().expect("16 of 32 bytes"))
    }

    /// Pseudonym of the caller's opaque password tag, taken byte for byte.
    pub fn tag(&self, tag: &str) -> PasswordTag {
        PasswordTag(short(&digest(&self.tag, tag.as_bytes())))
    }

    /// Pseudonym of a user agent. Case, white space around it and numbers make no difference: otherwise each update of a
    /// browser would be a new one.
    pub fn user_agent(&self, agent: &str) -> ClientTag {
        ClientTag::new(short(&digest(&self.agent, without_numbers(agent).as_bytes())))
    }

    /// Pseudonym of a client id, taken byte for byte.
    pub fn client_id(&self, id: &str) -> ClientTag {
        ClientTag::new(short(&digest(&self.client_id, id.as_bytes())))
    }

    /// Hash of a text of the additional feature `name` (which holds no NUL), taken byte for byte.
    pub fn feature(&self, name: &str, text: &str) -> u64 {
        let mut mac = self.feature.clone();
        mac.update(name.as_bytes());
        mac.update(b"\0");
        mac.update(text.as_bytes());
        short(&mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Pseudonymizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonymizer")
    }
}

fn digest(keyed: &Hmac<Sha256>, bytes: &[u8]) -> [u8; 32] {
    let mut mac = keyed.clone();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

fn short(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
}

/// A folded user agent in which each number, with the dots and underscores in it, is one `#`.
fn without_numbers(agent: &str) -> String {
    let mut plain = String::with_capacity(agent.len());
    for character in fold(agent).chars() {
        let in_number = plain.ends_with('#');
        match character {
            '0'..='9' if in_number => {}
            '.' | '_' if in_number => {}
            '0'..='9' => plain.push('#'),
            other => plain.push(other),
        }
    }
    plain
}

/// The spelling under which a name is known: mail servers treat user names without regard to case.
pub fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_variants_of_a_name_are_one_user() {
        let pseudonymizer = Pseudonymizer::new([7; 32]);

        let plain = pseudonymizer.name("jürgen@example.org");

        assert_eq!(plain, pseudonymizer.name(" JÜRGEN@Example.ORG\t"));
        assert_ne!(plain, pseudonymizer.name("jurgen@example.org"));
    }

    #[test]
    fn another_key_gives_other_pseudonyms() {
        let one = Pseudonymizer::new([1; 32]);
        let two = Pseudonymizer::new([2; 32]);

        assert_ne!(one.name("alice"), two.name("alice"));
        assert_ne!(one.tag("alice"), two.tag("alice"));
    }

    #[test]
    fn a_name_and_a_tag_with_the_same_text_have_nothing_in_common() {
        let pseudonymizer = Pseudonymizer::new([7; 32]);

        assert_ne!(pseudonymizer.name("alice").short(), pseudonymizer.tag("alice").0);
        assert_ne!(pseudonymizer.tag("a"), pseudonymizer.tag("A"));
    }

    #[test]
    fn an_updated_browser_is_the_same_program_but_another_one_is_not() {
        let pseudonymizer = Pseudonymizer::new([7; 32]);
        let agent = |text| pseudonymizer.user_agent(text);

        let before = agent("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Firefox/133.0");

        assert_eq!(before, agent("mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Firefox/134.0.1 "));
        assert_ne!(before, agent("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/133.0"));
        assert_ne!(agent("mua"), pseudonymizer.client_id("mua"));
        assert_ne!(pseudonymizer.client_id("app-1"), pseudonymizer.client_id("app-2"));
    }

    #[test]
    fn the_pseudonym_is_plain_hmac_over_domain_and_name() {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        mac.update(b"nauthilus-neural/name/1\0alice");
        let expected: [u8; 32] = mac.finalize().into_bytes().into();

        assert_eq!(Pseudonymizer::new([7; 32]).name("alice").0, expected[..16]);
    }

    #[test]
    fn debug_output_shows_no_key() {
        assert_eq!(format!("{:?}", Pseudonymizer::new([7; 32])), "Pseudonymizer");
    }
}
