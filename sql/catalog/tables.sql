-- catalog/tables: what the warehouse knows about itself.
--
-- A catalog of an earlier format is carried over column by column: one that was added since is
-- NULL in its rows.
create table warehouse (
    -- goes up by one with every publish
    generation bigint not null,
    -- the folder that the views' paths start with
    data_folder varchar not null,
    catalog_format integer not null,
    written_by varchar not null,
    written_at timestamp not null,
    -- of the data folder that it is of, which bears the same in warehouse.id; null: of an earlier
    -- version
    warehouse_id varchar,
    -- SHA-256 of the files of sql/catalog and sql/bars that made the views and macros; null: as
    -- above
    made_of varchar
);
create table manifests (
    data_type varchar not null,
    -- first day of the month
    month date not null,
    -- of the file below data/manifests; its rows are those of the view `partitions`
    name varchar not null,
    bytes bigint not null,
    sha256 varchar not null,
    -- how many it names, and how many rows these have
    partitions bigint not null,
    rows bigint not null,
    -- of the files that the rows stand in
    cache_bytes bigint not null,
    -- of which there are rows, ascending
    sessions date[] not null,
    -- of kept bars an id of the trades that they are up to date with; null: of all else, and until
    -- they are compared
    follows varchar
);
create table source_files (
    data_type varchar not null,
    -- the session; of a file that holds a month its first day
    day date not null,
    -- null: all symbols
    symbol varchar,
    source varchar not null,
    -- here: downloaded, ingested, rows_lost (some that were published are in no partition any more)
    -- or set_aside (it failed verification); not here: missing (at the source), not_yet
    -- (published), not_in_plan (refused: 403) or failed (it did not come through; the next download
    -- tries again)
    state varchar not null,
    -- why, where it was set aside or could not be had
    problem varchar,
    -- the source's mark of this version of the file
    etag varchar,
    bytes bigint,
    sha256 varchar,
    -- lines = rows_published + rows_rejected + rows_unselected
    lines bigint,
    rows_published bigint,
    rows_rejected bigint,
    -- rows of symbols that source.symbols or --symbols left out, and those that another file brings
    rows_unselected bigint,
    -- of these, those that a file of the other source.layout brings; null: of an earlier version
    rows_taken_over bigint,
    rejects_by_reason map(varchar, bigint),
    -- the only symbols that were published; null: all
    symbols varchar[],
    -- modification time of the raw file, nanoseconds UTC, when it was read; null: it was pruned
    raw_modified_ns bigint,
    -- the other half of its identity; null: of an earlier version, or never read
    raw_inode bigint,
    -- what says that the bytes are the source's: etag; or gzip, its CRC and length alone, where the
    -- ETag is no MD5 of them; null: of a folder, or of an earlier version
    vouched_by varchar,
    -- of the SQL and the settings that made its rows and rejects
    fingerprint varchar,
    run_id varchar,
    recorded_at timestamp not null
);
create table runs (
    run_id varchar not null,
    command varchar not null,
    started_at timestamp not null,
    -- done; failed (see problem); interrupted (by Ctrl-C, or killed); running
    state varchar not null,
    problem varchar,
    version varchar not null,
    -- seconds spent on bringing files, and on reading and publishing them; they may overlap
    download_time double,
    processing_time double,
    -- lines that were read, headers left out
    records_processed bigint,
    -- files not fetched or set aside; and the run itself, if it failed
    errors_count bigint,
    -- share of the files asked for that needed no work, from 0 to 1
    cache_hit_rate double,
    -- bytes resident when the record was written
    memory_usage bigint,
    seconds double not null,
    -- of all threads
    cpu_seconds double,
    -- asked for, and here already in the version that the source has
    files_here bigint,
    files_fetched bigint,
    bytes_fetched bigint,
    -- requests to the source that were made again
    retries bigint,
    -- raw files that were read
    files bigint not null,
    files_set_aside bigint not null,
    lines bigint not null,
    rows_published bigint not null,
    rows_rejected bigint not null,
    rows_unselected bigint,
    partitions bigint not null,
    bytes_read bigint not null,
    bytes_written bigint not null,
    peak_memory_bytes bigint not null
);
create table restatements (
    -- the file that the vendor replaced after it was published, under its key in the source
    data_type varchar not null,
    -- the session; of a file that holds a month its first day
    day date not null,
    -- null: all symbols
    symbol varchar,
    source varchar not null,
    -- of the version that was published before
    earlier_etag varchar,
    earlier_sha256 varchar not null,
    earlier_rows bigint not null,
    -- of the version that took its place
    etag varchar,
    sha256 varchar not null,
    rows_published bigint,
    run_id varchar,
    restated_at timestamp not null
);
create table findings (
    -- the run that found it, and when (UTC); a run of `validate`, or the one that brought the rows
    run_id varchar not null,
    checked_at timestamp not null,
    -- file of sql/validate, without .sql
    rule varchar not null,
    -- error or warning
    severity varchar not null,
    -- the one that the rule was asked about
    data_type varchar not null,
    -- null: of the session as a whole, or of all symbols beyond the fifty with most offending rows
    symbol varchar,
    session date,
    -- offending rows that the rule found of this symbol and session
    count bigint not null,
    -- the first few of them, as the rule's columns: a JSON array of objects
    examples varchar not null,
    -- why it counts for nothing, where the allow-list or --allow says so
    allowed varchar
);
create table reconciliations (
    -- the run that held our bars against the vendor's, and when (UTC)
    run_id varchar not null,
    checked_at timestamp not null,
    -- of the vendor's bars: minute_aggs or day_aggs
    data_type varchar not null,
    -- those that were asked about, by commas; null: all that have trades
    symbols varchar,
    -- sessions that were compared; null: none had both
    first_session date,
    last_session date,
    -- regular: minutes of the regular hours; extended: the other minutes; all: days
    hours varchar not null,
    -- bar (whether both have it), open, high, low, close, volume or trades
    field varchar not null,
    -- bars whose field was compared, and those in which it is equal
    compared bigint not null,
    equal bigint not null,
    -- what the differences are due to; null: there are none
    difference_class varchar,
    -- the change of the rules that makes them vanish, in words; null: none does
    cause varchar,
    -- differences of this class and cause
    count bigint not null,
    -- the first three of them: a JSON array of objects
    examples varchar not null
);
