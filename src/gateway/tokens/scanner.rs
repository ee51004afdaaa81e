//! Reads the facts about a JSON text that Keydesk needs, as its bytes arrive: tokens, errors, and the number of
//! characters of text. It holds a few kilobytes, whatever the size of the text, and builds no tree. (The crate
//! actson, which also takes bytes as they arrive, holds every string whole.)

use crate::gateway::tokens::facts::{CHARACTERS_PER_TOKEN, Facts};
use crate::gateway::tokens::member::Member;

/// The deepest nesting that is read, as in `serde_json`.
const MAX_DEPTH: usize = 128;
/// The longest member name that has a meaning.
const MAX_NAME: usize = 24;
/// How much of a value that is read is kept, in bytes.
const MAX_VALUE: usize = 16 * 1024;

/// Reads facts from bytes that arrive in any pieces.
pub struct Scanner {
    facts: Facts,
    levels: Vec<Level>,
    token: Token,
    /// The name of the member that is being read.
    name: Vec<u8>,
    /// The meaning of the next value.
    next: Member,
    /// The value that is being kept, and the level at which it ends.
    kept: Option<(Member, usize, Vec<u8>)>,
    state: State,
}

/// An object or array.
struct Level {
    meaning: Member,
    is_object: bool,
    expects_name: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    None,
    /// A number, `true`, `false` or `null`.
    Word,
    Text(Escape),
    Name(Escape),
}

/// The place within an escape sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// The hexadecimal digits read of `\uXXXX`, and whether they may be the second half of a surrogate pair, which
    /// is no character of its own.
    Digits(u8, bool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Invalid,
}

impl Scanner {
    /// A scanner for a JSON text of this meaning.
    pub fn new(meaning: Member) -> Scanner {
        Scanner {
            facts: Facts::default(),
            levels: Vec::new(),
            token: Token::None,
            name: Vec::new(),
            next: meaning,
            kept: None,
            state: State::Reading,
        }
    }

    /// Reads the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.state == State::Reading {
            let length = match self.token {
                Token::None => self.between(rest[0]),
                Token::Word => self.word(rest),
                Token::Text(escape) | Token::Name(escape) => self.string(rest, escape),
            };
            rest = &rest[length..];
        }
    }

    /// The facts known so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The facts about the whole text.
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// Whether an object or array was begun and not ended.
    pub fn is_cut(&self) -> bool {
        self.state == State::Reading && !self.levels.is_empty()
    }

    /// Reads a byte outside strings and words. Returns how many bytes were read.
    fn between(&mut self, byte: u8) -> usize {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return 1,
            b'"' if self.levels.last().is_some_and(|level| level.expects_name) => {
                self.name.clear();
                self.token = Token::Name(Escape::None);
            }
            b'"' => {
                self.begin_value();
                self.token = Token::Text(Escape::None);
            }
            b'{' | b'[' => {
                self.begin_value();
                let (meaning, is_object) = (self.next, byte == b'{');
                if self.levels.len() == MAX_DEPTH {
                    self.state = State::Invalid;
                    return 1;
                }
                self.levels.push(Level { meaning, is_object, expects_name: is_object });
                self.next = if is_object { Member::Other } else { meaning.item() };
            }
            b'}' | b']' => {
                self.keep(&[byte]);
                let Some(level) = self.levels.pop().filter(|level| level.is_object == (byte == b'}')) else {
                    self.state = State::Invalid;
                    return 1;
                };
                if level.meaning == Member::Choice && level.is_object {
                    self.facts.end_choice();
                }
                self.end_value();
                return 1;
            }
            b',' => {
                if let Some(level) = self.levels.last_mut() {
                    level.expects_name = level.is_object;
                    self.next = if level.is_object { Member::Other } else { level.meaning.item() };
                }
            }
            b':' => {
                if let Some(level) = self.levels.last_mut() {
                    level.expects_name = false;
                    self.next = level.meaning.member(&self.name);
                }
            }
            _ => {
                self.begin_value();
                self.token = Token::Word;
                if self.next == Member::Text && byte.is_ascii_digit() {
                    // A prompt may be a list of tokens.
                    self.facts.count(Member::Text, CHARACTERS_PER_TOKEN);
                }
                return 0;
            }
        }
        self.keep(&[byte]);
        1
    }

    fn word(&mut self, rest: &[u8]) -> usize {
        let end =
            rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
        let length = end.unwrap_or(rest.len());
        self.keep(&rest[..length]);
        if end.is_some() {
            self.token = Token::None;
            self.end_value();
        }
        length
    }

    fn string(&mut self, rest: &[u8], escape: Escape) -> usize {
        let is_name = matches!(self.token, Token::Name(_));
        let token = |escape| if is_name { Token::Name(escape) } else { Token::Text(escape) };
        match escape {
            Escape::None => {
                let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                let part = &rest[..end.unwrap_or(rest.len())];
                self.text(part, is_name);
                let Some(end) = end else { return rest.len() };
                self.keep(&rest[end..=end]);
                if rest[end] == b'\\' {
                    self.token = token(Escape::Begun);
                } else {
                    self.token = Token::None;
                    if !is_name {
                        self.end_value();
                    }
                }
                end + 1
            }
            Escape::Begun => {
                self.keep(&rest[..1]);
                self.token = token(if rest[0] == b'u' { Escape::Digits(0, false) } else { Escape::None });
                if rest[0] != b'u' {
                    self.character(is_name);
                }
                1
            }
            Escape::Digits(count, surrogate) => {
                self.keep(&rest[..1]);
                let surrogate = match count {
                    0 => matches!(rest[0], b'd' | b'D'),
                    1 => surrogate && matches!(rest[0], b'c'..=b'f' | b'C'..=b'F'),
                    _ => surrogate,
                };
                if count < 3 {
                    self.token = token(Escape::Digits(count + 1, surrogate));
                } else {
                    self.token = token(Escape::None);
                    if !surrogate {
                        self.character(is_name);
                    }
                }
                1
            }
        }
    }

    /// Takes a part of a string without escape sequences.
    fn text(&mut self, part: &[u8], is_name: bool) {
        self.keep(part);
        if is_name {
            let room = (MAX_NAME + 1).saturating_sub(self.name.len());
            self.name.extend_from_slice(&part[..part.len().min(room)]);
        }
        let meaning = self.meaning(is_name);
        if meaning.is_text() {
            // Each character has one byte that does not continue another.
            let characters = part.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
            self.facts.count(meaning, characters);
        }
    }

    /// Takes an escaped character.
    fn character(&mut self, is_name: bool) {
        let meaning = self.meaning(is_name);
        self.facts.count(meaning, 1);
        if is_name {
            // A name with escape sequences has no meaning here.
            self.name.resize(MAX_NAME + 1, 0);
        }
    }

    fn meaning(&self, is_name: bool) -> Member {
        if !is_name {
            return self.next;
        }
        match self.levels.last() {
            Some(Level { meaning: Member::Everything, .. }) => Member::Everything,
            _ => Member::Other,
        }
    }

    fn begin_value(&mut self) {
        if self.kept.is_none() && self.next.is_kept() {
            self.kept = Some((self.next, self.levels.len(), Vec::new()));
        }
    }

    fn end_value(&mut self) {
        if let Some((member, _, value)) = self.kept.take_if(|(_, level, _)| *level == self.levels.len()) {
            self.facts.take(member, &value);
        }
        if self.levels.is_empty() {
            self.state = State::Ended;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some((_, _, value)) = &mut self.kept {
            let room = MAX_VALUE.saturating_sub(value.len());
            value.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}
