//! What is known of issuers beforehand: how each kind names itself, its people and its workloads.
//!
//! A preset is data and nothing else: the settings that an issuer of that kind begins with. Config can change each of
//! them, and nothing that checks a token knows which preset its settings came from.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::settings::{Algorithm, ClaimMap, IssuerSettings, KEEP_WHEN_AWAY, KeysAt, MAX_CLOCK_SKEW, Tokens, Workloads};

/// What an issuer of one kind begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The word in config.
    pub name: &'static str,
    /// Where its keys are, if that is the same for everybody; `{tenantid}` stands for the tenant.
    pub discovery: Option<&'static str>,
    /// The same for several tenants.
    pub discovery_of_many: Option<&'static str>,
    /// The names that its tokens bear, if they do not follow from where its keys are.
    pub issuers: &'static [&'static str],
    /// Which of its tokens are taken.
    pub tokens: Tokens,
    /// Claims of which each of its access tokens has one, and no ID token has any. None: they cannot be told so.
    pub access_marks: &'static [&'static str],
    /// Who it is, for ever.
    pub subject: &'static str,
    /// The same for workloads, if that is another claim.
    pub workload_subject: Option<&'static str>,
    /// A name for people to read: the first of these.
    pub display: &'static [&'static str],
    /// The e-mail address.
    pub email: &'static str,
    /// Roles.
    pub roles: Option<&'static str>,
    /// Groups.
    pub groups: Option<&'static str>,
    /// What is kept, because rules for this kind of issuer cannot do without.
    pub keep: &'static [&'static str],
    /// Whether all of its tokens are of workloads.
    pub all_workloads: bool,
    /// Claims that mark a workload by their value.
    pub workload: &'static [(&'static str, &'static str)],
    /// Claims that the token of every person has one of.
    pub workload_without: &'static [&'static str],
    /// Claims by which config says whose tokens are meant. An issuer that has some gives a token for any audience to
    /// everybody in the world, unless config names a server of its own.
    pub narrowed_by: &'static [&'static str],
    /// What must be in the address of its discovery document, and why.
    pub address_has: Option<(&'static str, &'static str)>,
}

const OIDC: Preset = Preset {
    name: "oidc",
    discovery: None,
    discovery_of_many: None,
    issuers: &[],
    tokens: Tokens::Access,
    access_marks: &[],
    subject: "sub",
    workload_subject: None,
    display: &["preferred_username", "upn", "email", "name"],
    email: "email",
    roles: Some("roles"),
    groups: Some("groups"),
    keep: &[],
    all_workloads: false,
    workload: &[],
    workload_without: &[],
    narrowed_by: &[],
    address_has: None,
};

/// Tokens of version 1 and 2; which of them an application gets is a setting of its registration. `sub` differs from one
/// application to the next; `oid` is the same person or service in the tenant. Tokens of an application's own have no scope.
const ENTRA: Preset = Preset {
    name: "entra",
    discovery: Some("https://login.microsoftonline.com/{tenantid}/v2.0"),
    discovery_of_many: Some("https://login.microsoftonline.com/organizations/v2.0"),
    issuers: &["https://login.microsoftonline.com/{tenantid}/v2.0", "https://sts.windows.net/{tenantid}/"],
    access_marks: &["azp", "appid"],
    subject: "oid",
    display: &["preferred_username", "upn", "unique_name", "email", "name", "app_displayname"],
    keep: &["tid", "azp", "appid", "xms_mirid"],
    workload: &[("idtyp", "app")],
    workload_without: &["scp"],
    ..OIDC
};

/// Custom authorization servers: the tokens of the organisation's own are for Okta alone. `sub` is the login name, which
/// can change; `uid` cannot, and a token that has none is of the client itself.
const OKTA: Preset = Preset {
    name: "okta",
    access_marks: &["cid"],
    subject: "uid",
    workload_subject: Some("cid"),
    display: &["preferred_username", "name", "email", "sub"],
    keep: &["cid"],
    workload_without: &["uid"],
    address_has: Some((
        "/oauth2/",
        "only custom authorization servers (https://ORGANISATION/oauth2/ID) give tokens that others may check",
    )),
    ..OIDC
};

