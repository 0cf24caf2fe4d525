"""A deterministic simulation of the ledger: one seed is one run, and a failing seed replays exactly.

Workers, a command and a door run as simulated processes on a small library, with real SQL and a storage,
clock, queue and model service of the simulation's own. See docs/chaos.md.
"""
