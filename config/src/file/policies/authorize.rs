//! `[routes.authorize]` and `[services.authorize]`: what who has proven who it is may do.

use std::sync::Arc;

use cel::Program;
use cel::common::ast::{EntryExpr, Expr};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::value::{all, scope};
use crate::path::KeyPath;
use crate::problems::{Problems, did_you_mean};
use crate::units::brief;

/// What may pass: nothing that a `deny` rule is true for, everything that has the scopes and that an `allow` rule is
/// true for, if there are any.
#[derive(Clone, Debug, Default)]
pub struct Authorize {
    /// One of these must be true; empty: no matter.
    pub allow: Vec<Rule>,
    /// None of these may be true.
    pub deny: Vec<Rule>,
    /// All of these must have been granted.
    pub scopes: Vec<String>,
    /// Refusals are counted and logged only.
    pub dry_run: bool,
}

/// An expression in the Common Expression Language that says yes or no. It has been parsed, and what it costs is bounded.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As written.
    pub text: String,
    /// Compiled.
    pub program: Arc<Program>,
    /// What it asks about, of [`VARIABLES`].
    pub variables: Vec<&'static str>,
}

/// What rules can ask about.
pub const VARIABLES: [&str; 8] = [
    "claims",
    "grpc",
    "peer",
    "principal",
    "request",
    "route",
    "scopes",
    "source",
];

/// `authorize` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizeFile {
    /// CEL expressions; a call passes if one of them is true. Default: all calls pass.
    allow: Option<Vec<String>>,
    /// CEL expressions; a call is refused if one of them is true, whatever `allow` says. Default: none.
    deny: Option<Vec<String>>,
    /// Scopes that the client must have been granted, all of them. Default: none.
    scopes: Option<Vec<String>>,
    /// Count and log refusals, and let the call pass. Default: false.
    dry_run: Option<bool>,
}

impl AuthorizeFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Authorize> {
        let allow = all(self.allow, &at.key("allow"), |text, at| rule(text, at, problems));
        let deny = all(self.deny, &at.key("deny"), |text, at| rule(text, at, problems));
        let scopes = all(self.scopes, &at.key("scopes"), |text, at| scope(text, at, problems));
        let authorize = Authorize {
            allow: allow?,
            deny: deny?,
            scopes: scopes?,
            dry_run: self.dry_run.unwrap_or(false),
        };
        if authorize.allow.is_empty() && authorize.deny.is_empty() && authorize.scopes.is_empty() {
            problems.add_hint(at, "refuses nothing", "write `allow`, `deny` or `scopes`");
            return None;
        }
        Some(authorize)
    }
}

/// Longest rule in bytes.
const LONGEST: usize = 4096;
/// Lists that a rule may go through inside one another: each multiplies its cost by the length of a list.
const NESTED: usize = 2;

/// What rules can call, beside operators and macros.
const FUNCTIONS: [&str; 14] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
    "has",
];

fn rule(text: String, at: &KeyPath, problems: &mut Problems) -> Option<Rule> {
    if text.len() > LONGEST {
        problems.add(at, format!("must have at most {LONGEST} bytes"));
        return None;
    }
    let program = match Program::compile(&text) {
        Ok(program) => program,
        Err(errors) => {
            for error in errors.errors.iter().take(3) {
                let (line, column) = error.pos;
                let message = brief(&error.msg);
                problems.add(
                    at,
                    format!("is no CEL expression: line {line}, column {column}: {message}"),
                );
            }
            return None;
        }
    };
    let mut found = Found::default();
    found.walk(&program.expression().expr, 0);
    let before = problems.count();
    if found.nested > NESTED {
        let hint = "go through at most two lists inside one another: a rule must not cost more than that";
        problems.add_hint(at, "nests too many lists", hint);
    }
    if found.pattern {
        let hint = "write the pattern of `matches` as a text: it must not come from the call";
        problems.add_hint(at, "computes a regular expression", hint);
    }
    for pattern in &found.patterns {
        if let Err(error) = regex::Regex::new(pattern) {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            problems.add(
                at,
                format!("`{}` is no regular expression: {}", brief(pattern), brief(why)),
            );
        }
    }
    let mut variables = Vec::new();
    for name in found.variables {
        match VARIABLES.iter().find(|known| **known == name) {
            Some(known) => variables.push(*known),
            None => {
                let hint = did_you_mean(&name, VARIABLES).unwrap_or_else(|| format!("known: {}", VARIABLES.join(", ")));
                problems.add_hint(at, format!("nothing is called `{}`", brief(&name)), hint);
            }
        }
    }
    for name in found.functions {
        let operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name.as_str()) {
            let hint = did_you_mean(&name, FUNCTIONS).unwrap_or_else(|| format!("known: {}", FUNCTIONS.join(", ")));
            problems.add_hint(at, format!("there is no function `{}`", brief(&name)), hint);
        }
    }
    variables.sort_unstable();
    variables.dedup();
    (problems.count() == before).then(|| Rule {
        text,
        program: Arc::new(program),
        variables,
    })
}

