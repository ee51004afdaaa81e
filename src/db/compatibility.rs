//! Programs and tables of different versions.
//!
//! A new version first adds what it needs (expand), so that the version before works on beside it, and
//! removes what is no longer needed in a later release (contract). The tables say which version is the
//! oldest that still fits them.

use std::collections::BTreeSet;

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::schema::schema_compatibility as row;

/// The oldest version of the tables, by its number, whose programs work with those of this version.
const OLDEST: &str = "20261129000150";

/// The versions of the tables in a database that a program does not know, and the latest that it does.
pub(super) struct Versions {
    unknown: Vec<String>,
    latest: String,
}

/// Compares the tables with what this program knows.
pub(super) fn versions<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    known: EmbeddedMigrations,
) -> Result<Versions>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known: Vec<Box<dyn Migration<DB>>> = known.migrations().map_err(Error::internal)?;
    let known: BTreeSet<String> =
        known.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = conn.applied_migrations().map_err(Error::internal)?;
    let unknown = applied.iter().map(ToString::to_string).filter(|version| !known.contains(version));
    Ok(Versions { unknown: unknown.collect(), latest: known.last().cloned().unwrap_or_default() })
}

/// Error: `Conflict` for tables of a later version that this program does not fit.
pub(super) fn check(conn: &mut Conn, versions: &Versions) -> Result<()> {
    if versions.unknown.is_empty() {
        return Ok(());
    }
    let oldest: String = row::table.select(row::oldest).first(conn)?;
    if versions.latest < oldest {
        return Err(Error::Conflict(
            "The database was upgraded by a later version of Keydesk, and this version does not fit it any \
             more. Start that version, or restore a backup from before the upgrade.",
        ));
    }
    tracing::warn!(
        versions = versions.unknown.len(),
        "the database was upgraded by a later version of Keydesk, with which this one still works; upgrade soon"
    );
    Ok(())
}

/// Says which version is the oldest that fits, unless a later one has said so.
pub(super) fn declare(conn: &mut Conn) -> Result<()> {
    diesel::update(row::table.filter(row::oldest.lt(OLDEST))).set(row::oldest.eq(OLDEST)).execute(conn)?;
    Ok(())
}
