//! The gateway: inference requests on their way to the upstream.
//!
//! Everything inside uses the OpenAI-compatible form: the echo and real upstreams respond in it, and
//! `/v1/inference` is a simpler interface to its chat completions.

mod body_model;
pub mod echo;
pub mod event_stream;
pub mod include_usage;
pub mod inference;
pub mod observer;
mod off_thread;
pub mod openai;
pub mod outgoing;
pub mod protocol;
pub mod relay;
pub mod reply;
pub mod router;
pub mod tokens;
pub mod translation;
pub mod upstream;
mod watch;
