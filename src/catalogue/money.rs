//! Exact amounts of money, and prices per token.

use std::fmt;

/// Digits of a price before the decimal point.
const WHOLE_DIGITS: usize = 9;
/// Decimals of a price. A price per million tokens with six decimals is a whole number of pico-units
/// per token.
const DECIMALS: usize = 6;
/// Decimals of an amount.
const AMOUNT_DECIMALS: usize = 9;

/// A currency: three capital letters, as in ISO 4217.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Parses a code such as `USD`.
    pub fn parse(code: &str) -> Option<Currency> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Currency(bytes))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(formatter, "{}", char::from(*letter)))
    }
}

/// An amount of money in nano-units (10⁻⁹) of the installation's currency. Displayed as a decimal with at
/// least two decimals and no further zeros at its end: `0.00`, `12.50`, `0.0000125`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(i128);

impl Nanos {
    /// An amount of this many nano-units.
    pub fn new(nanos: i128) -> Nanos {
        Nanos(nanos)
    }

    /// The number of nano-units.
    pub fn get(self) -> i128 {
        self.0
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(formatter, "{sign}{}", decimal(self.0.unsigned_abs(), AMOUNT_DECIMALS))
    }
}

/// The price of one token in pico-units (10⁻¹²) of the currency. Displayed as the price per million tokens,
/// like an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrice(u64);

impl TokenPrice {
    /// Parses a price per million tokens: up to 9 digits, and up to 6 decimals after a point. Errors: what
    /// to write instead.
    pub fn parse_per_million(text: &str) -> Result<TokenPrice, String> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(decimals) {
            return Err(
                "Write the price per million tokens as a decimal number, such as \"2.50\".".to_owned()
            );
        }
        if whole.len() > WHOLE_DIGITS || decimals.len() > DECIMALS {
            return Err(format!(
                "Use at most {WHOLE_DIGITS} digits before the decimal point and {DECIMALS} after it."
            ));
        }
        let digits = format!("{whole}{decimals:0<DECIMALS$}");
        digits.parse().map(TokenPrice).map_err(|_| "Write a decimal number, such as \"2.50\".".to_owned())
    }
}

impl fmt::Display for TokenPrice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&decimal(self.0.into(), DECIMALS))
    }
}

/// The tokens of one request, as an upstream charges for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BilledTokens {
    /// All input, including cache reads and writes.
    pub input: u64,
    /// The part of the input that was read from the upstream's cache.
    pub cached_input: u64,
    /// The part of the input that was written to the upstream's cache.
    pub cache_write: u64,
    /// All output, including reasoning.
    pub output: u64,
}

/// The prices of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Input that is neither read from the cache nor written to it.
    pub input: TokenPrice,
    pub cached_input: TokenPrice,
    pub cache_write: TokenPrice,
    pub output: TokenPrice,
}

impl Price {
    /// The cost of a request. The sum is exact and rounded once, to the nearest nano-unit; a tie goes to the even
    /// one. If an upstream reports more cached tokens than input, all input counts as cached.
    pub fn cost(&self, tokens: &BilledTokens) -> Nanos {
        let cached = tokens.cached_input.min(tokens.input);
        let written = tokens.cache_write.min(tokens.input - cached);
        let plain = tokens.input - cached - written;
        let parts = [
            (plain, self.input),
            (cached, self.cached_input),
            (written, self.cache_write),
            (tokens.output, self.output),
        ];
        // Four products of 64 and 50 bits fit.
        let picos: u128 =
            parts.into_iter().map(|(tokens, price)| u128::from(tokens) * u128::from(price.0)).sum();
        let (nanos, rest) = (picos / 1000, picos % 1000);
        let is_rounded_up = rest > 500 || (rest == 500 && nanos % 2 == 1);
        Nanos(i128::try_from(nanos).unwrap_or(i128::MAX) + i128::from(is_rounded_up))
    }
}

