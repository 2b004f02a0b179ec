//! Tests of rules, beside them in `*.test.toml`: who, where, what, and what the rules shall say.
//!
//! The format is described in the README. Unknown keys are errors; a case that says nothing of the time happens at a fixed
//! one, so that a set passes today and tomorrow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::trial::{self, Claims, Spoken, Surroundings};
use crate::model::{ClientCertificate, Decision, RuleId, Sha256, Timestamp};
use crate::policy::{Place, Policy, PolicyProblem};

/// Monday, 2026-01-05, 12:00 UTC.
const NOON: Timestamp = Timestamp(1_767_614_400_000_000);
/// The longest token age of a case: a hundred years, so that no sum overflows.
const OLDEST_SECONDS: u32 = 3_153_600_000;

/// A file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// People by name: the claims of their tokens.
    #[serde(default)]
    who: BTreeMap<String, Map<String, Value>>,
    /// What holds for each case that says nothing else.
    #[serde(default)]
    defaults: Defaults,
    /// The cases.
    #[serde(default, rename = "case")]
    cases: Vec<Spanned<WrittenCase>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    target: Option<String>,
    database: Option<String>,
    database_user: Option<String>,
    application: Option<String>,
    client_certificate: Option<WrittenCertificate>,
    client: Option<IpAddr>,
    at: Option<String>,
    token_age_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    name: String,
    #[serde(rename = "as")]
    who: Who,
    sql: Option<String>,
    expect: Expected,
    rule: Option<String>,
    would_deny: Option<String>,
    target: Option<String>,
    database: Option<String>,
    database_user: Option<String>,
    application: Option<String>,
    client_certificate: Option<WrittenCertificate>,
    client: Option<IpAddr>,
    at: Option<String>,
    token_age_seconds: Option<u32>,
    transaction: Option<Transaction>,
}

/// What a client's certificate says; what is not written it does not say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenCertificate {
    subject: String,
    common_name: Option<String>,
    sha256: Option<String>,
    emails: Vec<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`as` is the name of somebody under [who], or the claims themselves")]
enum Who {
    Named(String),
    Claims(Map<String, Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Transaction {
    I,
    T,
    E,
}

/// A file of tests, read and checked.
#[derive(Debug)]
pub(super) struct Suite {
    /// The file.
    pub(super) file: String,
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    line: usize,
    name: String,
    claims: Map<String, Value>,
    around: Surroundings,
    sql: Option<String>,
    expected: Expected,
    rule: Option<String>,
    would_deny: Option<String>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) line: usize,
    /// Who asked, as claims.
    pub(super) who: String,
    /// What was asked; absent for a case about connecting.
    pub(super) sql: Option<String>,
    pub(super) expected: String,
    pub(super) got: String,
    pub(super) passed: bool,
    /// Every rule that the decision names.
    pub(super) rules: Vec<RuleId>,
}

impl Suite {
    /// Reads a file of tests. Rules that a case expects must be there.
    ///
    /// # Errors
    ///
    /// Every problem with its place; a text that is no TOML has one.
    pub(super) fn read(file: &str, text: &str, policy: &Policy) -> Result<Self, Vec<PolicyProblem>> {
        let problem = |at, sentence: String| PolicyProblem::of(file, text, at, sentence, None);
        let written: Written = toml::from_str(text)
            .map_err(|error| vec![problem(error.span().unwrap_or(0..0), error.message().to_owned())])?;
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        let mut names = BTreeSet::new();
        for spanned in written.cases {
            let at = spanned.span();
            // Some spans begin with the head of the table, some with its first key: either is on or next to the name.
            let line = problem(at.start..at.start, String::new()).line;
            let case = spanned.into_inner();
            let name = case.name.clone();
            let mut refuse =
                |sentence: String| problems.push(problem(at.clone(), format!("case \"{name}\": {sentence}")));
            if !names.insert(name.clone()) {
                refuse("another case has this name".to_owned());
            }
            if let Some(rule) = case
                .rule
                .iter()
                .chain(&case.would_deny)
                .find(|rule| !policy.written().iter().any(|one| one.id == **rule))
            {
                refuse(format!("no rule is named \"{rule}\""));
            }
            match Case::of(case, line, &written.who, &written.defaults) {
                Ok(case) => cases.push(case),
                Err(sentence) => refuse(sentence),
            }
        }
        if problems.is_empty() { Ok(Self { file: file.to_owned(), cases }) } else { Err(problems) }
    }

