//! Stand-in for `glua_http`, the HTTP client of Nauthilus, over real TCP: one connection a request, read to its end.
//!
//! Times are those of the original: a text like `150ms`, or a number of which only whole seconds count. It notes what was
//! sent and how long the script would have waited, but waits longer itself unless a test is about that wait: a busy
//! machine must not decide how other tests end.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Lua, Table, Value};
use serde_json::Value as Json;

/// One request that a script sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: String,
    pub path: String,
    pub body: Json,
    pub authorization: Option<String>,
    pub timeout: Duration,
}

/// How long an answer may really take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What tests know of the client.
#[derive(Debug, Default)]
pub struct Wire {
    /// What was sent, oldest first.
    pub sent: RefCell<Vec<Sent>>,
    /// Whether it gives up when the script's time is over.
    pub exact: Cell<bool>,
}

/// The module, with `request`; the other functions of the original are not used.
pub fn module(lua: &Lua, wire: Rc<Wire>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let request = lua.create_function(move |lua, (method, url, options): (String, String, Table)| {
        match exchange(&wire, &method, &url, &options) {
            Ok((status, body)) => {
                let response = lua.create_table()?;
                response.set("status_code", status)?;
                response.set("body", lua.create_string(body)?)?;
                Ok((Value::Table(response), Value::Nil))
            }
            Err(message) => Ok((Value::Nil, Value::String(lua.create_string(message)?))),
        }
    })?;
    module.set("request", request)?;
    Ok(module)
}

/// A time limit as the original reads it.
fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::Integer(seconds) => Ok(Duration::from_secs(*seconds as u64)),
        Value::Number(seconds) => Ok(Duration::from_secs(*seconds as u64)),
        Value::String(text) => {
            humantime::parse_duration(&text.to_string_lossy()).map_err(|error| format!("time: {error}"))
        }
        _ => Err("these scripts must set a time limit".into()),
    }
}

fn exchange(wire: &Wire, method: &str, url: &str, options: &Table) -> Result<(u16, Vec<u8>), String> {
    let text = |error: mlua::Error| error.to_string();
    let timeout = duration(&options.get::<Value>("timeout").map_err(text)?)?;
    let body: Option<mlua::String> = options.get("body").map_err(text)?;
    let body = body.map(|body| body.as_bytes().to_vec()).unwrap_or_default();
    let (host, path) = url.strip_prefix("http://").ok_or("unsupported protocol scheme")?.split_once('/').unwrap();
    let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let mut authorization = None;
    for pair in options.get::<Table>("headers").map_err(text)?.pairs::<String, String>() {
        let (name, value) = pair.map_err(text)?;
        head += &format!("{name}: {value}\r\n");
        if name == "Authorization" {
            authorization = Some(value);
        }
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    let json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    let path = format!("/{path}");
    wire.sent.borrow_mut().push(Sent { method: method.to_owned(), path, body: json, authorization, timeout });

    let address: SocketAddr = host.parse().map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
    let failed = |error: std::io::Error| format!("{method} \"{url}\": {error}");
    let late = || format!("{method} \"{url}\": context deadline exceeded");
    let patience = if wire.exact.get() { timeout } else { PATIENCE };
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(failed)?;
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).map_err(failed)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or_else(late)?;
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return Err(late());
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("malformed HTTP response")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "this stand-in reads no chunks: {head}");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("malformed HTTP status")?;
    Ok((status, answer[end + 4..].to_vec()))
}
