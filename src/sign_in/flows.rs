//! The ways to a token: by a browser on this machine, by a code on another device, by a refresh token.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreDeviceAuthorizationResponse, CoreErrorResponseType, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthorizationCode, ClientId, ConfigurationError, CsrfToken, DeviceAuthorizationUrl,
    DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet, ErrorResponse, HttpClientError, IssuerUrl, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, TokenResponse,
};
use reqwest::Client;
use serde::{Deserialize, Serialize};

use super::SignInError;
use super::document::{Issuer, TokenKind};
use super::http::{chain, client, safe_url};
use super::tokens::{Hidden, Tokens, claims_of, moment};
use crate::model::{Clock, Timestamp};

/// What the discovery document says beside what OpenID Connect Discovery knows (RFC 8628 §4).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Devices {
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
}

impl AdditionalProviderMetadata for Devices {}

type Metadata = ProviderMetadata<
    Devices,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Known =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

type Asked = HttpClientError<reqwest::Error>;

/// An issuer that somebody can sign in at.
#[derive(Debug)]
pub struct SignIn {
    http: Client,
    metadata: Metadata,
    issuer: Issuer,
    clock: Arc<dyn Clock>,
}

/// A sign-in by browser that was begun.
pub struct Begun {
    /// What the browser is to open.
    pub url: String,
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Begun(…)")
    }
}

/// What a browser brings back, as the query of the redirect has it.
#[derive(Default, Deserialize)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    /// Who answers (RFC 9207).
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(…)")
    }
}

/// A sign-in on another device that was begun.
pub struct Device(CoreDeviceAuthorizationResponse);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Device(…)")
    }
}

impl Device {
    /// What is to be opened there.
    pub fn url(&self) -> &str {
        self.0.verification_uri().as_str()
    }

    /// What is to be entered there.
    pub fn code(&self) -> &str {
        self.0.user_code().secret()
    }

    /// For how long.
    pub fn lasts(&self) -> Duration {
        self.0.expires_in()
    }
}

impl Begun {
    /// Whether this is an answer to it, which the browser may bring among others.
    pub fn is_answered_by(&self, answer: &Answer) -> bool {
        answer.state.as_deref() == Some(self.state.secret())
    }
}

impl SignIn {
    /// Asks the issuer how people sign in there. `authorities` are certificates in PEM that are trusted beside the system's.
    ///
    /// # Errors
    ///
    /// It does not answer, or not as an issuer should.
    pub async fn at(issuer: &Issuer, authorities: Option<&[u8]>, clock: Arc<dyn Clock>) -> Result<Self, SignInError> {
        let unusable = |reason: String| SignInError::Unusable { issuer: issuer.issuer.clone(), reason };
        let url = safe_url(&issuer.issuer).map_err(unusable)?;
        let http = client(&url, authorities)?;
        let name = IssuerUrl::new(issuer.issuer.clone()).map_err(|error| unusable(error.to_string()))?;
        let metadata = Metadata::discover_async(name, &http).await.map_err(|error| match error {
            DiscoveryError::Request(error) => away(issuer, &error),
            DiscoveryError::Response(status, _, _) => unusable(format!("its discovery document is a {status}")),
            error => unusable(format!("its discovery document: {}", chain(&error))),
        })?;
        let token = metadata.token_endpoint().map(|url| url.url().clone());
        let device = metadata.additional_metadata().device_authorization_endpoint.as_ref().map(|url| url.url().clone());
        let authorization = metadata.authorization_endpoint().url().clone();
        for endpoint in [token, device, Some(authorization)].into_iter().flatten() {
            let safe = safe_url(endpoint.as_str()).map_err(|reason| unusable(format!("{endpoint}: {reason}")))?;
            if url.scheme() == "https" && safe.scheme() != "https" {
                return Err(unusable(format!("{endpoint} is not https")));
            }
        }
        Ok(Self { http, metadata, issuer: issuer.clone(), clock })
    }

