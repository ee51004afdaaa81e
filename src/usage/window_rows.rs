//! Rows of the sums of recent use: of each key in all, and of each key by scope and model.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{usage_part_windows, usage_windows};
use crate::usage::batch::Sum;
use crate::usage::totals::Totals;
use crate::usage::upsert::{CHUNK, upsert};

/// The part of calls that needed a scope.
pub const SCOPE: &str = "scope";
/// The part of calls that asked for a model.
pub const MODEL: &str = "model";

/// Organisation, days, key.
type Place = (OrgId, i64, KeyId);

/// What is to be added to the windows of keys.
#[derive(Default)]
pub struct Sums {
    whole: BTreeMap<Place, Totals>,
    parts: BTreeMap<(Place, &'static str, String), Totals>,
}

/// Adds sums to a table, in which the columns tell them apart.
macro_rules! add_sums {
    ($tx:expr, $sums:expr, $table:ident, $place:pat => ($($column:ident),+)) => {{
        use $table as w;
        let row = |($place, totals): (_, Totals)| (
            $(w::$column.eq($column),)+
            w::requests.eq(totals.requests),
            w::ok.eq(totals.ok),
            w::client_errors.eq(totals.client_errors),
            w::limited.eq(totals.limited),
            w::server_errors.eq(totals.server_errors),
            w::input_tokens.eq(totals.input_tokens),
            w::output_tokens.eq(totals.output_tokens),
        );
        upsert!(
            $tx,
            $sums.into_iter().map(row),
            $table,
            by ($($column),+),
            add (requests, ok, client_errors, limited, server_errors, input_tokens, output_tokens),
            set ()
        );
    }};
}

impl Sums {
    /// Counts requests of a key that needed the scope, asked for the model and ended in this way.
    pub fn count(&mut self, place: Place, (scope, model): (&str, &str), outcome: &str, sum: Sum) {
        self.whole.entry(place).or_default().count(outcome, sum);
        for (part, name) in [(SCOPE, scope), (MODEL, model)] {
            if !name.is_empty() {
                self.parts.entry((place, part, name.to_owned())).or_default().count(outcome, sum);
            }
        }
    }

    /// Writes them: they are added to the windows.
    pub fn write(self, tx: &mut Tx<'_>) -> Result<()> {
        add_sums!(tx, self.whole, usage_windows, (org_id, days, key_id) => (org_id, days, key_id));
        add_sums!(
            tx,
            self.parts,
            usage_part_windows,
            ((org_id, days, key_id), part, name) => (org_id, days, key_id, part, name)
        );
        Ok(())
    }

    /// Adds them, which are negative, and removes the rows of a window of which nothing is left.
    pub fn take_out(self, tx: &mut Tx<'_>, org: OrgId, days: i64) -> Result<()> {
        let keys: Vec<KeyId> = self.whole.keys().map(|(_, _, key)| *key).collect();
        self.write(tx)?;
        macro_rules! remove_empty {
            ($table:ident, $keys:expr) => {
                diesel::delete($table::table)
                    .filter($table::org_id.eq(org).and($table::days.eq(days)))
                    .filter($table::key_id.eq_any($keys).and($table::requests.le(0)))
                    .execute(tx.conn)?
            };
        }
        for keys in keys.chunks(CHUNK) {
            remove_empty!(usage_windows, keys);
            remove_empty!(usage_part_windows, keys);
        }
        Ok(())
    }
}
