//! The layout of pages, redirects and fragments.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use askama::Template;

use crate::error::Error;
use crate::id::OrgSlug;
use crate::orgs::store::Org;
use crate::path::{self, Href};
use crate::role::{Act, Role};
use crate::web::host::{self, WrongHost};
use crate::web::principal::{Findings, Member, SignedIn};
use crate::web::problem::Problem;
use crate::web::session::{self, is_partial};
use crate::web::{Shared, assets};

/// The frame of a page: navigation, signed-in person and message.
pub struct Layout {
    /// The signed-in person.
    pub person: Option<CurrentUser>,
    /// The current organisation.
    pub org: Option<OrgLink>,
    /// The person's role in that organisation.
    pub role: Option<Role>,
    /// The person's organisations.
    pub orgs: Vec<OrgSwitch>,
    /// The section of the page.
    pub section: NavSection,
    /// The message about the last action, shown once.
    pub flash: Option<String>,
    /// The number of open review findings, if the person may see them.
    pub findings: i64,
    /// The host of the public URL.
    pub host: String,
    /// The host of the request, if forms are refused there.
    pub wrong_host: Option<WrongHost>,
}

/// The signed-in person.
pub struct CurrentUser {
    pub name: String,
    pub email: String,
    /// The name of their time zone.
    pub zone: String,
}

/// An organisation, for links.
pub struct OrgLink {
    pub slug: OrgSlug,
    pub name: String,
}

/// An organisation to which the person may switch.
pub struct OrgSwitch {
    pub slug: OrgSlug,
    pub name: String,
    /// The path of the switch: the same section, if the person may see it there.
    pub href: Href,
}

impl OrgLink {
    /// The link to this organisation.
    pub fn of(org: &Org) -> OrgLink {
        OrgLink { slug: org.slug.clone(), name: org.name.clone() }
    }

    /// The first letter of the name, for its tile.
    pub fn initial(&self) -> String {
        self.name.chars().next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default()
    }
}

/// The sections of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NavSection {
    None,
    Keys,
    Usage,
    Review,
    Audit,
    Members,
    /// Settings and policy of the organisation.
    Settings,
    Docs,
    /// The person's account.
    Account,
}

impl NavSection {
    /// The right that a role needs to see the section. `None` if it belongs to no organisation.
    fn act(self) -> Option<Act> {
        match self {
            NavSection::Keys => Some(Act::ReadKeys),
            NavSection::Usage => Some(Act::ReadUsage),
            NavSection::Review => Some(Act::ReadReview),
            NavSection::Audit => Some(Act::ReadAudit),
            NavSection::Members => Some(Act::ReadMembers),
            NavSection::Settings => Some(Act::ReadSettings),
            NavSection::None | NavSection::Docs | NavSection::Account => None,
        }
    }

    /// The path of the section in an organisation; the key list if the role may not see it or the section
    /// belongs to no organisation.
    fn href_in(self, org: &OrgSlug, role: Role) -> Href {
        match self {
            _ if !self.act().is_some_and(|act| role.may(act)) => path::keys(org),
            NavSection::Usage => path::usage(org),
            NavSection::Review => path::review(org),
            NavSection::Audit => path::audit(org),
            NavSection::Members => path::members(org),
            NavSection::Settings => path::settings(org),
            NavSection::Keys | NavSection::None | NavSection::Docs | NavSection::Account => path::keys(org),
        }
    }
}

/// A decorative icon from the sprite, hidden from screen readers.
pub struct Icon(&'static str);

impl std::fmt::Display for Icon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sprite = assets::path("icons.svg");
        write!(f, "<svg class=\"icon\" aria-hidden=\"true\"><use href=\"{sprite}#{}\"/></svg>", self.0)
    }
}

impl askama::filters::HtmlSafe for Icon {}

impl Layout {
    /// The layout for this request.
    pub fn of(request: &HttpRequest, section: NavSection) -> Layout {
        let extensions = request.extensions();
        let signed_in = extensions.get::<SignedIn>();
        let here = match extensions.get::<Member>() {
            Some(member) => Some((&member.org, member.role)),
            None => signed_in.and_then(|signed_in| signed_in.orgs.first()).map(|(org, role)| (org, *role)),
        };
        Layout {
            person: signed_in.map(|signed_in| CurrentUser {
                name: signed_in.person.name.clone(),
                email: signed_in.person.email.clone(),
                zone: signed_in.person.zone_name(),
            }),
            org: here.map(|(org, _)| OrgLink::of(org)),
            role: here.map(|(_, role)| role),
            orgs: signed_in
                .into_iter()
                .flat_map(|signed_in| &signed_in.orgs)
                .map(|(org, role)| OrgSwitch {
                    slug: org.slug.clone(),
                    name: org.name.clone(),
                    href: section.href_in(&org.slug, *role),
                })
                .collect(),
            section,
            flash: None,
            findings: extensions.get::<Findings>().map_or(0, |findings| findings.0),
            host: request
                .app_data::<Shared>()
                .map(|site| site.public_url.host().to_owned())
                .unwrap_or_default(),
            wrong_host: host::wrong(request),
        }
    }

    /// Adds the message about the last action, and removes it from the session.
    pub fn with_flash(mut self, request: &HttpRequest) -> Layout {
        if !is_partial(request) {
            self.flash = session::take_flash(&request.get_session());
        }
        self
    }

    /// An icon.
    pub fn icon(&self, name: &'static str) -> Icon {
        Icon(name)
    }

    /// The path of an asset.
    pub fn asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }

    /// Whether the person's role allows the act, so that pages offer only permitted actions.
    pub fn may(&self, act: Act) -> bool {
        self.role.is_some_and(|role| role.may(act))
    }

    /// Whether the person's role may see this section.
    pub fn may_see(&self, section: NavSection) -> bool {
        section.act().is_none_or(|act| self.may(act))
    }

    /// Whether the page is in this section, for `aria-current`.
    pub fn is_in(&self, section: NavSection) -> bool {
        self.section == section
    }
}

/// Renders a page.
pub fn html(status: StatusCode, template: &impl Template) -> Result<HttpResponse, Problem> {
    let text = template.render().map_err(Error::internal)?;
    Ok(HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::VARY, "HX-Request-Type"))
        .body(text))
}

/// Redirects to another page of this site, also for htmx.
pub fn redirect(request: &HttpRequest, to: &Href) -> HttpResponse {
    if is_partial(request) {
        return HttpResponse::Ok().insert_header(("HX-Redirect", to.as_str())).finish();
    }
    HttpResponse::SeeOther().insert_header((header::LOCATION, to.as_str())).finish()
}
