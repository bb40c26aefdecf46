"""flatfile-warehouse"""
