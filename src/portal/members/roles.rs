//! The page about the rights of roles, generated from the tables that decide them.

use actix_web::HttpResponse;
use askama::Template;

use crate::path;
use crate::portal::kit::visit::Visit;
use crate::role::{Reach, Role, TABLE};
use crate::scope::Scope;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/members/roles.html")]
struct RolesPage {
    layout: Layout,
    org: OrgLink,
    own: Role,
    acts: Vec<(&'static str, [Reach; 4])>,
    scopes: Vec<(Scope, [bool; 4])>,
    /// Each role with the roles that it may grant.
    orders: Vec<(Role, String)>,
}

/// `GET /o/{org}/members/roles`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let view = RolesPage {
        layout: visit.layout(NavSection::Members),
        org: visit.org_link(),
        own: visit.role,
        acts: TABLE.iter().map(|(_, words, reaches)| (*words, *reaches)).collect(),
        scopes: Scope::ALL
            .into_iter()
            .map(|scope| (scope, Role::ALL.map(|role| role.grantable().has(scope))))
            .collect(),
        orders: Role::ALL.into_iter().map(|role| (role, managed(role))).collect(),
    };
    visit.page(&view)
}

fn managed(role: Role) -> String {
    let names: Vec<&str> = role.appoints().map(Role::title).collect();
    if names.is_empty() { "No one".to_owned() } else { names.join(", ") }
}
