//! Scores over loopback HTTP on one kept connection, as Nauthilus would ask, and how long each took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nauthilus_neural::api;
use nauthilus_neural::node::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const WARM_UP: usize = 2_000;
const REQUESTS: usize = 20_000;

/// Asks `node` about the attempts that `body` makes of their numbers, and prints the percentiles as those of `what`.
pub async fn scores(what: &str, node: &Node, body: impl Fn(usize) -> String) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    let address = listener.local_addr().expect("a bound address");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(api::server::serve(listener, node.app.clone(), stop.clone()));
    let mut stream = TcpStream::connect(address).await.expect("a listening server");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut took = Vec::with_capacity(REQUESTS);
    let mut answer = vec![0; 8192];
    for number in 0..WARM_UP + REQUESTS {
        let body = body(number);
        let length = body.len();
        let head = "POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length:";
        let request = format!("{head} {length}\r\n\r\n{body}");
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        let read = stream.read(&mut answer).await.expect("an answer");
        if number >= WARM_UP {
            took.push(begun.elapsed());
        }
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    }
    percentiles(&format!("POST /v1/score over loopback HTTP, {REQUESTS} requests, {what}"), took);
    stop.cancel();
    let _ = serving.await;
}

/// Prints what half, nine tenths and 99 of a hundred took at most.
pub fn percentiles(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.9), at(0.99), at(1.0));
}