/// Formats a number of units of 10^-`decimals` with at least two decimals and no further zeros at the end.
fn decimal(units: u128, decimals: usize) -> String {
    let digits = format!("{units:0>width$}", width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<2}")
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use bigdecimal::{BigDecimal, RoundingMode};
    use proptest::prelude::*;

    use super::*;

    fn price(texts: &[String; 4]) -> Price {
        let [input, cached_input, cache_write, output] =
            texts.each_ref().map(|text| TokenPrice::parse_per_million(text).expect("a price"));
        Price { input, cached_input, cache_write, output }
    }

    fn flat(per_million: &str) -> Price {
        price(&[(); 4].map(|()| per_million.to_owned()))
    }

    fn output(tokens: u64) -> BilledTokens {
        BilledTokens { output: tokens, ..BilledTokens::default() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn cost_equals_an_independent_decimal_calculation(
            texts in prop::array::uniform4("[0-9]{1,9}(\\.[0-9]{1,6})?"),
            (plain, cached, written, output) in (0..20_000_000_u64, 0..2_000_000_u64, 0..2_000_000_u64, 0..9_000_000_000_u64),
        ) {
            let tokens =
                BilledTokens { input: plain + cached + written, cached_input: cached, cache_write: written, output };
            let mut expected = BigDecimal::from(0);
            for (count, text) in [plain, cached, written, output].into_iter().zip(&texts) {
                expected += BigDecimal::from(count) * BigDecimal::from_str(text).expect("a number");
            }
            let expected = (expected / BigDecimal::from(1_000_000)).with_scale_round(9, RoundingMode::HalfEven);
            let cost = price(&texts).cost(&tokens).to_string();
            prop_assert_eq!(BigDecimal::from_str(&cost).expect("a number"), expected);
        }

        #[test]
        fn prices_are_shown_as_they_were_written(text in "[1-9][0-9]{0,8}\\.[0-9]{1,5}[1-9]") {
            prop_assert_eq!(TokenPrice::parse_per_million(&text).expect("a price").to_string(), text);
        }
    }

    #[test]
    fn a_tie_goes_to_the_even_nano_unit() {
        // 0.0005 per million tokens is half a nano-unit per token.
        for (tokens, nanos) in [(0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (7, 4)] {
            assert_eq!(flat("0.0005").cost(&output(tokens)), Nanos::new(nanos), "{tokens}");
        }
        assert_eq!(flat("0.000501").cost(&output(1)), Nanos::new(1));
    }

    #[test]
    fn parts_are_rounded_together_and_not_one_by_one() {
        let tokens = BilledTokens { input: 3, cached_input: 1, cache_write: 1, output: 1 };
        assert_eq!(flat("0.0004").cost(&tokens), Nanos::new(2));
    }

    #[test]
    fn impossible_reports_stay_within_the_reported_input() {
        let price = price(&["1", "2", "4", "8"].map(str::to_owned));
        let cost = |input, cached_input, cache_write| {
            price.cost(&BilledTokens { input, cached_input, cache_write, output: 0 }).get()
        };
        assert_eq!(cost(10, 3, 2), (5 + 6 + 8) * 1000);
        assert_eq!(cost(10, 99, 99), 20 * 1000);
        assert_eq!(cost(10, 3, 99), (6 + 28) * 1000);
        let most = flat("999999999.999999");
        let tokens = BilledTokens { input: u64::MAX, cached_input: 0, cache_write: 0, output: u64::MAX };
        let picos = 2 * i128::from(u64::MAX) * 999_999_999_999_999;
        assert_eq!(most.cost(&tokens).get(), (picos + 500) / 1000);
    }

    #[test]
    fn prices_other_than_short_decimals_are_refused() {
        for text in ["0", "0.0", "2.50", "999999999.999999", "15"] {
            assert!(TokenPrice::parse_per_million(text).is_ok(), "{text}");
        }
        for text in [
            "",
            " 1",
            "1 ",
            "-1",
            "+1",
            ".5",
            "5.",
            ".",
            "1e3",
            "1,5",
            "1_000",
            "1.2.3",
            "NaN",
            "inf",
            "٣",
            "1234567890",
            "0.1234567",
            "99999999999999999999",
        ] {
            assert!(TokenPrice::parse_per_million(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_have_at_least_two_decimals() {
        for (nanos, text) in [
            (0, "0.00"),
            (1, "0.000000001"),
            (12_500, "0.0000125"),
            (12_500_000_000, "12.50"),
            (-1_000_000_000, "-1.00"),
        ] {
            assert_eq!(Nanos::new(nanos).to_string(), text);
        }
    }

    #[test]
    fn currencies_are_three_capital_letters() {
        assert_eq!(Currency::parse("EUR").expect("a currency").to_string(), "EUR");
        for code in ["", "US", "usd", "USDT", "U$D", "ÄB"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }
}
