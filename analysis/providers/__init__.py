"""The services that look at pictures. Importing this registers them; none of them is contacted by that."""

from analysis.providers import nova, rekognition
from analysis.providers.base import Provider, UnknownProvider, get, names

__all__ = ["Provider", "UnknownProvider", "get", "names", "nova", "rekognition"]
