//! Which of a target's logins somebody gets: the user that a session is at the database follows from who the token names.
//!
//! Promises: nobody gets a login that is not theirs by config, whatever they ask for; the same principal who asks for the same
//! gets the same login every time; whoever has none does not get in.
//!
//! Of the logins that are somebody's, the first in the order of config is taken, or the one whose user the client asks for by
//! the user of its startup packet: so who may do more can also come as who may do less. A user that no login has asks for
//! nothing, as drivers send whatever name they have. Rejected: that the order alone decides, which leaves a person with two
//! tasks no way to choose; and that the client must always choose, which would break clients that know of no choice.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Site;
use crate::model::{Principal, PrincipalKind};

/// Whose a login is: of whoever fits all that is said here. What is empty says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    /// Tokens of one of these issuers, by their names in config.
    pub issuers: Vec<String>,
    /// People, or workloads.
    pub kind: Option<PrincipalKind>,
    /// One of these subjects.
    pub subjects: Vec<String>,
    /// One of these roles.
    pub roles: Vec<String>,
    /// One of these groups.
    pub groups: Vec<String>,
    /// Of each of these kept claims, one of these values.
    pub claims: BTreeMap<String, Vec<String>>,
}

impl Whose {
    /// Whether the login is this principal's, who came by the issuer of this name in config.
    pub fn includes(&self, who: &Principal, issuer: Option<&str>) -> bool {
        let one_of =
            |allowed: &[String], has: &[String]| allowed.is_empty() || has.iter().any(|it| allowed.contains(it));
        let is_named = |allowed: &[String], name: Option<&str>| {
            allowed.is_empty() || name.is_some_and(|name| allowed.iter().any(|allowed| allowed == name))
        };
        is_named(&self.issuers, issuer)
            && self.kind.is_none_or(|kind| kind == who.kind)
            && is_named(&self.subjects, Some(&who.subject))
            && one_of(&self.roles, &who.roles)
            && one_of(&self.groups, &who.groups)
            && self.claims.iter().all(|(name, allowed)| who.claims.get(name).is_some_and(|has| has_one(has, allowed)))
    }
}

/// Whether a claim, or one of its list, has one of these values.
fn has_one(claim: &Value, allowed: &[String]) -> bool {
    match claim {
        Value::Array(all) => all.iter().any(|one| !one.is_array() && has_one(one, allowed)),
        Value::String(text) => allowed.contains(text),
        Value::Bool(_) | Value::Number(_) => allowed.contains(&claim.to_string()),
        Value::Null | Value::Object(_) => false,
    }
}

/// The logins of one target, in the order of config.
#[derive(Debug)]
pub struct Logins {
    first: Arc<Site>,
    others: Vec<Arc<Site>>,
}

/// Why somebody has no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// None is theirs.
    Nobody,
    /// The one that they ask for is not.
    Another,
}

impl Logins {
    /// Of a target whose login is this one, and these if there are several.
    pub fn new(first: Arc<Site>, others: Vec<Arc<Site>>) -> Self {
        Self { first, others }
    }

