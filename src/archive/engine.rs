//! The query engine: what it may do, how much memory it has, and its errors in one sentence.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::answer::{Answer, Row};
use super::catalog::Catalog;
use super::coverage::Ledger;
use super::damage;
use super::error::ArchiveError;
use super::table::Table;
use crate::segment::Dataset;
use crate::store::{BASE_URL, Store};

/// What sorting, grouping and joining may hold at once: sixteen times a full row group, and no threat to the machine of
/// an auditor.
pub const MEMORY_LIMIT: usize = 1 << 30;
/// Rows that the engine hands on at once: statements may be long, so few.
const BATCH_ROWS: usize = 1_024;
/// A misspelt name is at most so different from the one that was meant.
const CLOSE: f64 = 0.75;

/// The engine and the archive it reads.
#[derive(Debug)]
pub(super) struct Engine {
    store: Store,
    runtime: Arc<RuntimeEnv>,
}

impl Engine {
    pub(super) fn new(store: &Store, memory: usize) -> Result<Self, ArchiveError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(|error| unexpected(&error))?;
        let url = ObjectStoreUrl::parse(BASE_URL).map_err(|error| unexpected(&error))?;
        runtime.register_object_store(url.as_ref(), store.object_store());
        Ok(Self { store: store.clone(), runtime })
    }

    /// A view of the archive as it is now.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        Reading { engine: Arc::clone(self), catalog: Arc::new(Catalog::new(self.store.clone())) }
    }
}

/// The archive as it was at one moment: several questions see the same files.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    engine: Arc<Engine>,
    pub(super) catalog: Arc<Catalog>,
}

impl Reading {
    pub(super) async fn query(&self, sql: &str) -> Result<Answer, ArchiveError> {
        let store = &self.engine.store;
        let ledger = Arc::new(Ledger::default());
        let stream = async {
            let context = self.context(&ledger)?;
            let plan = context.state().create_logical_plan(sql).await?;
            let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            if reads.verify_plan(&plan).is_err() {
                return Err(ledger.fail(ArchiveError::ReadOnly));
            }
            context.execute_logical_plan(plan).await?.execute_stream().await
        };
        match stream.await {
            Ok(stream) => Ok(Answer::new(stream, ledger, store.clone())),
            Err(error) => Err(explain(error, &ledger, store).await),
        }
    }

    /// All rows, and the columns, of a question of ours whose answer is small.
    pub(super) async fn rows(&self, sql: &str) -> Result<(Vec<String>, Vec<Row>), ArchiveError> {
        let answer = self.query(sql).await?;
        let columns = answer.columns().to_vec();
        Ok((columns, answer.all().await?))
    }

    fn context(&self, ledger: &Arc<Ledger>) -> Result<SessionContext, DataFusionError> {
        let mut options = ConfigOptions::new();
        // Text is decoded for the rows that are asked for only.
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        let config = SessionConfig::from(options)
            .with_batch_size(BATCH_ROWS)
            .with_default_catalog_and_schema("hansard", "archive")
            .with_information_schema(true);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.engine.runtime));
        for dataset in Dataset::ALL {
            let table = Table::new(*dataset, Arc::clone(&self.catalog), Arc::clone(ledger));
            let table = table.map_err(|error| ledger.fail(error))?;
            context.register_table(dataset.name(), Arc::new(table))?;
        }
        Ok(context)
    }
}

/// The engine's error as ours. If a file may be to blame, the files are looked through.
pub(super) async fn explain(error: DataFusionError, ledger: &Ledger, store: &Store) -> ArchiveError {
    if let Some(ours) = ledger.failure() {
        return ours;
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => ArchiveError::TooLarge,
        DataFusionError::SchemaError(problem, _) => ArchiveError::Query { problem: schema_problem(problem) },
        DataFusionError::Plan(problem) => ArchiveError::Query { problem: plan_problem(problem) },
        DataFusionError::ParquetError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::External(_)
        | DataFusionError::ExecutionJoin(_)
        | DataFusionError::Internal(_) => blame(error, ledger, store).await,
        DataFusionError::ArrowError(arrow, _) if !of_the_question(arrow) => blame(error, ledger, store).await,
        root => ArchiveError::Query { problem: one_line(&root.strip_backtrace()) },
    }
}

async fn blame(error: DataFusionError, ledger: &Ledger, store: &Store) -> ArchiveError {
    if let Some(found) = damage::find(store, ledger.considered()).await {
        return found;
    }
    match error.find_root() {
        // Its message may repeat a signed address.
        DataFusionError::ObjectStore(_) => {
            ArchiveError::Unexpected("the archive failed a moment ago and answers again".to_owned())
        }
        root => ArchiveError::Unexpected(one_line(&root.strip_backtrace())),
    }
}

/// Whether the error is in what was asked: a division by zero is in no file.
fn of_the_question(error: &ArrowError) -> bool {
    matches!(
        error,
        ArrowError::DivideByZero
            | ArrowError::ArithmeticOverflow(_)
            | ArrowError::CastError(_)
            | ArrowError::ParseError(_)
            | ArrowError::ComputeError(_)
            | ArrowError::InvalidArgumentError(_)
            | ArrowError::NotYetImplemented(_)
    )
}

fn schema_problem(problem: &SchemaError) -> String {
    match problem {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().map(|column| column.name.as_str());
            format!("there is no column \"{}\"{}", field.name, suggestion(&field.name, names))
        }
        other => one_line(&other.to_string()),
    }
}

fn plan_problem(problem: &str) -> String {
    let view = problem.strip_prefix("table 'hansard.archive.").and_then(|rest| rest.strip_suffix("' not found"));
    match view {
        Some(view) => {
            let names: Vec<&str> = Dataset::ALL.iter().map(|dataset| dataset.name()).collect();
            format!("there is no view \"{view}\"; there are {}", names.join(", "))
        }
        None => one_line(problem),
    }
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let close = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = close.filter(|(score, _)| *score > CLOSE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map_or_else(|| "; DESCRIBE <view> lists them".to_owned(), |(_, known)| format!("; did you mean \"{known}\"?"))
}

fn one_line(message: &str) -> String {
    let mut text = message.trim();
    for prefix in ["Error during planning: ", "Execution error: ", "SQL error: ", "Arrow error: "] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.lines().next().unwrap_or("").to_owned()
}

fn unexpected(error: &DataFusionError) -> ArchiveError {
    ArchiveError::Unexpected(one_line(&error.strip_backtrace()))
}
