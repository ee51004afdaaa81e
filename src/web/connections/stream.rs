//! The byte stream of a connection, which limits how long a client can block its response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::web::connections::{Connection, milliseconds};

/// How long a client may leave its response unread, in total.
const PATIENCE: Duration = Duration::from_secs(30);
/// Reading this many bytes restores a second of patience.
const BYTES_PER_SECOND: usize = 1024;

/// How many bytes of request heads are read ahead of the request that is being answered. Parsed requests take a
/// hundred times their size in memory.
const AHEAD: usize = 2048;

/// A client's byte stream. Not reading its response uses up the client's patience, and reading restores some of
/// it, so a client that reads a byte now and then is cut off too.
pub struct Stream {
    io: TcpStream,
    connection: Arc<Connection>,
    blocked_at: Option<Instant>,
    patience: Duration,
}

impl Stream {
    /// The stream of this connection.
    pub fn new(io: TcpStream, connection: Arc<Connection>) -> Stream {
        Stream { io, connection, blocked_at: None, patience: PATIENCE }
    }

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
                    // A response that is written to its end after its request is over.
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
            // The request may have been answered in the meantime.
            if is_receiving || connection.open.load(Relaxed) == 0 || connection.ahead.load(Relaxed) < AHEAD {
                // Already-read bytes are parsed before more are read.
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
            connection.received(some.filled().len());
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
            // Unread data must not stay in the kernel either.
            let _ = self.io.set_zero_linger();
        }
    }
}
