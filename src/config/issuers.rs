//! Who may vouch for people and workloads: `[issuer.NAME]` and `[identity.NAME]`, over what is known of issuers of that kind
//! ([`identity::Preset`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use toml::de::DeValue;

use super::checks::{Folder, refuse_bad_names};
use super::ended::{EndsSection, IntrospectionSection, ends, introspection};
use super::reading::{
    Field, Findings, FromToml, Keys, Located, Named, Node, OneOrMany, Place, choice, section, value_if_any, value_or,
};
use super::sign_in::{ClientSection, client};
use super::units::{Age, duration_text};
use super::urls::web;
use super::values::{ClaimValue, claim_values};
use super::{ClientToken, Issuer};
use crate::identity::{ClaimMap, IssuerSettings, KeysAt, MAX_CLOCK_SKEW, Preset, Tokens, Workloads};

/// Nobody's issuer is away for longer and still to be believed.
const KEEP_KEYS_AT_MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

section! {
    /// An issuer of tokens, and how its tokens are checked. The token's `iss` says which of several it is from.
    IssuerSection {
        /// The kind of issuer: what is not written here and in its [identity.NAME] is as that kind has it.
        #[schemars(extend("default" = "oidc"))]
        preset: Option<Located<PresetName>>,
        /// Where its keys are found: the discovery document is read from `/.well-known/openid-configuration` under this URL.
        /// https, except on loopback. Without `issuer` it is also the issuer's name in its tokens. The presets "entra", "google",
        /// "github-actions" and "gitlab" have one.
        discovery: Option<Located<String>>,
        /// JWKS file with its keys, instead of `discovery`, for an issuer that cannot be asked. It is read again when it was
        /// changed; one that cannot be read leaves the keys as they were, for as long as `keep_keys`.
        jwks_file: Option<Located<PathBuf>>,
        /// The issuer's name in its tokens (`iss`), to the letter, where that is not the URL in `discovery`. Of several names of
        /// one issuer, records and rules have the first. `{tenantid}` stands for each of `tenants`.
        issuer: Option<Located<OneOrMany<String>>>,
        /// The tenants whose tokens are taken, by their identifiers, of an issuer that has several; the preset "entra" needs it.
        tenants: Option<Located<OneOrMany<String>>>,
        /// Whom a token must be meant for.
        audience: Located<OneOrMany<String>>,
        /// The signatures that are accepted; asymmetric ones only.
        #[schemars(extend("default" = ["RS256", "ES256"]))]
        algorithms: Option<Located<OneOrMany<Algorithm>>>,
        /// Which tokens sign somebody in, of those for this audience. Default: "access"; "any" where `client` has the ID token
        /// for the password, and for presets whose tokens are no access tokens ("google", "github-actions", "gitlab",
        /// "kubernetes").
        tokens: Option<Located<TokensChoice>>,
        /// Claims that a token must have with exactly this value, or one of these. The presets "google", "github-actions" and
        /// "gitlab" need one here that says whose tokens are meant: their issuers give everybody a token for any audience.
        require_claims: Option<Located<Named<OneOrMany<ClaimValue>>>>,
        /// The same for the tokens of workloads, instead. Default: as for everybody.
        require_claims_of_workloads: Option<Located<Named<OneOrMany<ClaimValue>>>>,
        /// How long after it was issued a token is still taken, however long it says it lives. Default: as it says.
        max_token_age: Option<Located<Age>>,
        /// How far the issuer's clock and ours may be apart; at most 60s.
        #[schemars(extend("default" = "60s"))]
        clock_skew: Option<Located<Age>>,
        /// How long its keys are used past their time while it is away; then nobody of it is let in until it is back. At most
        /// 30d. Keys are asked for again when the issuer says, 5 minutes to a day after they were.
        #[schemars(extend("default" = "1d"))]
        keep_keys: Option<Located<Age>>,
        /// PEM file of the authorities that may vouch for the issuer's own server. Default: the system's.
        ca_file: Option<Located<PathBuf>>,
        /// The public client that people sign in by, with `hansard login`. Default: none; people bring their tokens.
        client: Option<Located<ClientSection>>,
        /// How the issuer says that access ended, at the address in [sign_in]: logout tokens (OpenID Connect Back-Channel Logout)
        /// at /logout, security events (CAEP and RISC, pushed by RFC 8935) at /events. Sessions that they name end at once, and
        /// tokens that were issued before let nobody in any more. Default: it is not listened to.
        ends: Option<Located<EndsSection>>,
        /// How the issuer is asked whether its tokens still hold. Default: it is not asked.
        introspection: Option<Located<IntrospectionSection>>,
    }
}

