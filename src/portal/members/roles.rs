//! The page that says who can do what, out of the very tables that decide it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::path;
use crate::role::{Reach, Role, TABLE};
use crate::scope::Scope;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/members/roles.html")]
struct RolesPage {
    layout: Layout,
    org: Place,
    own: Role,
    acts: Vec<(&'static str, [Reach; 4])>,
    scopes: Vec<(Scope, [bool; 4])>,
    /// Each role with the roles that it gives and takes.
    orders: Vec<(Role, String)>,
}

/// `GET /o/{org}/members/roles`.
pub async fn show(request: HttpRequest, member: Member) -> Result<HttpResponse, Problem> {
    let view = RolesPage {
        layout: Layout::of(&request, Room::Members),
        org: Place::of(&member.org),
        own: member.role,
        acts: TABLE.iter().map(|(_, words, reaches)| (*words, *reaches)).collect(),
        scopes: Scope::ALL
            .into_iter()
            .map(|scope| (scope, Role::ALL.map(|role| role.grantable().has(scope))))
            .collect(),
        orders: Role::ALL.into_iter().map(|role| (role, managed(role))).collect(),
    };
    html(StatusCode::OK, &view)
}

fn managed(role: Role) -> String {
    let names: Vec<&str> = role.appoints().map(Role::name).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}
