//! The gateway: inference calls on their way to the upstream.
//!
//! Everything inside speaks the OpenAI-compatible form: the echo answers in it, a real
//! upstream too, and `/v1/inference` is a plainer face of its chat completions.

pub mod echo;
pub mod inference;
pub mod openai;
pub mod reply;
pub mod sse;
pub mod tokens;
pub mod upstream;
mod watch;
