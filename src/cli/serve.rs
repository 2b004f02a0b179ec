//! `hansard serve`: the recorder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use super::Globals;
use super::assembly::{Opened, Parts, assemble};
use super::exit::Exit;
use super::files;
use super::health::{HealthServer, Sources};
use super::keyring::{KeyFolder, KeyFolderError};
use super::keys::exposed;
use super::policy::live::tell;
use super::recorder::{Recorder, StartError};
use super::reload::Reload;
use super::render::say;
use super::renewal::Renewal;
use super::restart::Program;
use super::sign_in_door::{document, told_at_its_path};
use super::signals::{Orders, Signals};
use super::sockets::{Handed, Kept};
use super::web::{self, Authority, Passing, WebDoor};
use crate::config::{Azure, ClusterPeer, Config, Metrics, Place, SignIn};
use crate::gateway::{self, Drain, Listener, Places};
use crate::identity::Others;
use crate::model::Recorded;
use crate::store::Store;
use crate::telemetry;

/// How long sessions may take to end that are broken off: their last words, and recording them.
const CUT_LIMIT: Duration = Duration::from_secs(3);
/// How long the archive may take before a restart, while clients wait at the door. The next process ships what is left.
const RESTART_SHIPMENT_LIMIT: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  hansard serve -c /etc/hansard/hansard.toml            serve until SIGTERM or Ctrl-C
  hansard serve -c /etc/hansard/hansard.toml --check    look for problems, listen on nothing";

/// Stand between clients and a database: verify, judge, record
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// The configuration
    #[arg(short = 'c', long, value_name = "FILE")]
    config: PathBuf,

    /// Report every problem of the configuration and of what it refers to, then end: 0 without any, else 3
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &ServeArgs, globals: &Globals) -> Exit {
    if args.check { only_check(args, globals) } else { start(args, globals) }
}

fn only_check(args: &ServeArgs, globals: &Globals) -> Exit {
    let (config, _parts) = match check(&args.config) {
        Ok(checked) => checked,
        Err(problems) => {
            problems.iter().for_each(say);
            return Exit::Invalid;
        }
    };
    if !globals.quiet {
        let (listeners, targets) = (config.listeners.len(), config.targets.len());
        let what = format!("configuration valid; node {}, listeners {listeners}, targets {targets}", config.node);
        say(format_args!("{}: {what}", args.config.display()));
    }
    Exit::Done
}

/// What comes before the configuration: sockets while there is no thread, and signals as early as can be, because a signal
/// that nobody waits for ends the process, and a restart may be asked for twice.
fn prepare() -> Result<(Handed, Program, Runtime, Signals), String> {
    let handed = Handed::take()?;
    let program = Program::this().map_err(|error| format!("the system does not say where this program is: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime could not be started: {error}"))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::wait_for().map_err(|error| format!("signals cannot be waited for: {error}"))?
    };
    Ok((handed, program, runtime, signals))
}

fn start(args: &ServeArgs, globals: &Globals) -> Exit {
    let (handed, program, runtime, signals) = match prepare() {
        Ok(prepared) => prepared,
        Err(problem) => {
            say(problem);
            return Exit::Unexpected;
        }
    };
    let (config, parts) = match check(&args.config) {
        Ok(checked) => checked,
        Err(problems) => {
            problems.iter().for_each(say);
            return Exit::Invalid;
        }
    };
    if let Err(error) = telemetry::start(&globals.telemetry(Some(config.log))) {
        say(error);
        return Exit::Unexpected;
    }
    let ended = runtime.block_on(serve(&config, parts, (handed, signals), &program));
    // All that must be written is. What still hangs on a folder that does not answer is no reason to stay.
    runtime.shutdown_background();
    match ended {
        Ended::Stopped(exit) => exit,
        Ended::Restarts(kept) => {
            let error = program.become_anew(kept);
            tracing::error!(%error, "the program cannot be started anew");
            Exit::Unexpected
        }
    }
}

