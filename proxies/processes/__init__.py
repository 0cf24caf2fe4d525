"""Processes that share a database: their identity, their liveness, and the leases they hold."""
