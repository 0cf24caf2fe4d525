"""What a file holds beside its pixels: every container is walked to its last byte.

The rule is an allow-list. Pixels, colour and the blocks that decoding needs are known to be harmless.
Anything else counts as metadata.
"""