    /// What they share is as good in this one as in any.
    pub fn first(&self) -> &Arc<Site> {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Site>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The one that there is, if there is one only.
    pub(super) fn only(&self) -> Option<&Arc<Site>> {
        self.others.is_empty().then_some(&self.first)
    }

    /// The login of a principal whose client asks for this user.
    pub(super) fn of(&self, who: &Principal, asked: &str) -> Result<&Arc<Site>, NoLogin> {
        let issuer = self.first.verifier.issuer_named(&who.issuer);
        let logins = self.all().map(|site| (site.target.credentials.user.as_str(), &site.target.whose, site));
        choose(logins, who, issuer, asked)
    }
}

/// The login of a principal among several, each with its user and whose it is.
fn choose<'a, T>(
    logins: impl Iterator<Item = (&'a str, &'a Whose, T)>,
    who: &Principal,
    issuer: Option<&str>,
    asked: &str,
) -> Result<T, NoLogin> {
    let logins: Vec<_> = logins.collect();
    let has_choice = logins.len() > 1;
    let is_asked_for = has_choice && logins.iter().any(|(user, ..)| *user == asked);
    let mut theirs = logins.into_iter().filter(|(_, whose, _)| whose.includes(who, issuer)).peekable();
    if theirs.peek().is_none() {
        return Err(NoLogin::Nobody);
    }
    let found = theirs.find(|(user, ..)| !is_asked_for || *user == asked);
    found.map(|(.., login)| login).ok_or(NoLogin::Another)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Sha256, Timestamp, TokenFacts};

    fn ana() -> Principal {
        Principal {
            issuer: "https://login.example".to_owned(),
            subject: "ana".to_owned(),
            kind: PrincipalKind::Person,
            display: None,
            email: None,
            roles: vec!["analyst".to_owned(), "dba".to_owned()],
            groups: vec!["clinic".to_owned()],
            token: TokenFacts {
                sha256: Sha256([0; 32]),
                kid: None,
                jti: None,
                issued: None,
                expires: Timestamp(0),
                at_issuer: crate::model::AtIssuer::default(),
            },
            claims: [
                ("level".to_owned(), json!(3)),
                ("mfa".to_owned(), json!(true)),
                ("teams".to_owned(), json!(["red", "blue"])),
                ("nested".to_owned(), json!([["red"], { "red": "red" }])),
            ]
            .into(),
        }
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn claims(name: &str, values: &[&str]) -> Whose {
        Whose { claims: [(name.to_owned(), texts(values))].into(), ..Whose::default() }
    }

    #[test]
    fn a_login_is_of_whoever_fits_all_that_is_said() {
        let roles = Whose { roles: texts(&["dba", "owner"]), ..Whose::default() };
        for (whose, is_hers) in [
            (Whose::default(), true),
            (roles.clone(), true),
            (Whose { roles: texts(&["owner"]), ..Whose::default() }, false),
            (Whose { groups: texts(&["lab"]), ..roles.clone() }, false),
            (Whose { groups: texts(&["clinic"]), ..roles.clone() }, true),
            (Whose { kind: Some(PrincipalKind::Workload), ..roles.clone() }, false),
            (Whose { subjects: texts(&["ANA"]), ..roles.clone() }, false),
            (Whose { issuers: texts(&["main"]), ..roles.clone() }, true),
            (Whose { issuers: texts(&["other"]), ..roles }, false),
            (claims("level", &["3"]), true),
            (claims("level", &["30"]), false),
            (claims("mfa", &["true"]), true),
            (claims("teams", &["green", "blue"]), true),
            (claims("nested", &["red"]), false),
            (claims("unkept", &["red"]), false),
        ] {
            assert_eq!(whose.includes(&ana(), Some("main")), is_hers, "{whose:?}");
        }
        assert!(!Whose { issuers: texts(&["main"]), ..Whose::default() }.includes(&ana(), None));
    }

    #[test]
    fn the_first_of_several_is_taken_unless_the_client_asks_for_another_that_is_theirs() {
        let of_role = |role: &str| Whose { roles: texts(&[role]), ..Whose::default() };
        let (owner, dba, analyst) = (of_role("owner"), of_role("dba"), of_role("analyst"));
        let chosen = |logins: &[(&'static str, &Whose)], asked: &str| {
            let logins = logins.iter().map(|(user, whose)| (*user, *whose, *user));
            choose(logins, &ana(), Some("main"), asked)
        };
        let all = [("owner", &owner), ("dba", &dba), ("reader", &analyst)];
        assert_eq!(chosen(&all, "anything"), Ok("dba"));
        assert_eq!(chosen(&all, "reader"), Ok("reader"));
        assert_eq!(chosen(&all, "Reader"), Ok("dba"));
        assert_eq!(chosen(&all, "owner"), Err(NoLogin::Another));
        assert_eq!(chosen(&[("owner", &owner), ("root", &owner)], "root"), Err(NoLogin::Nobody));
        // Of a single login nothing is to be chosen.
        assert_eq!(chosen(&[("owner", &owner)], "owner"), Err(NoLogin::Nobody));
        assert_eq!(chosen(&[("dba", &dba)], "owner"), Ok("dba"));
        // One user by two ways.
        assert_eq!(chosen(&[("app", &owner), ("app", &dba)], "app"), Ok("app"));
    }
}
