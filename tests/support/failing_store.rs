//! An object store that fails on demand: away, busy, slow, silent, or wrong about what it did.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::watch;

/// How a put or a get goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Well.
    None,
    /// Well, after a while.
    Slow(Duration),
    /// Nobody listens.
    Refused,
    /// 503.
    Busy,
    /// 403.
    Forbidden,
    /// 409 to a create, whether something is there or not.
    Exists,
    /// 412 to a create, whether something is there or not.
    Precondition,
    /// It is stored, and the answer is lost: the caller sees a failure.
    LostSuccess,
    /// The connection breaks in the middle: a put stores nothing, a get gives half the bytes.
    CutOff,
    /// No answer, until the fault is another.
    Silent,
}

/// All of them.
pub(crate) const FAULTS: [Fault; 10] = [
    Fault::None,
    Fault::Slow(Duration::from_millis(3)),
    Fault::Refused,
    Fault::Busy,
    Fault::Forbidden,
    Fault::Exists,
    Fault::Precondition,
    Fault::LostSuccess,
    Fault::CutOff,
    Fault::Silent,
];

/// One create that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) at: Instant,
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
struct State {
    /// For the next calls, one each.
    next: VecDeque<Fault>,
    /// For all calls after those.
    always: Fault,
    /// Instead of `always`: a fault at random, in so many of a hundred calls.
    flapping: Option<(StdRng, u32)>,
    attempts: Vec<Attempt>,
}

/// The store. Clones are the same store.
#[derive(Debug, Clone)]
pub(crate) struct FailingStore {
    objects: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl FailingStore {
    /// One that does not fail yet, over another.
    pub(crate) fn over(objects: Arc<dyn ObjectStore>) -> Self {
        let state = State { next: VecDeque::new(), always: Fault::None, flapping: None, attempts: Vec::new() };
        Self { objects, state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()) }
    }

    /// From now on every call goes like this.
    pub(crate) fn always(&self, fault: Fault) {
        let mut state = self.state();
        (state.always, state.flapping) = (fault, None);
        state.next.clear();
        drop(state);
        self.changed.send_replace(());
    }

    /// The next calls go like these; what follows goes as before.
    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().next.extend(faults);
    }

    /// From now on so many of a hundred calls fail, in any way but for ever.
    pub(crate) fn flap(&self, random: StdRng, of_a_hundred: u32) {
        self.state().flapping = Some((random, of_a_hundred));
    }

    /// Every create that was asked for.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.state().attempts.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What comes of this call; waits as long as it is to wait.
    async fn fault(&self) -> Fault {
        let mut changed = self.changed.subscribe();
        let fault = {
            let mut state = self.state();
            let always = state.always;
            let next = state.next.pop_front();
            next.unwrap_or_else(|| match &mut state.flapping {
                Some((random, share)) => {
                    let fails = random.random_range(0..100) < *share;
                    // The last is the silence, which nobody would end.
                    let fault = FAULTS[random.random_range(1..FAULTS.len() - 1)];
                    if fails { fault } else { Fault::None }
                }
                None => always,
            })
        };
        match fault {
            Fault::Slow(pause) => tokio::time::sleep(pause).await,
            // The sender is in this store, so it ends with a change.
            Fault::Silent => drop(changed.changed().await),
            _ => {}
        }
        fault
    }
}

fn failure(what: &str) -> Error {
    Error::Generic { store: "FailingStore", source: what.into() }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailingStore")
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (at, name, bytes) = (Instant::now(), location.to_string(), Bytes::from(payload.clone()));
        self.state().attempts.push(Attempt { at, name, bytes });
        let path = || location.to_string();
        match self.fault().await {
            Fault::None | Fault::Slow(_) => self.objects.put_opts(location, payload, options).await,
            Fault::Refused => Err(failure("connection refused")),
            Fault::Busy => Err(failure("503 Server Busy")),
            Fault::CutOff => Err(failure("connection reset after half of the body")),
            Fault::Silent => Err(failure("no answer")),
            Fault::Forbidden => Err(Error::PermissionDenied { path: path(), source: "403".into() }),
            Fault::Exists => Err(Error::AlreadyExists { path: path(), source: "409".into() }),
            Fault::Precondition => Err(Error::Precondition { path: path(), source: "412".into() }),
            Fault::LostSuccess => {
                self.objects.put_opts(location, payload, options).await?;
                Err(failure("connection reset before the answer"))
            }
        }
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.fault().await;
        let path = location.to_string();
        match fault {
            Fault::None | Fault::Slow(_) => self.objects.get_opts(location, options).await,
            Fault::Forbidden => Err(Error::PermissionDenied { path, source: "403".into() }),
            Fault::CutOff => {
                let found = self.objects.get_opts(location, options).await?;
                let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let bytes = found.bytes().await?;
                let parts =
                    [Ok(bytes.slice(..bytes.len() / 2)), Err(failure("connection reset after half of the body"))];
                let payload = GetResultPayload::Stream(futures::stream::iter(parts).boxed());
                Ok(GetResult { payload, meta, range, attributes })
            }
            _ => Err(failure("503 Server Busy")),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
