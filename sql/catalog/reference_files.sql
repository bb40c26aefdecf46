-- catalog/reference_files: the files of corporate actions and names that the catalog names.
--
-- Of each table one, `splits-….parquet`, or none yet. Each list begins with a file without rows,
-- which gives the columns. `…_names()` are filled in when a catalog is made. As they stand here,
-- run in the warehouse's folder, they take all files that are there, of earlier loads too.
create or replace macro splits_names() as 'splits-*.parquet';
create or replace macro dividends_names() as 'dividends-*.parquet';
create or replace macro securities_names() as 'securities-*.parquet';
create or replace macro reference_files_named(of_name, of_names) as list_concat(
    [file_without_rows(of_name)],
    list_transform(
        list_filter([of_names], lambda name: name <> ''),
        lambda name: data_pattern() || '/reference/' || name
    )
);
create or replace macro splits_files() as reference_files_named('splits', splits_names());
create or replace macro dividends_files() as reference_files_named('dividends', dividends_names());
create or replace macro securities_files() as
    reference_files_named('securities', securities_names());
