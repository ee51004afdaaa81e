//! The bytes of a connection, and how long its client lets the server wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::web::connections::{Connection, milliseconds};

/// How long a client may leave its answer lying in all.
const PATIENCE: Duration = Duration::from_secs(30);
/// It gets a second back for so many bytes that it takes.
const BYTES_PER_SECOND: usize = 1024;

/// How many bytes of heads are read ahead of the request that is being answered. Each request in them takes
/// a hundred times its size as soon as it is read.
const AHEAD: usize = 2048;

/// A client's connection. A client that does not take its answer uses up its patience, and what
/// it takes gives some of that back: whoever takes one byte now and then is cut off too.
pub struct Stream {
    io: TcpStream,
    connection: Arc<Connection>,
    blocked_at: Option<Instant>,
    patience: Duration,
}

impl Stream {
    /// The bytes of this connection.
    pub fn new(io: TcpStream, connection: Arc<Connection>) -> Stream {
        Stream { io, connection, blocked_at: None, patience: PATIENCE }
    }

    /// The connection that it belongs to.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match (written, self.blocked_at) {
            (Poll::Pending, None) => {
                self.blocked_at = Some(Instant::now());
                let until = self.connection.now() + milliseconds(self.patience);
                self.connection.blocked_until.store(until, Relaxed);
            }
            (Poll::Pending, Some(_)) => {}
            (Poll::Ready(result), blocked_at) => {
                if let Some(since) = blocked_at {
                    self.blocked_at = None;
                    self.patience = self.patience.saturating_sub(since.elapsed());
                    self.connection.blocked_until.store(0, Relaxed);
                    // An answer that is written to its end after its request is over.
                    if self.connection.waiting_since.load(Relaxed) != 0 {
                        self.connection.waiting_since.store(self.connection.now(), Relaxed);
                    }
                }
                if self.patience < PATIENCE {
                    let bytes = result.as_ref().copied().unwrap_or_default();
                    let back = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64);
                    self.patience = PATIENCE.min(self.patience + back);
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.connection.clone();
        let is_receiving = connection.is_receiving.load(Relaxed);
        if is_receiving && connection.is_known() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let ahead = connection.ahead.load(Relaxed);
        if ahead >= AHEAD {
            connection.reader.register(context.waker());
            // The request may have been answered in between.
            if is_receiving || connection.open.load(Relaxed) == 0 || connection.ahead.load(Relaxed) < AHEAD {
                // What was read is taken apart before more is read.
                connection.ahead.store(0, Relaxed);
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let mut bytes = [0; AHEAD];
        let most = (AHEAD - ahead).min(buffer.remaining());
        let mut some = ReadBuf::new(&mut bytes[..most]);
        let read = Pin::new(&mut self.io).poll_read(context, &mut some);
        buffer.put_slice(some.filled());
        connection.ahead.fetch_add(some.filled().len(), Relaxed);
        if !some.filled().is_empty() && connection.open.load(Relaxed) == 0 {
            let _ = connection.head_since.compare_exchange(0, connection.now(), Relaxed, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.connection.is_cut.load(Relaxed) {
            // What it did not take must not stay in the kernel either.
            let _ = self.io.set_zero_linger();
        }
    }
}
