"""Batch processing for any operation: plan, start, claim, pause, resume and sweep.

The ledger (`Batch`, `BatchItem`) holds the state; the queue only delivers. Nothing here imports the
queue: the function that enqueues ticks is injected (`worker_slots.set_notifier`).
"""
