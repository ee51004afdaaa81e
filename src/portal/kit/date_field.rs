//! Date fields. Browsers send `2027-11-29`, however they show the date.

use jiff::civil::Date;

/// The error for a field without a date.
pub const NO_DATE: &str = "Enter a date such as 2027-11-29.";

/// The date in a field. Error: [`NO_DATE`].
pub fn parse(text: &str) -> Result<Date, &'static str> {
    let text = text.trim();
    text.parse().ok().filter(|_| text.len() == "2027-11-29".len()).ok_or(NO_DATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_that_browsers_send_is_a_date() {
        assert!(parse("2027-11-29").is_ok() && parse(" 2028-02-29 ").is_ok());
        for wrong in [
            "",
            "29.11.2027",
            "29/11/2027",
            "11/29/2027",
            "20271129",
            "27-11-29",
            "2027-11-29T00:00:00Z",
            "2027-02-29",
            "2027-13-01",
            "2027-W48-1",
            "tomorrow",
        ] {
            assert_eq!(parse(wrong), Err(NO_DATE), "{wrong}");
        }
    }
}
