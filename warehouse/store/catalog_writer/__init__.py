"""Writes the catalog: the next one, beside the present.

`next_catalog` builds it from the empty one (`empty_catalog`), which the files of sql/catalog make
(`sql_files`, looked at by `binding`), and from what stands in the present one (`replaced`). What
its macros say of files is in `file_names`, and where views have their columns from, in
`schema_files`.
"""
