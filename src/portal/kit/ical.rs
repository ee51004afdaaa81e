//! Calendars in the format of RFC 5545: UTF-8, lines of at most 75 octets, ended by CRLF.

use crate::time::{DAY, Time};

/// An event without duration.
pub struct Event {
    /// Its permanent identifier.
    pub uid: String,
    /// Increases with each change of the event.
    pub sequence: i64,
    pub at: Time,
    pub summary: String,
    pub description: String,
    pub url: String,
    pub cancelled: bool,
}

/// How long before an event a reminder is shown, as a duration (RFC 5545 section 3.3.6).
const ALARMS: [&str; 2] = ["P7D", "P1D"];

/// A calendar of these events, generated on the UTC day of `now`. On one day, the same events give the same text.
pub fn calendar(name: &str, events: &[Event], now: Time) -> String {
    let mut lines = Lines(String::new());
    lines.plain("BEGIN:VCALENDAR");
    lines.plain("VERSION:2.0");
    lines.plain("PRODID:-//Keydesk//Keydesk//EN");
    lines.plain("CALSCALE:GREGORIAN");
    lines.plain("METHOD:PUBLISH");
    lines.text("X-WR-CALNAME", name);
    lines.plain("REFRESH-INTERVAL;VALUE=DURATION:PT1H");
    lines.plain("X-PUBLISHED-TTL:PT1H");
    for event in events {
        lines.plain("BEGIN:VEVENT");
        lines.text("UID", &event.uid);
        lines.plain(&format!("DTSTAMP:{}", utc(now.floor(DAY))));
        lines.plain(&format!("DTSTART:{}", utc(event.at)));
        lines.plain(&format!("SEQUENCE:{}", event.sequence));
        lines.text("SUMMARY", &event.summary);
        lines.text("DESCRIPTION", &event.description);
        // URIs are not escaped.
        lines.plain(&format!("URL:{}", event.url));
        lines.plain(if event.cancelled { "STATUS:CANCELLED" } else { "STATUS:CONFIRMED" });
        // An expiry does not make anyone busy.
        lines.plain("TRANSP:TRANSPARENT");
        if !event.cancelled {
            for before in ALARMS {
                lines.plain("BEGIN:VALARM");
                lines.plain("ACTION:DISPLAY");
                lines.plain(&format!("TRIGGER:-{before}"));
                lines.text("DESCRIPTION", &event.summary);
                lines.plain("END:VALARM");
            }
        }
        lines.plain("END:VEVENT");
    }
    if events.is_empty() {
        // A calendar needs at least one component (section 3.6).
        for line in [
            "BEGIN:VTIMEZONE",
            "TZID:UTC",
            "BEGIN:STANDARD",
            "DTSTART:19700101T000000",
            "TZOFFSETFROM:+0000",
            "TZOFFSETTO:+0000",
            "END:STANDARD",
            "END:VTIMEZONE",
        ] {
            lines.plain(line);
        }
    }
    lines.plain("END:VCALENDAR");
    lines.0
}

fn utc(at: Time) -> String {
    at.rfc3339().replace(['-', ':'], "")
}

struct Lines(String);

impl Lines {
    /// A property with a text value (section 3.3.11).
    fn text(&mut self, property: &str, value: &str) {
        let mut line = format!("{property}:");
        for letter in value.chars() {
            match letter {
                '\\' | ';' | ',' => line.extend(['\\', letter]),
                '\n' => line.push_str("\\n"),
                // Text values can't contain other control characters.
                letter if letter.is_control() => line.push(' '),
                letter => line.push(letter),
            }
        }
        self.plain(&line);
    }

    /// A content line, folded (section 3.1) between characters.
    fn plain(&mut self, line: &str) {
        const OCTETS: usize = 75;
        let mut octets = 0;
        for letter in line.chars() {
            if octets + letter.len_utf8() > OCTETS {
                self.0.push_str("\r\n ");
                octets = 1;
            }
            self.0.push(letter);
            octets += letter.len_utf8();
        }
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(summary: &str) -> Event {
        Event {
            uid: "key_1@keys.example".to_owned(),
            sequence: 2,
            at: Time::parse("2027-02-21T22:59:59Z").expect("valid"),
            summary: summary.to_owned(),
            description: "One line,\r\nanother; \\ and more".to_owned(),
            url: "https://keys.example/keys/key_1".to_owned(),
            cancelled: false,
        }
    }

    #[test]
    fn lines_are_short_ended_by_crlf_and_read_back_unfolded() {
        let long =
            "schlüssel-für-das-nächtliche-füllen-der-größten-tabellen-日本語日本語日本語日本語-🔑🔑🔑🔑🔑";
        let now = Time::from_seconds(1_800_000_000);
        let text = calendar("Acme; AI", &[event(long)], now);
        assert!(text.ends_with("END:VCALENDAR\r\n"));
        for line in text.split_terminator("\r\n") {
            assert!(line.len() <= 75 && !line.contains(['\r', '\n']), "{line}");
        }
        let unfolded = text.replace("\r\n ", "");
        assert!(unfolded.contains(&format!("\r\nSUMMARY:{long}\r\n")));
        assert!(unfolded.contains("\r\nX-WR-CALNAME:Acme\\; AI\r\n"));
        assert!(unfolded.contains("\r\nDESCRIPTION:One line\\, \\nanother\\; \\\\ and more\r\n"));
        assert!(unfolded.contains("\r\nDTSTART:20270221T225959Z\r\nSEQUENCE:2\r\n"));
        assert!(unfolded.contains("\r\nDTSTAMP:20270115T000000Z\r\n"));
    }

    #[test]
    fn calendar_without_events_has_a_component() {
        let text = calendar("Acme", &[], Time::from_seconds(0));
        assert!(text.contains("\r\nBEGIN:VTIMEZONE\r\n") && text.contains("\r\nEND:VTIMEZONE\r\n"));
        assert!(!calendar("Acme", &[event("x")], Time::from_seconds(0)).contains("VTIMEZONE"));
    }

    #[test]
    fn event_reminds_a_week_and_a_day_before() {
        let text = calendar("Acme", &[event("Key ends")], Time::from_seconds(0));
        let alarm =
            "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-P7D\r\nDESCRIPTION:Key ends\r\nEND:VALARM\r\n";
        assert!(text.contains(alarm) && text.contains("\r\nTRIGGER:-P1D\r\n"), "{text}");
    }

    #[test]
    fn text_changes_once_a_day() {
        let at = |seconds| calendar("Acme", &[event("x")], Time::from_seconds(seconds));
        assert_eq!(at(5 * DAY), at(6 * DAY - 1));
        assert_ne!(at(5 * DAY), at(6 * DAY));
    }

    #[test]
    fn cancelled_event_says_so() {
        let text = calendar("Acme", &[Event { cancelled: true, ..event("x") }], Time::from_seconds(0));
        assert!(text.contains("\r\nSTATUS:CANCELLED\r\n") && !text.contains("VALARM"));
    }
}