    /// Puts every case to the rules.
    pub(super) fn run(&self, policy: &Policy, claims: &Claims) -> Vec<Ran> {
        self.cases.iter().map(|case| case.run(policy, claims)).collect()
    }
}

impl Case {
    fn of(
        case: WrittenCase,
        line: usize,
        who: &BTreeMap<String, Map<String, Value>>,
        defaults: &Defaults,
    ) -> Result<Self, String> {
        let claims = match case.who {
            Who::Claims(claims) => claims,
            Who::Named(name) => {
                who.get(&name).cloned().ok_or_else(|| format!("nobody under [who] is named \"{name}\""))?
            }
        };
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        let target = or(case.target, &defaults.target).ok_or("it names no target, nor do the defaults")?;
        let database = or(case.database, &defaults.database).unwrap_or_else(|| target.clone());
        let age = case.token_age_seconds.or(defaults.token_age_seconds).unwrap_or(0).min(OLDEST_SECONDS);
        let around = Surroundings {
            place: Place {
                target,
                database,
                database_user: or(case.database_user, &defaults.database_user).unwrap_or_else(|| "hansard".to_owned()),
            },
            client: case.client.or(defaults.client).unwrap_or(Surroundings::HERE),
            application: or(case.application, &defaults.application),
            client_certificate: certificate(case.client_certificate.as_ref().or(defaults.client_certificate.as_ref()))?,
            transaction: match case.transaction {
                None | Some(Transaction::I) => 'I',
                Some(Transaction::T) => 'T',
                Some(Transaction::E) => 'E',
            },
            now: or(case.at, &defaults.at).map_or(Ok(NOON), |at| trial::moment(&at))?,
            token_age_seconds: age.into(),
        };
        let WrittenCase { name, sql, expect: expected, rule, would_deny, .. } = case;
        Ok(Self { line, name, claims, around, sql, expected, rule, would_deny })
    }

    fn run(&self, policy: &Policy, claims: &Claims) -> Ran {
        let decision =
            claims.principal(&self.claims, self.around.now, self.around.token_age_seconds).map(|who| match &self.sql {
                Some(sql) => policy.decide(
                    &who,
                    &self.around.place,
                    &self.around.moment(),
                    &trial::facts(sql, Spoken::default()),
                ),
                None => policy.decide_connect(&who, &self.around.place, &self.around.moment()),
            });
        let (got, passed, rules) = match decision {
            Ok(decision) => (said(&decision), self.fits(&decision), decision.rules),
            Err(refused) => (format!("no decision: such a token is refused: {refused}"), false, Vec::new()),
        };
        Ran {
            name: self.name.clone(),
            line: self.line,
            who: Value::Object(self.claims.clone()).to_string(),
            sql: self.sql.clone(),
            expected: self.wanted(),
            got,
            passed,
            rules,
        }
    }

    fn fits(&self, decision: &Decision) -> bool {
        let named = |rule: &String| decision.rules.iter().any(|one| one.0 == *rule);
        let reported = |rule: &String| decision.would_deny().any(|one| one == rule);
        decision.allows() == (self.expected == Expected::Allow)
            && self.rule.as_ref().is_none_or(named)
            && self.would_deny.as_ref().is_none_or(reported)
    }

