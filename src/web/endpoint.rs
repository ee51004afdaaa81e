//! A method and a path of the server, with the permission they require.

use std::fmt;

use crate::path::Pattern;
use crate::web::permission::Permission;

/// A method and a path of the server, with the permission they require.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub method: Method,
    pub path: Pattern,
    pub permission: Permission,
}

/// An HTTP method that a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    GET,
    POST,
    PATCH,
    DELETE,
    /// All of them.
    ANY,
}

impl Endpoint {
    /// Whether both have the same method and path.
    pub const fn is_like(&self, other: &Endpoint) -> bool {
        self.method as u8 == other.method as u8 && self.path as u16 == other.path as u16
    }
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::ANY => "ANY",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
