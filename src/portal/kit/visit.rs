//! A request to a page handler, with everything that the handler needs.

use std::borrow::Borrow;
use std::future::{Ready, ready};
use std::ops::Deref;

use actix_session::{Session, SessionExt};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use askama::Template;
use jiff::tz::TimeZone;

use crate::authority::{AccountHolder, Acting, RequestSource};
use crate::db::{self, Conn, Tx};
use crate::error::Error;
use crate::path::Href;
use crate::time::Time;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{self, Layout, NavSection, OrgLink};
use crate::web::principal::{Member, SignedIn};
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

/// A request to a page. It dereferences to the visitor: `visit.person`, `visit.org`, `visit.role`.
pub struct Visit<Visitor = Member> {
    pub visitor: Visitor,
    pub site: Shared,
    pub request: HttpRequest,
    /// When the request reached its handler.
    pub now: Time,
    /// The visitor's time zone; UTC for a guest who is not signed in.
    pub zone: TimeZone,
}

/// A visit to the pages of one's own account.
pub type AccountVisit = Visit<SignedIn>;

/// A visit to a page that needs no sign-in.
pub type GuestVisit = Visit<Guest>;

/// A visitor who may be signed in or not.
pub struct Guest {
    pub signed_in: Option<SignedIn>,
}

impl FromRequest for Guest {
    type Error = Problem;
    type Future = Ready<Result<Guest, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Guest { signed_in: request.extensions().get::<SignedIn>().cloned() }))
    }
}

impl GuestVisit {
    /// The same visit as that of the person who is signed in.
    pub fn account(&self) -> Option<AccountVisit> {
        let visitor = self.signed_in.clone()?;
        let (site, request, zone) = (self.site.clone(), self.request.clone(), self.zone.clone());
        Some(Visit { visitor, site, request, now: self.now, zone })
    }
}

/// Someone who can visit pages. The gate has identified them.
pub trait Visitor: FromRequest<Error = Problem, Future = Ready<Result<Self, Problem>>> {
    fn time_zone(&self) -> TimeZone;
}

impl Visitor for Member {
    fn time_zone(&self) -> TimeZone {
        self.person.time_zone()
    }
}

impl Visitor for SignedIn {
    fn time_zone(&self) -> TimeZone {
        self.person.time_zone()
    }
}

impl Visitor for Guest {
    fn time_zone(&self) -> TimeZone {
        self.signed_in.as_ref().map_or(TimeZone::UTC, Visitor::time_zone)
    }
}

impl<V: Visitor> FromRequest for Visit<V> {
    type Error = Problem;
    type Future = Ready<Result<Visit<V>, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visit = V::from_request(request, payload).into_inner().and_then(|visitor| {
            let site = request.app_data::<Shared>().cloned();
            let site = site.ok_or_else(|| Error::internal("the application has no site"))?;
            let zone = visitor.time_zone();
            Ok(Visit { visitor, site, request: request.clone(), now: Time::now(), zone })
        });
        ready(visit)
    }
}

impl<V> Deref for Visit<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.visitor
    }
}

impl<V> Visit<V> {
    /// The parameters of the address.
    pub fn query(&self) -> Fields {
        Fields::of_query(&self.request)
    }

    pub fn session(&self) -> Session {
        self.request.get_session()
    }

    /// Whether htmx requests a fragment rather than a page.
    pub fn is_partial(&self) -> bool {
        session::is_partial(&self.request)
    }

    /// Where the request comes from, for audit entries and security notices.
    pub fn source(&self) -> RequestSource {
        source(&self.request)
    }

    /// Runs all queries of a page in one snapshot of the database, so that its parts agree.
    pub async fn read<T, F>(&self, query: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        Ok(self.site.db.read(|conn| db::snapshot(conn, query)).await?)
    }

    /// The layout of a page, with the message that [`Visit::flash`] left for it.
    pub fn layout(&self, section: NavSection) -> Layout {
        Layout::of(&self.request, section).with_flash(&self.request)
    }

    /// A page for a visitor whose sign-in is not shown, such as the target of a link in an e-mail.
    pub fn bare_layout(&self) -> Layout {
        Layout { person: None, org: None, ..self.layout(NavSection::None) }
    }

    pub fn page(&self, view: &impl Template) -> Result<HttpResponse, Problem> {
        page::html(StatusCode::OK, view)
    }

    pub fn page_with_status(
        &self,
        status: StatusCode,
        view: &impl Template,
    ) -> Result<HttpResponse, Problem> {
        page::html(status, view)
    }

    /// A page with a form: 422 if the form has errors.
    pub fn form(&self, errors: &FormErrors, view: &impl Template) -> Result<HttpResponse, Problem> {
        let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        page::html(status, view)
    }

    pub fn redirect(&self, link: impl Borrow<Href>) -> HttpResponse {
        page::redirect(&self.request, link.borrow())
    }

    /// Leaves a message for the next page.
    pub fn flash(&self, message: impl AsRef<str>) {
        session::flash(&self.session(), message.as_ref());
    }

    /// Redirects to a page that shows this message.
    pub fn redirect_with(&self, link: impl Borrow<Href>, message: impl AsRef<str>) -> HttpResponse {
        self.flash(message);
        self.redirect(link)
    }
}

impl Visit<Member> {
    /// The organisation, for links.
    pub fn org_link(&self) -> OrgLink {
        OrgLink::of(&self.org)
    }

    /// The name of the time zone in which times are shown.
    pub fn zone_name(&self) -> String {
        self.person.zone_name()
    }

    /// [`Visit::read`] for long queries: when it is the organisation's turn.
    pub async fn read_long<T, F>(&self, query: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T, Error> + Send + 'static,
    {
        Ok(self.site.db.read_long(self.org.id, |conn| db::snapshot(conn, query)).await?)
    }

    /// Makes a change as the visitor, if they still have the right at the commit.
    pub async fn change<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &Acting) -> Result<T, Error> + Send + 'static,
    {
        self.visitor.change(&self.request, self.now).commit(&self.site.db, work).await
    }
}

impl Visit<SignedIn> {
    /// Makes a change to the visitor's own account, if they are still signed in at the commit.
    pub async fn change<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &AccountHolder) -> Result<T, Error> + Send + 'static,
    {
        self.visitor.change(&self.request, self.now).commit(&self.site.db, work).await
    }
}
