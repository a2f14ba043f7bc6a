//! The HTTP server: accepts, bounds and serves connections until it is told to stop.
//!
//! Own loop instead of a ready-made one, because connections, header time and the drain at the end are bounded here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::{debug, warn};

use crate::supervisor::TaskError;

/// Far more than a Nauthilus node keeps open; a caller beyond it waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// A caller that has not sent its request head by then is gone.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How long running requests may take once the node is stopping.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (no file descriptors left): the scorers that are open go on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop`, then lets running requests end.
///
/// # Errors
/// None; a failed accept is waited out.
pub async fn serve(listener: Arc<TcpListener>, router: Router, stop: CancellationToken) -> Result<(), TaskError> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit?,
        };
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
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, peer, router, stop).await;
            drop(permit);
        });
    }
    open.close();
    if tokio::time::timeout(DRAIN_LIMIT, open.wait()).await.is_err() {
        warn!(connections = open.len(), "stopping with {} requests unanswered", open.len());
    }
    Ok(())
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
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
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
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
        debug!("a connection ended early: {error}");
    }
}
