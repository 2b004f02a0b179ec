//! An answer, batch by batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::coverage::{Coverage, Ledger};
use super::damage;
use super::engine;
use super::error::ArchiveError;
use super::json;
use crate::store::Store;

/// Batches that wait to be taken: one, so that the engine works while the reader does.
const WAITING: usize = 1;

/// One row: a value for each column.
pub type Row = Vec<Value>;

/// The answer to a query. Rows are taken with [`Answer::next`]; what is not taken is not computed.
#[derive(Debug)]
pub struct Answer {
    columns: Vec<String>,
    batches: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    task: Option<JoinHandle<()>>,
    ledger: Arc<Ledger>,
    store: Store,
}

impl Answer {
    /// Runs the engine in a task of its own: what panics there ends the answer, not the program.
    pub(super) fn new(mut stream: SendableRecordBatchStream, ledger: Arc<Ledger>, store: Store) -> Self {
        let columns = stream.schema().fields().iter().map(|field| field.name().clone()).collect();
        let (sender, batches) = mpsc::channel(WAITING);
        let task = tokio::spawn(async move {
            while let Some(batch) = stream.next().await {
                let last = batch.is_err();
                if sender.send(batch).await.is_err() || last {
                    break;
                }
            }
        });
        Self { columns, batches, task: Some(task), ledger, store }
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows; `None` after the last. After an error there are none.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; of a file that cannot be read, the file is named.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, ArchiveError> {
        loop {
            let batch = match self.batches.recv().await {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return Err(engine::explain(error, &self.ledger, &self.store).await),
                None => return self.end().await.map(|()| None),
            };
            if batch.num_rows() > 0 {
                return rows(&batch).map(Some).map_err(|error| ArchiveError::Unexpected(error.to_string()));
            }
        }
    }

    /// What the answer is based on.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]: the newest files are looked into.
    pub async fn coverage(&self) -> Result<Coverage, ArchiveError> {
        self.ledger.coverage(&self.store).await
    }

    /// All rows at once, for questions of ours whose answers are small.
    pub(super) async fn all(mut self) -> Result<Vec<Row>, ArchiveError> {
        let mut all = Vec::new();
        while let Some(rows) = self.next().await? {
            all.extend(rows);
        }
        Ok(all)
    }

    /// The engine ended: because it was done, or because it panicked.
    async fn end(&mut self) -> Result<(), ArchiveError> {
        let Some(task) = self.task.take() else { return Ok(()) };
        match task.await {
            Ok(()) => Ok(()),
            Err(_) => {
                let found = damage::find(&self.store, self.ledger.considered()).await;
                Err(found.unwrap_or_else(|| ArchiveError::Unexpected("the query engine stopped".to_owned())))
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn rows(batch: &RecordBatch) -> Result<Vec<Row>, arrow::error::ArrowError> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| json::value(column.as_ref(), row)).collect())
        .collect()
}
