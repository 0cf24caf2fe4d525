"""Storages with atomic writes, single-request reads and named errors: folders and S3 buckets."""
