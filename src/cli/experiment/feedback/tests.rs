//! Facts about whom the items of a case come from.

use super::super::super::evaluate::overlay::tests::record;
use super::cases::{one_account, one_each};
use super::*;

fn attempts(records: &[CheckedRecord]) -> Vec<Attempt<'_>> {
    let attempt = |record| Attempt { record, snapshot: Snapshot { fingerprint: 0, values: Vec::new() } };
    records.iter().map(attempt).collect()
}

#[test]
fn items_come_from_as_many_accounts_as_there_are() {
    let record = |number: usize| {
        record(
            &json!({ "username": format!("user{}", number / 6), "success": false,
        "request_id": number.to_string() })
            .to_string(),
        )
    };
    let records: Vec<CheckedRecord> = (0..18).map(record).collect();
    let attempts = attempts(&records);
    let attempts: Vec<&Attempt<'_>> = attempts.iter().collect();

    let accounts = |items: &[&Attempt<'_>]| -> Vec<usize> {
        let users: BTreeSet<[u8; 16]> = items.iter().map(|item| item.record.attempt.user.0).collect();
        users.iter().map(|user| items.iter().filter(|item| item.record.attempt.user.0 == *user).count()).collect()
    };
    let mut spread = accounts(&one_each(&attempts));
    spread.sort_unstable();
    assert_eq!(spread, [3, 3, 4]);
    assert_eq!(accounts(&one_account(&attempts)), [6]);
}
