//! Callers that are slow, silent or too many: they are cut off or wait, and nobody else notices.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::raw;

#[tokio::test]
async fn a_connection_that_sends_no_whole_head_in_time_is_closed() {
    let daemon = Daemon::start(Setup::new("alone").set("http.header_timeout", "\"1s\"")).await;
    let address = daemon.http.address().to_owned();
    let full = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");

    let mut silent = raw::connect(&address, "").await;
    let mut half = raw::connect(&address, "GET /v1/status HTTP/1.1\r\nHost: local").await;
    let mut idle = raw::connect(&address, &full).await;
    assert_eq!(daemon.http.get("/v1/status").await.status, 200, "others are served meanwhile");

    let said = raw::rest(&mut half).await;
    assert!(!said.contains("200"), "{said}");
    assert_eq!(raw::rest(&mut silent).await, "");
    let said = raw::rest(&mut idle).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n"), "answered once, then closed: {said}");
    // The peer sees the end a moment before it is counted.
    eventually("the refusals counted", SOON, async || {
        let counted = daemon.metric("requests_refused_total{reason=\"header_timeout\"}").await;
        if counted >= 1 { Ok(()) } else { Err(format!("{counted} counted")) }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let daemon = Daemon::start(Setup::new("alone").set("http.body_timeout", "\"1s\"")).await;
    let address = daemon.http.address().to_owned();
    let head = format!("POST /v1/score HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\n{{\"client");

    let said = raw::rest(&mut raw::connect(&address, &head).await).await;

    assert!(said.starts_with("HTTP/1.1 408") && said.contains("http.body_timeout"), "{said}");
    assert!(said.contains("application/problem+json"), "{said}");
    assert_eq!(daemon.metric("requests_refused_total{reason=\"body_timeout\"}").await, 1);
}

#[tokio::test]
async fn callers_beyond_the_cap_wait_for_a_place() {
    let setup = Setup::new("alone").set("http.connections_max", "8").set("http.header_timeout", "\"5m\"");
    let daemon = Daemon::start(setup).await;
    let address = daemon.http.address().to_owned();
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(raw::connect(&address, "GET /").await);
    }

    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut waiting = raw::connect(&address, &request).await;
    let mut first = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_exact(&mut first)).await;
    assert!(early.is_err(), "there is no place yet");
    drop(held);

    tokio::time::timeout(SOON, waiting.read_exact(&mut first)).await.expect("a place in time").expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let address = daemon.http.address().to_owned();
    let mut stream = raw::connect(&address, &format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nX: ")).await;

    // It may be cut off before everything is sent.
    let _ = stream.write_all(&vec![b'x'; 64 * 1024]).await;

    let said = raw::rest(&mut stream).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    assert_eq!(daemon.http.get("/livez").await.status, 200);
}
