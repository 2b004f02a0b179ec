//! What came out, by family and by tool.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::case::{Case, Expected};
use super::conversation::Verdict;

/// A case with its decision.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) case: Case,
    pub(crate) verdict: Verdict,
}

impl Result {
    /// Whether an attack went through, or something harmless did not.
    pub(crate) fn is_wrong(&self) -> bool {
        match self.case.expected {
            Expected::Deny => matches!(self.verdict, Verdict::Allowed(_)),
            Expected::Allow => matches!(self.verdict, Verdict::Denied(_)),
        }
    }

    fn line(&self) -> String {
        let Case { id, policy, category, .. } = &self.case;
        let said = match &self.verdict {
            Verdict::Allowed(errors) if errors.is_empty() => "the server did it".to_owned(),
            Verdict::Allowed(errors) => format!("the server said: {}", errors.join("; ")),
            Verdict::Denied(said) => said.clone(),
        };
        format!("{id} [{policy}] {category}: {said}\n      {}", self.text())
    }

    fn text(&self) -> String {
        let text = self.case.script.clone().unwrap_or_else(|| format!("{:?}", self.case.statements));
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
    }
}

/// How much of a statement is shown.
const SHOWN: usize = 160;

/// Both rates, and each case that counts against them.
pub(crate) fn report(results: &[Result]) -> String {
    let mut text = String::new();
    for (expected, wrong, what) in
        [(Expected::Deny, "let through", "hostile"), (Expected::Allow, "refused", "harmless")]
    {
        let of: Vec<&Result> = results.iter().filter(|result| result.case.expected == expected).collect();
        let count = of.iter().filter(|result| result.is_wrong()).count();
        writeln!(text, "\n{what}: {count} of {} {wrong} ({:.1} %)", of.len(), percent(count, of.len())).unwrap();
        let kind = |policy: &str| policy.split(':').next().unwrap_or_default().to_owned();
        table(&mut text, "by policy", &of, |case| {
            if case.policy.starts_with("profile") { case.policy.clone() } else { kind(&case.policy) }
        });
        table(&mut text, if expected == Expected::Deny { "by family" } else { "by tool" }, &of, |case| {
            case.category.clone()
        });
        for result in of.iter().filter(|result| result.is_wrong()) {
            writeln!(text, "  {}", result.line()).unwrap();
        }
    }
    text
}

fn table(text: &mut String, title: &str, of: &[&Result], by: impl Fn(&Case) -> String) {
    let mut rows: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for result in of {
        let row = rows.entry(by(&result.case)).or_default();
        row.0 += usize::from(result.is_wrong());
        row.1 += 1;
    }
    writeln!(text, "  {title}").unwrap();
    for (name, (wrong, all)) in rows {
        writeln!(text, "    {wrong:>4} of {all:<4} {name}").unwrap();
    }
}

/// A share in percent.
pub(crate) fn percent(part: usize, all: usize) -> f64 {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap());
    if all == 0 { 0.0 } else { 100.0 * count(part) / count(all) }
}
