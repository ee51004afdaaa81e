//! Text: forbidden characters, comparison and formatting.

use unicode_normalization::UnicodeNormalization;

/// Removes case differences in any script. Goes through upper case, so that ß equals SS and σ equals ς.
pub fn fold(text: &str) -> String {
    text.nfc().collect::<String>().to_uppercase().to_lowercase().nfc().collect()
}

/// Whether a character is forbidden in names and other single-line text: controls, line and paragraph
/// separators, and characters that are invisible or change the text direction (Unicode TR 36, TR 9).
pub fn is_forbidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{00AD}'
                | '\u{034F}'
                | '\u{061C}'
                | '\u{115F}'
                | '\u{1160}'
                | '\u{17B4}'
                | '\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'
                | '\u{200E}'
                | '\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{3164}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{FFFE}'
                | '\u{FFFF}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// A trimmed name of 1 to `most` characters, none of them forbidden. Errors: what is wrong, `empty` if the name is.
pub fn check_name(text: &str, most: usize, empty: &str) -> Result<String, String> {
    let name = text.trim();
    match name.chars().count() {
        0 => Err(empty.to_owned()),
        length if length > most || name.chars().any(is_forbidden) => {
            Err(format!("Use at most {most} characters and no control characters."))
        }
        _ => Ok(name.to_owned()),
    }
}

/// External text as one line of at most `most` characters, with forbidden ones replaced by spaces.
pub fn one_line(text: &str, most: usize) -> String {
    let clean = text.trim().chars().map(|letter| if is_forbidden(letter) { ' ' } else { letter });
    clean.take(most).collect()
}

/// Formats an integer with thousands separators: "1,204".
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("−{text}") } else { text }
}

/// "1 key", "2 keys".
pub fn count(number_of: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(number_of), if number_of == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_case_fold_alike() {
        for (left, right) in [("Prod", "pROD"), ("STRASSE", "straße"), ("ΣΑΣ", "σας"), ("É", "e\u{301}")]
        {
            assert_eq!(fold(left), fold(right));
        }
        assert_ne!(fold("a"), fold("á"));
    }
}
