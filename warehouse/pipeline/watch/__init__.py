"""What a run says of itself: its log, its figures for those who scrape, how it ended.

It hands out the log (`logs`), a run under watch (`run_watch`) and the figures (`openmetrics`).
"""
