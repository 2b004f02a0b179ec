//! The names that an issuer's tokens bear (`iss`), and whose tokens of it are taken.
//!
//! Every accepted name is written out before a token comes: a name is looked up as it is, to the letter, and nothing is
//! asked of anybody for one that is not among them.

use super::discovery::discovery_url;
use super::settings::{IssuerSettings, KeysAt, SettingsProblem};

/// Where the tenant stands in a name, as Entra writes it in the documents of its many tenants.
const TENANT: &str = "{tenantid}";

/// An `iss` that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// To the letter.
    pub(super) iss: String,
    /// The tenant that it is of, which the token must name as well.
    pub(super) tenant: Option<String>,
    /// The first name of the same issuer and tenant. Principals bear it, so that nobody is somebody else for having been
    /// given a token of another form.
    pub(super) known_as: String,
}

impl IssuerSettings {
    /// The names of the issuer that are accepted, to the letter.
    pub fn accepted(&self) -> Vec<String> {
        self.names().into_iter().map(|name| name.iss).collect()
    }

    /// Every name that is accepted.
    pub(super) fn names(&self) -> Vec<Name> {
        let templates = self.templates();
        let Some(first) = templates.first() else { return Vec::new() };
        if !templates.iter().any(|template| template.contains(TENANT)) {
            let name = |iss: &String| Name { iss: iss.clone(), tenant: None, known_as: first.clone() };
            return templates.iter().map(name).collect();
        }
        let of_tenant = |tenant: &String| {
            let filled = |template: &String| template.replace(TENANT, tenant);
            let (known_as, tenant) = (filled(first), tenant.clone());
            let name = move |iss: String| Name { iss, tenant: Some(tenant.clone()), known_as: known_as.clone() };
            templates.iter().map(filled).map(name).collect::<Vec<_>>()
        };
        self.tenants.iter().flat_map(of_tenant).collect()
    }

    /// What a discovery document may call the issuer: an accepted name, or the form that all tenants share.
    pub(super) fn names_in_documents(&self) -> Vec<String> {
        self.names().into_iter().map(|name| name.iss).chain(self.templates()).collect()
    }

    /// The names as config gives them; without any, the one by which the discovery document is found.
    fn templates(&self) -> Vec<String> {
        match &self.keys {
            KeysAt::Discovery(url) if self.issuers.is_empty() => {
                discovery_url(url).map(|(issuer, _)| issuer).into_iter().collect()
            }
            _ => self.issuers.clone(),
        }
    }

    /// What is wrong with the names.
    pub(super) fn problems_of_names(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        let mut problem = |key, sentence: &str| problems.push(SettingsProblem { key, sentence: sentence.to_owned() });
        if self.issuers.is_empty() && matches!(self.keys, KeysAt::File(_)) {
            problem("issuer", "with `jwks_file`, the `iss` of the tokens is needed");
        }
        // In rules a principal is `issuer|subject`; what is before the first bar must be the issuer, whatever comes after.
        if self.templates().iter().any(|name| name.is_empty() || name.contains('|')) {
            problem("issuer", "a name is not empty and has no `|`");
        }
        let open = self.templates().iter().filter(|name| name.contains(TENANT)).count();
        match (open, self.tenants.is_empty()) {
            (0, false) => problem("tenants", "no name in `issuer` has a place for a tenant, `{tenantid}`"),
            (1.., true) => problem("tenants", "at least one tenant is needed: whose tokens are taken is written out"),
            (open, false) if open < self.templates().len() => {
                problem("issuer", "either all names have a place for the tenant, `{tenantid}`, or none");
            }
            _ => {}
        }
        let plain = |tenant: &String| {
            !tenant.is_empty() && tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        };
        if !self.tenants.iter().all(plain) {
            problem("tenants", "a tenant is its identifier, such as \"8b1c7a52-3f0e-4a57-9a51-6f0f3c0de001\"");
        }
        problems
    }
}

/// Whether a key that bears the name of an issuer may sign for these names of one tenant. Entra publishes the keys of all
/// its tenants together, and says of each in whose name it signs.
pub(super) fn may_sign(key_issuer: &str, tenant: &str, names: &[Name]) -> bool {
    let meant = key_issuer.replace(TENANT, tenant);
    names.iter().any(|name| name.tenant.as_deref() == Some(tenant) && name.iss == meant)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn settings(issuers: &[&str], tenants: &[&str]) -> IssuerSettings {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        IssuerSettings { issuers: owned(issuers), tenants: owned(tenants), ..fixtures::settings() }
    }

    fn iss(settings: &IssuerSettings) -> Vec<(String, String)> {
        settings.names().into_iter().map(|name| (name.iss, name.known_as)).collect()
    }

    fn pair(iss: &str, known_as: &str) -> (String, String) {
        (iss.to_owned(), known_as.to_owned())
    }

    #[test]
    fn an_issuer_is_known_by_its_first_name_whichever_a_token_bears() {
        assert_eq!(iss(&settings(&[], &[])), [pair(fixtures::ISSUER, fixtures::ISSUER)]);
        assert_eq!(iss(&settings(&["a", "b"], &[])), [pair("a", "a"), pair("b", "a")]);
        let tenants = settings(&["v2/{tenantid}/", "v1/{tenantid}/"], &["t1", "t2"]);
        let expected =
            [pair("v2/t1/", "v2/t1/"), pair("v1/t1/", "v2/t1/"), pair("v2/t2/", "v2/t2/"), pair("v1/t2/", "v2/t2/")];
        assert_eq!(iss(&tenants), expected);
        assert_eq!(tenants.names_in_documents().len(), 6);
    }

    #[test]
    fn names_and_tenants_fit_together_or_it_is_told() {
        let keys = |issuers: &[&str], tenants: &[&str]| {
            settings(issuers, tenants).problems_of_names().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&["a/{tenantid}"], &["t"]), [""; 0]);
        assert_eq!(keys(&["a/{tenantid}"], &[]), ["tenants"]);
        assert_eq!(keys(&["a"], &["t"]), ["tenants"]);
        assert_eq!(keys(&["a/{tenantid}", "b"], &["t"]), ["issuer"]);
        assert_eq!(keys(&["a|b"], &[]), ["issuer"]);
        for bad in ["", "a/b", "{tenantid}", "*", "a b"] {
            assert_eq!(keys(&["a/{tenantid}"], &[bad]), ["tenants"], "{bad}");
        }
        let file = IssuerSettings { keys: KeysAt::File("jwks.json".into()), ..settings(&[], &[]) };
        assert_eq!(file.problems_of_names().len(), 1);
    }

    #[test]
    fn a_key_of_another_tenant_may_not_sign() {
        let names = settings(&["v2/{tenantid}", "v1/{tenantid}"], &["t1", "t2"]).names();
        assert!(may_sign("v2/{tenantid}", "t1", &names) && may_sign("v2/t1", "t1", &names));
        for (other, tenant) in [("v2/t2", "t1"), ("v2/t3", "t1"), ("v2/t3", "t3"), ("", "t1"), ("v3/{tenantid}", "t1")]
        {
            assert!(!may_sign(other, tenant, &names), "{other} {tenant}");
        }
    }
}
