"""Processes that share a database: who they are, whether they are alive, and the leases they hold."""
