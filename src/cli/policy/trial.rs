//! A statement put to rules without a database: who asks, where, when, and what the rules say.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::identity::{self, ClaimMap, IssuerSettings, Preset};
use crate::model::{ClientCertificate, Facts, Principal, SqlText, Timestamp};
use crate::policy::{Moment, Place};
use crate::sql;

/// How long a made-up token lives.
const LIFE_SECONDS: i64 = 3_600;

/// What claims mean here: as the configuration says, or the usual names.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Claims {
    issuers: Option<Vec<IssuerSettings>>,
}

impl Claims {
    /// As this configuration says; without one, the usual names (`sub`, `roles`, `groups`, `email`), and every claim is
    /// kept.
    pub(in crate::cli) fn of(config: Option<&Config>) -> Self {
        Self { issuers: config.map(|config| config.issuers.iter().map(|issuer| issuer.settings.clone()).collect()) }
    }

    /// Whom a token with these claims names, by the code that reads real ones. What no rule looks at is filled in: the
    /// issuer if it is not there and there is one only, and the time, because whether a token has ended is not the question.
    ///
    /// # Errors
    ///
    /// Why such a token would be refused, or that nobody can tell whose it is.
    pub(in crate::cli) fn principal(
        &self,
        given: &Map<String, Value>,
        now: Timestamp,
        age_seconds: i64,
    ) -> Result<Principal, String> {
        let (settings, iss) = match &self.issuers {
            Some(issuers) => issuer_of(issuers, given)?,
            None => usual(given),
        };
        let mut claims = given.clone();
        claims.insert("iss".to_owned(), json!(iss));
        let issued = now.seconds().saturating_sub(age_seconds);
        claims.insert("iat".to_owned(), json!(issued));
        claims.insert("exp".to_owned(), json!(now.seconds().saturating_add(LIFE_SECONDS)));
        claims.remove("nbf");
        identity::named_by(&claims, &settings, now).map_err(|refusal| format!("{refusal} ({})", refusal.detail))
    }
}

/// The issuer that the claims name, or the only one; and the name that it has in the token.
fn issuer_of(issuers: &[IssuerSettings], claims: &Map<String, Value>) -> Result<(IssuerSettings, String), String> {
    let accepted = |issuer: &IssuerSettings| issuer.accepted();
    match (claims.get("iss").and_then(Value::as_str), issuers) {
        (Some(iss), _) => {
            let found = issuers.iter().find(|issuer| accepted(issuer).iter().any(|name| name == iss));
            found.map(|issuer| (issuer.clone(), iss.to_owned())).ok_or_else(|| {
                let all: Vec<String> = issuers.iter().flat_map(accepted).collect();
                format!("no issuer has the name in `iss`; there are {}", all.join(", "))
            })
        }
        (None, [only]) => Ok((only.clone(), accepted(only).into_iter().next().unwrap_or_default())),
        (None, _) => {
            let all: Vec<String> = issuers.iter().flat_map(accepted).collect();
            Err(format!("`iss` is missing, and there are several issuers: {}", all.join(", ")))
        }
    }
}

/// An issuer that calls itself as the claims do, whose claims mean the usual and are all kept.
fn usual(claims: &Map<String, Value>) -> (IssuerSettings, String) {
    let iss = claims.get("iss").and_then(Value::as_str).unwrap_or("https://issuer.example").to_owned();
    let [plain, ..] = Preset::ALL;
    let settings = IssuerSettings {
        issuers: vec![iss.clone()],
        claims: ClaimMap { keep: claims.keys().cloned().collect(), ..ClaimMap::default() },
        ..plain.settings("tried")
    };
    (settings, iss)
}

/// Where and when, beside who.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) place: Place,
    pub(super) client: IpAddr,
    pub(super) application: Option<String>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) transaction: char,
    pub(super) now: Timestamp,
    pub(super) token_age_seconds: i64,
}

impl Surroundings {
    /// A client whose address nobody gave.
    pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            client: self.client,
            application: self.application.clone(),
            client_certificate: self.client_certificate.clone(),
            transaction: self.transaction,
            token_age_seconds: self.token_age_seconds,
        }
    }
}

