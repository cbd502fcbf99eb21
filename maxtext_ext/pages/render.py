"""Rendering of templates to self-contained pages: one file, no script, no downloads."""

import os
import pathlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from maxtext_ext.escape import printable
from maxtext_ext.pages.duration import format_duration

_SHARED = pathlib.Path(__file__).parent


def render(
  template: str | os.PathLike[str],
  *,
  filters: Mapping[str, Callable[[Any], Any]] | None = None,
  **values: Any,
) -> str:
  """Fills in a template that extends base.html.jinja; every value is escaped.

  Args:
    template: path of the .html.jinja file.
    filters: by the names that the template gives them, besides `duration`, `count`, `fact` and
      `printable`.
    values: the template's variables, always with `title`; a missing one is an error.
  """
  path = pathlib.Path(template)
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([path.parent, _SHARED]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters["duration"] = format_duration
  environment.filters["printable"] = printable
  environment.filters["count"] = lambda number: f"{number:,}"
  environment.filters["fact"] = lambda fact: f"{fact:,.4g}" if isinstance(fact, float) else fact
  environment.filters.update(filters or {})
  return environment.get_template(path.name).render(**values)


def direction(text: str) -> str:
  """Returns "rtl" or "ltr" by the first letter with a direction, as HTML's dir=auto decides.

  dir=auto itself looks past isolated (bdi) words, and every word of an alignment is one.
  """
  for character in text:
    match unicodedata.bidirectional(character):
      case "L":
        return "ltr"
      case "R" | "AL":
        return "rtl"
  return "ltr"
