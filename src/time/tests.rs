use super::*;

#[test]
fn spans_need_a_number_and_a_unit() {
    assert_eq!(parse_span("90d"), Some(90 * DAY));
    assert_eq!(parse_span("0s"), Some(0));
    for wrong in ["", "d", "90", "-1d", "1.5h", "1w", "99999999999999999999d", "é"] {
        assert_eq!(parse_span(wrong), None, "{wrong}");
    }
}

#[test]
fn a_day_is_exactly_as_long_as_clocks_show_its_date() {
    let date = |at: Time, zone: &TimeZone| at.in_zone(zone).date();
    let (from, to) = ("2005-01-01T00:00:00Z", "2041-01-01T00:00:00Z");
    let (from, to) = (Time::parse(from).expect("valid"), Time::parse(to).expect("valid"));
    let mut checked = 0;
    for name in jiff::tz::db().available() {
        let zone = TimeZone::get(name.as_str()).expect("bundled");
        let changes = zone.following(from.timestamp()).map(|change| Time::from_timestamp(change.timestamp()));
        for change in changes.take_while(|change| *change < to) {
            let mut day = date(change.plus(-DAY), &zone);
            while day <= date(change.plus(DAY), &zone) {
                let start = Time::start_of(day, &zone).expect("in range");
                let end = Time::end_of_day(day, &zone).expect("in range");
                assert!(date(start, &zone) >= day && date(start.plus(-1), &zone) < day, "{} {day}", name);
                assert!(date(end, &zone) <= day && date(end.plus(1), &zone) > day, "{} {day}", name);
                // Nor does the date begin earlier or return later.
                for minutes in (1..36 * 60).step_by(127) {
                    assert!(date(start.plus(-minutes * MINUTE), &zone) < day, "{} {day}", name);
                    assert!(date(end.plus(minutes * MINUTE), &zone) > day, "{} {day}", name);
                }
                day = day.tomorrow().expect("in range");
                checked += 1;
            }
        }
    }
    assert!(checked > 10_000, "{checked}");
}

#[test]
fn days_that_repeat_lack_or_skip_hours_end_with_their_last_second() {
    for (zone, day, start, end) in [
        ("UTC", "2027-10-28", "2027-10-28T00:00:00Z", "2027-10-28T23:59:59Z"),
        // Its last hour comes twice.
        ("Africa/Cairo", "2027-10-28", "2027-10-27T21:00:00Z", "2027-10-28T21:59:59Z"),
        // It begins at 01:00.
        ("Africa/Cairo", "2027-04-30", "2027-04-29T22:00:00Z", "2027-04-30T20:59:59Z"),
        // Its first hour comes twice.
        ("America/Havana", "2027-11-07", "2027-11-07T04:00:00Z", "2027-11-08T04:59:59Z"),
        ("Europe/Berlin", "2027-10-31", "2027-10-30T22:00:00Z", "2027-10-31T22:59:59Z"),
        // A minute of the next day comes before the day's last hour is repeated.
        ("America/St_Johns", "2010-11-06", "2010-11-06T02:30:00Z", "2010-11-07T03:29:59Z"),
        // The date line moved: the day before is followed by the day after.
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z", "2011-12-30T09:59:59Z"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", "2011-12-30T09:59:59Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", "2011-12-31T09:59:59Z"),
    ] {
        let (name, zone) = (zone, TimeZone::get(zone).expect("bundled"));
        let date: civil::Date = day.parse().expect("a date");
        let found = (Time::start_of(date, &zone), Time::end_of_day(date, &zone));
        let text = |at: Option<Time>| at.map(Time::rfc3339).unwrap_or_default();
        assert_eq!((text(found.0), text(found.1)), (start.to_owned(), end.to_owned()), "{name} {day}");
    }
}

#[test]
fn times_print_and_parse_to_the_second() {
    let at = Time::parse("2026-11-23T16:00:00.75+01:00").expect("valid");
    assert_eq!(at.rfc3339(), "2026-11-23T15:00:00Z");
    for wrong in [
        "2026-11-23",
        "2027-01-01T00:00:00",
        "2027-01-01T00:00:00+25:00",
        "2027-01-01T00:00Z",
        "20270101T000000Z",
        "2027-01-01T00:00:00+01",
        "2027-01-01T00:00:00,5Z",
        "2027-01-01T00:00:00.Z",
        "2027-01-01T00:00:00Z[Europe/Berlin]",
        "2027-02-30T00:00:00Z",
        "2027-01-01 00:00:00Z",
        "é",
    ] {
        assert_eq!(Time::parse(wrong), None, "{wrong}");
    }
}
