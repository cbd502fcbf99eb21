"""The user's cache: what can be made again, kept over runs."""

import os


def user_cache(name: str) -> str:
  """A folder of the user's cache, which may not exist yet: $XDG_CACHE_HOME/maxtext_ext/{name}."""
  chosen = os.environ.get("XDG_CACHE_HOME", "")
  root = chosen if os.path.isabs(chosen) else os.path.join(os.path.expanduser("~"), ".cache")
  return os.path.join(root, "maxtext_ext", name)