/// The configuration at `path` and the parts it describes, if nothing is wrong with them.
fn check(path: &Path) -> Result<(Config, Parts), Vec<String>> {
    let config = Config::load(path).map_err(|problems| vec![problems.to_string()])?;
    let of_file = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let secrets = config.secrets().into_iter().filter_map(|secret| secret.reveal().err());
    let mut problems: Vec<String> = secrets.map(|problem| of_file(&problem)).collect();
    for (key, file) in config.files() {
        if let Err(error) = std::fs::metadata(file) {
            problems.push(of_file(&format_args!("{key}: {} cannot be read: {error}", file.display())));
        }
    }
    problems.extend([exposed(&config), one_place(&config)].into_iter().flatten().map(|problem| of_file(&problem)));
    match KeyFolder::open(&config.evidence.keys, &config.node) {
        // The first start makes one.
        Ok(_) | Err(KeyFolderError::Missing { .. }) => {}
        Err(error) => problems.push(of_file(&format_args!("evidence.keys: {error}"))),
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    assemble(path, &config).map(|parts| (config, parts))
}

/// Whether the copies would lie in the archive, or the archive with the copies.
fn one_place(config: &Config) -> Option<String> {
    let (archive, copy) = (&config.storage.place, config.evidence.copy.as_ref()?);
    let one = match (archive, copy) {
        (Place::Folder(archive), Place::Folder(copy)) => archive.starts_with(copy) || copy.starts_with(archive),
        (Place::Azure(archive), Place::Azure(copy)) => {
            let container = |azure: &Azure| (azure.account.clone(), azure.endpoint.clone(), azure.container.clone());
            let (prefix, other) = (Path::new(&archive.prefix), Path::new(&copy.prefix));
            container(archive) == container(copy) && (prefix.starts_with(other) || other.starts_with(prefix))
        }
        _ => false,
    };
    let why = "is one place with the archive: whoever can change the one could change the other";
    one.then(|| format!("evidence.copy: {why}"))
}

/// How serving ended.
enum Ended {
    Stopped(Exit),
    /// All is closed but the sockets that clients connect to.
    Restarts(Kept),
}

/// Serves until a signal, then stops in order: no new clients, sessions end, the archive gets the rest.
async fn serve(config: &Config, parts: Parts, given: (Handed, Signals), program: &Program) -> Ended {
    match try_serve(config, parts, given, program).await {
        Ok(ended) => ended,
        Err(exit) => Ended::Stopped(exit),
    }
}

async fn try_serve(
    config: &Config,
    mut parts: Parts,
    (handed, signals): (Handed, Signals),
    program: &Program,
) -> Result<Ended, Exit> {
    let places = files::connections(config.limits.connections).map(Places::new).map_err(|problem| {
        tracing::error!(problem, "limits.connections: there can be none");
        Exit::Invalid
    })?;
    let store = Store::open(&parts.store).map_err(|error| {
        tracing::error!(%error, "the archive cannot be opened");
        Exit::DependencyAway
    })?;
    // From the first moment on: a stop that is asked for while we start is one in order.
    let drain = Drain::new(config.drain.limit);
    let orders = signals.obeyed(&drain);
    let stop = orders.stop.clone();
    // Before anything that takes time: whoever watches over us is to see that we live.
    let health = match &config.metrics {
        None => None,
        Some(Metrics { address }) => {
            let health = HealthServer::open(*address, drain.begun().clone()).await.map_err(|error| {
                tracing::error!(%error, %address, "telemetry.metrics: the address cannot be had");
                Exit::DependencyAway
            })?;
            Some(health)
        }
    };
    let needs = parts.recorder_needs(config, store);
    let recorder = Recorder::start(needs).await.map_err(|error| {
        tracing::error!(%error, "the recorder cannot start");
        match error {
            StartError::Journal(_) => Exit::DependencyAway,
            StartError::Keys(_) => Exit::Invalid,
        }
    })?;
    let served = match open(config, &mut parts, &recorder, handed).await {
        Ok((doors, sign_in)) => {
            let served =
                attend((config, program, places), doors, parts, (&recorder, health.as_ref()), (orders, &drain));
            let served = served.await;
            drop(sign_in);
            Ok(served)
        }
        Err(problem) => {
            tracing::error!(problem, "not every listener could be opened");
            Err(Exit::DependencyAway)
        }
    };
    let restarts = matches!(served, Ok(Some(_)));
    seal(recorder, &drain, restarts).await;
    drop(health);
    match served? {
        Some(kept) if !stop.is_cancelled() => {
            tracing::info!("stopped, to be started anew");
            Ok(Ended::Restarts(kept))
        }
        _ => {
            tracing::info!("stopped");
            Ok(Ended::Stopped(if drain.cut().is_cancelled() { Exit::Unexpected } else { Exit::Done }))
        }
    }
}

/// Opens the door of HTTPS, if the configuration has one: people are told there how to sign in, issuers say that access ended,
/// operators act.
async fn open_web(
    config: &Config,
    doors: &Doors,
    parts: &Parts,
    recorder: &Recorder,
) -> Result<Option<WebDoor>, String> {
    let Some(SignIn { address, listener }) = &config.sign_in else { return Ok(None) };
    let Some((_, listener)) = doors.iter().find(|(_, door)| door.name == *listener) else { return Ok(None) };
    let mut routes = told_at_its_path(&document(config)).map_err(|error| format!("sign_in: {error}"))?;
    let authority = Arc::new(Authority {
        roster: Arc::clone(&parts.roster),
        verifier: Arc::clone(&parts.verifier),
        journal: recorder.journal.clone(),
        clock: Arc::clone(&parts.clock),
        node: config.node.clone(),
        operators: config.operators.clone(),
        barred: config.journal.path.join(web::BARRED),
        writing: tokio::sync::Mutex::default(),
        passing: passing(config)?,
    });
    routes = routes.merge(web::of_renewals(&authority));
    if parts.verifier.listens() {
        routes = routes.merge(web::of_issuers(&authority));
    }
    if config.operators.is_some() {
        routes = routes.merge(web::of_operators(&authority));
    }
    let door = WebDoor::open((*address, "sign_in"), routes, Arc::clone(&listener.tls)).await;
    door.map(Some).map_err(|error| format!("sign_in: {address}: {error}"))
}

/// The other nodes that are told what is said here.
fn passing(config: &Config) -> Result<Option<Passing>, String> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let told = |peer: &ClusterPeer| Some((peer.name.clone(), peer.sign_in.clone()?));
    let doors: Vec<_> = cluster.peers.iter().filter_map(told).collect();
    if doors.is_empty() {
        return Ok(None);
    }
    let others = Others::new(doors, cluster.ca_file.as_deref());
    others.map(|others| Some(Passing::new(others))).map_err(|error| format!("cluster: {error}"))
}

