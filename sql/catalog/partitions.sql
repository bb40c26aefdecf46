-- catalog/partitions: what is published: a row for each data type, symbol and month, or session.
--
-- From the manifests that this catalog names (catalog/files says which). `path` is the file that
-- the rows stand in: their own, or one that symbols share. Then `first_row` is the row at which
-- they begin, counted from 0, `file_rows` how many the file has, and `bytes` and `sha256` are the
-- file's; where the file is of one session, `part` is its day and number, as `02_00`, else it is
-- empty. `fingerprint` is of the SQL and the settings that made the latest session at least; a
-- session that others made says so itself.
create or replace view partitions as
select
    data_type,
    symbol,
    month,
    data_folder() || '/' || cache_name() || '/' || file as path,
    regexp_extract(file, '/market/[0-9_]+/([0-9][0-9]_[0-9][0-9])\.parquet$', 1) as part,
    rows,
    bytes,
    first_row,
    file_rows,
    first_timestamp,
    last_timestamp,
    sha256,
    fingerprint,
    sessions
from read_parquet(manifest_files(), hive_partitioning = false)
where is_in_place();