    /// Whether people can sign in on another device.
    pub fn has_devices(&self) -> bool {
        self.metadata.additional_metadata().device_authorization_endpoint.is_some()
    }

    fn client(&self) -> Known {
        CoreClient::from_provider_metadata(self.metadata.clone(), ClientId::new(self.issuer.client_id.clone()), None)
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.issuer.scopes.iter().cloned().map(Scope::new)
    }

    fn resource(&self) -> Option<(&'static str, String)> {
        self.issuer.resource.clone().map(|resource| ("resource", resource))
    }

    fn unusable(&self, reason: impl Into<String>) -> SignInError {
        SignInError::Unusable { issuer: self.issuer.issuer.clone(), reason: reason.into() }
    }

    /// Begins a sign-in by a browser, which comes back to `redirect`.
    ///
    /// # Errors
    ///
    /// `redirect` is no URL.
    pub fn begin(&self, redirect: &str) -> Result<Begun, SignInError> {
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|error| self.unusable(error.to_string()))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client().set_redirect_uri(redirect.clone());
        let mut asked = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(self.scopes())
            .set_pkce_challenge(challenge);
        if let Some((name, value)) = self.resource() {
            asked = asked.add_extra_param(name, value);
        }
        if let Some(prompt) = &self.issuer.prompt {
            asked = asked.add_extra_param("prompt", prompt.clone());
        }
        let (url, state, nonce) = asked.url();
        Ok(Begun { url: url.into(), state, nonce, verifier, redirect })
    }

    /// Ends a sign-in by a browser with what it brought back.
    ///
    /// # Errors
    ///
    /// It is no answer to what was begun, the issuer said no, does not answer, or gave something that cannot be used.
    pub async fn finish(&self, begun: Begun, answer: Answer) -> Result<Tokens, SignInError> {
        let foreign = |reason| SignInError::Foreign { reason };
        if !begun.is_answered_by(&answer) {
            return Err(foreign("it has another state"));
        }
        if answer.iss.as_ref().is_some_and(|iss| *iss != self.issuer.issuer) {
            return Err(foreign("it comes from another issuer"));
        }
        if let Some(error) = answer.error {
            let more = answer.error_description.map(|more| format!(": {more}")).unwrap_or_default();
            return Err(SignInError::Refused { issuer: self.issuer.issuer.clone(), reason: format!("{error}{more}") });
        }
        let code = AuthorizationCode::new(answer.code.ok_or(foreign("it has no code"))?);
        let client = self.client().set_redirect_uri(begun.redirect);
        let mut asked = client.exchange_code(code).map_err(|error| self.no_tokens(&error))?;
        asked = asked.set_pkce_verifier(begun.verifier);
        if let Some((name, value)) = self.resource() {
            asked = asked.add_extra_param(name, value);
        }
        let given = asked.request_async(&self.http).await.map_err(|error| self.failed(error))?;
        self.tokens(&given, Some(&begun.nonce))
    }

    /// Begins a sign-in on another device.
    ///
    /// # Errors
    ///
    /// The issuer has none, said no, or does not answer.
    pub async fn device(&self) -> Result<Device, SignInError> {
        let at = self.metadata.additional_metadata().device_authorization_endpoint.clone();
        let at = at.ok_or_else(|| SignInError::NoDevices { issuer: self.issuer.issuer.clone() })?;
        let client = self.client().set_device_authorization_url(at);
        let mut asked = client.exchange_device_code().add_scopes(self.scopes());
        if let Some((name, value)) = self.resource() {
            asked = asked.add_extra_param(name, value);
        }
        asked.request_async(&self.http).await.map(Device).map_err(|error| self.failed(error))
    }

    /// Waits until somebody has signed in on the other device.
    ///
    /// # Errors
    ///
    /// Nobody did in time, the issuer said no, does not answer, or gave something that cannot be used.
    pub async fn wait(&self, device: &Device) -> Result<Tokens, SignInError> {
        let client = self.client();
        let mut asked = client.exchange_device_access_token(&device.0).map_err(|error| self.no_tokens(&error))?;
        if let Some((name, value)) = self.resource() {
            asked = asked.add_extra_param(name, value);
        }
        let given = asked.request_async(&self.http, tokio::time::sleep, None).await;
        self.tokens(&given.map_err(|error| self.failed(error))?, None)
    }

    /// The next token, by what came with the one before.
    ///
    /// # Errors
    ///
    /// [`SignInError::Ended`] if the issuer does not take it any more; else the issuer said no, does not answer, or gave
    /// something that cannot be used.
    pub async fn refresh(&self, refresh: &Hidden) -> Result<Tokens, SignInError> {
        let refresh = RefreshToken::new(refresh.reveal().to_owned());
        let client = self.client();
        let mut asked = client.exchange_refresh_token(&refresh).map_err(|error| self.no_tokens(&error))?;
        if let Some((name, value)) = self.resource() {
            asked = asked.add_extra_param(name, value);
        }
        let given = asked.request_async(&self.http).await.map_err(|error| match &error {
            RequestTokenError::ServerResponse(said) if *said.error() == CoreErrorResponseType::InvalidGrant => {
                SignInError::Ended { issuer: self.issuer.issuer.clone() }
            }
            _ => self.failed(error),
        })?;
        self.tokens(&given, None)
    }

    /// What was given, once an ID token among it was found to be the issuer's, for us, and of now.
    fn tokens(&self, given: &CoreTokenResponse, nonce: Option<&Nonce>) -> Result<Tokens, SignInError> {
        let client = self.client();
        let id = match given.id_token() {
            None => None,
            Some(id) => {
                let verifier = client.id_token_verifier();
                let verified = match nonce {
                    Some(nonce) => id.claims(&verifier, nonce),
                    None => id.claims(&verifier, |_: Option<&Nonce>| Ok(())),
                };
                verified.map_err(|error| self.unusable(format!("its ID token: {}", chain(&error))))?;
                Some(id.to_string())
            }
        };
        let access = given.access_token().secret();
        let token = match self.issuer.token {
            TokenKind::Access => access.clone(),
            TokenKind::Id => {
                id.clone().ok_or_else(|| self.unusable("it gave no ID token, which is the password here"))?
            }
        };
        let of_token = claims_of(&token);
        let said = of_token.as_ref().and_then(|claims| moment(claims, "exp"));
        let lasts = given.expires_in().filter(|_| self.issuer.token == TokenKind::Access);
        let claims = of_token.or_else(|| id.as_deref().and_then(claims_of)).unwrap_or_default();
        Ok(Tokens {
            token: Hidden::new(token),
            expires: said.or_else(|| lasts.map(|lasts| self.later_by(lasts))),
            refresh: given.refresh_token().map(|refresh| Hidden::new(refresh.secret())),
            claims,
        })
    }

    fn later_by(&self, lasts: Duration) -> Timestamp {
        let lasts = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_seconds(self.clock.now().seconds().saturating_add(lasts))
    }

    fn no_tokens(&self, error: &ConfigurationError) -> SignInError {
        self.unusable(format!("its discovery document names no token endpoint ({error})"))
    }

    fn failed<T: ErrorResponse + 'static>(&self, error: RequestTokenError<Asked, T>) -> SignInError {
        match error {
            RequestTokenError::ServerResponse(said) => {
                SignInError::Refused { issuer: self.issuer.issuer.clone(), reason: said.to_string() }
            }
            RequestTokenError::Request(error) => away(&self.issuer, &error),
            // The answer itself may hold a token, so only what is wrong with it is said.
            RequestTokenError::Parse(error, _) => self.unusable(format!("its answer: {}", error.path())),
            RequestTokenError::Other(error) => self.unusable(error),
        }
    }
}

fn away(issuer: &Issuer, error: &Asked) -> SignInError {
    let place = format!("the issuer {}", issuer.issuer);
    SignInError::Away { place, reason: chain(error) }
}