type Doors = Vec<(TcpListener, Arc<Listener>)>;

/// Takes every address before the first client is served.
async fn open(
    config: &Config,
    parts: &mut Parts,
    recorder: &Recorder,
    mut handed: Handed,
) -> Result<((Doors, Kept), Option<WebDoor>), String> {
    let (mut doors, mut kept) = (Vec::new(), Kept::default());
    let sites = parts.sites(&recorder.journal, &config.node);
    for door in std::mem::take(&mut parts.doors) {
        let (name, address) = (door.name.clone(), door.address);
        let socket = kept.open(&name, address, &mut handed).await;
        let socket = socket.map_err(|error| format!("listener.{name}: {address}: {error}"))?;
        let Opened { listener, made } = door.listener(parts, &sites, &recorder.journal, &config.node)?;
        if let Some(certificate) = made {
            let (file, fingerprint) = (certificate.cert_file.display(), certificate.fingerprint_text());
            let new = certificate.made;
            tracing::warn!(listener = name, %file, fingerprint, new, "clients see a self-signed certificate");
        }
        doors.push((socket, listener));
    }
    let sign_in = open_web(config, &doors, parts, recorder).await?;
    Ok(((doors, kept), sign_in))
}

/// A target whose statements leave before their intents are flushed is asked for in a file that somebody else wrote. Told
/// once the log is open, and not where the configuration is read.
fn warn_of_less(target: &gateway::Target) {
    if target.recorded == Recorded::Written {
        let lost = "a crash of the machine can lose the record of statements that were sent; every record says so";
        tracing::warn!(target = target.name, "recorded = \"written\": {lost}");
    }
}

