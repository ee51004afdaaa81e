//! The HTTP server. Unlike actix-web's own, it counts and watches each connection and can close any
//! of them at any time.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpServiceBuilder, Request, Response};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, map_config,
};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;

use crate::web::connections::{Connections, Stream};

/// How long a client may take to send the head of its first request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a client may take to close its side of a connection.
const CLOSE: Duration = Duration::from_secs(1);

/// How long a server waits for its clients.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For the next request on a connection.
    pub(super) keep_alive: Duration,
    /// For open requests to finish when it stops.
    pub(super) stop: Duration,
}

/// Serves an application with this many worker threads.
pub(super) fn serve<F, I, S, B>(
    listener: TcpListener,
    workers: usize,
    patience: Patience,
    connections: &Arc<Connections>,
    application: F,
) -> std::io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let builder =
        Server::build().workers(workers).disable_signals().shutdown_timeout(patience.stop.as_secs());
    let stopping = builder.graceful_shutdown_signal();
    let connections = connections.clone();
    let builder = builder.listen("keydesk", listener, move || {
        let (stopping, connections) = (stopping.clone(), connections.clone());
        let application = application().into_factory().map_err(|error| error.into().error_response());
        let http = HttpServiceBuilder::default()
            .keep_alive(patience.keep_alive)
            .client_request_timeout(HEAD)
            .client_disconnect_timeout(CLOSE)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|stream: &Stream, data| {
                data.insert(stream.connection().clone());
            })
            // actix-web would use the host for links; ours come from `KEYDESK_PUBLIC_URL`.
            .h1(map_config(application, |()| AppConfig::default()));
        apply_fn_factory(http, move |io: TcpStream, http| {
            let peer = io.peer_addr().ok();
            let connection = connections.admit(peer);
            // Without this, an event of a stream waits until the previous one is acknowledged.
            let _ = io.set_nodelay(true);
            let service = http.call((Stream::new(io, connection.clone()), peer));
            let served = connection.serve(service);
            async move { served.await.unwrap_or(Ok(())) }
        })
    })?;
    Ok(builder.run())
}
