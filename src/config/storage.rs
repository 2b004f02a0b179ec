//! `[storage]` held against itself: which keys belong to which place and which proof.

use std::time::Duration;

use super::checks::Folder;
use super::file::{CopySection, SegmentSection, StorageAuth, StorageSection};
use super::reading::{self, Findings, Located, value_if_any, value_or};
use super::units::{Age, Size, duration_text};
use super::urls::{ArchiveUrl, archive, web};
use super::values::SecretSection;
use super::{Azure, AzureAuth, Place, Secret, Storage};

/// A minute: what an auditor waits at most for a statement to be in the archive.
const SEGMENT_MAX_AGE: Duration = Duration::from_secs(60);
/// Below it every quiet second would cost an object, thousands a day, for nothing that anybody could notice.
const SEGMENT_AGE_FLOOR: Duration = Duration::from_secs(1);
/// Large enough that object stores are read at full speed, small enough to build in memory.
const SEGMENT_MAX_SIZE: u64 = 64 << 20;

/// Turns the section into values.
pub(super) fn storage(
    section: Located<StorageSection>,
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Storage> {
    let Located { at, name, value } = section;
    let mut section = value?;
    let segment = segment(section.segment.take(), findings);
    let place = place(section, &at, &name, folder, findings);
    let (segment_max_age, segment_max_size) = segment?;
    Some(Storage { place: place?, segment_max_age, segment_max_size })
}

/// A place that is only copied to.
pub(super) fn copy(section: Located<CopySection>, folder: Folder<'_>, findings: &mut Findings) -> Option<Place> {
    let Located { at, name, value } = section;
    let CopySection { url, account, auth, key, sas, client_id, endpoint } = value?;
    let section = StorageSection { url, account, auth, key, sas, client_id, endpoint, segment: None };
    place(section, &at, &name, folder, findings)
}

fn place(
    mut section: StorageSection,
    at: &reading::Place,
    name: &str,
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Place> {
    section.account = section.account.map(|account| account.try_map(account_name, findings));
    section.endpoint = section.endpoint.map(|url| url.try_map(|url| web(&url).map(|()| url), findings));
    let url = section.url.clone().try_map(|url| archive(&url), findings).value;
    match url? {
        ArchiveUrl::Folder(path) => {
            refuse_azure_keys(&section, findings);
            Some(Place::Folder(path))
        }
        ArchiveUrl::Azure { container, prefix } => {
            for (key, present) in [("account", section.account.is_some()), ("auth", section.auth.is_some())] {
                if !present {
                    findings.note(at, format!("{name}: an az:// url needs the key \"{key}\""));
                }
            }
            let auth = auth(&section, folder, findings);
            let account = section.account.and_then(|account| account.value);
            let endpoint = value_if_any(section.endpoint);
            account
                .zip(auth)
                .zip(endpoint)
                .map(|((account, auth), endpoint)| Place::Azure(Azure { account, container, prefix, auth, endpoint }))
        }
    }
}

fn segment(section: Option<Located<SegmentSection>>, findings: &mut Findings) -> Option<(Duration, u64)> {
    let Some(section) = section else {
        return Some((SEGMENT_MAX_AGE, SEGMENT_MAX_SIZE));
    };
    let section = section.value?;
    if let Some(age) = &section.max_age
        && age.value.is_some_and(|Age(age)| age < SEGMENT_AGE_FLOOR)
    {
        age.refuse(format_args!("must be at least {}", duration_text(SEGMENT_AGE_FLOOR)), findings);
    }
    if let Some(size) = &section.max_size
        && size.value == Some(Size(0))
    {
        size.refuse("must be more than nothing", findings);
    }
    let age = value_or(section.max_age, Age(SEGMENT_MAX_AGE));
    let size = value_or(section.max_size, Size(SEGMENT_MAX_SIZE));
    age.zip(size).map(|(Age(age), Size(size))| (age, size))
}

fn account_name(account: String) -> Result<String, &'static str> {
    let fits = (3..=24).contains(&account.len())
        && account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if fits { Ok(account) } else { Err("an account's name has 3 to 24 of a-z 0-9") }
}

fn refuse_azure_keys(section: &StorageSection, findings: &mut Findings) {
    let why = "belongs to an az:// url";
    refuse_if_there(section.account.as_ref(), why, findings);
    refuse_if_there(section.auth.as_ref(), why, findings);
    refuse_if_there(section.key.as_ref(), why, findings);
    refuse_if_there(section.sas.as_ref(), why, findings);
    refuse_if_there(section.client_id.as_ref(), why, findings);
    refuse_if_there(section.endpoint.as_ref(), why, findings);
}

fn refuse_if_there<T>(field: Option<&Located<T>>, why: &str, findings: &mut Findings) {
    if let Some(located) = field {
        located.refuse(why, findings);
    }
}

fn auth(section: &StorageSection, folder: Folder<'_>, findings: &mut Findings) -> Option<AzureAuth> {
    let auth = section.auth.as_ref()?;
    let chosen = auth.value?;
    if chosen != StorageAuth::Key {
        refuse_if_there(section.key.as_ref(), "belongs to auth = \"key\"", findings);
    }
    if chosen != StorageAuth::Sas {
        refuse_if_there(section.sas.as_ref(), "belongs to auth = \"sas\"", findings);
    }
    if matches!(chosen, StorageAuth::Key | StorageAuth::Sas) {
        let why = "belongs to auth = \"managed_identity\" or \"workload_identity\"";
        refuse_if_there(section.client_id.as_ref(), why, findings);
    }
    let mut secret = |field: &Option<Located<SecretSection>>, key: &str| -> Option<Secret> {
        match field {
            Some(reference) => folder.secret(reference.clone()),
            None => {
                auth.refuse(format_args!("auth = \"{key}\" needs the key \"{key}\""), findings);
                None
            }
        }
    };
    match chosen {
        StorageAuth::Key => secret(&section.key, "key").map(AzureAuth::Key),
        StorageAuth::Sas => secret(&section.sas, "sas").map(AzureAuth::Sas),
        StorageAuth::ManagedIdentity => {
            value_if_any(section.client_id.clone()).map(|client_id| AzureAuth::ManagedIdentity { client_id })
        }
        StorageAuth::WorkloadIdentity => {
            value_if_any(section.client_id.clone()).map(|client_id| AzureAuth::WorkloadIdentity { client_id })
        }
    }
}
