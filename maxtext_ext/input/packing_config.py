"""Keys of packing and of buckets: the shape of a batch, and how far a row looks ahead."""

from typing import Literal

from pydantic import Field

from maxtext_ext.subconfig import Count, Size, SubConfig


class Packing(SubConfig, title="Packing"):
  """Rows of a batch; their text slots are `max_target_length`."""

  windows_per_row: Size = Field(0, description="8 s windows of a row; 0: from the data.")
  packing_lookahead: Count = Field(512, description="Size of the buffer that fills rows.")
  per_device_batch_seconds: float = Field(
    0.0,
    ge=0,
    description=(
      "Seconds of a pass on each device, padding included, where a row is one clip: short clips"
      " come in more rows. 0: per_device_batch_size rows."
    ),
  )
  length_buckets: Size = Field(
    0,
    description=(
      "Lengths of rows, where a row is one clip: each is a program. 0: the fewest with padding"
      " under 5%, at most 32."
    ),
  )
  audio_dtype: Literal["float32", "int16"] = Field(
    "int16", description="Type of samples sent to the device; int16 halves the traffic."
  )
