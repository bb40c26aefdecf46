"""What is told of runs and of what they leave, for who looks at it later.

It hands out the log (`logs`), what there is of each data type (`holdings`) and the figures for
those who scrape (`openmetrics`).
"""
