"""Where units of work run: here, or on a cluster.

It hands out `engine.open_executor`: an `Executor` takes units and gives back a future of each;
`engine.Engine` keeps a cluster from one question to the next.
A unit is a call that can be pickled; what it is told is its `Share` of the machine that it runs on.
Nothing else in the project knows which of the engines runs it. `spark_table` lets Spark read what
is published.
"""
