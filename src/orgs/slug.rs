//! Slugs: names in URLs and addresses.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Makes a slug of at most 40 characters from a name.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().nfd().filter(|letter| !is_combining_mark(*letter)) {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.chars().take(40).collect::<String>();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "org".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_keep_letters_and_digits() {
        assert_eq!(slug("Acme AI"), "acme-ai");
        assert_eq!(slug("  Ünïcode & Söhne  "), "unicode-sohne");
        assert_eq!(slug("株式会社"), "org");
        assert_eq!(slug(&"a".repeat(100)).len(), 40);
    }
}