/// Serves until a signal, and then until all sessions have ended. Gives the sockets back if the program is to be started
/// anew.
async fn attend(
    (config, program, places): (&Config, &Program, Places),
    (doors, kept): (Doors, Kept),
    parts: Parts,
    (recorder, health): (&Recorder, Option<&HealthServer>),
    (orders, drain): (Orders, &Drain),
) -> Option<Kept> {
    let Orders { stop, mut restarts, hangups } = orders;
    if let Some(Err(error)) = drain.begun().run_until_cancelled(parts.verifier.warm()).await {
        tracing::warn!(%error, "an issuer cannot be reached; nobody of it can sign in until it can");
    }
    if let Some(health) = health {
        health.serves(Sources {
            journal: recorder.journal.clone(),
            ship: recorder.ship.status(),
            anchored: recorder.anchored.clone(),
            verifier: Arc::clone(&parts.verifier),
            counters: parts.counters.clone(),
            clock: Arc::clone(&parts.clock),
        });
    }
    let register = (recorder.journal.clone(), &parts.clock);
    let listeners = doors.iter().map(|(_, listener)| listener);
    let renewal = Renewal::new(config, listeners, &parts.targets, &parts.cancels, register);
    let serving = TaskTracker::new();
    let (policy, begun) = (Arc::clone(&parts.policy), drain.begun());
    let reload = Reload::new(config, &policy, parts.rules, recorder.journal.clone(), &parts.clock);
    let [for_rules, for_tls] = hangups;
    serving.spawn(reload.run(for_rules, begun.clone()));
    serving.spawn(renewal.run(for_tls, begun.clone()));
    let mut told = BTreeSet::new();
    for (socket, listener) in doors {
        for logins in listener.routes.all().filter(|logins| told.insert(logins.first().target.name.clone())) {
            warn_of_less(&logins.first().target);
            let mut users = BTreeSet::new();
            for site in logins.all().filter(|site| users.insert(site.target.credentials.user.as_str())) {
                serving.spawn(tell(gateway::Target::clone(&site.target), policy.current().policy, begun.clone()));
            }
        }
        if let Ok(address) = socket.local_addr() {
            let targets: Vec<&str> = listener.routes.all().map(|logins| logins.first().target.name.as_str()).collect();
            tracing::info!(%address, listener = listener.name, target = targets.join(", "), "listening");
        }
        serving.spawn(gateway::serve(socket, listener, places.clone(), drain.clone()));
    }
    serving.close();
    let anew = tokio::select! {
        () = stop.cancelled() => false,
        () = program.is_to_be_anew(&mut restarts) => true,
    };
    drain.begin();
    // Without them clients are refused from here on, and whoever spreads them over several nodes sees it.
    let mut kept = anew.then_some(kept);
    let mut ended = std::pin::pin!(all_ended(&serving, drain));
    tokio::select! {
        () = &mut ended => kept,
        () = stop.cancelled(), if anew => {
            drop(kept.take());
            ended.await;
            None
        }
    }
}

/// Returns when nobody is served any more, or when those that were broken off had their time.
async fn all_ended(serving: &TaskTracker, drain: &Drain) {
    let cut = async {
        drain.cut().cancelled().await;
        tokio::time::sleep(CUT_LIMIT).await;
    };
    tokio::select! {
        () = serving.wait() => {},
        () = cut => tracing::warn!("not every session ended in time; their ends are recorded at next start"),
    }
}

