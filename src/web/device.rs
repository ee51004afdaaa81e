//! A browser's name from its User-Agent. It is shown only to the session's owner.

/// "Firefox on Linux".
pub fn words(program: &str) -> String {
    let has = |name: &str| program.contains(name);
    let browsers = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find =
        |names: &[(&str, &'static str)]| names.iter().find(|(sign, _)| has(sign)).map(|(_, name)| *name);
    match (find(&browsers), find(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => {
            let name: String = program
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
                .collect();
            if name.is_empty() { "An unknown browser".to_owned() } else { name.chars().take(40).collect() }
        }
    }
}

/// The icon for the device.
pub fn icon(program: &str) -> &'static str {
    if ["iPhone", "Android", "iPad"].iter().any(|sign| program.contains(sign)) {
        "smartphone"
    } else {
        "monitor"
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn browsers_are_identified_by_name_and_system() {
        let cases = [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.5.0", "curl"),
            ("", "An unknown browser"),
            ("<b>", "An unknown browser"),
        ];
        for (program, expected) in cases {
            assert_eq!(words(program), expected);
        }
    }
}
