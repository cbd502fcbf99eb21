"""Keys of packing: the shape of a batch, and how far a row looks ahead."""

from typing import Literal

from pydantic import Field

from maxtext_ext.subconfig import Count, Size, SubConfig


class Packing(SubConfig, title="Packing"):
  """Rows of a batch; their text slots are `max_target_length`."""

  windows_per_row: Size = Field(0, description="8 s windows of a row; 0: from the data.")
  packing_lookahead: Count = Field(512, description="Size of the buffer that fills rows.")
  audio_dtype: Literal["float32", "int16"] = Field(
    "int16", description="Type of samples sent to the device; int16 halves the traffic."
  )
