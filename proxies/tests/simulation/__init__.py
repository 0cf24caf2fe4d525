"""A deterministic simulation of the ledger: one seed is one run, and a failing seed replays exactly.

Workers, a command and an API client run as simulated processes on a small library, with real SQL and with the
simulation's own storage, clock, queue and model service. See docs/chaos.md.
"""
