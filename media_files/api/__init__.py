"""The REST API for originals, and the errors, parsers, permissions and schema shared by the whole API."""
