-- catalog/files: the files that views and macros read: those that this catalog names, no others.
--
-- A glob would read whatever stands in a folder (a copy that a syncing program left, say), and
-- would say nothing of a partition that is gone: a file that is named and not there is an error.
-- Each list begins with a file without rows. It gives the columns, so that a damaged partition does
-- not keep a view from being made. A data type's `…_names()` has a line for each symbol that has
-- files of its own: its folder and the months that are published, where they follow each other the
-- first and the last. `…_market_names()` has what all symbols share: months of one file, `2024_01`,
-- or sessions with the first symbol of each file, `2024_01/02:A|DQ|MSFT`, with commas between them;
-- and `…_market_symbols()` a line for each symbol of these. Symbols are as their folders would be
-- called. Before the sessions stands when one that was published was last cut into other files,
-- `cut:20240103T160512123456`: a file without rows has that in its name, and goes when it happens
-- again. They, `data_folder()` and `cache_name()` are filled in when a catalog is made. As they
-- stand here, run in the warehouse's folder, they take all files of single symbols that are there.
create or replace macro data_folder() as 'data';
create or replace macro cache_name() as 'cache';
create or replace macro trades_names() as '* *';
create or replace macro trades_market_names() as '';
create or replace macro trades_market_symbols() as '';
create or replace macro quotes_names() as '* *';
create or replace macro quotes_market_names() as '';
create or replace macro quotes_market_symbols() as '';
create or replace macro minute_aggs_names() as '* *';
create or replace macro minute_aggs_market_names() as '';
create or replace macro minute_aggs_market_symbols() as '';
create or replace macro day_aggs_names() as '* *';
create or replace macro day_aggs_market_names() as '';
create or replace macro day_aggs_market_symbols() as '';
create or replace macro rejects_names() as '*/*/*.parquet';
create or replace macro manifest_names() as '*/*.parquet';
-- The paths that lead to what is published are those of the place where the catalog was made. A
-- copy names that place as well, and would answer with its original's rows where that is attached
-- too: there are two then whose table `warehouse` has the place as its comment.
create or replace macro is_in_place() as (
    select
        case
            when data_folder() = 'data'
            then true
            when count(*) filter (path = data_folder() || '/warehouse.duckdb') = 0
            then
                error(
                    'this catalog was made in '
                    || data_folder()
                    || ' and stands elsewhere now. Adapt it with: warehouse update. Or only read,'
                    || ' with: warehouse shell, or after: create temp macro data_folder() as'
                    || ' ''FOLDER'', the full path of the folder that it stands in'
                )
            when count(made_in) > 1 and count(*) filter (made_in = data_folder()) = 0
            then
                error(
                    'this shell was told where one warehouse stands, and several are attached:'
                    || ' ask each in a shell of its own'
                )
            when count(*) filter (made_in = data_folder()) > 1
            then
                error(
                    'a catalog that was made in '
                    || data_folder()
                    || ' is attached together with a copy of it, which names the same files: ask'
                    || ' each in a shell of its own'
                )
            else true
        end
    from duckdb_databases() as files
    left join
        (
            select database_name, comment as made_in
            from duckdb_tables()
            where table_name = 'warehouse'
        ) as made using (database_name)
    where files.path not glob '*/staging/warehouse.duckdb'
);
-- A macro takes the macros and tables that it names from the catalog in use, whichever it stands in
-- itself; and before these what the shell's user made under such a name, as a temporary table. What
-- the WITH of a query has it does not take: it names tables as those of `main`. It orders upwards
-- where it does not say how, unless the shell was told otherwise.
create or replace macro is_the_only_one() as (
    select
        case
            when
                count(*) filter (
                    path glob '*/warehouse.duckdb' and not path glob '*/staging/warehouse.duckdb'
                )
                > 1
            then
                error(
                    'several warehouses are attached, and a macro would take the files of the one'
                    || ' in use: ask the views, or each warehouse in a shell of its own'
                )
            when count(own_name) > 0
            then
                error(
                    'a macro would take your own '
                    || min(own_name)
                    || ' for the warehouse''s: give it another name'
                )
            when current_setting('default_order') like 'DESC%'
            then error('a macro would order downwards, and look ahead: reset default_order')
            else true
        end
    from duckdb_databases() as files
    left join
        (
            select database_name as own_database, lower(table_name) as own_name
            from duckdb_tables()
            where schema_name = 'main'
            union all
            select database_name, lower(view_name)
            from duckdb_views()
            where schema_name = 'main'
        ) as own
        on own_database = database_name
        and own_name in ('actions', 'partitions', 'securities', 'sessions', 'trade_conditions')
        and not coalesce(path, '') glob '*/warehouse.duckdb'
        and (
            database_name = 'temp'
            or contains(
                ',' || lower(current_setting('search_path')) || ',',
                ',' || lower(database_name) || '.main,'
            )
        )
);
-- Who asks from a time to a time would get the whole sessions, unawares; from the later session to
-- the earlier, none. This is asked where files are named: as a condition, beside one that no row
-- can meet, it would not be looked at.
create or replace macro are_sessions(of_first, of_last) as case
    when of_first is null or of_last is null
    then error('a session is NULL: name the first and the last')
    when of_first::timestamp <> of_first::date or of_last::timestamp <> of_last::date
    then
        error(
            'sessions are dates, without a time: of a part of one ask with WHERE timestamp, which'
            || ' is UTC'
        )
    when of_last::date < of_first::date
    then
        error(
            'the last session, '
            || of_last::date
            || ', lies before the first, '
            || of_first::date
            || ': swap them'
        )
    else true
