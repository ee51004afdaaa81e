//! The gateway: inference requests on their way to the upstream.
//!
//! Everything inside uses the OpenAI-compatible form: the echo and real upstreams respond in it, and
//! `/v1/inference` is a simpler interface to its chat completions.

pub mod echo;
pub mod inference;
pub mod openai;
pub mod reply;
pub mod sse;
pub mod tokens;
pub mod upstream;
mod watch;