/// Closes journal and archive.
async fn seal(recorder: Recorder, drain: &Drain, restarts: bool) {
    let hurry = drain.cut().child_token();
    let waiting = restarts.then(|| {
        let hurry = hurry.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_SHIPMENT_LIMIT).await;
            hurry.cancel();
        })
    });
    recorder.stop(&hurry).await;
    if let Some(waiting) = waiting {
        waiting.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");

    #[test]
    fn a_check_finds_what_the_configuration_refers_to_and_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hansard.toml");
        let text = MINIMAL.replace("/run/secrets/pg", "pw").replace("/etc/hansard/policies", "rules");
        std::fs::write(&path, text).unwrap();
        let problems = check(&path).unwrap_err();
        let place = |name: &str| dir.path().join(name).display().to_string();
        let gone = "cannot be read: No such file or directory (os error 2)";
        let expected = [
            format!("{}: target.app.login.password: the file {} {gone}", path.display(), place("pw")),
            format!("{}: policy.path: {} {gone}", path.display(), place("rules")),
        ];
        assert_eq!(problems, expected);
        std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        let expected = [format!("policy: {}: no *.cedar file is in this folder", place("rules"))];
        assert_eq!(check(&path).unwrap_err(), expected);
        let rule = dir.path().join("rules/all.cedar");
        std::fs::write(&rule, "permit (principal, action == Action::\"selct\", resource);\n").unwrap();
        let problems = check(&path).unwrap_err();
        assert!(problems.iter().all(|problem| problem.starts_with(&place("rules/all.cedar:1:"))), "{problems:?}");
        assert!(problems[0].contains("did you mean"), "{problems:?}");
        std::fs::write(&rule, "permit (principal, action, resource);\n").unwrap();
        assert!(check(&path).is_ok());
    }

    #[test]
    fn a_check_finds_what_is_wrong_with_those_who_are_to_vouch_for_the_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let (path, place) = (dir.path().join("hansard.toml"), |name: &str| dir.path().join(name).display().to_string());
        std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        std::fs::write(dir.path().join("rules/all.cedar"), "permit (principal, action, resource);\n").unwrap();
        let text = MINIMAL.replace("/run/secrets/pg", "pw").replace("/etc/hansard/policies", "rules");
        let text = text.replace("file:///var/lib/hansard/store", &format!("file://{}", place("store")));
        let problems = |evidence: &str| {
            std::fs::write(&path, format!("{text}\n[evidence]\n{evidence}\n")).unwrap();
            let problems = check(&path).err().unwrap_or_default();
            let start = format!("{}: ", path.display());
            problems.iter().map(|problem| problem.strip_prefix(&start).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let authority = "timestamps = { url = \"http://tsa.example\", authorities = \"tsa.pem\" }";
        let said = problems(authority);
        assert!(said[0].starts_with("evidence.timestamps.authorities: "), "{said:?}");
        std::fs::write(dir.path().join("tsa.pem"), "nothing").unwrap();
        let empty = format!(
            "evidence.timestamps.authorities: {}: there is no certificate of an authority in it",
            place("tsa.pem")
        );
        assert_eq!(problems(authority), [empty]);
        std::fs::write(dir.path().join("tsa.pem"), include_str!("../../fixtures/timestamps/p256-ca.pem")).unwrap();
        assert_eq!(problems(authority), Vec::<String>::new());

        let one = "evidence.copy: is one place with the archive: whoever can change the one could change the other";
        for copy in ["store", "store/copy"] {
            assert_eq!(problems(&format!("keys = \"k\"\ncopy = {{ url = \"file://{}\" }}", place(copy))), [one]);
        }
        let keys = problems(&format!("keys = \"copy/keys\"\ncopy = {{ url = \"file://{}\" }}", place("copy")));
        assert!(
            keys[0].ends_with(
                "is in the folder that checkpoints are copied to: whoever holds the copies could sign others"
            )
        );
        let azure = |auth: &str| problems(&format!("copy = {{ url = \"az://audit\", account = \"abc\", {auth} }}"));
        let gone = azure("auth = \"key\", key = { file = \"none\" }");
        assert!(gone[0].starts_with("evidence.copy.key: the file "), "{gone:?}");
        let unfit = azure("auth = \"key\", key = { file = \"pw\" }");
        assert!(unfit[0].starts_with("evidence.copy: ") && !unfit[0].contains("hunter2"), "{unfit:?}");
        let identity = azure("auth = \"workload_identity\"");
        assert!(identity.iter().all(|problem| problem.starts_with("evidence.copy.auth: AZURE_")), "{identity:?}");
        assert!(!identity.is_empty() && !dir.path().join("copy").exists(), "a check makes nothing");
    }
}
