//! Requests as bytes on a connection, for what no decent client would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::daemon::SOON;

/// A connection on which `text` has been sent.
pub async fn connect(address: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

/// Everything that comes until the other side closes the connection, which it must do soon.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed in time");
    // A reset is an end as well.
    let _ = read;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends one request without a body and these header lines; returns the status and everything that came.
pub async fn request(address: &str, line: &str, headers: &[&str]) -> (u16, String) {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
    let answer = rest(&mut connect(address, &request).await).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
}
