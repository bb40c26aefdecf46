"""What keeps a warehouse right once it is there.

It hands out laying one out (`init`), verifying every file against what is recorded of it and
mending what is wrong (`verify`, `repair`), making anew what the SQL or the source left behind
(`rebuild_stale`), and pruning what is published (`prune`).
"""
