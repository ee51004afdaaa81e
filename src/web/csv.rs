//! Comma-separated values (RFC 4180) that spreadsheets don't execute.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::text::is_invisible;

/// The media type; `header=present`: the first line contains the column names.
pub const TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Cell separators in locales with decimal commas, and in pasted text.
const SEPARATORS: [char; 2] = [';', '\t'];

/// The beginning of a file with these column names. Without the byte order mark, spreadsheets read UTF-8 as an older
/// encoding.
pub fn head<T: AsRef<str>>(columns: impl IntoIterator<Item = T>) -> String {
    let mut out = String::from('\u{FEFF}');
    line(&mut out, columns);
    out
}

/// Appends a line.
///
/// Text that a spreadsheet would take for a formula gets an apostrophe in front, also after each semicolon and
/// tab: where these separate lists, a spreadsheet splits cells there, quoted or not.
pub fn line<T: AsRef<str>>(out: &mut String, cells: impl IntoIterator<Item = T>) {
    for (place, cell) in cells.into_iter().enumerate() {
        let cell = cell.as_ref();
        let separator = if place > 0 { "," } else { "" };
        let guarded = guarded(cell);
        // Writing to a string can't fail.
        let _ = if guarded == cell && !cell.contains([',', ';', '\t', '"', '\n', '\r']) {
            write!(out, "{separator}{cell}")
        } else {
            write!(out, "{separator}\"{}\"", guarded.replace('"', "\"\""))
        };
    }
    out.push_str("\r\n");
}

/// The cell with an apostrophe before each part that looks like a formula. A plain number may begin with its
/// sign.
fn guarded(cell: &str) -> Cow<'_, str> {
    if cell.parse::<i64>().is_ok() || !cell.split(SEPARATORS).any(is_formula) {
        return Cow::Borrowed(cell);
    }
    let mut text = String::new();
    for part in cell.split_inclusive(SEPARATORS) {
        if is_formula(part) {
            text.push('\'');
        }
        text.push_str(part);
    }
    Cow::Owned(text)
}

/// Whether a part of a cell begins like a formula, possibly after invisible characters.
fn is_formula(part: &str) -> bool {
    const SIGNS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let unseen =
        |letter: char| letter == ' ' || letter != '\t' && !SIGNS.contains(&letter) && is_invisible(letter);
    part.trim_start_matches(unseen).starts_with(SIGNS)
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
    fn a_file_begins_with_a_byte_order_mark_and_its_columns() {
        assert_eq!(head(["a", "ü"]).as_bytes(), b"\xef\xbb\xbfa,\xc3\xbc\r\n");
    }

    #[test]
    fn a_cell_is_quoted_if_necessary() {
        assert_eq!(of(&["a", "", "b c"]), "a,,b c\r\n");
        assert_eq!(of(&["a,b", "say \"hi\"", "two\nlines"]), "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for cell in
            ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\r=1", "\n=1", "＝1", " =1", "\u{feff}=1"]
        {
            assert_eq!(of(&[cell]), format!("\"'{cell}\"\r\n"));
        }
        assert_eq!(of(&["-5", "5", "a-b", "a; b"]), "-5,5,a-b,\"a; b\"\r\n");
    }

    #[test]
    fn no_part_of_a_cell_is_a_formula_where_semicolons_or_tabs_separate() {
        for cell in
            ["a;=1+1", "a;\u{200b}=1", "a\t@SUM(A1)", "a; -1", "\t=1", "a;b;=1;+2", ";=cmd|' /C calc'!A0;"]
        {
            let line = of(&["2026", cell, "x"]);
            for separator in [',', ';', '\t'] {
                let mut reader = line.trim_end().split(separator);
                assert!(
                    reader.all(|part| !is_formula(part.trim_start_matches('"'))),
                    "{line:?} by {separator:?}"
                );
            }
        }
        assert_eq!(of(&["a;=1"]), "\"a;'=1\"\r\n");
    }
}
