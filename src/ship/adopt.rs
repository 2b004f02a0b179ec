//! What is in the archive already of a segment that is put again.
//!
//! The same program builds the same bytes, and finds them there. Another version of it may write the same rows as other
//! bytes: whoever upgrades while the archive is away would meet a contradiction at the next start. So what is there is
//! read back: if it holds the same rows, it is what was to be put, and the manifest names it as it is. What is compared
//! are the hashes that are signed, so nobody can have other rows signed by putting a file where ours would go.

use bytes::Bytes;

use super::ShipError;
use super::work::Work;
use crate::segment::{Dataset, File, Manifest, leaves_of};
use crate::store::StoreError;

impl Work {
    /// Puts the files of a segment, and returns them as the archive has them.
    pub(super) async fn put_files(&self, files: Vec<File>) -> Result<Vec<File>, ShipError> {
        let mut stored = Vec::with_capacity(files.len());
        for file in files {
            stored.push(match self.put(&file.name, file.bytes.clone()).await {
                Ok(()) => file,
                Err(ShipError::Store(StoreError::Conflict { name })) => self.adopted_file(file, name).await?,
                Err(error) => return Err(error),
            });
        }
        Ok(stored)
    }

    /// Puts the manifest, and returns its bytes as the archive has them.
    pub(super) async fn put_manifest(&self, manifest: &Manifest) -> Result<Bytes, ShipError> {
        let file = manifest.file()?;
        match self.put(&file.name, file.bytes.clone()).await {
            Ok(()) => Ok(file.bytes),
            Err(ShipError::Store(StoreError::Conflict { name })) => {
                let there = self.lasting(|| self.store.get(&name)).await?;
                let same = Manifest::read(&there).is_ok_and(|other| other.is_of_the_same_rows(manifest));
                if same { Ok(there) } else { Err(StoreError::Conflict { name }.into()) }
            }
            Err(error) => Err(error),
        }
    }

    async fn adopted_file(&self, ours: File, name: String) -> Result<File, ShipError> {
        let there = self.lasting(|| self.store.get(&name)).await?;
        let rows = ours.rows;
        let (mine, theirs) = (ours.bytes, there.clone());
        let dataset = Dataset::of_object(&name);
        let same = self.worker.run(move || {
            let leaves = |bytes| dataset.and_then(|dataset| leaves_of(dataset, bytes).ok());
            leaves(theirs).is_some_and(|theirs| leaves(mine) == Some(theirs))
        });
        // A reader that panics has met bytes that no version of ours wrote.
        if same.await.unwrap_or(false) {
            tracing::warn!(name, "the archive has the same rows in a file of another version; it is taken as it is");
            Ok(File::new(name, there, rows))
        } else {
            Err(StoreError::Conflict { name }.into())
        }
    }
}
