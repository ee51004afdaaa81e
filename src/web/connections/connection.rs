//! The state of one connection.

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

use crate::web::connections::pressure::{Candidate, ConnectionOwner};
use crate::web::connections::{Connections, milliseconds};

/// How long a new connection may be open without a request, and how long a request head may take.
pub(super) const WAITING: Duration = Duration::from_secs(15);

/// The length of a chunked body.
const UNKNOWN: usize = usize::MAX;

/// How many requests of a known client are answered before other connections get a turn.
const IN_ONE_GO: usize = 8;

/// One connection.
pub struct Connection {
    pub(super) all: Weak<Connections>,
    pub(super) started: Instant,
    pub(super) number: u64,
    /// The client's address, for counting strangers; `None` for trusted proxies.
    pub(super) address: Option<IpAddr>,
    pub(super) proved: AtomicBool,
    /// The principal of its latest authenticated request.
    pub(super) works_for: Mutex<Option<ConnectionOwner>>,
    /// Whether a request body is being received.
    pub(super) is_receiving: AtomicBool,
    /// The number of requests being answered.
    pub(super) open: AtomicUsize,
    /// The number of requests so far.
    answered: AtomicUsize,
    /// Since when no request is being answered, in milliseconds since the start; 0 while one is.
    pub(super) waiting_since: AtomicU64,
    /// How long it may wait for the next request, in milliseconds.
    patience: u64,
    /// How many bytes of its request's body have not arrived although nothing reads the body; [`UNKNOWN`] if the body
    /// does not state its length.
    unread: AtomicUsize,
    /// When the head of its next request began to arrive, in milliseconds since the start; 0 before.
    pub(super) head_since: AtomicU64,
    /// Until when the client has to read more of its response, in milliseconds since the start; 0 if it isn't
    /// blocking.
    pub(super) blocked_until: AtomicU64,
    pub(super) is_cut: AtomicBool,
    pub(super) waker: AtomicWaker,
    /// How many bytes were read ahead of the request that is being answered.
    pub(super) ahead: AtomicUsize,
    /// Wakes the reader when that request is answered.
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
            works_for: Mutex::default(),
            is_receiving: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            waiting_since: AtomicU64::new(all.now()),
            patience: milliseconds(all.keep_alive + WAITING),
            unread: AtomicUsize::new(0),
            head_since: AtomicU64::new(all.now()),
            blocked_until: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            ahead: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
        }
    }

    /// Marks bytes that were read ahead as processed.
    fn read_on(&self, bytes: usize) {
        let _ = self.ahead.fetch_update(Relaxed, Relaxed, |ahead| Some(ahead.saturating_sub(bytes)));
        self.reader.wake();
    }

    /// Counts bytes that arrived while no request is being answered: first the rest of the last one's body, then the
    /// head of the next one.
    pub(super) fn received(&self, bytes: usize) {
        let unread = self.unread.load(Relaxed);
        if unread > 0 && self.expect(unread, bytes) == 0 {
            self.head_since.store(0, Relaxed);
        }
        if bytes > unread {
            let _ = self.head_since.compare_exchange(0, self.now(), Relaxed, Relaxed);
        }
    }

    /// Returns how many bytes of the body have yet to arrive after these.
    fn expect(&self, unread: usize, arrived: usize) -> usize {
        let rest = if unread == UNKNOWN { UNKNOWN } else { unread.saturating_sub(arrived) };
        self.unread.store(rest, Relaxed);
        rest
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        self.waker.wake();
    }

    /// Serves this connection until it ends or is cut off.
    pub async fn serve<T>(self: Arc<Self>, service: impl Future<Output = T>) -> Option<T> {
        // Removes the connection in any case, even if the service panics.
        let _remove = RemoveOnDrop(self.clone());
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
            // actix closes idle connections itself; this catches those that it misses.
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
        Candidate { number: self.number, works_for: *self.works_for(), is_stalled }
    }

    fn works_for(&self) -> MutexGuard<'_, Option<ConnectionOwner>> {
        self.works_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prove(&self, works_for: ConnectionOwner) {
        *self.works_for() = Some(works_for);
        if self.is_known() {
            return;
        }
        let Some(all) = self.all.upgrade() else { return };
        let mut set = all.lock();
        // It may have been cut off in the meantime.
        if set.all.contains_key(&self.number) {
            set.make_room_for_known(&all.limits);
            set.forget_stranger(self);
            self.proved.store(true, Relaxed);
        }
    }
}

/// Removes a connection when it has ended.
struct RemoveOnDrop(Arc<Connection>);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(all) = self.0.all.upgrade() {
            all.lock().remove(self.0.number);
        }
    }
}

/// Records for whom the connection works, after the client was authenticated: from now on it doesn't make room
/// for strangers.
pub fn prove(request: &HttpRequest, works_for: ConnectionOwner) {
    if let Some(connection) = request.conn_data::<Arc<Connection>>() {
        connection.prove(works_for);
    }
}

/// Gives other connections a turn before this one's next request. A pipelining client always has another request
/// in the buffer, and all of them would be answered without interruption.
pub async fn yield_turn(request: &HttpRequest) {
    let Some(connection) = request.conn_data::<Arc<Connection>>() else { return };
    let answered = connection.answered.fetch_add(1, Relaxed);
    if !connection.is_known() || answered % IN_ONE_GO == IN_ONE_GO - 1 {
        tokio::task::yield_now().await;
    }
}

/// Marks a request body as being received until this is dropped.
pub struct Receiving(Arc<Connection>);

impl Receiving {
    pub fn new(request: &HttpRequest) -> Option<Receiving> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.is_receiving.store(true, Relaxed);
        connection.unread.store(0, Relaxed);
        connection.read_on(usize::MAX);
        Some(Receiving(connection.clone()))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.is_receiving.store(false, Relaxed);
    }
}

/// Marks a request as being answered until this is dropped; its connection isn't waiting meanwhile.
pub struct Answering {
    connection: Arc<Connection>,
    head: usize,
}

impl Answering {
    pub fn new(request: &HttpRequest) -> Option<Answering> {
        let connection = request.conn_data::<Arc<Connection>>()?;
        connection.open.fetch_add(1, Relaxed);
        connection.waiting_since.store(0, Relaxed);
        connection.head_since.store(0, Relaxed);
        let fields = request.headers();
        let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_chunked = fields.contains_key(header::TRANSFER_ENCODING);
        connection.unread.store(if is_chunked { UNKNOWN } else { length.unwrap_or(0) }, Relaxed);
        if connection.address.is_none() {
            // A proxy sends requests of many clients over one connection.
            *connection.works_for() = None;
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
        connection.read_on(self.head);
        let unread = connection.unread.load(Relaxed);
        if unread > 0 && connection.expect(unread, connection.ahead.load(Relaxed)) > 0 {
            // The rest of the body has to arrive within the time of a request head.
            connection.head_since.store(connection.now(), Relaxed);
        }
    }
}

/// The minimum number of bytes in the head of a request.
fn head_size(request: &HttpRequest) -> usize {
    let fields =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let line = request.method().as_str().len() + request.path().len() + "  HTTP/1.1\r\n\r\n".len();
    line + fields.sum::<usize>()
}