end;
-- The data folder within the path of a file: each of a list is a pattern.
create or replace macro data_pattern() as regexp_replace(data_folder(), '([*?[])', '[\1]', 'g');
-- A file of which there is no trace where it should be was moved with its warehouse, most likely.
-- All that DuckDB then says is the pattern. What stands in its brackets matches a `q` and nothing
-- else: whatever is neither up to `p`, nor from `r` on, nor in the sentence, which has none. What
-- is not ASCII is a range of its own: DuckDB 2.0.0 compares bytes, 2.0.1 characters.
create or replace macro file_or_told(of_name, of_sentence) as
    data_pattern()
    || '/schema/'
    || of_name
    || '.par[!'
    || chr(1)
    || '-pr-'
    || chr(127)
    || chr(128)
    || '-'
    || chr(1114111)
    || '; '
    || of_sentence
    || ']uet';
create or replace macro file_without_rows(of_name) as
    file_or_told(of_name, 'is this the place? where the warehouse stands now: warehouse update');
-- A shell that was opened before sessions were cut anew would look for a symbol in the file that
-- had it then, and find no row.
create or replace macro file_of_cut(of_name, of_cut) as
    file_or_told(
        of_name || '.cut-' || of_cut,
        'sessions were published anew since this shell was opened: open it anew; if that tells it'
        || ' too: warehouse verify --repair'
    );
create or replace macro folder_of(of_name) as
    data_pattern()
    || '/'
    || regexp_replace(cache_name(), '([*?[])', '[\1]', 'g')
    || '/'
    || of_name
    || '/';
-- The months that a text of months and spans of them (2014_01-2023_12) says.
create or replace macro months_in(of_spans) as flatten(
    list_transform(
        string_split(of_spans, ','),
        lambda span: case
            when not contains(span, '-')
            then [span]
            else
                list_transform(
                    generate_series(
                        strptime(split_part(span, '-', 1), '%Y_%m'),
                        strptime(split_part(span, '-', 2), '%Y_%m'),
                        interval 1 month
                    ),
                    lambda month: strftime(month, '%Y_%m')
                )
        end
    )
);
create or replace macro files_named(of_name, of_names) as list_concat(
    [file_without_rows(of_name)],
    flatten(
        list_transform(
            list_filter(string_split(of_names, chr(10)), lambda line: line <> ''),
            lambda line: list_transform(
                months_in(split_part(line, ' ', 2)),
                lambda month: folder_of(of_name)
                || split_part(line, ' ', 1)
                || '/'
                || month
                || '.parquet'
            )
        )
    )
);
create or replace macro months_of(of_names, of_symbol) as case
    when of_names = '* *'
    then '*'
    else
        split_part(
            split_part(
                chr(10) || of_names, chr(10) || path_name(of_symbol::varchar) || ' ', 2
            ),
            chr(10),
            1
        )
