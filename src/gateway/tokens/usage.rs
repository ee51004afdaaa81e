//! The tokens that an upstream reports.

use serde_json::Value;

use crate::usage::call::Tokens;

/// No request uses this many tokens. Larger reports are wrong and ignored: sums of them would overflow the
/// tables.
const MOST_TOKENS: f64 = 1e9;

/// Reported tokens, in any form of the API. A number that is missing, zero or nonsense is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
    /// Whether the input excludes cached tokens, as in Anthropic's Messages API.
    is_without_cache: bool,
}

impl Reported {
    /// Reads the value of a member `usage`.
    pub fn read(usage: &Value) -> Reported {
        let of_input = |member: &str| {
            number(&usage["prompt_tokens_details"][member]).or(number(&usage["input_tokens_details"][member]))
        };
        let of_output = |member: &str| {
            number(&usage["completion_tokens_details"][member])
                .or(number(&usage["output_tokens_details"][member]))
        };
        let prompt = number(&usage["prompt_tokens"]);
        let cache_read = number(&usage["cache_read_input_tokens"]);
        let cache_write = number(&usage["cache_creation_input_tokens"]);
        Reported {
            input: prompt.or(number(&usage["input_tokens"])),
            output: number(&usage["completion_tokens"]).or(number(&usage["output_tokens"])),
            // The last two: Moonshot, DeepSeek.
            cached: of_input("cached_tokens")
                .or(cache_read)
                .or(number(&usage["cached_tokens"]))
                .or(number(&usage["prompt_cache_hit_tokens"])),
            cache_write: cache_write.or(of_input("cache_write_tokens")).or(of_input("cache_creation_tokens")),
            reasoning: of_output("reasoning_tokens"),
            is_without_cache: usage.get("prompt_tokens").is_none()
                && usage.get("input_tokens_details").is_none()
                && (cache_read.is_some() || cache_write.is_some()),
        }
    }

    /// Adopts what a later report says. Zeros don't replace numbers: some servers end with a report of zeros,
    /// and in the Messages API a later report has the output only.
    pub fn update(&mut self, later: &Reported) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cached = later.cached.or(self.cached);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.reasoning = later.reasoning.or(self.reasoning);
        self.is_without_cache |= later.is_without_cache;
    }

    /// The tokens as Keydesk counts them: the input includes reads and writes of the cache, and the output
    /// includes reasoning. `None` if nothing was reported.
    pub fn tokens(&self) -> Option<Tokens> {
        let (cached, cache_write) = (self.cached.unwrap_or(0), self.cache_write.unwrap_or(0));
        let more = if self.is_without_cache { cached + cache_write } else { 0 };
        let (input, output) = (self.input.unwrap_or(0) + more, self.output.unwrap_or(0));
        let cached = cached.min(input);
        (input > 0 || output > 0).then(|| Tokens {
            input,
            output,
            cached,
            cache_write: cache_write.min(input - cached),
            reasoning: self.reasoning.unwrap_or(0).min(output),
        })
    }
}

/// A positive whole number in any form: `111`, `111.0`, `1.11e2` or `"111"`.
fn number(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let is_valid = number > 0.0 && number <= MOST_TOKENS && number.fract() == 0.0;
    // Exact: a whole number within the bounds.
    is_valid.then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(reports: &[Value]) -> Option<Tokens> {
        let mut all = Reported::default();
        for report in reports {
            all.update(&Reported::read(report));
        }
        all.tokens()
    }

    fn plain(input: u64, output: u64) -> Option<Tokens> {
        Some(Tokens { input, output, ..Tokens::default() })
    }

    #[test]
    fn numbers_are_read_in_any_form_and_nonsense_is_ignored() {
        for form in [json!(111), json!(111.0), json!("111"), json!(" 111 "), json!(1.11e2), json!("1.11e2")] {
            assert_eq!(
                tokens(&[json!({"prompt_tokens": form, "completion_tokens": 9})]),
                plain(111, 9),
                "{form}"
            );
        }
        for form in [
            json!(-1),
            json!(1e300),
            json!(2_000_000_000),
            json!("NaN"),
            json!("many"),
            json!([1]),
            json!(true),
            json!(0.5),
        ] {
            assert_eq!(
                tokens(&[json!({"prompt_tokens": form, "completion_tokens": 9})]),
                plain(0, 9),
                "{form}"
            );
        }
        for nothing in
            [json!(null), json!({}), json!("x"), json!({"prompt_tokens": 0, "completion_tokens": 0})]
        {
            assert_eq!(tokens(&[nothing]), None);
        }
    }

    #[test]
    fn the_last_report_that_is_not_zero_counts() {
        let (real, zero) = (
            json!({"prompt_tokens": 7, "completion_tokens": 9}),
            json!({"prompt_tokens": 0, "completion_tokens": 0}),
        );
        assert_eq!(tokens(&[real.clone(), zero.clone()]), plain(7, 9));
        assert_eq!(tokens(&[zero, real.clone()]), plain(7, 9));
        assert_eq!(
            tokens(&[real.clone(), json!({"prompt_tokens": 7, "completion_tokens": 12})]),
            plain(7, 12)
        );
        assert_eq!(tokens(&[real, json!(null)]), plain(7, 9));
    }

    #[test]
    fn cached_and_reasoning_tokens_are_parts_of_the_input_and_the_output() {
        let expected = Some(Tokens { input: 100, output: 50, cached: 80, cache_write: 0, reasoning: 30 });
        assert_eq!(
            tokens(&[json!({"prompt_tokens": 100, "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 80}, "completion_tokens_details": {"reasoning_tokens": 30}})]),
            expected
        );
        assert_eq!(
            tokens(&[json!({"input_tokens": 100, "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 80}, "output_tokens_details": {"reasoning_tokens": 30}})]),
            expected
        );
        // Anthropic: the input excludes the cache, and the output comes later.
        let start = json!({"input_tokens": 10, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 10, "output_tokens": 1});
        let expected = Some(Tokens { input: 100, output: 50, cached: 80, cache_write: 10, reasoning: 0 });
        assert_eq!(tokens(&[start, json!({"output_tokens": 50})]), expected);
        // LiteLLM: the same names next to a prompt that includes the cache.
        assert_eq!(
            tokens(&[
                json!({"prompt_tokens": 100, "completion_tokens": 50, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 10})
            ]),
            expected
        );
        // DeepSeek.
        let hit = json!({"prompt_tokens": 100, "completion_tokens": 50, "prompt_cache_hit_tokens": 80});
        assert_eq!(tokens(&[hit]).map(|tokens| tokens.cached), Some(80));
        let impossible = json!({"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}});
        assert_eq!(
            tokens(&[impossible]),
            Some(Tokens { input: 5, output: 5, cached: 5, ..Tokens::default() })
        );
    }
}