    fn wanted(&self) -> String {
        let verdict = if self.expected == Expected::Allow { "allow" } else { "deny" };
        let by = self.rule.as_ref().map_or_else(String::new, |rule| format!(" by \"{rule}\""));
        let report =
            self.would_deny.as_ref().map_or_else(String::new, |rule| format!(", would be denied by \"{rule}\""));
        format!("{verdict}{by}{report}")
    }
}

fn certificate(written: Option<&WrittenCertificate>) -> Result<Option<ClientCertificate>, String> {
    let Some(WrittenCertificate { subject, common_name, sha256, emails, dns_names, uris }) = written else {
        return Ok(None);
    };
    let sha256 = match sha256 {
        Some(text) => text.parse().map_err(|_odd| format!("`{text}` is no SHA-256 in hexadecimal"))?,
        None => Sha256([0; 32]),
    };
    Ok(Some(ClientCertificate {
        subject: subject.clone(),
        common_name: common_name.clone(),
        sha256,
        emails: emails.clone(),
        dns_names: dns_names.clone(),
        uris: uris.clone(),
    }))
}

fn said(decision: &Decision) -> String {
    let verdict = decision.verdict.as_str();
    let quoted = |name: &str| format!("\"{name}\"");
    let names: Vec<String> = decision.deciding().map(|rule| quoted(&rule.0)).collect();
    let reported: Vec<String> = decision.would_deny().map(quoted).collect();
    let said = match (names.is_empty(), &decision.message) {
        (false, _) => format!("{verdict} by {}", names.join(", ")),
        (true, Some(message)) => format!("{verdict}: {message}"),
        (true, None) => verdict.to_owned(),
    };
    if reported.is_empty() { said } else { format!("{said}, would be denied by {}", reported.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "@id(\"reads\") permit(principal in Role::\"analyst\", action in Action::\"read\", resource);
        @id(\"no-salaries\") forbid(principal, action, resource == Table::\"app/app/hr.salaries\");
        @id(\"tried\") @mode(\"report\") forbid(principal, action, resource == Table::\"app/app/app.notes\");
        @id(\"comes-in\") permit(principal in Role::\"analyst\", action == Action::\"connect\", resource);";

    fn policy() -> Policy {
        Policy::load(&[("r.cedar".to_owned(), RULES.to_owned())]).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let read = Suite::read("r.test.toml", text, &policy());
        read.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_case_passes_if_decision_and_rule_are_as_expected_and_else_says_what_differed() {
        let text = r#"
[who.ana]
sub = "u-ana"
roles = ["analyst"]

[defaults]
target = "app"

[[case]]
name = "reads"
as = "ana"
sql = "SELECT 1 FROM app.orders"
expect = "allow"
rule = "reads"

[[case]]
name = "comes in"
as = "ana"
expect = "allow"
rule = "comes-in"

[[case]]
name = "not salaries"
as = { sub = "x", roles = ["analyst"] }
sql = "TABLE hr.salaries"
expect = "allow"
rule = "reads"

[[case]]
name = "writes"
as = "ana"
sql = "DELETE FROM app.orders"
expect = "deny"
rule = "no-salaries"

[[case]]
name = "would not read notes"
as = "ana"
sql = "TABLE app.notes"
expect = "allow"
rule = "reads"
would_deny = "tried"

[[case]]
name = "nobody"
as = { roles = ["analyst"] }
expect = "deny"
"#;
        let ran = Suite::read("r.test.toml", text, &policy()).unwrap().run(&policy(), &Claims::of(None));
        let passed: Vec<bool> = ran.iter().map(|ran| ran.passed).collect();
        assert_eq!(passed, [true, true, false, false, true, false]);
        assert_eq!((ran[2].expected.as_str(), ran[2].got.as_str()), ("allow by \"reads\"", "deny by \"no-salaries\""));
        assert_eq!(ran[3].got, "deny: no rule allows DELETE on app.orders for u-ana");
        assert!(ran[5].got.contains("such a token is refused"), "{}", ran[5].got);
        assert_eq!(ran[4].got, "allow by \"reads\", would be denied by \"tried\"");
        assert!((9..=10).contains(&ran[0].line), "{}", ran[0].line);
    }

    #[test]
    fn a_case_may_say_which_certificate_the_client_shows() {
        let rules = "@id(\"own\") permit(principal, action, resource) when { context has client_certificate &&
            principal has email && context.client_certificate.emails.contains(principal.email) };";
        let policy = Policy::load(&[("r.cedar".to_owned(), rules.to_owned())]).unwrap();
        let case = |name: &str, certificate: &str, expect: &str| {
            let who = "{ sub = \"u-ana\", email = \"ana@contoso.com\" }";
            format!("[[case]]\nname = \"{name}\"\ntarget = \"app\"\nas = {who}\n{certificate}expect = \"{expect}\"\n")
        };
        let text = [
            case("hers", "client_certificate = { emails = [\"ana@contoso.com\"] }\n", "allow"),
            case("his", "client_certificate = { subject = \"CN=ben\", emails = [\"ben@contoso.com\"] }\n", "deny"),
            case("none", "", "deny"),
        ];
        let ran = Suite::read("r.test.toml", &text.concat(), &policy).unwrap().run(&policy, &Claims::of(None));
        assert!(ran.iter().all(|ran| ran.passed), "{ran:?}");
        let odd = case("odd", "client_certificate = { sha256 = \"xy\" }\n", "deny");
        let said = Suite::read("r.test.toml", &odd, &policy).unwrap_err();
        assert!(said[0].to_string().contains("`xy` is no SHA-256"), "{said:?}");
    }

    #[test]
    fn what_is_wrong_with_a_file_of_tests_is_told_with_its_place() {
        let case = |more: &str| format!("[[case]]\nname = \"a\"\nas = {{ sub = \"x\" }}\nexpect = \"deny\"\n{more}\n");
        assert!(problems("[[case]\n")[0].starts_with("r.test.toml:1:"));
        assert!(problems("[[case]]\nnam = \"a\"\n")[0].contains("r.test.toml:2:1: unknown field `nam`"));
        assert!(problems(&case(""))[0].contains("case \"a\": it names no target"));
        assert!(problems(&case("target = \"t\"\nrule = \"gone\""))[0].contains("no rule is named \"gone\""));
        assert!(problems(&case("target = \"t\"\nat = \"noon\""))[0].contains("`noon` is no time"));
        let twice = case("target = \"t\"").repeat(2);
        assert!(problems(&twice)[0].contains("another case has this name"));
        let unknown = case("target = \"t\"").replace("{ sub = \"x\" }", "\"eve\"");
        assert!(problems(&unknown)[0].contains("nobody under [who] is named \"eve\""));
        assert!(problems(&case("target = \"t\"").replace("deny", "maybe"))[0].contains("maybe"));
    }
}
