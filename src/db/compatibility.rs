//! Compatibility of programs and tables of different versions.
//!
//! A release adds tables and columns (expand), so that the previous version still works beside it. A later release
//! removes what no version still uses (contract). The database stores the oldest version that still works with it.

use std::collections::BTreeSet;

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::schema::schema_compatibility as row;

/// The oldest version of the tables whose programs work with the tables of this version.
const OLDEST: &str = "20261129000150";

/// The versions of the tables in a database that a program does not know, and the latest that it knows.
pub(super) struct Versions {
    unknown: Vec<String>,
    latest: String,
}

/// Compares the tables with those that this program knows.
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

/// Error: `Conflict` if this program does not work with the tables, which are of a later version.
pub(super) fn check(conn: &mut Conn, versions: &Versions) -> Result<()> {
    if versions.unknown.is_empty() {
        return Ok(());
    }
    let oldest: String = row::table.select(row::oldest).first(conn)?;
    if versions.latest < oldest {
        return Err(Error::Conflict(
            "The database was upgraded by a later version of Keydesk, and this version no longer works with it. \
             Start the later version, or restore a backup from before the upgrade.",
        ));
    }
    tracing::warn!(
        versions = versions.unknown.len(),
        "the database was upgraded by a later version of Keydesk, with which this one still works; upgrade soon"
    );
    Ok(())
}

/// Stores the oldest version that works with the tables, unless a later one is stored.
pub(super) fn declare(conn: &mut Conn) -> Result<()> {
    diesel::update(row::table.filter(row::oldest.lt(OLDEST))).set(row::oldest.eq(OLDEST)).execute(conn)?;
    Ok(())
}
