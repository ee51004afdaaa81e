//! Comma-separated values (RFC 4180) that spreadsheets show and never run.

use std::fmt::Write as _;

use crate::text::forbidden_character;

/// The type of such a file, whose first line names the columns.
pub const TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Adds a line.
///
/// A cell that a spreadsheet would take for a formula gets an apostrophe in front; so does one that
/// would be parted where lists are separated by semicolons or tabs, and all such cells are quoted.
pub fn line<T: AsRef<str>>(out: &mut String, cells: impl IntoIterator<Item = T>) {
    for (place, cell) in cells.into_iter().enumerate() {
        let cell = cell.as_ref();
        let guard = if is_formula(cell) { "'" } else { "" };
        let separator = if place > 0 { "," } else { "" };
        // Writing to a text can't fail.
        let _ = if guard.is_empty() && !cell.contains([',', ';', '\t', '"', '\n', '\r']) {
            write!(out, "{separator}{cell}")
        } else {
            write!(out, "{separator}\"{guard}{}\"", cell.replace('"', "\"\""))
        };
    }
    out.push_str("\r\n");
}

/// Whether a cell, or what comes behind a separator in it, begins as formulas do, be it behind what
/// can't be seen; a plain number may begin with its sign.
fn is_formula(cell: &str) -> bool {
    const SIGNS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let unseen = |letter: char| {
        letter == ' ' || letter != '\t' && !SIGNS.contains(&letter) && forbidden_character(letter)
    };
    let begins = |part: &str| part.trim_start_matches(unseen).starts_with(SIGNS);
    cell.split([';', '\t']).any(begins) && cell.parse::<i64>().is_err()
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
        for cell in ["a;=1+1", "a;\u{200b}=1", "a\t@SUM(A1)", " =1", "\u{feff}=1", "a; -1"] {
            assert_eq!(of(&[cell]), format!("\"'{cell}\"\r\n"));
        }
        assert_eq!(of(&["-5", "5", "a-b", "a; b"]), "-5,5,a-b,\"a; b\"\r\n");
    }
}
