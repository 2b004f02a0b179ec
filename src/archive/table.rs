//! One dataset as a table of the query engine.
//!
//! Not the engine's own listing of folders: that skips empty files, takes any file for one of ours, and reads every
//! file for a condition on `time`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::catalog::{Catalog, DataFile};
use super::coverage::Ledger;
use super::days::{self, DATE, Wanted};
use super::error::ArchiveError;
use crate::segment::Dataset;
use crate::store::BASE_URL;

/// One dataset as a table.
#[derive(Debug)]
pub(super) struct Table {
    dataset: Dataset,
    schema: TableSchema,
    catalog: Arc<Catalog>,
    ledger: Arc<Ledger>,
}

impl Table {
    pub(super) fn new(dataset: Dataset, catalog: Arc<Catalog>, ledger: Arc<Ledger>) -> Result<Self, ArchiveError> {
        let in_file = dataset.schema().map_err(|error| ArchiveError::Unexpected(error.to_string()))?;
        let date = Arc::new(Field::new(DATE, DataType::Date32, false));
        Ok(Self {
            dataset,
            schema: TableSchema::builder(in_file).with_table_partition_cols(vec![date]).build(),
            catalog,
            ledger,
        })
    }

    fn wanted(&self, state: &dyn Session, filters: &[Expr]) -> Wanted {
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Wanted::All };
        // A condition that cannot be used to leave files unread is no error: the engine applies it to the rows.
        DFSchema::try_from(Arc::clone(self.schema.table_schema()))
            .and_then(|schema| state.create_physical_expr(filter, &schema))
            .ok()
            .and_then(|filter| {
                PruningPredicateBuilder::new().with_file_schema(Arc::clone(self.schema.table_schema())).build(filter)
            })
            .map_or(Wanted::All, Wanted::Some)
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let wanted = self.wanted(state, filters);
        let chosen = match self.catalog.choose(self.dataset, &wanted).await {
            Ok(chosen) => chosen,
            Err(error) => return Err(self.ledger.fail(error)),
        };
        self.ledger.consider(&chosen);
        if chosen.is_empty() {
            let schema = datafusion::common::project_schema(&self.schema(), projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let files: Vec<PartitionedFile> = chosen.iter().map(partitioned).collect();
        let source = Arc::new(ParquetSource::new(self.schema.clone()));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(BASE_URL)?, source)
            .with_file_groups(FileGroup::new(files).split_files(state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        let format = ParquetFormat::default().with_options(state.default_table_options().parquet);
        format.create_physical_plan(state, config).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

fn partitioned(file: &DataFile) -> PartitionedFile {
    let day = ScalarValue::Date32(Some(days::number(file.day)));
    PartitionedFile::new(file.name.clone(), file.bytes).with_partition_values(vec![day])
}
