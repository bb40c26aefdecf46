-- catalog/carry_over: into a new catalog, what the previous one said and has not changed.
--
-- `previous` is the attached old catalog; of its partitions it shows those of the months that
-- changed_files speaks of. changed_files, changed_runs and checked are the run's. Each row of
-- `checked` names findings that no longer stand: of a rule (NULL: of any) and a data type, of some
-- symbols (NULL: of all), from the session `first` to the session `last`, both inclusive.
insert into source_files by name
select * from previous.source_files where source not in (select source from changed_files)
;
insert into runs by name
select
    * replace (
        -- One at a time writes: whoever has not said how it ended was killed.
        if(state = 'running', 'interrupted', state) as state,
        if(state = 'running', 'it was killed', problem) as problem
    )
from previous.runs
where run_id not in (select run_id from changed_runs)
;
insert into findings by name
select *
from previous.findings as found
where
    not exists (
        select 1
        from checked
        where
            coalesce(checked.rule = found.rule, true)
            and checked.data_type = found.data_type
            and coalesce(list_contains(checked.symbols, found.symbol), checked.symbols is null)
            and coalesce(found.session between checked.first and checked.last, true)
    )
;
insert into reconciliations by name
select *
from previous.reconciliations
;
insert into restatements by name
select *
from previous.restatements
;
-- What was published of a file stands in the partitions, whatever became of the file since.
insert into restatements by name
with
    published as (
        select data_type, unnest(sessions) as entry
        from previous.partitions
        where
            (data_type, month) in (
                select (data_type, date_trunc('month', day)::date)
                from changed_files
                where state = 'ingested'
            )
    ),

    earlier as (
        select
            entry.source as source,
            entry.sha256 as earlier_sha256,
            any_value(entry.etag) as earlier_etag,
            sum(entry.rows)::bigint as earlier_rows
        from published
        group by entry.source, entry.sha256
    ),

    final as (
        select
            changed_files.data_type,
            changed_files.day,
            changed_files.symbol,
            changed_files.source,
            earlier.earlier_etag,
            earlier.earlier_sha256,
            earlier.earlier_rows,
            changed_files.etag,
            changed_files.sha256,
            changed_files.rows_published,
            changed_files.run_id,
            changed_files.recorded_at as restated_at
        from changed_files
        inner join earlier on changed_files.source = earlier.source
        where
            changed_files.state = 'ingested'
            and changed_files.sha256 <> earlier.earlier_sha256
    )

select *
from final
;
