"""The REST API of proxies and batches."""
