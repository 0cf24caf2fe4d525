"""Inspect and decode images, and search them for private metadata. Independent of Django."""
