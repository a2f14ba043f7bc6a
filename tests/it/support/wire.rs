//! A wire to a server that fails at one request: the answer gets lost, or the request arrives late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What happens to the request that is waited for.
#[derive(Clone, Copy)]
enum Fault {
    /// The server gets it, and the connection ends before the answer.
    Cut,
    /// It stays on the way until it is let go.
    Hold,
}

#[derive(Default)]
struct Shared {
    next: Mutex<Option<(Vec<u8>, Fault)>>,
    let_go: Notify,
    /// All that the server has said.
    heard: Mutex<Vec<u8>>,
}

/// The wire, until it is dropped.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Wire {
    /// A wire to a port of this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let carried = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                tokio::spawn(carry(client, server, Arc::clone(&carried)));
            }
        });
        Self { port, shared, task }
    }

    /// Where a client connects.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Cuts the connection behind the next request that has `needle` in it.
    pub fn cut_behind(&self, needle: &str) {
        self.fail(needle, Fault::Cut);
    }

    /// Holds the next request that has `needle` in it, and all that follows on its connection.
    pub fn hold(&self, needle: &str) {
        self.fail(needle, Fault::Hold);
    }

    /// Lets it go.
    pub fn let_go(&self) {
        self.shared.let_go.notify_one();
    }

    /// Whether the server has said this.
    pub fn heard(&self, text: &str) -> bool {
        holds(&self.shared.heard.lock().expect("no panic"), text.as_bytes())
    }

    fn fail(&self, needle: &str, fault: Fault) {
        *self.shared.next.lock().expect("no panic") = Some((needle.as_bytes().to_vec(), fault));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn fault_at(&self, request: &[u8]) -> Option<Fault> {
        let hit = |(needle, _): &mut (Vec<u8>, Fault)| holds(request, needle);
        self.next.lock().expect("no panic").take_if(hit).map(|(_, fault)| fault)
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

async fn carry(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let cut = AtomicBool::new(false);
    let answering = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
            shared.heard.lock().expect("no panic").extend(&bytes[..length]);
            if cut.load(Ordering::SeqCst) {
                break;
            }
            // A client that is gone is still answered.
            to_client.write_all(&bytes[..length]).await.ok();
        }
        to_client.shutdown().await.ok();
    };
    let asking = async {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            let fault = shared.fault_at(&bytes[..length]);
            if matches!(fault, Some(Fault::Hold)) {
                shared.let_go.notified().await;
            }
            cut.fetch_or(matches!(fault, Some(Fault::Cut)), Ordering::SeqCst);
            if to_server.write_all(&bytes[..length]).await.is_err() || cut.load(Ordering::SeqCst) {
                return;
            }
        }
        // The client has nothing more to ask; the answers to what it has asked still come.
        to_server.shutdown().await.ok();
    };
    tokio::join!(asking, answering);
}
