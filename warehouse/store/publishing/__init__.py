"""How what lies on disk changes: all at once, or not at all.

`publish` puts what is staged in place in one sweep, the next catalog last. `next_catalog` builds
that from the empty one (`empty_catalog`), which the files of sql/catalog make (`catalog_sql`,
looked at by `catalog_binding`), and from the one that it takes the place of (`replaced_catalog`).
What its macros say of files is in `file_names`, and where views have their columns from in
`schema_files`. `kept_tables` are the pages beside it that outlive it, of which `recover_catalog`
makes a lost one anew.
"""
