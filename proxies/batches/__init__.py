"""Work over many files: planned, started, claimed, paused, resumed and swept, whatever the operation.

The ledger (`Batch`, `BatchItem`) holds the state; the queue only delivers. Nothing here imports the
queue: what rings its bell is handed in (`slots.set_notifier`).
"""
