//! Azurite: the emulator of Azure Blob storage, shared by the tests of one binary; or a test's own, to be stopped.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::leash::Leash;
use super::{Folder, free_port, node, output, part, repository};

/// The emulator's account; both are public, the same everywhere.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// How long it may take to stop: it writes down what it has acknowledged.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// An emulator, running or not.
#[derive(Debug)]
pub(crate) struct Azurite {
    running: Mutex<Option<Leash>>,
    url: String,
    port: u16,
    /// Of a test's own; the leash removes the shared one's.
    folder: Option<Folder>,
}

/// A container of it.
#[derive(Debug)]
pub(crate) struct Container {
    azurite: Arc<Azurite>,
    name: String,
}

impl Azurite {
    /// The emulator of this test binary, started at first use.
    pub(crate) fn shared() -> &'static Arc<Self> {
        static SHARED: OnceLock<Arc<Azurite>> = OnceLock::new();
        SHARED.get_or_init(|| {
            let (folder, port) = (Folder::new("azurite"), free_port());
            let command = command(folder.path(), port);
            let mut leash = Leash::start("azurite", folder, "TERM", &command);
            let url = listening(&mut leash);
            Arc::new(Self { running: Mutex::new(Some(leash)), url, port, folder: None })
        })
    }

    /// An emulator of the test's own, which it may stop.
    pub(crate) fn own() -> Arc<Self> {
        let (folder, port) = (Folder::new("azurite"), free_port());
        let url = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let azurite = Self { running: Mutex::new(None), url, port, folder: Some(folder) };
        azurite.start();
        Arc::new(azurite)
    }

    /// Starts it with what it held before.
    pub(crate) fn start(&self) {
        let folder = self.folder.as_ref().unwrap();
        let command = command(folder.path(), self.port);
        let mut leash = Leash::borrow("azurite", folder.path(), &folder.join("log"), "TERM", &command);
        assert_eq!(listening(&mut leash), self.url);
        assert!(self.running().replace(leash).is_none(), "it is running");
    }

    /// Stops it: whoever connects is refused.
    pub(crate) fn stop(&self) {
        let leash = self.running().take().unwrap();
        leash.end(Signal::TERM, STOP_LIMIT);
    }

    /// From now on it takes connections and answers nothing: a black hole.
    pub(crate) fn freeze(&self) {
        kill_process(self.running().as_ref().unwrap().pid(), Signal::STOP).unwrap();
    }

    /// It answers again.
    pub(crate) fn thaw(&self) {
        kill_process(self.running().as_ref().unwrap().pid(), Signal::CONT).unwrap();
    }

    fn running(&self) -> MutexGuard<'_, Option<Leash>> {
        self.running.lock().unwrap()
    }

    /// A new container.
    pub(crate) fn container(self: &Arc<Self>, name: &str) -> Container {
        let container = Container { azurite: Arc::clone(self), name: name.to_owned() };
        container.tool(&["create", name]);
        container
    }
}

fn command(folder: &Path, port: u16) -> Command {
    let mut command = node();
    command.arg(part("azurite", "tests/parts/node_modules/azurite/dist/src/blob/main.js"));
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--disableTelemetry"]);
    command.args(["--skipApiVersionCheck", "--silent", "--location"]).arg(folder);
    command
}

/// Its address, as soon as it listens.
fn listening(leash: &mut Leash) -> String {
    let url = leash.wait(|log| log.lines().find_map(|line| line.split("listens on ").nth(1).map(str::to_owned)));
    format!("{}/{ACCOUNT}", url.trim())
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