/// What an expression is made of.
#[derive(Default)]
struct Found {
    bound: Vec<String>,
    variables: Vec<String>,
    functions: Vec<String>,
    patterns: Vec<String>,
    /// A pattern that is no literal.
    pattern: bool,
    nested: usize,
}

impl Found {
    /// The parser bounds how deep an expression is.
    fn walk(&mut self, expression: &Expr, nested: usize) {
        match expression {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !self.bound.contains(name) {
                    self.variables.push(name.clone());
                }
            }
            Expr::Select(select) => self.walk(&select.operand.expr, nested),
            Expr::List(list) => list.elements.iter().for_each(|one| self.walk(&one.expr, nested)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, nested)),
            Expr::Struct(of) => of.entries.iter().for_each(|entry| self.entry(&entry.expr, nested)),
            Expr::Call(call) => {
                self.functions.push(call.func_name.clone());
                if call.func_name == "matches" {
                    match call.args.last().map(|argument| &argument.expr) {
                        Some(Expr::Literal(cel::common::ast::LiteralValue::String(pattern))) => {
                            self.patterns.push(pattern.inner().to_owned());
                        }
                        _ => self.pattern = true,
                    }
                }
                if let Some(target) = &call.target {
                    self.walk(&target.expr, nested);
                }
                call.args.iter().for_each(|argument| self.walk(&argument.expr, nested));
            }
            Expr::Comprehension(each) => {
                self.nested = self.nested.max(nested + 1);
                self.walk(&each.iter_range.expr, nested);
                self.walk(&each.accu_init.expr, nested);
                let before = self.bound.len();
                self.bound.push(each.iter_var.clone());
                self.bound.extend(each.iter_var2.clone());
                self.bound.push(each.accu_var.clone());
                for part in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.walk(&part.expr, nested + 1);
                }
                self.bound.truncate(before);
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, nested: usize) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value.expr, nested),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key.expr, nested);
                self.walk(&entry.value.expr, nested);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<String> {
        let mut problems = Problems::default();
        let rule = rule(text.to_owned(), &KeyPath::root().key("allow"), &mut problems);
        assert_eq!(rule.is_none(), problems.count() > 0, "{text}");
        let told = problems.into_problems(&crate::problems::Places::default());
        rule.is_none().then(|| told.to_string())
    }

    #[test]
    fn rules_that_can_be_decided_are_taken() {
        for good in [
            "true",
            "principal.subject == 'alice' && 'orders.write' in scopes",
            "claims.groups.exists(group, group in ['a', 'b'])",
            "request.method in ['GET', 'HEAD'] || (principal != null && principal.plan == 'gold')",
            "has(claims.tenant) && request.path.startsWith('/t/' + claims.tenant + '/')",
            "grpc.service == 'shop.Orders' && grpc.method.matches('^Get.*$')",
            "peer == 'azure' ? size(scopes) > 0 : int(source.address.size()) < 40",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_told_with_a_reason() {
        for (bad, part) in [
            ("", "is no CEL expression"),
            ("a &&", "is no CEL expression"),
            ("principle.subject == 'a'", "did you mean `principal`"),
            ("user.name == 'a'", "nothing is called `user`"),
            ("request.path.startWith('/a')", "did you mean `startsWith`"),
            ("exec('rm')", "there is no function `exec`"),
            ("request.path.matches(claims.pattern)", "computes a regular expression"),
            ("request.path.matches('(')", "is no regular expression"),
            (
                "scopes.exists(a, scopes.exists(b, scopes.exists(c, a == b)))",
                "nests too many lists",
            ),
            (
                "group == 'x' || scopes.exists(group, true)",
                "nothing is called `group`",
            ),
        ] {
            let told = problem(bad).unwrap_or_else(|| panic!("{bad}"));
            assert!(told.contains(part), "{bad}: {told}");
        }
        assert!(problem(&"(".repeat(2000)).is_some());
        assert!(problem(&format!("'{}' == ''", "x".repeat(LONGEST))).is_some());
    }
}
