//! A cache for slow queries about large organisations. The slower a query was, the longer its result is
//! reused, so repeated requests cost a fiftieth of it. The caller decides whether a result is large;
//! others are never cached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The number of keys from which an organisation counts as large.
pub const LARGE: usize = 2_000;
/// A result is reused for this multiple of the time that it took.
const REST: u32 = 50;
/// The longest time that a result is reused.
const LONGEST: Duration = Duration::from_secs(60);

/// Results by the text of their query.
pub struct SlowCache<V> {
    most: usize,
    answers: Mutex<HashMap<String, (V, Instant)>>,
}

impl<V: Clone> SlowCache<V> {
    /// A cache of at most `most` results.
    pub fn new(most: usize) -> SlowCache<V> {
        SlowCache { most, answers: Mutex::default() }
    }

    /// The cached result, or a new one, which is cached if it is large.
    pub fn or<E>(
        &self,
        question: String,
        is_large: impl FnOnce(&V) -> bool,
        find: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let began = Instant::now();
        if let Some((value, until)) = self.answers().get(&question)
            && *until > began
        {
            return Ok(value.clone());
        }
        let value = find()?;
        if is_large(&value) {
            let now = Instant::now();
            let rest = ((now - began) * REST).min(LONGEST);
            let mut answers = self.answers();
            answers.retain(|_, (_, until)| *until > now);
            while answers.len() >= self.most {
                let next = answers.iter().min_by_key(|(_, (_, until))| *until);
                let Some(next) = next.map(|(question, _)| question.clone()) else { break };
                answers.remove(&next);
            }
            answers.insert(question, (value.clone(), now + rest));
        }
        Ok(value)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, (V, Instant)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(value: usize) -> Result<usize, ()> {
        std::thread::sleep(Duration::from_millis(100));
        Ok(value)
    }

    #[test]
    fn large_results_are_reused_and_small_ones_are_not() {
        let memory = SlowCache::new(2);
        let ask = |question: &str, answer| {
            memory.or(question.to_owned(), |found| *found >= LARGE, || slow(answer)).unwrap()
        };
        assert_eq!((ask("large", LARGE), ask("large", 0)), (LARGE, LARGE));
        assert_eq!((ask("small", 1), ask("small", 2)), (1, 2));
        // At most two results: the one that would expire first is dropped.
        ask("other", LARGE);
        ask("third", LARGE);
        assert_eq!(ask("large", LARGE + 1), LARGE + 1);
    }
}
