"""Vision services. Importing this package registers them without contacting any."""

from analysis.providers import nova, rekognition
from analysis.providers.base import Provider, UnknownProvider, get, names

__all__ = ["Provider", "UnknownProvider", "get", "names", "nova", "rekognition"]
