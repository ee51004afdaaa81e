//! People and their sign-in methods.

pub mod address;
pub mod credential;
pub mod links;
pub mod methods;
pub mod notice;
pub mod oauth;
pub mod password;
pub mod principal;
pub mod recovery;
pub mod reset;
pub mod sessions;
pub mod sign_in;
pub mod store;
pub mod throttle;