choice! {
    /// A kind of issuer.
    pub(super) PresetName {
        /// Any that speaks OpenID Connect.
        Oidc = "oidc",
        /// Microsoft Entra ID: tokens of version 1 and 2 for an application of your own. Needs `tenants`.
        Entra = "entra",
        /// A custom authorization server of Okta.
        Okta = "okta",
        /// ID tokens of Google, of people in a Workspace domain (`hd`) and of service accounts.
        Google = "google",
        /// Jobs of GitHub Actions.
        GithubActions = "github-actions",
        /// Jobs of GitLab.
        Gitlab = "gitlab",
        /// Service accounts of a Kubernetes cluster.
        Kubernetes = "kubernetes",
    }
}

choice! {
    /// Which tokens sign somebody in.
    pub(super) TokensChoice {
        /// Access tokens: what can be told to be an ID token is refused.
        Access = "access",
        /// Access tokens whose header says so (`at+jwt`, RFC 9068).
        AtJwt = "at+jwt",
        /// All.
        Any = "any",
    }
}

choice! {
    /// A signature that a token may bear.
    pub(super) Algorithm {
        /// RSA PKCS#1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// RSA PKCS#1 v1.5 with SHA-384.
        Rs384 = "RS384",
        /// RSA PKCS#1 v1.5 with SHA-512.
        Rs512 = "RS512",
        /// RSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

section! {
    /// Which claims of a token say who somebody is; the defaults are those of plain OpenID Connect, a preset may have others.
    #[derive(Default)]
    IdentitySection {
        /// The claim that names somebody for ever: stable, never given to another.
        #[schemars(extend("default" = "sub"))]
        subject: Option<Located<String>>,
        /// The same in tokens of workloads, whose values must never be those of a person. Default: the same claim.
        workload_subject: Option<Located<String>>,
        /// The claims to show people; the first that is there is taken.
        #[schemars(extend("default" = ["preferred_username", "upn", "email", "name"]))]
        display: Option<Located<OneOrMany<String>>>,
        /// The claim with the mail address; not believed where `email_verified` is false.
        #[schemars(extend("default" = "email"))]
        email: Option<Located<String>>,
        /// The claim with the roles.
        #[schemars(extend("default" = "roles"))]
        roles: Option<Located<String>>,
        /// The claim with the groups.
        #[schemars(extend("default" = "groups"))]
        groups: Option<Located<String>>,
        /// Claims that are stored with every session and shown to the rules. A step further in is written with a dot, as in
        /// "kubernetes.io.namespace". Default: none, or those that rules for issuers of the preset's kind are made of.
        keep: Option<Located<OneOrMany<String>>>,
        /// Which tokens are of workloads and not of persons: true, false, or claims with the value, or one of the values, that
        /// marks one, where * at the beginning stands for anything: { email = "*.gserviceaccount.com" }.
        #[schemars(extend("default" = false))]
        workload: Option<Located<WorkloadChoice>>,
        /// Claims of which every person's token has one: a token with none of them is of a workload. Default: none.
        workload_without: Option<Located<OneOrMany<String>>>,
    }
}

/// Which tokens are of workloads.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum WorkloadChoice {
    All(bool),
    Marked(Named<OneOrMany<ClaimValue>>),
}

impl FromToml for WorkloadChoice {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::Boolean(all) => Some(Self::All(*all)),
            DeValue::Table(_) => Named::read(node, findings).map(Self::Marked),
            _ => node.refuse("true, false or { claim = value }", findings),
        }
    }
}

