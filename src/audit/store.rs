//! Reading the log: entries, nodes of the tree, checkpoints.

use diesel::prelude::*;

use crate::audit::checkpoint::{Checkpoint, Signer};
use crate::audit::entry::Entry;
use crate::audit::tree::{Edge, Hash, Nodes};
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::schema::{
    audit_checkpoints, audit_entries, audit_heads, audit_nodes, audit_signers, organizations,
};
use crate::time::Time;

/// The end of a log.
#[derive(Clone, Debug)]
pub struct Head {
    /// How many entries it has.
    pub size: u64,
    /// The right edge of their tree.
    pub edge: Edge,
    /// The name under which its checkpoints are signed, once one was.
    pub origin: Option<String>,
    /// How many entries were found unbroken, and when.
    pub checked: Option<(u64, Time)>,
    /// The first entry that was found to be another than was written.
    pub broken_at: Option<u64>,
}

/// The end of an organisation's log as it is now.
pub fn head(conn: &mut Conn, org: OrgId) -> Result<Head> {
    type Row = (i64, Option<Vec<u8>>, Option<String>, i64, Option<Time>, Option<i64>);
    let row: Option<Row> = audit_heads::table
        .find(org)
        .select((
            audit_heads::hashed,
            audit_heads::edge,
            audit_heads::origin,
            audit_heads::checked,
            audit_heads::checked_at,
            audit_heads::broken_at,
        ))
        .first(conn)
        .optional()?;
    let (size, edge, origin, checked, checked_at, broken_at) = row.unwrap_or_default();
    let size = size.cast_unsigned();
    let edge = Edge::from_bytes(size, &edge.unwrap_or_default());
    Ok(Head {
        size,
        edge: edge.ok_or_else(|| Error::internal("the head of the audit log is damaged"))?,
        origin,
        checked: checked_at.map(|at| (checked.cast_unsigned(), at)),
        broken_at: broken_at.map(i64::cast_unsigned),
    })
}

/// The entry at a place.
pub fn entry(conn: &mut Conn, org: OrgId, index: u64) -> Result<Option<Entry>> {
    Ok(entries(conn, org, index, 1)?.into_iter().next().filter(|entry| entry.index == index.cast_signed()))
}

/// Some entries from a place on, in their order.
pub fn entries(conn: &mut Conn, org: OrgId, from: u64, limit: i64) -> Result<Vec<Entry>> {
    let rows = texts(conn, org, from, limit)?;
    Ok(rows.into_iter().map(|row| Entry::read(row.index, row.text)).collect())
}

/// An entry as the database holds it, whatever it says.
#[derive(Clone, Debug, Queryable)]
pub struct Text {
    /// Its place.
    pub index: i64,
    /// Its text.
    pub text: String,
    /// The stored hash of the text.
    pub leaf: Option<Vec<u8>>,
}

/// Some entries from a place on, in their order, unread.
pub fn texts(conn: &mut Conn, org: OrgId, from: u64, limit: i64) -> Result<Vec<Text>> {
    Ok(audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::position.ge(from.cast_signed())))
        .order(audit_entries::position)
        .limit(limit)
        .select((audit_entries::position, audit_entries::entry, audit_entries::leaf))
        .load(conn)?)
}

/// The stored nodes of an organisation's tree.
pub struct Stored<'a> {
    /// Where they are.
    pub conn: &'a mut Conn,
    /// Whose they are.
    pub org: OrgId,
}

impl Nodes for Stored<'_> {
    type Error = Error;

    fn get(&mut self, level: u32, place: u64) -> Result<Hash> {
        let place = place.cast_signed();
        let hash: Option<Vec<u8>> = if level == 0 {
            audit_entries::table
                .find((self.org, place))
                .select(audit_entries::leaf)
                .first::<Option<Vec<u8>>>(self.conn)
                .optional()?
                .flatten()
        } else {
            let level = i16::try_from(level).unwrap_or(i16::MAX);
            audit_nodes::table
                .find((self.org, level, place))
                .select(audit_nodes::hash)
                .first(self.conn)
                .optional()?
        };
        let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
        hash.ok_or_else(|| Error::internal(format!("the audit tree lacks node {place} of level {level}")))
    }
}

