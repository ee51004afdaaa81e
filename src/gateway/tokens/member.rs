//! The members of requests, responses and events that Keydesk reads. One table covers all forms of the API: chat
//! completions, completions, responses and messages use different names for different things.

/// The meaning of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// A request body.
    Request,
    /// A response, or an event of a streamed one.
    Response,
    /// The response within an event. Its text was in earlier events.
    Inner,
    /// A list of choices.
    Choices,
    Choice,
    /// A text, or messages, items and parts that contain text.
    Text,
    /// The two names of a reasoning text.
    ReasoningContent,
    Reasoning,
    /// A definition whose names and texts all count.
    Everything,
    /// The new text of an event.
    Delta,
    /// The item that an event adds.
    Added,
    AddedName,
    /// Values that are read.
    Usage,
    Error,
    Kind,
    Index,
    FinishReason,
    /// Anything else.
    Other,
}

impl Member {
    /// The meaning of a member of an object.
    pub(super) fn member(self, name: &[u8]) -> Member {
        match (self, name) {
            (Member::Request, b"messages" | b"prompt" | b"input" | b"instructions" | b"system") => {
                Member::Text
            }
            (Member::Request, b"tools" | b"functions") => Member::Everything,
            (Member::Response | Member::Inner | Member::Choice, b"usage") => Member::Usage,
            (Member::Response | Member::Inner, b"error") => Member::Error,
            (Member::Response, b"type") => Member::Kind,
            (Member::Response, b"choices") => Member::Choices,
            (Member::Response, b"output" | b"content") => Member::Text,
            (Member::Response, b"delta") => Member::Delta,
            (Member::Response, b"item") => Member::Added,
            // Groq reports usage and errors of streams in a member of its own.
            (Member::Response, b"response" | b"message" | b"x_groq") => Member::Inner,
            (Member::Choice, b"message" | b"delta" | b"text") => Member::Text,
            (Member::Choice, b"index") => Member::Index,
            (Member::Choice, b"finish_reason") => Member::FinishReason,
            (Member::Added, b"name") => Member::AddedName,
            (Member::Everything, _) => Member::Everything,
            (Member::Text | Member::Delta, name) => within_text(name),
            _ => Member::Other,
        }
    }

    /// The meaning of an item of a list.
    pub(super) fn item(self) -> Member {
        match self {
            Member::Choices => Member::Choice,
            Member::Text | Member::Everything | Member::ReasoningContent | Member::Reasoning => self,
            _ => Member::Other,
        }
    }

    /// Whether the characters of a string of this meaning count.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Member::Text
                | Member::ReasoningContent
                | Member::Reasoning
                | Member::Everything
                | Member::Delta
                | Member::AddedName
        )
    }

    /// Whether the value itself is read.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Member::Usage | Member::Error | Member::Kind | Member::Index | Member::FinishReason)
    }
}

/// The meaning of a member of a message, an item, a part or a tool call. Images, audio and files are not text.
fn within_text(name: &[u8]) -> Member {
    match name {
        b"content" | b"text" | b"refusal" | b"summary" | b"thinking" | b"transcript" | b"audio"
        | b"output" | b"tool_calls" | b"function_call" | b"function" | b"custom" | b"name" | b"arguments"
        | b"partial_json" | b"code" => Member::Text,
        b"input" => Member::Everything,
        b"reasoning_content" => Member::ReasoningContent,
        b"reasoning" => Member::Reasoning,
        _ => Member::Other,
    }
}
