//! An object store with the rules of an immutable Azure container, which no emulator enforces: a name is created once,
//! and nothing is ever overwritten, deleted, renamed or given other metadata. Whoever tries fails the test.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// What was asked of the store, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A create; whether the name was free.
    Create(String, bool),
    /// A read.
    Get(String),
    /// A listing below a prefix.
    List(Option<String>),
}

/// The store. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Worm {
    objects: Arc<InMemory>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Worm {
    /// Everything that was asked of it so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// How often each name was created: once, or somebody broke the rules behind our back.
    pub(crate) fn created(&self) -> BTreeMap<String, usize> {
        let mut created = BTreeMap::new();
        for call in self.calls() {
            if let Call::Create(name, true) = call {
                *created.entry(name).or_default() += 1;
            }
        }
        created
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

/// Ends the test, for there is no answer to this that whoever asked could go on with.
fn forbidden(what: &str, name: &Path) -> ! {
    panic!("forbidden in an immutable container: {what} {name}")
}

impl fmt::Display for Worm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worm")
    }
}

#[async_trait]
impl ObjectStore for Worm {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            // On a free name Azure would let it pass. On one that another put took meanwhile it is an overwrite.
            forbidden("an unconditional put of", location);
        }
        // Whoever waits may be gone before it is stored, and before it is answered.
        tokio::task::yield_now().await;
        let put = self.objects.put_opts(location, payload, options).await;
        self.note(Call::Create(location.to_string(), put.is_ok()));
        tokio::task::yield_now().await;
        put
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let parts = self.objects.put_multipart_opts(at, options).await?;
        Ok(Box::new(WormUpload { store: self.clone(), name: at.clone(), parts }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.note(Call::Get(location.to_string()));
        self.objects.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.note(Call::Get(location.to_string()));
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, _names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        forbidden("deleting", &Path::default())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note(Call::List(prefix.map(ToString::to_string)));
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.note(Call::List(prefix.map(ToString::to_string)));
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Create {
            forbidden("an unconditional copy to", to);
        }
        let copied = self.objects.copy_opts(from, to, options).await;
        self.note(Call::Create(to.to_string(), copied.is_ok()));
        copied
    }

    async fn rename_opts(&self, from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        forbidden("renaming", from)
    }
}

/// An upload in parts: it may be completed once, under a name that is free.
#[derive(Debug)]
struct WormUpload {
    store: Worm,
    name: Path,
    parts: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for WormUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.store.objects.head(&self.name).await.is_ok() {
            forbidden("completing an upload over", &self.name);
        }
        let put = self.parts.complete().await;
        self.store.note(Call::Create(self.name.to_string(), put.is_ok()));
        put
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}
