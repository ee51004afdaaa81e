//! What one connection is doing, and for whom.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header;
use futures_util::task::AtomicWaker;

use crate::web::connections::pressure::{Candidate, Holder};
use crate::web::connections::{Connections, milliseconds};

/// How long a new connection may be open without a request, and how long a head may take.
pub(super) const WAITING: Duration = Duration::from_secs(15);

/// How many requests of a known client are answered in one go, at most.
const IN_ONE_GO: usize = 8;

/// One connection.
pub struct Connection {
    pub(super) all: Weak<Connections>,
    pub(super) started: Instant,
    pub(super) number: u64,
    /// Whose it is until someone proves who they are; nothing for trusted proxies.
    pub(super) address: Option<IpAddr>,
    pub(super) proved: AtomicBool,
    /// Who its latest authenticated request was for.
    pub(super) holder: Mutex<Option<Holder>>,
    /// Whether the body of its request is being received.
    pub(super) is_receiving: AtomicBool,
    /// Requests that are being answered.
    pub(super) open: AtomicUsize,
    /// How many requests it has sent.
    answered: AtomicUsize,
    /// Since when none is, in milliseconds after the start; 0 while one is.
    pub(super) waiting_since: AtomicU64,
    /// For how long it may wait for its next request, in milliseconds.
    patience: u64,
    /// Whether its request has a body and reading it hasn't begun.
    is_unread: AtomicBool,
    /// When the head of its next request has begun; 0 before.
    pub(super) head_since: AtomicU64,
    /// Until when the client has to take more of its answer; 0 while it does.
    pub(super) blocked_until: AtomicU64,
    pub(super) is_cut: AtomicBool,
    pub(super) waker: AtomicWaker,
    /// How many bytes were read ahead of the request that is being answered.
    pub(super) ahead: AtomicUsize,
    /// Wakes the reader that waits until that request is answered.
    pub(super) reader: AtomicWaker,
}

impl Connection {
    pub(super) fn new(all: &Arc<Connections>, number: u64, address: Option<IpAddr>) -> Connection {
        Connection {
            all: Arc::downgrade(all),
            started: all.started,
            number,
            address,
            proved: AtomicBool::new(false),
            holder: Mutex::default(),
            is_receiving: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(all.now()),
            patience: milliseconds(all.keep_alive + WAITING),
            is_unread: AtomicBool::new(false),
            head_since: AtomicU64::new(all.now()),
            blocked_until: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            ahead: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
        }
    }

    /// So many bytes of what was read ahead have been dealt with.
    fn read_on(&self, bytes: usize) {
        let _ = self.ahead.fetch_update(Relaxed, Relaxed, |ahead| Some(ahead.saturating_sub(bytes)));
        self.reader.wake();
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        self.waker.wake();
    }

    /// Serves this connection to its end, or until it is cut off.
    pub async fn serve<T>(self: Arc<Self>, service: impl Future<Output = T>) -> Option<T> {
        // It leaves in any case, also when the service panics.
        let _leaves = Leaves(self.clone());
        let mut service = pin!(service);
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.is_cut.load(Relaxed) {
                return Poll::Ready(None);
            }
            service.as_mut().poll(context).map(Some)
        })
        .await
    }

    pub(super) fn is_overdue(&self, now: u64) -> bool {
        let head_since = self.head_since.load(Relaxed);
        let is_slow = head_since != 0 && now.saturating_sub(head_since) > milliseconds(WAITING);
        match (self.blocked_until.load(Relaxed), self.waiting_since.load(Relaxed)) {
            (0, 0) => false,
            // actix closes idle connections; this catches those that it misses.
            (0, since) => is_slow || now.saturating_sub(since) > self.patience,
            (until, _) => now > until,
        }
    }

    pub(super) fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    pub(super) fn is_known(&self) -> bool {
        self.address.is_none() || self.proved.load(Relaxed)
    }

    pub(super) fn candidate(&self) -> Candidate {
        let waits = self.waiting_since.load(Relaxed) != 0 || self.blocked_until.load(Relaxed) != 0;
        let is_stalled = waits || self.is_receiving.load(Relaxed);
        Candidate { number: self.number, holder: *self.holder(), is_stalled }
    }

    fn holder(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prove(&self, holder: Holder) {
        *self.holder() = Some(holder);
        if self.is_known() {
            return;
        }
        let Some(all) = self.all.upgrade() else { return };
        let mut held = all.held();
        // It may have been cut off meanwhile.
        if held.all.contains_key(&self.number) {
            held.make_room_for_known(&all.limits);
            held.forget_stranger(self);
            self.proved.store(true, Relaxed);
        }
    }
}

/// Takes a connection out when it has ended.
struct Leaves(Arc<Connection>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(all) = self.0.all.upgrade() {
            all.held().remove(self.0.number);
        }
    }
}

/// Notes for whom the connection works, now that the client has proved who it is: it no longer makes
/// room for strangers'.
pub fn prove(request: &HttpRequest, holder: Holder) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.prove(holder);
    }
}

/// Lets others take their turn before this connection's next request. A client that sends requests ahead
/// always has another one in the buffer, all of which would be answered in one go.
pub async fn give_way(request: &HttpRequest) {
    let Some(connection) = request.conn_data::<Arc<Connection>>() else { return };
    let answered = connection.answered.fetch_add(1, Relaxed);
    if !connection.is_known() || answered % IN_ONE_GO == IN_ONE_GO - 1 {
        tokio::task::yield_now().await;
    }
}

/// The body of a request is being received until this is dropped.
pub struct Receiving(Arc<Connection>);

impl Receiving {
    /// Begins to receive.
    pub fn new(request: &HttpRequest) -> Option<Receiving> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.is_receiving.store(true, Relaxed);
        connection.is_unread.store(false, Relaxed);
        connection.read_on(usize::MAX);
        Some(Receiving(connection.clone()))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.is_receiving.store(false, Relaxed);
    }
}

/// A request that is being answered; its connection does not wait meanwhile.
pub struct Answering {
    connection: Arc<Connection>,
    head: usize,
}

impl Answering {
    /// Begins with the request, and ends with the value.
    pub fn new(request: &HttpRequest) -> Option<Answering> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.open.fetch_add(1, Relaxed);
        connection.waiting_since.store(0, Relaxed);
        connection.head_since.store(0, Relaxed);
        let fields = request.headers();
        let has_body = fields.contains_key(header::TRANSFER_ENCODING)
            || fields.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        connection.is_unread.store(has_body, Relaxed);
        if connection.address.is_none() {
            // A proxy sends requests of many clients over one connection.
            *connection.holder() = None;
        }
        Some(Answering { connection: connection.clone(), head: head_size(request) })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let connection = &self.connection;
        if connection.open.fetch_sub(1, Relaxed) == 1 {
            connection.waiting_since.store(connection.now(), Relaxed);
        }
        if connection.is_unread.load(Relaxed) {
            // The rest of the body has to arrive within the same time as a head.
            connection.head_since.store(connection.now(), Relaxed);
        }
        connection.read_on(self.head);
    }
}

/// How many bytes the head of a request has, at least.
fn head_size(request: &HttpRequest) -> usize {
    let fields =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let line = request.method().as_str().len() + request.path().len() + "  HTTP/1.1\r\n\r\n".len();
    line + fields.sum::<usize>()
}
