//! Optional fields that one side of an overlay lacks: a model must not tell the sides apart by what a recorder left out.
//!
//! A field is lacking when not one record of a side has it. Single records without it are ordinary traffic.

use crate::detection::attempt::{Attempt, Protocol};
use crate::detection::record::CheckedRecord;

/// An optional field of an attempt that becomes features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Password,
    Protocol,
    UserFound,
    Country,
    Asn,
    UserAgent,
    ClientId,
    SuspiciousNetwork,
}

impl Field {
    const ALL: [Self; 8] = [
        Self::Password,
        Self::Protocol,
        Self::UserFound,
        Self::Country,
        Self::Asn,
        Self::UserAgent,
        Self::ClientId,
        Self::SuspiciousNetwork,
    ];

    /// As the wire spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password_hash",
            Self::Protocol => "protocol",
            Self::UserFound => "user_found",
            Self::Country => "country",
            Self::Asn => "asn",
            Self::UserAgent => "user_agent",
            Self::ClientId => "client_id",
            Self::SuspiciousNetwork => "suspicious_network",
        }
    }

    fn is_in(self, attempt: &Attempt) -> bool {
        match self {
            Self::Password => attempt.password.is_some(),
            Self::Protocol => attempt.protocol != Protocol::Unknown,
            Self::UserFound => attempt.user_found.is_some(),
            Self::Country => attempt.client.country.is_some(),
            Self::Asn => attempt.client.asn.is_some(),
            Self::UserAgent => attempt.client.user_agent.is_some(),
            Self::ClientId => attempt.client.client_id.is_some(),
            Self::SuspiciousNetwork => attempt.suspicious_network.is_some(),
        }
    }

    fn drop_from(self, attempt: &mut Attempt) {
        match self {
            Self::Password => attempt.password = None,
            Self::Protocol => attempt.protocol = Protocol::Unknown,
            Self::UserFound => attempt.user_found = None,
            Self::Country => (attempt.client.country, attempt.client.subdivision) = (None, None),
            Self::Asn => attempt.client.asn = None,
            Self::UserAgent => attempt.client.user_agent = None,
            Self::ClientId => attempt.client.client_id = None,
            Self::SuspiciousNetwork => attempt.suspicious_network = None,
        }
    }
}

/// The fields that one of two sides has and the other lacks.
pub fn lacking(one: &[CheckedRecord], other: &[CheckedRecord]) -> Vec<Field> {
    let has = |side: &[CheckedRecord], field: Field| side.iter().any(|record| field.is_in(&record.attempt));
    Field::ALL.into_iter().filter(|field| has(one, *field) != has(other, *field)).collect()
}

/// The same records without these fields.
pub fn without(records: &[CheckedRecord], fields: &[Field]) -> Vec<CheckedRecord> {
    let mut records = records.to_vec();
    for record in &mut records {
        fields.iter().for_each(|field| field.drop_from(&mut record.attempt));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn a_field_that_one_side_lacks_is_dropped_and_one_that_both_have_is_kept() {
        let rich = record(
            r#"{"protocol":"imap","password_hash":"aa","country":"DE","asn":64500,"user_agent":"x","client_id":"y","user_found":true,"suspicious_network":false}"#,
        );
        let poor = record(r#"{"protocol":"ssh"}"#);
        // One record with the field is enough for its side to have it.
        let side = [poor.clone(), rich.clone()];

        let lacking = lacking(&side, std::slice::from_ref(&poor));
        let left = without(&side, &lacking);

        let names: Vec<_> = lacking.iter().map(|field| field.name()).collect();
        assert_eq!(
            names,
            ["password_hash", "user_found", "country", "asn", "user_agent", "client_id", "suspicious_network"]
        );
        assert_eq!(left[1].attempt.protocol, Protocol::Imap);
        let bare = record(r#"{"protocol":"imap"}"#);
        assert_eq!(left[1].attempt, Attempt { request: rich.attempt.request, ..bare.attempt });
    }

    #[test]
    fn a_field_that_neither_side_has_is_none_that_is_dropped() {
        let side = [record(r#"{"protocol":"ssh"}"#)];

        assert_eq!(lacking(&side, &side), []);
    }
}
