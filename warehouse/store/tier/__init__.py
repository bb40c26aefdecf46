"""The bucket as the cache tier: generations are pulled from it, and published to it.

Nothing else of `store` knows of it: a warehouse whose cache is a folder is all that they see.
"""
