-- catalog/add: into a new catalog, what the run has changed.
insert into manifests by name select * from present_manifests
;
insert into source_files by name select * from changed_files
;
insert into runs by name select * from changed_runs
;
insert into findings by name select * from new_findings
;
insert into reconciliations by name select * from new_reconciliations
;
