"""The REST API of originals, and what every part of the API shares: errors, parsers, permissions, schema."""
