"""Find what a file contains besides its pixels, by walking its container to the last byte.

The rule is an allow-list: pixels, colour and the blocks needed for decoding are harmless, anything else
counts as metadata.
"""
