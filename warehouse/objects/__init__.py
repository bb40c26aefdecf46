"""The bucket that may be the cache tier: what lies there, who may write, what of it is here.

`Bucket` speaks to the server, and whoever has a folder alone does not import its client.
`disk_cache` brings partitions whole, `range_reader` what is asked of them.
"""