end;
create or replace macro files_named_of(of_name, of_names, of_market_symbols, of_symbol) as case
    when months_of(of_names, of_symbol) <> ''
    then
        list_concat(
            [file_without_rows(of_name)],
            list_transform(
                months_in(months_of(of_names, of_symbol)),
                lambda month: folder_of(of_name)
                || path_name(of_symbol::varchar)
                || '/'
                || month
                || '.parquet'
            )
        )
    when
        of_symbol::varchar <> ''
        and contains(
            chr(10) || of_market_symbols || chr(10),
            chr(10) || path_name(of_symbol::varchar) || chr(10)
        )
    then [file_without_rows(of_name)]
    else
        error(
            'there are no '
            || of_name
            || ' of '
            || coalesce('''' || of_symbol::varchar || '''', 'NULL')
            || ' (case counts)'
        )
end;
-- Which of a session's files, by number, has a symbol: the last that begins with it, or with one
-- that comes before it; NULL: all.
create or replace macro numbers_of(firsts, of_symbol) as case
    when of_symbol is null
    then range(len(firsts))
    else range(len(list_filter(firsts, lambda one: url_decode(one) <= of_symbol::varchar)))[-1:]
end;
-- The files that all symbols share: of the months from that of one session to that of another, or
-- of these sessions and those between them.
create or replace macro market_files_named(of_name, of_names, of_symbol, first, last) as list_concat(
    case when are_sessions(first, last) then [file_without_rows(of_name)] end,
    flatten(
        list_transform(
            list_filter(
                list_transform(string_split(of_names, ','), lambda one: string_split(one, ':')),
                lambda one: one[1] = 'cut'
                or (
                    one[1] <> ''
                    and one[1] >= left(strftime(first::date, '%Y_%m/%d'), length(one[1]))
                    and one[1] <= strftime(last::date, '%Y_%m/%d')
                )
            ),
            lambda one: case
                when one[1] = 'cut'
                then [file_of_cut(of_name, one[2])]
                when len(one) = 1
                then [folder_of(of_name) || 'market/' || one[1] || '.parquet']
                else
                    list_transform(
                        numbers_of(string_split(one[2], '|'), of_symbol),
                        lambda number: folder_of(of_name)
                        || 'market/'
                        || one[1]
                        || '_'
                        || lpad(number::varchar, 2, '0')
                        || '.parquet'
                    )
            end
        )
    )
);
-- The session of a file that has a session's rows: `…/2024_01/02_00.parquet`; of another NULL.
create or replace macro session_of_file(of_path) as try_strptime(
    parse_path(of_path)[-2] || left(parse_path(of_path)[-1], 2), '%Y_%m%d'
)::date;
create or replace macro trades_files() as files_named('trades', trades_names());
create or replace macro quotes_files() as files_named('quotes', quotes_names());
create or replace macro minute_aggs_files() as files_named('minute_aggs', minute_aggs_names());
create or replace macro day_aggs_files() as files_named('day_aggs', day_aggs_names());
create or replace macro trades_files_of(of_symbol) as
    files_named_of('trades', trades_names(), trades_market_symbols(), of_symbol);
create or replace macro trades_market_files(first, last) as
    market_files_named('trades', trades_market_names(), null, first, last),
(of_symbol, first, last) as
    market_files_named('trades', trades_market_names(), of_symbol, first, last);
create or replace macro quotes_files_of(of_symbol) as
    files_named_of('quotes', quotes_names(), quotes_market_symbols(), of_symbol);
create or replace macro quotes_market_files(first, last) as
    market_files_named('quotes', quotes_market_names(), null, first, last),
(of_symbol, first, last) as
    market_files_named('quotes', quotes_market_names(), of_symbol, first, last);
create or replace macro minute_aggs_files_of(of_symbol) as
    files_named_of('minute_aggs', minute_aggs_names(), minute_aggs_market_symbols(), of_symbol);
create or replace macro minute_aggs_market_files(first, last) as
    market_files_named('minute_aggs', minute_aggs_market_names(), null, first, last),
(of_symbol, first, last) as
    market_files_named('minute_aggs', minute_aggs_market_names(), of_symbol, first, last);
create or replace macro day_aggs_files_of(of_symbol) as
    files_named_of('day_aggs', day_aggs_names(), day_aggs_market_symbols(), of_symbol);
create or replace macro day_aggs_market_files(first, last) as
    market_files_named('day_aggs', day_aggs_market_names(), null, first, last),
(of_symbol, first, last) as
    market_files_named('day_aggs', day_aggs_market_names(), of_symbol, first, last);
create or replace macro manifest_files() as list_concat(
    [file_without_rows('partitions')],
    list_transform(
        list_filter(string_split(manifest_names(), chr(10)), lambda line: line <> ''),
        lambda line: data_pattern() || '/manifests/' || line
    )
);
create or replace macro rejects_files() as list_concat(
    [file_without_rows('rejects')],
    list_transform(
        list_filter(string_split(rejects_names(), chr(10)), lambda line: line <> ''),
        lambda line: data_pattern() || '/rejects/' || line
    )
);