/// A signed checkpoint of the log as it is now. The first one gives the log its name, made of the
/// host under which Keydesk is reached and the organisation's slug; it keeps it from then on.
pub fn sign(tx: &mut Tx<'_>, org: OrgId, host: &str, signers: &[Signer], now: Time) -> Result<String> {
    let head = head(tx.conn, org)?;
    let origin = match head.origin {
        Some(origin) => origin,
        None => name_log(tx, org, host)?,
    };
    for signer in signers {
        let row = (
            audit_signers::org_id.eq(org),
            audit_signers::verifier.eq(signer.verifier(&origin).to_string()),
            audit_signers::since.eq(now),
        );
        each!(tx.conn, |c| {
            diesel::insert_into(audit_signers::table).values(row).on_conflict_do_nothing().execute(c)
        })?;
    }
    Ok(Checkpoint { origin, size: head.size, root: head.edge.root() }.sign(signers))
}

fn name_log(tx: &mut Tx<'_>, org: OrgId, host: &str) -> Result<String> {
    let slug: String = organizations::table.find(org).select(organizations::slug).first(tx.conn)?;
    let own = audit_heads::org_id.eq(org).and(audit_heads::origin.is_null());
    // Another port is no other place.
    let port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = host.rsplit_once(':').filter(port).map_or(host, |(host, _)| host);
    diesel::update(audit_heads::table.filter(own))
        .set(audit_heads::origin.eq(format!("{host}/{slug}")))
        .execute(tx.conn)?;
    let origin = audit_heads::table.find(org).select(audit_heads::origin).first::<Option<String>>(tx.conn);
    origin?.ok_or_else(|| Error::internal("the audit log has no name"))
}

/// Keeps a checkpoint of the log as it is now, unless there is one of the same size.
pub fn keep_checkpoint(tx: &mut Tx<'_>, org: OrgId, note: &str, size: u64, now: Time) -> Result<()> {
    let row = (
        audit_checkpoints::org_id.eq(org),
        audit_checkpoints::size.eq(size.cast_signed()),
        audit_checkpoints::at.eq(now),
        audit_checkpoints::note.eq(note),
    );
    each!(tx.conn, |c| {
        diesel::insert_into(audit_checkpoints::table).values(row).on_conflict_do_nothing().execute(c)
    })?;
    Ok(())
}

/// A checkpoint that was kept.
#[derive(Clone, Debug, Queryable)]
pub struct Kept {
    /// How many entries it is about.
    pub size: i64,
    /// When it was signed.
    pub at: Time,
    /// The signed note.
    pub note: String,
}

/// The latest checkpoint that was kept.
pub fn last_checkpoint(conn: &mut Conn, org: OrgId) -> Result<Option<Kept>> {
    Ok(audit_checkpoints::table
        .filter(audit_checkpoints::org_id.eq(org))
        .order(audit_checkpoints::size.desc())
        .select((audit_checkpoints::size, audit_checkpoints::at, audit_checkpoints::note))
        .first(conn)
        .optional()?)
}

/// The checkpoints of more than `size` entries, smallest first.
pub fn checkpoints_after(conn: &mut Conn, org: OrgId, size: u64, limit: i64) -> Result<Vec<Kept>> {
    Ok(audit_checkpoints::table
        .filter(audit_checkpoints::org_id.eq(org).and(audit_checkpoints::size.gt(size.cast_signed())))
        .order(audit_checkpoints::size)
        .limit(limit)
        .select((audit_checkpoints::size, audit_checkpoints::at, audit_checkpoints::note))
        .load(conn)?)
}

/// The verifier keys under which an organisation's checkpoints were signed, newest first.
pub fn verifiers(conn: &mut Conn, org: OrgId) -> Result<Vec<(String, Time)>> {
    Ok(audit_signers::table
        .filter(audit_signers::org_id.eq(org))
        .order((audit_signers::since.desc(), audit_signers::verifier))
        .select((audit_signers::verifier, audit_signers::since))
        .load(conn)?)
}
