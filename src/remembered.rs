//! Answers about large organisations that took long, remembered for a while: the longer the more
//! time they took, so that asking again and again costs a fiftieth of it. Whoever asks says
//! whether an answer is a large one; the others are always found anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many keys make an organisation a large one.
pub const LARGE: usize = 2_000;
/// For how many times as long as it took an answer is remembered.
const REST: u32 = 50;
/// For how long at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Some answers, by what was asked.
pub struct Remembered<V> {
    most: usize,
    answers: Mutex<HashMap<String, (V, Instant)>>,
}

impl<V: Clone> Remembered<V> {
    /// Remembers so many answers at most.
    pub fn new(most: usize) -> Remembered<V> {
        Remembered { most, answers: Mutex::default() }
    }

    /// The answer that is remembered, or a new one, which is remembered if it is a large one.
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
    fn what_is_large_is_remembered_and_what_is_not_is_found_anew() {
        let memory = Remembered::new(2);
        let ask = |question: &str, answer| {
            memory.or(question.to_owned(), |found| *found >= LARGE, || slow(answer)).unwrap()
        };
        assert_eq!((ask("large", LARGE), ask("large", 0)), (LARGE, LARGE));
        assert_eq!((ask("small", 1), ask("small", 2)), (1, 2));
        // No more than two; the one that would end first goes.
        ask("other", LARGE);
        ask("third", LARGE);
        assert_eq!(ask("large", LARGE + 1), LARGE + 1);
    }
}
