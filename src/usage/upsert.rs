//! Rows of sums are written in one way.

/// Writes rows to a table in which `by` tells them apart: what is there already is added to in the
/// columns `add` and replaced in the columns `set`. Rows come in the order of `by`, so that two
/// processes never wait for each other's.
macro_rules! upsert {
    (
        $tx:expr, $rows:expr, $table:ident, by ($($place:ident),+),
        add ($($sum:ident),*), set ($($last:ident),*)
    ) => {{
        use $crate::schema::$table as t;
        for rows in $rows.collect::<Vec<_>>().chunks($crate::usage::upsert::CHUNK) {
            $crate::db::each!($tx.conn, |c| {
                diesel::insert_into(t::table)
                    .values(rows)
                    .on_conflict(($(t::$place),+))
                    .do_update()
                    .set((
                        $(t::$sum.eq(t::$sum + diesel::upsert::excluded(t::$sum)),)*
                        $(t::$last.eq(diesel::upsert::excluded(t::$last)),)*
                    ))
                    .execute(c)
            })?;
        }
    }};
}
pub(super) use upsert;

/// How many rows go into one statement.
pub(super) const CHUNK: usize = 500;
