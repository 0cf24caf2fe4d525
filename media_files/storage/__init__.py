"""Storages that write whole files, read with one request and name their failures: folders and S3 buckets."""
