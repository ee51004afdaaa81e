//! Plans of random requests and their responses.

use serde_json::{Value, json};

/// Random numbers (`SplitMix64`) that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// How the upstream reports usage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Report {
    Last,
    OnFinish,
    Cumulative,
    Never,
}

/// One request and its response, both made from the seed, so that the two sides agree.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    pub path: &'static str,
    pub is_stream: bool,
    /// Whether the client requests the usage.
    pub requests_usage: bool,
    pub report: Report,
    /// The number of choices.
    choices: u64,
    /// The member of the output and the text of each piece.
    pub pieces: Vec<(&'static str, String)>,
    /// After how many pieces the client disconnects.
    pub abandoned: Option<usize>,
    line_end: &'static str,
}

impl Plan {
    /// The plan of this seed.
    pub fn new(seed: u64) -> Plan {
        let mut random = Random(seed);
        let path = random.of(&[
            "/v1/chat/completions",
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/inference",
        ]);
        let is_stream = random.below(3) > 0;
        let members: &[&str] = match path {
            "/v1/chat/completions" => &["content", "content", "reasoning_content", "arguments", "refusal"],
            _ => &["content"],
        };
        let pieces: Vec<_> = (0..1 + random.below(6))
            .map(|number| {
                let filler = "é".repeat(usize::try_from(random.below(40)).unwrap());
                (random.of(members), format!("piece {number}{filler}."))
            })
            .collect();
        let report = match path {
            _ if !is_stream => random.of(&[Report::Last, Report::Never]),
            "/v1/responses" => random.of(&[Report::Last, Report::Never]),
            _ => random.of(&[Report::Last, Report::OnFinish, Report::Cumulative, Report::Never]),
        };
        let abandons = is_stream && random.below(4) == 0;
        Plan {
            seed,
            path,
            is_stream,
            requests_usage: random.below(2) == 0,
            report,
            choices: if path == "/v1/inference" { 1 } else { 1 + random.below(3) },
            abandoned: abandons.then(|| 1 + usize::try_from(random.below(pieces.len() as u64)).unwrap()),
            pieces,
            line_end: random.of(&["\n", "\r\n"]),
        }
    }

    /// The name of the model, which has to be one of a few.
    pub fn model(&self) -> String {
        let kind = if self.abandoned.is_some() {
            "abandoned"
        } else if self.is_stream {
            "stream"
        } else {
            "whole"
        };
        format!("{}-{kind}", self.path.rsplit('/').next().unwrap())
    }

    fn prompt(&self) -> String {
        format!("seed {}.", self.seed)
    }

    /// The client's body.
    pub fn body(&self) -> Value {
        let (model, prompt, stream) = (self.model(), self.prompt(), self.is_stream);
        let mut body = match self.path {
            "/v1/chat/completions" => {
                json!({"model": model, "messages": [{"role": "user", "content": prompt}], "n": self.choices})
            }
            "/v1/responses" => json!({"model": model, "input": prompt}),
            _ => json!({"model": model, "prompt": prompt}),
        };
        body["stream"] = stream.into();
        if stream && self.requests_usage && !matches!(self.path, "/v1/responses" | "/v1/inference") {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    /// The usage after this many pieces: input, output, cached, cache write, reasoning.
    fn tokens(&self, pieces: usize) -> [i64; 5] {
        let mut random = Random(self.seed + 1);
        let input = 100 + random.below(1_000).cast_signed();
        let output = 10 * i64::try_from(pieces).unwrap() + random.below(5).cast_signed();
        [input, output, input / 2, input / 4, output / 3]
    }

    fn usage(&self, pieces: usize) -> Value {
        let [input, output, cached, written, reasoning] = self.tokens(pieces);
        if self.path == "/v1/responses" {
            return json!({"input_tokens": input, "output_tokens": output, "cache_creation_input_tokens": written,
                "input_tokens_details": {"cached_tokens": cached}, "output_tokens_details": {"reasoning_tokens": reasoning}});
        }
        json!({"prompt_tokens": input.to_string(), "completion_tokens": output, "cache_creation_input_tokens": written,
            "prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens_details": {"reasoning_tokens": reasoning}})
    }

    /// The expected counts of the request.
    pub fn expected(&self) -> [i64; 6] {
        let sent = self.abandoned.unwrap_or(self.pieces.len());
        let is_reported = match self.report {
            Report::Last | Report::OnFinish => self.abandoned.is_none(),
            Report::Cumulative => true,
            Report::Never => false,
        };
        let [input, output, cached, written, reasoning] = if is_reported {
            self.tokens(sent)
        } else {
            let characters: usize = self.pieces[..sent].iter().map(|(_, text)| text.chars().count()).sum();
            let tokens = |characters: usize| i64::try_from(characters.div_ceil(4)).unwrap();
            [tokens(self.prompt().chars().count()), tokens(characters), 0, 0, 0]
        };
        [1, input, output, cached, written, reasoning]
    }

    /// The member with a piece of output in a message or delta.
    fn member(&self, piece: usize) -> Value {
        let (name, text) = &self.pieces[piece];
        match *name {
            "arguments" => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
            name => json!({name: text}),
        }
    }

    fn event(&self, data: &Value) -> String {
        format!("data: {data}{0}{0}", self.line_end)
    }

    /// The event of a piece.
    pub fn piece(&self, piece: usize) -> String {
        if self.path == "/v1/responses" {
            let delta = &self.pieces[piece].1;
            return self.event(&json!({"type": "response.output_text.delta", "delta": delta}));
        }
        let index = piece as u64 % self.choices;
        let mut chunk = if self.path == "/v1/completions" {
            json!({"choices": [{"index": index, "text": self.pieces[piece].1}]})
        } else {
            json!({"choices": [{"index": index, "delta": self.member(piece)}]})
        };
        if self.report == Report::Cumulative {
            chunk["usage"] = self.usage(piece + 1);
        }
        self.event(&chunk)
    }

    /// The events behind the last piece.
    pub fn end(&self) -> String {
        let all = self.pieces.len();
        if self.path == "/v1/responses" {
            let usage = if self.report == Report::Never { Value::Null } else { self.usage(all) };
            return self.event(&json!({"type": "response.completed", "response": {"usage": usage}}));
        }
        let mut last = json!({"choices": (0..self.choices).map(|index| json!({"index": index, "finish_reason": "stop"})).collect::<Vec<_>>()});
        if self.report == Report::OnFinish {
            last["usage"] = self.usage(all);
        }
        let mut text = self.event(&last);
        if self.report == Report::Last {
            text += &self.event(&json!({"choices": [], "usage": self.usage(all)}));
            text +=
                &self.event(&json!({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}));
        }
        text + "data: [DONE]" + self.line_end + self.line_end
    }

    /// The whole response.
    pub fn whole(&self) -> Value {
        let all = 0..self.pieces.len();
        let usage = if self.report == Report::Never { Value::Null } else { self.usage(all.end) };
        if self.path == "/v1/responses" {
            let parts: Vec<Value> =
                self.pieces.iter().map(|(_, text)| json!({"type": "output_text", "text": text})).collect();
            return json!({"output": [{"type": "message", "content": parts}], "usage": usage});
        }
        let choice = |piece: usize| match self.path {
            "/v1/completions" => json!({"text": self.pieces[piece].1}),
            _ => json!({"message": self.member(piece)}),
        };
        json!({"id": "x", "choices": all.map(choice).collect::<Vec<_>>(), "usage": usage})
    }
}
