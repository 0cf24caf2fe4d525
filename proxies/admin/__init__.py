"""The admin pages of proxies, batches and operations."""
