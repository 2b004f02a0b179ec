//! Azure Blob Storage: which account, and by which right.

use std::path::PathBuf;
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::{Secret, StoreError, without_secrets};

/// One request, with all its bytes: a large segment over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Few: whoever calls tries again for as long as it takes, and with fresh credentials.
const QUICK_RETRIES: usize = 3;
const QUICK_RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach Azure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureSettings {
    /// The storage account.
    pub account: Option<String>,
    /// Another address than `https://<account>.blob.core.windows.net`, such as an emulator's.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be plain HTTP; for emulators only.
    pub allow_http: bool,
    /// By which right.
    pub credential: AzureCredential,
}

/// By which right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureCredential {
    /// The account's key.
    AccessKey(Secret),
    /// A shared access signature, with or without its leading `?`.
    Sas(Secret),
    /// An application with a secret.
    ClientSecret {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// Its secret.
        secret: Secret,
    },
    /// A federated token in a file, as Kubernetes mounts one.
    WorkloadIdentity {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// The token's file, read again whenever it is needed.
        token_file: PathBuf,
    },
    /// The identity of the machine.
    ManagedIdentity {
        /// Which, where the machine has several.
        client: Option<String>,
    },
}

impl Default for AzureCredential {
    fn default() -> Self {
        Self::ManagedIdentity { client: None }
    }
}

pub(super) fn open(container: &str, settings: &AzureSettings) -> Result<MicrosoftAzure, StoreError> {
    check_container(container)?;
    let account = settings.account.as_deref().filter(|account| !account.is_empty());
    let account = account.ok_or_else(|| StoreError::Settings("az:// needs the storage account's name".to_owned()))?;
    let plain = settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain && !settings.allow_http {
        return Err(StoreError::Settings(
            "its endpoint is plain HTTP, which is allowed by `allow_http` only".to_owned(),
        ));
    }
    let client =
        ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT).with_allow_http(plain);
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: QUICK_RETRIES,
        retry_timeout: QUICK_RETRY_TIMEOUT,
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    authorised(builder, &settings.credential)
        .build()
        .map_err(|error| StoreError::Settings(without_secrets(&error.to_string())))
}

fn authorised(builder: MicrosoftAzureBuilder, credential: &AzureCredential) -> MicrosoftAzureBuilder {
    match credential {
        AzureCredential::AccessKey(key) => builder.with_access_key(key.reveal()),
        AzureCredential::Sas(sas) => builder.with_config(AzureConfigKey::SasKey, sas.reveal()),
        AzureCredential::ClientSecret { tenant, client, secret } => {
            builder.with_client_secret_authorization(client, secret.reveal(), tenant)
        }
        AzureCredential::WorkloadIdentity { tenant, client, token_file } => builder
            .with_tenant_id(tenant)
            .with_client_id(client)
            .with_federated_token_file(token_file.to_string_lossy()),
        AzureCredential::ManagedIdentity { client: Some(client) } => builder.with_client_id(client),
        AzureCredential::ManagedIdentity { client: None } => builder,
    }
}

fn check_container(name: &str) -> Result<(), StoreError> {
    let fits = (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits {
        Ok(())
    } else {
        Err(StoreError::Settings(format!("`{name}` is no container's name: 3 to 63 of a-z 0-9 and single hyphens")))
    }
}
