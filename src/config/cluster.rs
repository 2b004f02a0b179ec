//! `[cluster]`: other recorders in front of the same databases.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::checks::{Folder, refuse_bad_names};
use super::reading::{Field, Findings, FromToml, Keys, Located, Named, Node, section, value_if_any};
use super::urls::web;
use super::values::{SecretSection, Upstream};
use super::{Cluster, ClusterPeer};

/// The highest number of a node: a key for cancelling has eight bits for it.
const MAX_NUMBER: i64 = 255;

section! {
    /// Other recorders in front of the same databases: a statement can be cancelled by way of any of them, as a load
    /// balancer leads a cancel request to whichever it likes.
    ClusterSection {
        /// The number of this node, 1 to 255, as it stands in the keys that clients get to cancel by. Every node has
        /// another.
        number: Located<NodeNumber>,
        /// What the nodes know each other by, by reference: the same on each, of 32 characters at least.
        secret: Located<SecretSection>,
        /// PEM file of the authorities that may vouch for the other nodes' listeners. Default: the system's.
        ca_file: Option<Located<PathBuf>>,
        /// The other nodes, by any name.
        peers: Located<Named<PeerSection>>,
    }
}

section! {
    /// Another node.
    PeerSection {
        /// Its number.
        number: Located<NodeNumber>,
        /// Host and port of one of its listeners, as its certificate names it.
        address: Located<Upstream>,
        /// The URL of its [sign_in], https://HOST:PORT: what issuers and operators say at this node is said there too. Default: it is
        /// not, and they have to say it there themselves.
        sign_in: Option<Located<String>>,
    }
}

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeNumber(u8);

impl FromToml for NodeNumber {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let number = node.value.get_ref().as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        match number.filter(|number| (1..=MAX_NUMBER).contains(number)).and_then(|number| u8::try_from(number).ok()) {
            Some(number) => Some(Self(number)),
            None => {
                findings.note(&node.at(), format!("{}: expected a whole number from 1 to {MAX_NUMBER}", node.name));
                None
            }
        }
    }
}

impl JsonSchema for NodeNumber {
    fn schema_name() -> Cow<'static, str> {
        "NodeNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_NUMBER })
    }
}

/// Turns the section into values. `None` means that it is there and bad.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn cluster(
    section: Option<Located<ClusterSection>>,
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Option<Cluster>> {
    let Some(ClusterSection { number, secret, ca_file, peers }) = value_if_any(section)? else { return Some(None) };
    let secret = folder.secret(secret);
    let ca_file = value_if_any(ca_file).map(|file| file.map(|path| folder.path(path)));
    let named = peers.value?;
    refuse_bad_names(&named, findings);
    let mut taken: BTreeMap<NodeNumber, String> = BTreeMap::new();
    taken.extend(number.value.map(|own| (own, "this node".to_owned())));
    let mut read = Vec::new();
    for (name, peer) in named.0 {
        let peer = peer.value.and_then(|peer| {
            if let Some(other) = peer.number.value.and_then(|number| taken.insert(number, format!("peer {name}"))) {
                peer.number.refuse(format_args!("is that of {other} too"), findings);
            }
            let (NodeNumber(number), address) = (peer.number.value?, peer.address.value?);
            let web_url = |url: String| web(&url).map(|()| url);
            let sign_in = match peer.sign_in {
                Some(url) => Some(url.try_map(web_url, findings).value?),
                None => None,
            };
            Some(ClusterPeer { name, number, address, sign_in })
        });
        read.push(peer);
    }
    let peers: Option<Vec<ClusterPeer>> = read.into_iter().collect();
    Some(Some(Cluster { number: number.value?.0, secret: secret?, ca_file: ca_file?, peers: peers? }))
}
