"""Sub-configs: groups of configuration keys, declared once beside the module that they configure.

`keys.speech.SpeechKeys` is composed of them. They are read before anything else of a command, so
the modules that declare them import neither JAX nor numpy.
"""

from typing import Annotated, Any, Self

import pydantic
from pydantic import Field

Count = Annotated[int, Field(ge=1, le=10**9)]
Size = Annotated[int, Field(ge=0, le=10**9)]


class SubConfig(pydantic.BaseModel):
  """Keys with their types, ranges, defaults and descriptions; `title` is their heading in lists."""

  model_config = pydantic.ConfigDict(
    frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
  )

  @classmethod
  def from_config(cls, config: Any) -> Self:
    """Takes the keys of this group from any object that has them as attributes.

    Raises:
      ValueError: a key has a value that cannot be used.
    """
    return cls(**{name: getattr(config, name) for name in cls.model_fields})
