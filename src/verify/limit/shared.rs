//! Buckets in Valkey or Redis, which all processes share.
//!
//! One script does the arithmetic of [`super`] there, on the server's clock, so that neither the order of
//! requests nor the clocks of processes matter. A bucket is one key that expires when it is full.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::Notify;

use crate::id::KeyId;

/// How long an answer may take; a slower Valkey is as good as none.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(500);

/// Times are in units of 100 ns after an instant of the year 2023, which a Lua number holds exactly.
///
/// Arguments: the time to the next token, the capacity as a time, what the caller knows to be used, and
/// whether to take a token. Answer: whether there is a token, and the time until the bucket is full.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = (time[1] - 1700000000) * 10000000 + time[2] * 10
local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = redis.pcall('GET', KEYS[1])
local full_at = type(stored) == 'string' and tonumber(stored) or now
-- Ignore values that Keydesk has not written.
if full_at ~= full_at or full_at > now + 10 * capacity then full_at = now end
full_at = math.min(math.max(full_at, now + tonumber(ARGV[3]), now), now + capacity)
local allowed = 0
if full_at - now + interval <= capacity then
  allowed = 1
  if ARGV[4] == '1' then full_at = full_at + interval end
end
if full_at > now then
  redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 10000))
end
return {allowed, full_at - now}
";

const UNITS_A_MINUTE: u64 = 600_000_000;
const NANOSECONDS: u64 = 100;

/// The Valkey of this process, reachable or not.
pub struct Shared {
    client: Client,
    /// The name of the script there.
    hash: String,
    connection: RwLock<Option<Connection>>,
    /// How many connections there were.
    connections: AtomicU64,
    is_lost: Notify,
}

/// A connection.
#[derive(Clone)]
pub struct Connection {
    /// Its number, from 1.
    pub number: u64,
    link: MultiplexedConnection,
    hash: String,
}

impl Shared {
    /// For `KEYDESK_VALKEY_URL`. It is not connected before [`Shared::begin`].
    pub fn new(client: Client) -> Shared {
        Shared {
            client,
            hash: Script::new(SCRIPT).get_hash().to_owned(),
            connection: RwLock::default(),
            connections: AtomicU64::new(0),
            is_lost: Notify::new(),
        }
    }

    /// The connection, while there is one.
    pub fn connection(&self) -> Option<Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives up a connection that failed.
    pub fn lost(&self, number: u64, error: &RedisError) {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if connection.as_ref().is_some_and(|connection| connection.number == number) {
            *connection = None;
            tracing::warn!(cause = %error, "Valkey is unavailable; each process enforces its share of each limit");
            self.is_lost.notify_one();
        }
    }

    /// Connects, and from then on connects again whenever the connection is lost.
    pub async fn begin(self: &Arc<Shared>) {
        if let Err(error) = self.connect().await {
            tracing::warn!(cause = %error, "Valkey can't be reached; each process has its share of each limit until it can");
        }
        let shared = self.clone();
        tokio::spawn(async move {
            loop {
                if shared.connection().is_some() {
                    shared.is_lost.notified().await;
                }
                tokio::time::sleep(PAUSE).await;
                if shared.connection().is_none() && shared.connect().await.is_ok() {
                    tracing::info!("Valkey is back; all processes share limits");
                }
            }
        });
    }

    async fn connect(&self) -> Result<(), RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut link = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that answers, but can't run the script, is found out now.
        let loaded: String = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut link).await?;
        if loaded != self.hash {
            return Err((redis::ErrorKind::UnexpectedReturnType, "the script is not what was sent").into());
        }
        let number = self.connections.fetch_add(1, Relaxed) + 1;
        let connection = Connection { number, link, hash: self.hash.clone() };
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(())
    }
}

impl Connection {
    /// Asks a bucket; see [`SCRIPT`]. Whether there was a token, and the nanoseconds until it is full.
    pub(super) async fn ask(
        &self,
        key: KeyId,
        limit: u32,
        owed: Duration,
        takes: bool,
    ) -> Result<(bool, u64), RedisError> {
        let interval = UNITS_A_MINUTE.div_ceil(u64::from(limit.max(1)));
        let capacity = interval * u64::from(limit);
        let owed = u64::try_from(owed.as_nanos()).unwrap_or(u64::MAX) / NANOSECONDS;
        let ask = |command: &str, script: &str| {
            let mut ask = redis::cmd(command);
            ask.arg(script).arg(1).arg(format!("keydesk:limit:{key}"));
            ask.arg(interval).arg(capacity).arg(owed).arg(u8::from(takes));
            ask
        };
        let mut link = self.link.clone();
        let answer = match ask("EVALSHA", &self.hash).query_async(&mut link).await {
            // A server that was restarted has forgotten it.
            Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) => {
                ask("EVAL", SCRIPT).query_async(&mut link).await
            }
            answer => answer,
        };
        let (allowed, missing): (i64, u64) = answer?;
        if missing > capacity {
            return Err((redis::ErrorKind::UnexpectedReturnType, "the answer is out of range").into());
        }
        Ok((allowed == 1, missing * NANOSECONDS))
    }
}
