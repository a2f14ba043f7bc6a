//! Nodes, commands, the audit trail, and what subscribers hear.

use super::*;

pub(super) async fn nodes_report_themselves(store: Shared) {
    let report = |name: &str, boot_id: &str| NodeReport {
        name: name.to_owned(),
        node_id: "id".to_owned(),
        boot_id: boot_id.to_owned(),
        version: "0.1.0".to_owned(),
        model: Some(ModelId { lineage: LINEAGE, generation: 1, sha256: [1; 32] }),
        seen_at_ms: 0,
    };
    store.report_node(&report("b", "2")).await.unwrap();
    store.report_node(&report("a", "1")).await.unwrap();
    store.report_node(&report("a", "1")).await.unwrap();

    let nodes = store.nodes().await.unwrap();

    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(nodes.iter().all(|node| node.seen_at_ms > 0));
    assert_eq!(NodeReport { seen_at_ms: 0, ..nodes[0].clone() }, report("a", "1"));
}

pub(super) async fn a_command_is_executed_by_one(store: Shared) {
    assert_eq!(store.claim_command("c1", ME, TTL).await.unwrap(), Claim::Won);
    assert_eq!(store.claim_command("c1", OTHER, TTL).await.unwrap(), Claim::Lost);
    store.finish_command("c1", b"{}", Some("replies")).await.unwrap();
    assert_eq!(store.claim_command("c1", OTHER, TTL).await.unwrap(), Claim::Done(b"{}".to_vec()));

    assert_eq!(store.claim_command("c2", ME, Duration::from_millis(20)).await.unwrap(), Claim::Won);
    eventually("a claim lapses", SOON, || async {
        match store.claim_command("c2", OTHER, TTL).await.map_err(|error| error.to_string())? {
            Claim::Won => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for bad in ["", "a b", &"x".repeat(1000)] {
        assert!(matches!(store.claim_command(bad, ME, TTL).await, Err(StoreError::Refused { .. })));
    }
}

pub(super) async fn the_audit_trail_takes_entries(store: Shared) {
    let entry = AuditEntry {
        id: "e1".to_owned(),
        at_ms: 1,
        node: "a".to_owned(),
        who: "admin".to_owned(),
        command: "reset".to_owned(),
        outcome: "ok".to_owned(),
        detail: serde_json::json!({ "enabled": true }),
    };
    let other = AuditEntry { id: "e2".to_owned(), ..entry.clone() };
    store.append_audit(&entry).await.unwrap();
    store.append_audit(&other).await.unwrap();

    store.append_audit(&entry).await.unwrap();

    assert_eq!(store.audit(10).await.unwrap(), [other, entry], "the same one again is not another one");
}

pub(super) async fn subscribers_hear_commands_and_never_large_messages(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    store.send_command(&vec![b'x'; COMMAND_MAX]).await.unwrap();
    store.send_command(&vec![b'x'; COMMAND_MAX + 1]).await.unwrap();

    assert_eq!(next_signal(&mut signals).await, Signal::Command(vec![b'x'; COMMAND_MAX]));
    let oversized = Signal::Oversized { channel: "commands", bytes: COMMAND_MAX + 1 };
    assert_eq!(next_signal(&mut signals).await, oversized);
    nothing_else(&store, &mut signals).await;
}

pub(super) async fn what_is_too_large_is_refused(store: Shared) {
    let lease = lease(&store, "a").await;
    let request = request(lease, "a", Parent::default(), 1);

    let refused = store.publish(&request, &vec![0; MODEL_MAX + 1]).await;

    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    assert_eq!(store.publish(&request, &vec![0; MODEL_MAX]).await.unwrap(), PublishReply::Published);
    assert_eq!(store.model([1; 32]).await.unwrap().map(|blob| blob.len()), Some(MODEL_MAX));
}
