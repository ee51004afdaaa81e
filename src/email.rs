//! E-mail addresses: validation and comparison.
//!
//! Two addresses are the same if they agree in ASCII lower case before the `@` and as domain names
//! (UTS 46) after it. Unicode case rules are never used: they would turn `ı` into `i`, and the owner of
//! `fırma.example` could pass for someone at `firma.example`.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use crate::text::{is_forbidden, is_invisible};

/// The longest address, in bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_BYTES: usize = 254;
/// The longest part before the `@`, in bytes (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// The form of an address used for comparison. Every text has one, so lookups never fail.
pub fn fold(email: &str) -> String {
    let email = &*storable(email);
    if email.is_ascii() {
        return email.to_ascii_lowercase();
    }
    // Lower-case first: NFC turns some symbols into ASCII letters, such as the Kelvin sign, and these
    // must not equal the letter on a keyboard.
    let plain = |text: &str| text.to_ascii_lowercase().nfc().collect::<String>();
    match email.rsplit_once('@') {
        Some((local, domain)) => {
            let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| plain(domain));
            format!("{}@{domain}", plain(local))
        }
        None => plain(email),
    }
}

/// The address as written, in normal form. Used instead of the folded form where two people would
/// otherwise share one; no folded form starts like it.
pub fn exact(email: &str) -> String {
    format!("{EXACT}{}", storable(email).nfc())
}

/// PostgreSQL can't store U+0000, and no address contains it.
fn storable(email: &str) -> String {
    email.trim().replace('\0', "\u{fffd}")
}

/// The prefix of exact forms. A valid address has no colon.
pub const EXACT: &str = "exact:";

/// Checks that e-mail can be sent to an address. Errors: what is wrong and what to do.
pub fn check(email: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "Enter an e-mail address such as ada@example.com.";
    let (local, domain) = email.rsplit_once('@').ok_or(SHAPE)?;
    let is_odd =
        |letter: char| letter.is_whitespace() || is_forbidden(letter) || "<>()[]\\,;:\"@".contains(letter);
    if local.is_empty()
        || domain.is_empty()
        || local.contains(|letter| is_odd(letter) || is_invisible(letter))
        || domain.contains(is_odd)
    {
        return Err(SHAPE);
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err("The part before the @ can't start or end with a dot or have two dots in a row.");
    }
    if local.len() > MAX_LOCAL_BYTES {
        return Err("The part before the @ is too long. Use at most 64 bytes.");
    }
    let domain = strict_domain(domain).ok_or("This domain is not valid. Check the part after the @.")?;
    if local.len() + 1 + domain.len() > MAX_BYTES || email.len() > MAX_BYTES {
        return Err("This address is too long. Use at most 254 bytes.");
    }
    // No top-level domain is a number (RFC 3696 section 2): this is an IP address.
    if domain.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("The part after the @ is not a domain. Check it.");
    }
    // RFC 2606: e-mail is never delivered there; service accounts use such addresses.
    if domain == "invalid" || domain.ends_with(".invalid") {
        return Err("Addresses at .invalid receive no e-mail. Enter an address that can.");
    }
    // Refuse now what the outbox could not send later.
    format!("{local}@{domain}").parse::<lettre::Address>().map(drop).map_err(|_| SHAPE)
}

/// The address for a mail server: its domain in ASCII, which servers without SMTPUTF8 accept.
pub fn deliverable(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((local, domain)) if !domain.is_ascii() => {
            format!("{local}@{}", strict_domain(domain).unwrap_or_else(|| domain.to_owned()))
        }
        _ => email.to_owned(),
    }
}

/// The address for display, followed by the ASCII form of a non-ASCII domain, which could be mistaken
/// for another: `ceo@fırma.example (xn--frma-nza.example)`.
pub fn shown(email: &str) -> String {
    match email.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii()) {
        Some((_, domain)) => match idna::domain_to_ascii(domain) {
            Ok(ascii) => format!("{email} ({ascii})"),
            Err(_) => email.to_owned(),
        },
        None => email.to_owned(),
    }
}

fn strict_domain(domain: &str) -> Option<String> {
    Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spellings_of_one_mailbox_are_the_same() {
        for (left, right) in [
            ("Ada@Example.COM", " ada@example.com "),
            ("bob@bücher.example", "bob@xn--bcher-kva.example"),
            ("bob@BÜCHER.example", "BOB@XN--BCHER-KVA.EXAMPLE"),
            ("bob@bu\u{308}cher.example", "bob@bücher.example"),
            ("bob@ｅｘａｍｐｌｅ。com", "bob@example.com"),
            ("jose\u{301}@example.com", "josé@example.com"),
        ] {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        for (left, right) in [
            ("ceo@fırma.example", "ceo@firma.example"),
            ("ceo@fIrma.example", "ceo@fırma.example"),
            ("ıda@example.com", "ida@example.com"),
            ("İda@example.com", "ida@example.com"),
            ("\u{17f}am@example.com", "sam@example.com"),
            ("\u{212a}im@example.com", "kim@example.com"),
            ("stra\u{df}e@example.com", "strasse@example.com"),
            ("a@stra\u{df}e.example", "a@strasse.example"),
            ("É@example.com", "é@example.com"),
            ("a@ex\u{430}mple.com", "a@example.com"),
        ] {
            assert_ne!(fold(left), fold(right), "{left} {right}");
        }
        assert_eq!(fold("no address"), "no address");
    }

    #[test]
    fn an_address_that_cannot_be_mailed_is_refused() {
        let long = |local: usize, domain: usize| {
            let labels = "d".repeat(60) + ".";
            format!("{}@{}", "l".repeat(local), &(labels.repeat(5) + "com")[305 - domain..])
        };
        for good in ["ada@example.com", "a+b@localhost", "ü@例え.jp", "a.b.c@bücher.example", &long(64, 180)]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a b@c",
            "a@.c",
            "a@c.",
            "<a@b>",
            "a\u{202e}@b",
            "a@b.INVALID",
            "a@b.ｉｎｖａｌｉｄ",
            "a@b。invalid",
            "a..b@docomo.ne.jp",
            ".a@x.com",
            "a.@x.com",
            "bob@example..com",
            "bob@-example.com",
            "bob@exam_ple.com",
            "bob@a＠b.com",
            "bob@\u{ad}",
            "bob\u{200d}@example.com",
            "bob@192.0.2.1",
            "bob@example.1",
            "\"bob\"@example.com",
            "bob@[192.0.2.1]",
            &format!("bob@{}.com", "x".repeat(64)),
            &long(65, 20),
            &long(64, 240),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_outside_ascii_is_sent_and_shown_in_ascii() {
        assert_eq!(deliverable("ada@bücher.example"), "ada@xn--bcher-kva.example");
        assert_eq!(deliverable("Ada@Example.com"), "Ada@Example.com");
        assert_eq!(shown("ada@bücher.example"), "ada@bücher.example (xn--bcher-kva.example)");
        assert_eq!(shown("ada@example.com"), "ada@example.com");
    }
}
