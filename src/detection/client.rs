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

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.get().to_be_bytes();
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

/// A part of a country: the one to three letters and digits behind the hyphen in ISO 3166-2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subdivision(NonZeroU16);

impl Subdivision {
    /// From one to three ASCII letters (of any case) and digits; `None` for everything else.
    pub fn from_code(code: &str) -> Option<Self> {
        let digit = |byte: u8| match byte.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => Some(u16::from(letter - b'A') + 1),
            number @ b'0'..=b'9' => Some(u16::from(number - b'0') + 27),
            _ => None,
        };
        let bytes = code.as_bytes();
        if !(1..=3).contains(&bytes.len()) {
            return None;
        }
        // Three digits to the base of 37, where 0 is "no more": at most 50 652.
        let number = (0..3).try_fold(0, |sum, place| {
            let value = bytes.get(place).map_or(Some(0), |&byte| digit(byte))?;
            Some(sum * 37 + value)
        });
        number.and_then(NonZeroU16::new).map(Self)
    }

    /// From the number of the stored form; `None` for one that is never written.
    pub fn from_number(number: u16) -> Option<Self> {
        let told = Self(NonZeroU16::new(number)?);
        Self::from_code(&told.to_string()).filter(|known| *known == told)
    }

    /// Its letters and digits as one number, for the stored form and for tables.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u32::from(self.0.get());
        for digit in [number / (37 * 37), number / 37 % 37, number % 37] {
            let shown = match digit {
                0 => continue,
                1..=26 => char::from_u32(u32::from('A') + digit - 1),
                _ => char::from_digit(digit.wrapping_sub(27), 10),
            };
            write!(f, "{}", shown.unwrap_or('?'))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A country, or a part of one. Shown as `DE` or `DE-BY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// The country.
    pub country: Country,
    /// The part of it; `None` for all of it.
    pub subdivision: Option<Subdivision>,
}

impl Region {
    /// From a code of ISO 3166-1 (`DE`) or ISO 3166-2 (`DE-BY`), of any case; `None` for everything else.
    pub fn from_code(code: &str) -> Option<Self> {
        let Some((country, part)) = code.split_once('-') else { return Country::from_code(code).map(Self::from) };
        Some(Self { country: Country::from_code(country)?, subdivision: Some(Subdivision::from_code(part)?) })
    }

    /// From the number of the stored form; `None` for one that is never written.
    pub fn from_number(number: u32) -> Option<Self> {
        let [a, b, c, d] = number.to_be_bytes();
        let country = Country::from_number(u16::from_be_bytes([a, b]))?;
        match u16::from_be_bytes([c, d]) {
            0 => Some(country.into()),
            part => Some(Self { country, subdivision: Some(Subdivision::from_number(part)?) }),
        }
    }

    /// As one number, for the stored form and for tables.
    pub fn number(self) -> u32 {
        u32::from(self.country.number()) << 16 | u32::from(self.subdivision.map_or(0, Subdivision::number))
    }

    /// The whole country.
    pub fn whole(self) -> Self {
        self.country.into()
    }
}

impl From<Country> for Region {
    fn from(country: Country) -> Self {
        Self { country, subdivision: None }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subdivision {
            None => write!(f, "{}", self.country),
            Some(part) => write!(f, "{}-{part}", self.country),
        }
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
    /// Part of that country; never without one.
    pub subdivision: Option<Subdivision>,
    /// Autonomous system of the address.
    pub asn: Option<Asn>,
    /// The program that speaks, without its version.
    pub user_agent: Option<ClientTag>,
    /// OIDC client or IMAP ID.
    pub client_id: Option<ClientTag>,
}

impl ClientDetails {
    /// Country and part of the address, as far as they are known.
    pub fn region(&self) -> Option<Region> {
        self.country.map(|country| Region { country, subdivision: self.subdivision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_country_or_a_part_of_it_and_has_one_number_and_one_text() {
        for code in ["DE", "DE-BY", "US-CA", "FR-75", "GB-ABC", "BR-9", "JP-13", "XK-Z09"] {
            let region = Region::from_code(code).unwrap();
            assert_eq!(region.to_string(), code);
            assert_eq!(Region::from_number(region.number()), Some(region), "{code}");
            assert_eq!(Region::from_code(&code.to_lowercase()), Some(region));
            assert_eq!(region.whole().to_string(), code[..2]);
        }
        for code in ["", "D", "DEU", "DE-", "DE-ABCD", "DE-B Y", "DE-ü", "-BY", "ZZ-BY", "DE-BY-1", "DE_BY"] {
            assert_eq!(Region::from_code(code), None, "{code}");
        }
        let numbers: std::collections::BTreeSet<u16> = (0..=u16::MAX)
            .filter(|&number| Subdivision::from_number(number).is_some_and(|part| part.number() == number))
            .collect();
        assert_eq!(numbers.len(), 36 + 36 * 36 + 36 * 36 * 36, "each code has one number, no other number is a code");
        for number in [0, 1, 0x4445_0000 | 37, 0x4445_ffff] {
            assert_eq!(Region::from_number(number), None, "{number:#x}: never written");
        }
    }

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
