"""The sole orchestrator of runs that write: plan, stage, validate, publish.

It hands out `Pipeline` with `download`, `ingest`, `update`, `rebuild` and `validate`, each of
which returns a report, and what a run says of itself: records, log and OpenMetrics.
"""
