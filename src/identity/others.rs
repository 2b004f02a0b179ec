//! The doors of HTTPS of our other nodes: what an issuer or an operator said at one is said at all. Each judges it by itself, as
//! if it had come there first, so a node needs no more trust than anybody who asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::discovery::{chain, is_loopback};

/// In the header of what comes from another node, so that it goes no further.
pub const PASSED_ON: &str = "hansard-passed-on";
/// How long another node may take: it answers when its sessions were told and it is on record.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read: a node's list of some ten thousand sessions.
const LONGEST: usize = 16 << 20;

/// The other nodes.
#[derive(Debug)]
pub struct Others {
    client: Client,
    doors: Vec<(String, Url)>,
}

/// Why other nodes cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum OthersError {
    /// The trust root cannot be used.
    #[error("the certificates in {}: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A door has an address at which nothing can be asked.
    #[error("{door}: {reason}")]
    Door {
        /// The node's name in config.
        door: String,
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client cannot be set up.
    #[error("{0}")]
    Client(String),
}

/// What is said again.
#[derive(Debug, Clone)]
pub struct Repeated {
    /// Whether something is asked for, or told.
    pub asks: bool,
    /// Where.
    pub path: String,
    /// What it is.
    pub content_type: String,
    /// By whom, as the header said.
    pub authorization: Option<String>,
    /// The same bytes.
    pub body: Vec<u8>,
}

impl Others {
    /// The nodes at these addresses, each with its name in config; `ca_file` is trusted beside the machine's authorities.
    ///
    /// # Errors
    ///
    /// An address or the certificates cannot be used.
    pub fn new(doors: Vec<(String, String)>, ca_file: Option<&Path>) -> Result<Self, OthersError> {
        let mut builder = Client::builder()
            .user_agent(concat!("hansard/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // Nodes are no farther than the network that they share.
            .no_proxy()
            .timeout(LIMIT);
        if let Some(path) = ca_file {
            let blame = |reason| OthersError::CaFile { path: path.to_owned(), reason };
            let pem = std::fs::read(path).map_err(|error| blame(error.to_string()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| blame(chain(&error)))?;
            builder = roots.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build().map_err(|error| OthersError::Client(chain(&error)))?;
        let door = |(name, text): (String, String)| match Url::parse(&text) {
            Ok(url) if url.scheme() == "https" || is_loopback(&url) => Ok((name, url)),
            Ok(_) => Err(OthersError::Door { door: name, reason: "it must begin with https://".to_owned() }),
            Err(error) => Err(OthersError::Door { door: name, reason: error.to_string() }),
        };
        Ok(Self { client, doors: doors.into_iter().map(door).collect::<Result<_, _>>()? })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.doors.iter().map(|(name, _)| name.as_str())
    }

    /// Says it to one of them, by its name: the status of its answer, and what it said.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn say(&self, name: &str, said: &Repeated) -> Result<(u16, Value), String> {
        let door = self.doors.iter().find(|(known, _)| known == name).ok_or("there is no such node")?;
        let url = door.1.join(&said.path).map_err(|error| error.to_string())?;
        let method = if said.asks { Method::GET } else { Method::POST };
        let mut request = self.client.request(method, url).header(PASSED_ON, "1");
        if !said.asks {
            request = request.header(CONTENT_TYPE, &said.content_type).body(said.body.clone());
        }
        if let Some(authorization) = &said.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let away = |error: reqwest::Error| chain(&error.without_url());
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > LONGEST {
                return Err("its answer does not end".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