/// What a text does.
pub(super) fn facts(text: &str, spoken: Spoken) -> Facts {
    let dialect = match spoken {
        Spoken::Postgresql => sql::Dialect::PostgreSql,
        Spoken::Mysql => sql::Dialect::MySql,
        Spoken::Tsql => sql::Dialect::TSql,
    };
    sql::read(&SqlText::from(text), dialect)
}

/// Which SQL a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Spoken {
    /// PostgreSQL
    #[default]
    Postgresql,
    /// MySQL and MariaDB; not served yet
    Mysql,
    /// SQL Server and Azure SQL; not served yet
    Tsql,
}

/// A moment as people write it.
///
/// # Errors
///
/// It is none.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let read = chrono::DateTime::parse_from_rfc3339(text);
    let words = |error| format!("`{text}` is no time such as 2026-11-24T09:30:00Z: {error}");
    read.map(|time| Timestamp(time.timestamp_micros())).map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_name_somebody_as_a_token_would_and_what_no_rule_asks_for_is_filled_in() {
        let now = Timestamp::from_seconds(1_795_512_766);
        let claims = |value: Value| value.as_object().unwrap().clone();
        let given =
            claims(json!({"sub": "u-1", "roles": ["analyst"], "team": "x", "exp": 7, "nbf": 99_999_999_999_i64}));
        let who = Claims::of(None).principal(&given, now, 60).unwrap();
        assert_eq!((who.subject.as_str(), who.roles.as_slice()), ("u-1", ["analyst".to_owned()].as_slice()));
        assert_eq!((who.issuer.as_str(), who.claims.get("team")), ("https://issuer.example", Some(&json!("x"))));
        assert_eq!(who.token.issued, Some(Timestamp::from_seconds(1_795_512_706)));
        let refused = Claims::of(None).principal(&claims(json!({"roles": []})), now, 0).unwrap_err();
        assert!(refused.contains("lacks the claim") && refused.contains("sub"), "{refused}");
        let refused = Claims::of(None).principal(&claims(json!({"sub": "a", "roles": 7})), now, 0).unwrap_err();
        assert!(refused.contains("roles"), "{refused}");
    }

    #[test]
    fn of_several_issuers_the_claims_say_whose_they_are() {
        let issuer = |name: &str| IssuerSettings {
            issuers: vec![format!("https://{name}.example")],
            claims: ClaimMap { subject: format!("{name}_id"), ..ClaimMap::default() },
            ..Preset::ALL[0].settings(name)
        };
        let claims = Claims { issuers: Some(vec![issuer("a"), issuer("b")]) };
        let asked = |given: Value| claims.principal(given.as_object().unwrap(), Timestamp::from_seconds(0), 0);
        let who = asked(json!({"iss": "https://b.example", "a_id": "1", "b_id": "2"})).unwrap();
        assert_eq!((who.issuer.as_str(), who.subject.as_str()), ("https://b.example", "2"));
        for refused in [json!({"a_id": "1"}), json!({"iss": "https://c.example", "a_id": "1"})] {
            assert!(asked(refused).unwrap_err().ends_with("https://a.example, https://b.example"));
        }
        let only = Claims { issuers: Some(vec![issuer("a")]) };
        let given = json!({"a_id": "1"});
        let who = only.principal(given.as_object().unwrap(), Timestamp::from_seconds(0), 0).unwrap();
        assert_eq!(who.issuer, "https://a.example");
    }

    #[test]
    fn a_text_is_read_in_the_dialect_that_was_asked_for() {
        let text = "SELECT 1 DELETE FROM `t`";
        let problem = |spoken| facts(text, spoken).problem;
        assert!(problem(Spoken::Postgresql).is_some() && problem(Spoken::Mysql).is_some());
        let read = facts("SELECT 1 DELETE FROM [t]", Spoken::Tsql);
        assert_eq!((read.problem, read.statement_count), (None, 2));
        assert_eq!(facts("SELECT `a` FROM `t`", Spoken::Mysql).problem, None);
    }

    #[test]
    fn a_moment_is_read_and_nonsense_is_not() {
        assert_eq!(moment("2026-11-24T09:32:46Z"), Ok(Timestamp::from_seconds(1_795_512_766)));
        assert_eq!(moment("2026-11-24T10:32:46+01:00"), Ok(Timestamp::from_seconds(1_795_512_766)));
        assert!(moment("tomorrow").unwrap_err().contains("tomorrow"));
    }
}
