//! Text: forbidden characters, names, comparison and formatting.

use icu_properties::props::{
    BinaryProperty, DefaultIgnorableCodePoint, EnumeratedProperty, GeneralCategory,
    PrependedConcatenationMark,
};
use unicode_normalization::UnicodeNormalization;

/// The form of a text that is used for comparison and search: without invisible characters, every run of white
/// space one space, without case differences in any script. Two texts that look the same on a page have the same
/// form, except for letters that look alike.
pub fn fold(text: &str) -> String {
    let visible: String =
        text.chars().filter(|letter| letter.is_whitespace() || !is_invisible(*letter)).collect();
    fold_case(&one_space(&visible))
}

/// Removes case differences in any script. Goes through upper case, so that ß equals SS and σ equals ς.
pub fn fold_case(text: &str) -> String {
    text.nfc().collect::<String>().to_uppercase().to_lowercase().nfc().collect()
}

/// Trims the text and replaces every run of white space by one space.
fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character is invisible or changes only how others look: controls, line and paragraph separators,
/// format characters (Unicode TR 36, TR 9), default-ignorable characters, noncharacters, and the blank Braille
/// pattern.
pub fn is_invisible(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    let is_noncharacter = matches!(letter, '\u{FDD0}'..='\u{FDEF}') || u32::from(letter) & 0xFFFE == 0xFFFE;
    is_noncharacter
        || letter == '\u{2800}'
        || DefaultIgnorableCodePoint::for_char(letter)
        || match GeneralCategory::for_char(letter) {
            GeneralCategory::Control
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator => true,
            // The signs that enclose Arabic and Syriac numbers are visible.
            GeneralCategory::Format => !PrependedConcatenationMark::for_char(letter),
            _ => false,
        }
}

/// Whether a character is forbidden in text other than names: it is invisible, unless it joins letters, which Persian
/// and Indic scripts and emoji need, selects a variant of the character before it, or is the space of Braille.
pub fn is_forbidden(letter: char) -> bool {
    is_invisible(letter) && !matches!(letter, '\u{200C}' | '\u{200D}' | '\u{2800}' | '\u{FE00}'..='\u{FE0F}')
}

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is empty, or only white space.
    Empty,
    /// It has this number of characters, which is too many.
    TooLong(usize),
    /// It contains a character that can't be seen.
    Invisible(char),
    /// It has a combining mark, such as an accent, that is on no letter.
    LoneMark,
}

/// The name as it is stored: in NFC, trimmed, every run of white space one space; 1 to `most` characters, none
/// of them invisible. Line breaks and tabs are refused, except around the name.
pub fn parse_name(text: &str, most: usize) -> Result<String, NameError> {
    let text = text.trim();
    if let Some(letter) = text.chars().find(|letter| is_invisible(*letter)) {
        return Err(NameError::Invisible(letter));
    }
    let name: String = one_space(text).nfc().collect();
    match name.chars().count() {
        0 => return Err(NameError::Empty),
        length if length > most => return Err(NameError::TooLong(length)),
        _ => {}
    }
    let is_mark = |letter| {
        matches!(
            GeneralCategory::for_char(letter),
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark | GeneralCategory::SpacingMark
        )
    };
    if name.split(' ').any(|word| word.starts_with(is_mark)) {
        return Err(NameError::LoneMark);
    }
    Ok(name)
}

/// [`parse_name`] with errors for people: what is wrong and what to do; `empty` if the name is empty.
pub fn check_name(text: &str, most: usize, empty: &str) -> Result<String, String> {
    parse_name(text, most).map_err(|error| match error {
        NameError::Empty => empty.to_owned(),
        NameError::TooLong(length) => format!("Use at most {most} characters; this name has {length}."),
        NameError::Invisible(letter) if letter.is_control() || letter.is_whitespace() => {
            "Leave out control characters, line breaks and tabs.".to_owned()
        }
        NameError::Invisible(letter) => {
            let code = u32::from(letter);
            format!(
                "Leave out invisible characters and those that change the direction of text: U+{code:04X}."
            )
        }
        NameError::LoneMark => "Put each accent or other mark on a letter.".to_owned(),
    })
}

/// External text as a name, as far as it can be one: without invisible characters, at most `most` characters.
pub fn to_name(text: &str, most: usize) -> String {
    let visible: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .filter(|letter| !is_invisible(*letter))
        .collect();
    one_space(&visible).nfc().take(most).collect::<String>().trim_end().to_owned()
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

    #[test]
    fn names_that_look_the_same_fold_alike() {
        for space in ["  ", "\u{a0}", "\u{3000}", "\u{2009}\u{202f}", "\t", "\n", " \u{2800} ", "\u{200b} "] {
            assert_eq!(fold(&format!(" used{space}twice ")), "used twice", "{space:?}");
        }
        for unseen in ['\u{200d}', '\u{200c}', '\u{fe0f}', '\u{ad}', '\u{180e}', '\u{1d173}', '\u{e0041}'] {
            assert_eq!(fold(&format!("prod{unseen}1{unseen}")), "prod1", "{unseen:?}");
        }
        assert_ne!(fold("prod 1"), fold("prod1"));
        assert_ne!(fold("\u{440}rod"), fold("prod"), "letters that look alike stay different");
    }

    #[test]
    fn white_space_of_any_kind_and_length_is_one_space_in_a_name() {
        for text in ["a b", " a  b ", "a\u{a0}b", "\u{3000}a\u{3000}\u{2003}b\n", "a\u{1680}b", "a\u{205f}b"]
        {
            assert_eq!(parse_name(text, 3), Ok("a b".to_owned()), "{text:?}");
        }
        assert_eq!(parse_name(" \u{a0} ", 3), Err(NameError::Empty));
        assert_eq!(parse_name("a \u{3000} bc", 3), Err(NameError::TooLong(4)));
    }

    #[test]
    fn invisible_characters_are_in_no_name() {
        for unseen in [
            '\0',
            '\t',
            '\n',
            '\r',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2800}',
            '\u{3164}',
            '\u{fdd0}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{ffff}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{1fffe}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{10ffff}',
        ] {
            assert_eq!(parse_name(&format!("a{unseen}b"), 9), Err(NameError::Invisible(unseen)));
            assert!(check_name(&format!("a{unseen}b"), 9, "").is_err(), "{unseen:?}");
        }
        assert_eq!(parse_name("\u{301}a", 9), Err(NameError::LoneMark));
        assert_eq!(parse_name("a \u{20dd}", 9), Err(NameError::LoneMark));
        for name in ["e\u{301}", "नमस्ते", "กุญแจ", "🔑", "👍🏽", "\u{600}12", "Ελλάδα", "北京"]
        {
            let nfc: String = name.nfc().collect();
            assert_eq!(parse_name(name, 9), Ok(nfc));
        }
    }

    #[test]
    fn external_text_becomes_a_name_if_any_of_it_is_visible() {
        assert_eq!(to_name(" Ali\u{200c}Reza\tB\u{200b} ", 100), "AliReza B");
        assert_eq!(to_name("abc def", 4), "abc");
        assert_eq!(to_name("\u{2800}\u{200d}", 100), "");
    }
}
