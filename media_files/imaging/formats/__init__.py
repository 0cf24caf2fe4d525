"""Parsers of the file formats, by their specifications: headers, markers, directories and profiles."""
