"""Parsers for headers, markers, directories and profiles, written from the format specifications."""
