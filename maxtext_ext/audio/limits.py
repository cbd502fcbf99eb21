"""Errors of sound."""


class AudioError(ValueError):
  """The audio cannot be used; the text says why."""
