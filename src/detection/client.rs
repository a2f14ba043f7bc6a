//! What is known of a client beyond its address: where the address belongs, and which program speaks.
//!
//! Everything here is optional and compact: 24 bytes, whatever the caller sends. Texts do not come this far: programs are
//! keyed pseudonyms (see [`Pseudonymizer`](crate::detection::pseudonym::Pseudonymizer)). Nothing here knows who looked it
//! up.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

/// A country by the two letters of ISO 3166-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(NonZeroU16);

impl Country {
    /// From two ASCII letters of any case. `None` for everything else, and for `XX` and `ZZ`: so lookups say that they do
    /// not know.
    pub fn from_code(code: &str) -> Option<Self> {
        let &[first, second] = code.as_bytes() else { return None };
        let letters = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
        let known = letters.iter().all(u8::is_ascii_uppercase) && letters != *b"XX" && letters != *b"ZZ";
        NonZeroU16::new(u16::from_be_bytes(letters)).filter(|_| known).map(Self)
    }

    /// From the number of the stored form; `None` for one that is never written.
    pub fn from_number(number: u16) -> Option<Self> {
        let letters = number.to_be_bytes();
        std::str::from_utf8(&letters).ok().and_then(Self::from_code).filter(|country| country.number() == number)
    }

    /// Its letters as one number, for the stored form and for tables.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.get().to_be_bytes();
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

/// The number of an autonomous system. There is no system 0 (RFC 7607), so that stands for "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(NonZeroU32);

impl Asn {
    /// From the number; `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// From text such as `AS64500` or `64500`; `None` for everything else.
    pub fn from_text(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).and_then(Self::new)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

/// Keyed pseudonym of a user agent or a client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTag(NonZeroU64);

impl ClientTag {
    /// From 64 bits of a keyed digest; the one digest that is 0 counts as 1.
    pub fn new(digest: u64) -> Self {
        Self(NonZeroU64::new(digest).unwrap_or(NonZeroU64::MIN))
    }

    /// From the number of the stored form; `None` for 0, which is never written.
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The bits, for the stored form and for tables.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

/// What is known of a client beyond its address; `None` is "not known" everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientDetails {
    /// Country of the address.
    pub country: Option<Country>,
    /// Autonomous system of the address.
    pub asn: Option<Asn>,
    /// The program that speaks, without its version.
    pub user_agent: Option<ClientTag>,
    /// OIDC client or IMAP ID.
    pub client_id: Option<ClientTag>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_letters_and_unknown_ones_are_missing() {
        let de = Country::from_code("de").unwrap();

        assert_eq!((Some(de), format!("{de:?}")), (Country::from_code("DE"), "DE".to_owned()));
        assert_eq!(Country::from_number(de.number()), Some(de));
        for code in ["", "D", "DEU", "D1", "ß", "--", "XX", "zz"] {
            assert_eq!(Country::from_code(code), None, "{code}");
        }
        for number in [0, 0x6465, 0x5858, u16::MAX] {
            assert_eq!(Country::from_number(number), None, "{number:#x}: never written");
        }
    }

    #[test]
    fn an_autonomous_system_is_a_number_above_zero() {
        for text in ["64500", "AS64500", "as64500"] {
            assert_eq!(Asn::from_text(text).map(Asn::number), Some(64_500), "{text}");
        }
        for text in ["", "AS", "0", "AS0", "+1", "ASAS1", "4294967296", "AS 1"] {
            assert_eq!(Asn::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_details_stay_small() {
        assert!(size_of::<ClientDetails>() <= 24, "{}", size_of::<ClientDetails>());
    }
}
