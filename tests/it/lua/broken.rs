//! Servers that are not a healthy daemon: they never answer, or always with the same bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// A server on its own port; ends with the test.
pub struct Server {
    address: String,
    requests: mpsc::Receiver<String>,
}

impl Server {
    /// Takes connections and says nothing.
    pub fn silent() -> Self {
        let (sender, requests) = mpsc::channel();
        Self::start(requests, move |stream| {
            // Kept open: a closed connection would be an answer.
            sender.send(String::new()).ok();
            std::mem::forget(stream);
        })
    }

    /// Answers each request with this status and body.
    pub fn saying(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let (sender, requests) = mpsc::channel();
        Self::start(requests, move |mut stream| {
            let request = read(&mut stream);
            sender.send(request).ok();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).ok();
        })
    }

    fn start(requests: mpsc::Receiver<String>, serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || listener.incoming().flatten().for_each(serve));
        Self { address, requests }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

/// The first line of a request whose head and body have been read.
fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                return text.lines().next().unwrap_or_default().to_owned();
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return text.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

/// The URL of a port on which nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}
