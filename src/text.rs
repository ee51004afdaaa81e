//! What texts may hold, and when two are the same.

use unicode_normalization::UnicodeNormalization;

/// Removes what distinguishes upper from lower case, in any script. By way of the upper
/// case, so that ß and SS, σ and ς fall together.
pub fn fold(text: &str) -> String {
    text.nfc().collect::<String>().to_uppercase().to_lowercase().nfc().collect()
}

/// Whether a character may not stand in a name or another line of text: controls, line and paragraph separators,
/// and those that change the direction of text or can't be seen (Unicode TR 36, TR 9).
pub fn forbidden_character(letter: char) -> bool {
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

/// A text from elsewhere as one line of at most `most` characters, none of them forbidden.
pub fn one_line(text: &str, most: usize) -> String {
    let clean = text.trim().chars().map(|letter| if forbidden_character(letter) { ' ' } else { letter });
    clean.take(most).collect()
}

/// "1,204".
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
    fn case_does_not_tell_names_apart() {
        for (left, right) in [("Prod", "pROD"), ("STRASSE", "straße"), ("ΣΑΣ", "σας"), ("É", "e\u{301}")]
        {
            assert_eq!(fold(left), fold(right));
        }
        assert_ne!(fold("a"), fold("á"));
    }
}
