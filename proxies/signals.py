"""Signals for other apps. All are sent after the commit.

``proxy_ready`` (source, proxy, outcome), ``proxy_failed`` (source_id, error), and ``batch_finished`` (batch).
"""

from django.dispatch import Signal

proxy_ready = Signal()
proxy_failed = Signal()
batch_finished = Signal()
