//! The HTTP server: accepts, bounds and serves connections until it is told to stop.
//!
//! Own loop instead of a ready-made one, because connections, header time and the drain at the end are bounded here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::{debug, warn};

use super::App;
use crate::supervisor::TaskError;

/// Longest request head: a token of 8 KiB, and as much again for everything else.
const HEAD_MAX: usize = 32 * 1024;
/// How long running requests may take once the node is stopping.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (no file descriptors left): the scorers that are open go on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the routes of `app` on `listener` until `stop`, then lets running requests end.
///
/// # Errors
/// None; a failed accept is waited out.
pub async fn serve(listener: Arc<TcpListener>, app: App, stop: CancellationToken) -> Result<(), TaskError> {
    let router = super::router(app.clone());
    let open = TaskTracker::new();
    let room = Arc::new(Room::default());
    loop {
        // Asked for each time, so that a reload counts. Who comes beyond it waits in the kernel's queue.
        while room.taken.load(Ordering::Acquire) >= app.config.load().http.connections_max {
            tokio::select! {
                () = stop.cancelled() => break,
                () = room.freed.notified() => {}
            }
        }
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (router, app, stop, place) = (router.clone(), app.clone(), stop.clone(), Place::take(&room));
        open.spawn(async move {
            // Given back after the connection, also by a panic in it.
            let _place = place;
            connection(stream, peer, router, &app, stop).await;
        });
    }
    open.close();
    if tokio::time::timeout(DRAIN_LIMIT, open.wait()).await.is_err() {
        warn!(connections = open.len(), "stopping with {} requests unanswered", open.len());
    }
    Ok(())
}

/// How many connections are open. Only the accepting loop waits for `freed`.
#[derive(Default)]
struct Room {
    taken: AtomicUsize,
    freed: Notify,
}

/// One connection's place in the room.
struct Place(Arc<Room>);

impl Place {
    fn take(room: &Arc<Room>) -> Self {
        room.taken.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(room))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, app: &App, stop: CancellationToken) {
    // Answers are single small packets; without this each would wait for the caller's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(app.config.load().http.header_timeout).max_buf_size(HEAD_MAX);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            app.metrics.request_refused("header_timeout");
        }
        debug!("a connection ended early: {error}");
    }
}