/// ID tokens: Google's access tokens say nothing to others. Both names are in use.
const GOOGLE: Preset = Preset {
    name: "google",
    discovery: Some("https://accounts.google.com"),
    issuers: &["https://accounts.google.com", "accounts.google.com"],
    tokens: Tokens::Any,
    display: &["email", "name"],
    roles: None,
    groups: None,
    keep: &["hd", "azp"],
    workload: &[("email", "*.gserviceaccount.com")],
    narrowed_by: &["hd", "email", "sub", "azp"],
    ..OIDC
};

/// A repository's name can be given to another after it was; its number cannot. The job is in the claims that are kept.
const GITHUB_ACTIONS: Preset = Preset {
    name: "github-actions",
    discovery: Some("https://token.actions.githubusercontent.com"),
    tokens: Tokens::Any,
    subject: "repository_id",
    display: &["sub"],
    roles: None,
    groups: None,
    keep: &[
        "repository",
        "repository_id",
        "repository_owner_id",
        "ref",
        "ref_protected",
        "environment",
        "event_name",
        "job_workflow_ref",
        "workflow_ref",
        "actor",
        "run_id",
    ],
    all_workloads: true,
    narrowed_by: &[
        "repository_owner_id",
        "repository_id",
        "enterprise_id",
        "repository_owner",
        "repository",
        "enterprise",
    ],
    ..OIDC
};

/// As for GitHub: a project's path can change hands, its number cannot.
const GITLAB: Preset = Preset {
    name: "gitlab",
    discovery: Some("https://gitlab.com"),
    tokens: Tokens::Any,
    subject: "project_id",
    display: &["sub"],
    roles: None,
    groups: None,
    keep: &[
        "project_path",
        "project_id",
        "namespace_id",
        "ref",
        "ref_type",
        "ref_protected",
        "environment",
        "pipeline_source",
        "pipeline_id",
        "job_id",
        "user_login",
    ],
    all_workloads: true,
    narrowed_by: &["namespace_id", "project_id", "namespace_path", "project_path"],
    ..OIDC
};

/// Tokens of service accounts. Their names are what a cluster itself goes by; that of an account which was deleted and made
/// anew is the same, its `uid`, which is kept, is not.
const KUBERNETES: Preset = Preset {
    name: "kubernetes",
    tokens: Tokens::Any,
    display: &["sub"],
    roles: None,
    groups: None,
    keep: &[
        "kubernetes.io.namespace",
        "kubernetes.io.serviceaccount.name",
        "kubernetes.io.serviceaccount.uid",
        "kubernetes.io.pod.name",
        "kubernetes.io.pod.uid",
    ],
    all_workloads: true,
    ..OIDC
};

impl Preset {
    /// All of them; the first is plain OpenID Connect.
    pub const ALL: [Self; 7] = [OIDC, ENTRA, OKTA, GOOGLE, GITHUB_ACTIONS, GITLAB, KUBERNETES];

    /// The preset of that name in config.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.name == name)
    }

    /// Where the keys of an issuer with these tenants are, if config does not say.
    pub fn discovery_for(&self, tenants: &[String]) -> Option<String> {
        match tenants {
            [only] => self.discovery.map(|url| url.replace("{tenantid}", only)),
            _ => self.discovery_of_many.or(self.discovery).map(str::to_owned),
        }
    }

    /// The settings that an issuer of this kind begins with: all but its audience, and its tenants if it has such.
    pub fn settings(&self, name: &str) -> IssuerSettings {
        IssuerSettings {
            name: name.to_owned(),
            issuers: owned(self.issuers),
            tenants: Vec::new(),
            keys: KeysAt::Discovery(self.discovery_for(&[]).unwrap_or_default()),
            keep_when_away: KEEP_WHEN_AWAY,
            audience: Vec::new(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            tokens: self.tokens,
            access_marks: owned(self.access_marks),
            clock_skew: MAX_CLOCK_SKEW,
            max_token_age: None,
            claims: self.claims(),
            require_claims: BTreeMap::new(),
            require_claims_of_workloads: None,
            ca_file: None,
            ends: None,
            introspection: None,
            allow_development: false,
        }
    }

    fn claims(&self) -> ClaimMap {
        let marks = self.workload.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        ClaimMap {
            subject: self.subject.to_owned(),
            workload_subject: self.workload_subject.map(str::to_owned),
            display: owned(self.display),
            email: self.email.to_owned(),
            roles: self.roles.map(str::to_owned),
            groups: self.groups.map(str::to_owned),
            keep: owned(self.keep),
            workloads: Workloads {
                all: self.all_workloads,
                with: marks.collect(),
                without: owned(self.workload_without),
            },
        }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
