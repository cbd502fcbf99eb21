"""Shared parts of the HTML pages: style, number formats, pictures."""
