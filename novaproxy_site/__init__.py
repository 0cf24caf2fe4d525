"""The site: settings, addresses, and what it composes out of the three apps."""

# The one place of the version: pyproject.toml and the API's schema read it.
__version__ = "0.2.0"
