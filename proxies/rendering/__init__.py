"""Render a proxy from an original's bytes. Independent of Django: runs in any Python process."""