/// Every issuer, with what its claims mean.
pub(super) fn issuers(
    issuers: Located<Named<IssuerSection>>,
    identities: Option<Located<Named<IdentitySection>>>,
    (has_door, folder): (bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Vec<Issuer>> {
    let identities = match identities {
        None => Some(BTreeMap::new()),
        Some(identities) => identities.value.map(|identities| identities.0),
    };
    let mut identities = identities.unwrap_or_default();
    let named = issuers.value?;
    refuse_bad_names(&named, findings);
    if named.0.is_empty() {
        findings.note(&issuers.at, "the section [issuer.NAME] is missing");
    }
    for (name, identity) in &identities {
        if !named.0.contains_key(name) {
            identity.refuse(format_args!("there is no [issuer.{name}]"), findings);
        }
    }
    let mut read = Vec::new();
    for (name, section) in named.0 {
        let identity = identities.remove(&name);
        read.push(one(&name, section, identity, (has_door, folder), findings));
    }
    let read: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    refuse_shared_names(&read, findings);
    Some(read.into_iter().map(|(issuer, _)| issuer).collect())
}

/// An issuer, and where it stands.
type Placed = (Issuer, (Place, String));

fn one(
    name: &str,
    section: Located<IssuerSection>,
    identity: Option<Located<IdentitySection>>,
    (has_door, folder): (bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Placed> {
    let place = (section.at, section.name);
    let identity = identity.map_or_else(|| Some(IdentitySection::default()), |identity| identity.value);
    let mut section = section.value?;
    let found_before = findings.len();
    within_reason(&section, findings);
    let client = client(&mut section, findings);
    let ends = ends(section.ends.take(), client.as_ref().and_then(Option::as_ref), (has_door, folder), findings);
    let is_file = section.jwks_file.is_some();
    let introspection = introspection(section.introspection.take(), (is_file, folder), findings);
    let preset = Preset::named(value_or(section.preset.clone(), PresetName::Oidc)?.as_str())?;
    narrowed(preset, &section, &place, findings);
    let (tenants, issuers) = (value_if_any(section.tenants), value_if_any(section.issuer));
    let given = (section.discovery, section.jwks_file);
    let keys = keys(preset, given, tenants.as_ref()?.as_ref(), &place, folder, findings);
    let client = client?;
    let by_id_token = client.as_ref().is_some_and(|client| client.token == ClientToken::Id);
    let begun = preset.settings(name);
    let tokens = if by_id_token { Tokens::Any } else { begun.tokens };
    let settings = IssuerSettings {
        issuers: issuers?.map_or(begun.issuers, |issuers| issuers.0),
        tenants: tenants?.map_or(begun.tenants, |tenants| tenants.0),
        keys: keys?,
        keep_when_away: value_or(section.keep_keys, Age(begun.keep_when_away))?.0,
        audience: section.audience.value?.0,
        algorithms: value_if_any(section.algorithms)?.map_or(begun.algorithms, known),
        tokens: value_if_any(section.tokens)?.map_or(tokens, taken),
        clock_skew: value_or(section.clock_skew, Age(begun.clock_skew))?.0,
        max_token_age: value_if_any(section.max_token_age)?.map(|Age(age)| age),
        claims: claims(identity?, begun.claims)?,
        require_claims: value_if_any(section.require_claims)?.map_or(Some(BTreeMap::new()), claim_values)?,
        require_claims_of_workloads: match value_if_any(section.require_claims_of_workloads)? {
            None => None,
            Some(required) => Some(claim_values(required)?),
        },
        ca_file: value_if_any(section.ca_file)?.map(|path| folder.path(path)),
        ends: None,
        ..begun
    };
    let settings = IssuerSettings { ends: ends?.map(|told| told.by(&settings.keys)), ..settings };
    if findings.len() == found_before {
        for problem in settings.problems() {
            findings.note(&place.0, format!("{}.{}: {}", place.1, problem.key, problem.sentence));
        }
    }
    Some((Issuer { settings, client, introspection: introspection? }, place))
}

/// Notes values that are out of their bounds.
fn within_reason(section: &IssuerSection, findings: &mut Findings) {
    let at_most = [(&section.clock_skew, MAX_CLOCK_SKEW), (&section.keep_keys, KEEP_KEYS_AT_MOST)];
    for (age, most) in at_most.into_iter().filter_map(|(age, most)| Some((age.as_ref()?, most))) {
        if age.value.is_some_and(|Age(age)| age > most) {
            age.refuse(format_args!("must be at most {}", duration_text(most)), findings);
        }
    }
    if let Some(age) = section.max_token_age.as_ref().filter(|age| age.value == Some(Age(Duration::ZERO))) {
        age.refuse("must be more than nothing", findings);
    }
}

/// Notes an issuer that gives everybody a token for our audience, of which nobody said whose tokens are meant.
fn narrowed(preset: &Preset, section: &IssuerSection, (at, name): &(Place, String), findings: &mut Findings) {
    if preset.narrowed_by.is_empty() || section.discovery.is_some() {
        return;
    }
    let is_wide = |claims: &Located<Named<OneOrMany<ClaimValue>>>| {
        let named = claims.value.as_ref().map(|claims| claims.0.keys());
        named.is_some_and(|mut named| !named.any(|claim| preset.narrowed_by.contains(&claim.as_str())))
    };
    let of_workloads = section.require_claims_of_workloads.as_ref().is_some_and(is_wide);
    for (key, is_wide) in [
        ("require_claims", section.require_claims.as_ref().is_none_or(is_wide)),
        ("require_claims_of_workloads", of_workloads),
    ] {
        if !is_wide {
            continue;
        }
        let by = preset.narrowed_by.join(", ");
        let everybody = "everybody can get a token of this issuer for your audience; say whose are meant, by one of";
        findings.note(at, format!("{name}.{key}: {everybody} {by}"));
    }
}

fn keys(
    preset: &Preset,
    (discovery, jwks_file): (Option<Located<String>>, Option<Located<PathBuf>>),
    tenants: Option<&OneOrMany<String>>,
    (at, name): &(Place, String),
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<KeysAt> {
    match (discovery, jwks_file) {
        (Some(discovery), None) => {
            let fits = |url: String| {
                web(&url)?;
                let misses = preset.address_has.filter(|(part, _)| !url.contains(part));
                misses.map_or(Ok(KeysAt::Discovery(url)), |(_, why)| Err(why))
            };
            discovery.try_map(fits, findings).value
        }
        (None, Some(file)) => Some(KeysAt::File(folder.path(file.value?))),
        (Some(_), Some(file)) => {
            file.refuse("the keys are found by `discovery` or in this file, not both", findings);
            None
        }
        (None, None) => {
            let tenants = tenants.map_or(&[][..], |tenants| tenants.0.as_slice());
            let known = preset.discovery_for(tenants).map(KeysAt::Discovery);
            if known.is_none() {
                findings.note(at, format!("{name}: the key \"discovery\" is missing"));
            }
            known
        }
    }
}

fn known(algorithms: OneOrMany<Algorithm>) -> Vec<crate::identity::Algorithm> {
    algorithms.0.into_iter().filter_map(|algorithm| algorithm.as_str().parse().ok()).collect()
}

fn taken(tokens: TokensChoice) -> Tokens {
    match tokens {
        TokensChoice::Access => Tokens::Access,
        TokensChoice::AtJwt => Tokens::AtJwt,
        TokensChoice::Any => Tokens::Any,
    }
}

fn claims(section: IdentitySection, begun: ClaimMap) -> Option<ClaimMap> {
    let marked = match value_if_any(section.workload)? {
        None => begun.workloads,
        Some(WorkloadChoice::All(all)) => Workloads { all, ..Workloads::default() },
        Some(WorkloadChoice::Marked(marks)) => Workloads { with: claim_values(marks)?, ..Workloads::default() },
    };
    let without = value_if_any(section.workload_without)?.map_or(marked.without, |claims| claims.0);
    let workload_subject = value_if_any(section.workload_subject)?;
    let subject_is_given = section.subject.is_some();
    Some(ClaimMap {
        subject: value_or(section.subject, begun.subject)?,
        // Whoever names the subject means that of everybody.
        workload_subject: workload_subject.or(begun.workload_subject.filter(|_| !subject_is_given)),
        display: value_if_any(section.display)?.map_or(begun.display, |display| display.0),
        email: value_or(section.email, begun.email)?,
        roles: value_if_any(section.roles)?.or(begun.roles),
        groups: value_if_any(section.groups)?.or(begun.groups),
        keep: value_if_any(section.keep)?.map_or(begun.keep, |keep| keep.0),
        workloads: Workloads { without, ..marked },
    })
}

/// Notes issuers whose tokens could not be told apart.
fn refuse_shared_names(read: &[Placed], findings: &mut Findings) {
    let mut owners = BTreeMap::new();
    for (Issuer { settings, .. }, (at, name)) in read {
        for iss in settings.accepted() {
            if let Some(first) = owners.insert(iss.clone(), &settings.name)
                && *first != settings.name
            {
                findings.note(
                    at,
                    format!("{name}: its tokens say that they are from {iss}, as those of issuer.{first} do"),
                );
            }
        }
    }
}
