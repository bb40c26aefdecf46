-- catalog/carry_over: into a new catalog, what the previous one said and has not changed.
--
-- `previous` is the attached old catalog; changed_partitions, removed_partitions, changed_files
-- and changed_runs are the run's.
insert into partitions by name
select *
from previous.partitions
where
    (data_type, symbol, month) not in (
        select (data_type, symbol, month)
        from changed_partitions
        union all
        select (data_type, symbol, month)
        from removed_partitions
    )
;
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
