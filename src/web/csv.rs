//! Comma-separated values (RFC 4180) that spreadsheets show and never run.

use std::fmt::Write as _;

/// The type of such a file, whose first line names the columns.
pub const TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Adds a line.
///
/// A cell that a spreadsheet would take for a formula gets an apostrophe in front.
pub fn line<T: AsRef<str>>(out: &mut String, cells: impl IntoIterator<Item = T>) {
    for (place, cell) in cells.into_iter().enumerate() {
        let cell = cell.as_ref();
        let guard = if is_formula(cell) { "'" } else { "" };
        let separator = if place > 0 { "," } else { "" };
        // Writing to a text can't fail.
        let _ = if guard.is_empty() && !cell.contains([',', '"', '\n', '\r']) {
            write!(out, "{separator}{cell}")
        } else {
            write!(out, "{separator}\"{guard}{}\"", cell.replace('"', "\"\""))
        };
    }
    out.push_str("\r\n");
}

/// Whether a cell begins as formulas do; a plain number may begin with its sign.
fn is_formula(cell: &str) -> bool {
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    begins && cell.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &[&str]) -> String {
        let mut out = String::new();
        line(&mut out, cells);
        out
    }

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        assert_eq!(of(&["a", "", "b c"]), "a,,b c\r\n");
        assert_eq!(of(&["a,b", "say \"hi\"", "two\nlines"]), "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for cell in ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"] {
            assert_eq!(of(&[cell]), format!("\"'{cell}\"\r\n"));
        }
        assert_eq!(of(&["-5", "5"]), "-5,5\r\n");
    }
}
