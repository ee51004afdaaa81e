//! Kinds of entries, for the filter of the list.

/// A group of actions.
pub(super) struct Kind {
    /// The part of its actions before the dot.
    pub(super) value: String,
    pub(super) label: String,
    /// Its actions, with labels.
    pub(super) actions: Vec<(String, String)>,
}

/// The given actions, in groups.
pub(super) fn kinds(actions: &[String]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for action in actions {
        let (group, rest) = action.split_once('.').unwrap_or((action, action));
        let label = rest.replace('_', " ");
        match kinds.last_mut().filter(|kind| kind.value == group) {
            Some(kind) => kind.actions.push((action.clone(), label)),
            None => kinds.push(Kind {
                value: group.to_owned(),
                label: group_label(group),
                actions: vec![(action.clone(), label)],
            }),
        }
    }
    kinds
}

fn group_label(group: &str) -> String {
    match group {
        "key" => "Keys".to_owned(),
        "person" => "People and sign-ins".to_owned(),
        "organization" => "Organisation".to_owned(),
        "member" => "Members".to_owned(),
        "invitation" => "Invitations".to_owned(),
        "policy" => "Key policy".to_owned(),
        "audit" => "Audit trail".to_owned(),
        other => {
            let words = other.replace('_', " ");
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}
