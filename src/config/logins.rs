//! Our own logins at a target, and whose each of them is: `[target.NAME] login`.

use super::checks::Folder;
use super::reading::value_if_any;
use super::reading::{Field, Findings, FromToml, Keys, Located, Named, Node, OneOrMany, choice, closest, section};
use super::shown::{TokenSection, Written, shown};
use super::values::{ClaimValue, SecretSection, claim_values};
use super::{Issuer, Login, Whose};
use crate::model::PrincipalKind;

/// Logins of one target: more than anybody tells apart by hand, and few enough to be looked through at each session.
const MAX_LOGINS: usize = 64;

section! {
    /// Our own credentials at the database server.
    LoginSection {
        /// The database user.
        user: Located<String>,
        /// Its password, by reference. Either this or `token`.
        password: Option<Located<SecretSection>>,
        /// An access token that we show for the password.
        token: Option<Located<TokenSection>>,
        /// The least that the database must ask of us before it gets anything. What is stronger is taken as well. With
        /// `token`, "password" is the default and the only choice.
        #[schemars(extend("default" = "scram-sha-256"))]
        require: Option<Located<Require>>,
        /// Whose this login is. Who has none does not get in. Default: everybody's.
        whose: Option<Located<WhoseSection>>,
    }
}

section! {
    /// Of whom a login is: who fits every key that is written.
    #[derive(Default)]
    WhoseSection {
        /// Who has one of these roles, as the claim has them that [identity.NAME] names.
        roles: Option<Located<OneOrMany<String>>>,
        /// Who is in one of these groups, as the claim has them that [identity.NAME] names.
        groups: Option<Located<OneOrMany<String>>>,
        /// Who has one of these subjects. Those of other issuers may be the same, so say `issuers` too where there are several.
        subjects: Option<Located<OneOrMany<String>>>,
        /// Whose token is of one of these issuers, by their names here.
        issuers: Option<Located<OneOrMany<String>>>,
        /// What acts.
        kind: Option<Located<Kind>>,
        /// Who has, for each of these claims, one of these values. Each is one that an [identity.NAME] keeps.
        claims: Option<Located<Named<OneOrMany<ClaimValue>>>>,
    }
}

choice! {
    /// What acts.
    pub(super) Kind {
        /// People.
        Person = "person",
        /// Jobs, pods, services.
        Workload = "workload",
    }
}

choice! {
    /// The least that a database must ask of us at the login.
    pub Require {
        /// Anything, also nothing: it is not known who is there but by TLS.
        Any = "any",
        /// The password itself, over TLS only.
        Password = "password",
        /// An MD5 hash of the password.
        Md5 = "md5",
        /// A proof that the password is known, for a proof of the database's own.
        ScramSha256 = "scram-sha-256",
        /// The same, bound to the TLS connection: nobody can stand in between.
        ScramSha256Plus = "scram-sha-256-plus",
    }
}

/// The logins of a target; at least one.
pub(super) fn logins(
    section: Located<OneOrMany<LoginSection>>,
    (issuers, is_plain, folder): (Option<&[Issuer]>, bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Vec<Login>> {
    if section.value.as_ref().is_some_and(|logins| logins.0.len() > MAX_LOGINS) {
        section.refuse(format_args!("has more than {MAX_LOGINS} logins"), findings);
    }
    let (at, name) = (section.at, section.name);
    // Each is looked at before the first bad one ends it.
    let read: Vec<_> =
        section.value?.0.into_iter().map(|one| login(one, (issuers, is_plain, folder), findings)).collect();
    let read = read.into_iter().collect::<Option<Vec<Login>>>()?;
    let hidden = read.iter().enumerate().find(|(number, login)| {
        let mut before = read.iter().take(*number);
        before.any(|other| other.user == login.user && other.whose == Whose::default())
    });
    if let Some((_, login)) = hidden {
        let user = login.user.escape_debug();
        findings
            .note(&at, format!("{name}: an earlier login as \"{user}\" is everybody's, so a later one is never used"));
    }
    Some(read)
}

fn login(
    section: LoginSection,
    (issuers, is_plain, folder): (Option<&[Issuer]>, bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Login> {
    let LoginSection { user, password, token, require, whose } = section;
    let whose = match whose {
        None => Some(Whose::default()),
        Some(section) => whose_it_is(section, issuers, findings),
    };
    let name = user.name.strip_suffix(".user").unwrap_or(&user.name);
    let written = Written { password, token, require, login: (&user.at, name) };
    let (proof, require) = shown(written, (is_plain, folder), findings)?;
    Some(Login { user: user.value?, proof, require, whose: whose? })
}

fn whose_it_is(section: Located<WhoseSection>, issuers: Option<&[Issuer]>, findings: &mut Findings) -> Option<Whose> {
    let (at, name) = (section.at, section.name);
    let section = section.value?;
    let issuers = issuers.unwrap_or_default();
    let all = |key: &str| format!("{name}.{key}");
    let has = |of: fn(&Issuer) -> bool| issuers.is_empty() || issuers.iter().any(of);
    for (key, is_written, is_known) in [
        ("roles", section.roles.is_some(), has(|issuer| issuer.settings.claims.roles.is_some())),
        ("groups", section.groups.is_some(), has(|issuer| issuer.settings.claims.groups.is_some())),
    ] {
        if is_written && !is_known {
            findings.note(&at, format!("{}: no [identity.NAME] says which claim holds {key}", all(key)));
        }
    }
    let named = |named: OneOrMany<String>| {
        let known: Vec<&str> = issuers.iter().map(|issuer| issuer.settings.name.as_str()).collect();
        match named.0.iter().find(|name| !known.is_empty() && !known.contains(&name.as_str())) {
            Some(unknown) => {
                let advice = closest(unknown, &known).map(|meant| format!("; did you mean \"{meant}\"?"));
                Err(format!("there is no [issuer.{}]{}", unknown.escape_debug(), advice.unwrap_or_default()))
            }
            None => Ok(named.0),
        }
    };
    let by_issuers = match section.issuers {
        Some(issuers) => issuers.try_map(named, findings).value,
        None => Some(Vec::new()),
    };
    let claims = value_if_any(section.claims)?.unwrap_or_else(|| Named(Default::default()));
    for (claim, value) in &claims.0 {
        if !has_kept(issuers, claim) {
            value.refuse("no [identity.NAME] keeps this claim; add it to `keep`", findings);
        }
    }
    let texts =
        |texts: Option<Located<OneOrMany<String>>>| Some(value_if_any(texts)?.map_or_else(Vec::new, |all| all.0));
    let whose = Whose {
        roles: texts(section.roles)?,
        groups: texts(section.groups)?,
        subjects: texts(section.subjects)?,
        issuers: by_issuers?,
        kind: value_if_any(section.kind)?.map(|kind| match kind {
            Kind::Person => PrincipalKind::Person,
            Kind::Workload => PrincipalKind::Workload,
        }),
        claims: claim_values(claims)?,
    };
    if whose == Whose::default() {
        findings.note(&at, format!("{name}: says nothing; leave it out for a login that is everybody's"));
    }
    Some(whose)
}

fn has_kept(issuers: &[Issuer], claim: &str) -> bool {
    let keeps = |issuer: &Issuer| issuer.settings.claims.keep.iter().any(|kept| kept == claim);
    issuers.is_empty() || issuers.iter().any(keeps)
}
