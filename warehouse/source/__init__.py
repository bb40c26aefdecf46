"""Where the vendor's files come from, and how they come down whole.

It hands out a folder or a bucket as one interface (`folder`, `s3`), downloads over many
connections that survive a kill (`parallel_download`, `partfile`), and whether the bytes are those
that the source has (`etag_check`).
"""
