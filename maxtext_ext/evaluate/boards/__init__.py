"""Public boards: their scoring and manifest formats, by the names of `evaluate --protocol`."""

from maxtext_ext.evaluate.boards.elm_arabic import ElmArabic
from maxtext_ext.evaluate.boards.ivrit import Ivrit
from maxtext_ext.evaluate.boards.open_asr import OpenAsr
from maxtext_ext.evaluate.boards.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
  "open-asr": OpenAsr(),
  "ivrit": Ivrit(),
  "elm-arabic": ElmArabic(),
}


def get_protocol(name: str) -> Protocol:
  """Returns the protocol called `name`. Raises ValueError that lists the names."""
  if name not in PROTOCOLS:
    raise ValueError(f"unknown protocol {name!r}; expected one of {', '.join(PROTOCOLS)}")
  return PROTOCOLS[name]
