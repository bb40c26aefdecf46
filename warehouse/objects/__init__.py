"""The bucket that may be the cache tier: what lies there, who may write, what of it is here.

`Bucket` speaks to the server. Where `storage.cache_dir` is a folder nothing of this is imported.
"""
