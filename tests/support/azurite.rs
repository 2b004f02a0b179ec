//! Azurite: the emulator of Azure Blob storage, shared by the tests of one binary.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::leash::Leash;
use super::{Folder, node, output, part, repository};

/// The emulator's account; both are public, the same everywhere.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Azurite {
    leash: Leash,
    url: String,
}

/// A container of it.
#[derive(Debug)]
pub(crate) struct Container {
    azurite: &'static Azurite,
    name: String,
}

impl Azurite {
    /// The emulator of this test binary, started at first use.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = Folder::new("azurite");
        let mut command = node();
        command.arg(part("azurite", "tests/parts/node_modules/azurite/dist/src/blob/main.js"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--disableTelemetry", "--skipApiVersionCheck"]);
        command.arg("--silent").arg("--location").arg(folder.path());
        let mut leash = Leash::start("azurite", folder, "TERM", &command);
        let url = leash.wait(|log| log.lines().find_map(|line| line.split("listens on ").nth(1).map(str::to_owned)));
        Self { leash, url: format!("{}/{ACCOUNT}", url.trim()) }
    }

    /// A new container.
    pub(crate) fn container(&'static self, name: &str) -> Container {
        let container = Container { azurite: self, name: name.to_owned() };
        container.tool(&["create", name]);
        container
    }
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The account's address, as a client of the emulator names it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.azurite.url
    }

    /// Every blob with its size, as the store says.
    pub(crate) fn blobs(&self) -> Vec<(String, u64)> {
        let listed: serde_json::Value = serde_json::from_str(&self.tool(&["list", &self.name])).unwrap();
        let blobs = listed.as_array().unwrap().iter();
        blobs.map(|blob| (blob["name"].as_str().unwrap().to_owned(), blob["size"].as_u64().unwrap())).collect()
    }

    /// Copies every blob into `folder`, under its name.
    pub(crate) fn download(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        self.tool(&["download", &self.name, folder.to_str().unwrap()]);
    }

    fn tool(&self, arguments: &[&str]) -> String {
        let account = format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={};",
            self.endpoint()
        );
        let mut command: Command = node();
        command.arg(repository("tests/parts/blobs.mjs")).args(arguments);
        output(command.env("AZURE_STORAGE_CONNECTION_STRING", account), "")
    }
}
