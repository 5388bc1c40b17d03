//! Several rules of one policy: `[routes.NAME]` for one, `[[routes.NAME]]` for more.

use crate::file::value::{self, OneOrMany};
use crate::model::Name;
use crate::path::KeyPath;
use crate::problems::Problems;

/// Rules of one policy of a route.
const RULES: usize = 16;

/// Every rule checked, each with a name that no other has.
pub(super) fn each<F, M>(
    written: Option<OneOrMany<F>>,
    at: &KeyPath,
    problems: &mut Problems,
    parse: impl Fn(F, &KeyPath, usize, &mut Problems) -> Option<M>,
    name: impl Fn(&M) -> &Name,
) -> Option<Vec<M>> {
    let rules = OneOrMany::each(written, at);
    if rules.len() > RULES {
        problems.add(at, format!("must have at most {RULES} rules"));
        return None;
    }
    let mut parsed: Vec<Option<M>> = Vec::new();
    for (nth, (at, rule)) in rules.into_iter().enumerate() {
        let rule = parse(rule, &at, nth, problems);
        if let Some(rule) = &rule
            && parsed.iter().flatten().any(|other| name(other) == name(rule))
        {
            problems.add(
                &at.key("name"),
                format!("`{}` is already the name of a rule here", name(rule)),
            );
        }
        parsed.push(rule);
    }
    parsed.into_iter().collect()
}

/// The name of a rule: as written, or `default`.
pub(super) fn name(written: Option<&str>, nth: usize, at: &KeyPath, problems: &mut Problems) -> Option<Name> {
    match written {
        Some(text) => value::name(Some(text), &at.key("name"), "", problems),
        None if nth == 0 => Some("default".into()),
        None => Some(format!("default-{}", nth + 1).into()),
    }
}
