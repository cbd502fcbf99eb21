"""Augmentation on the device. The host chooses, seeded per record and epoch; here it is applied."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def apply_chunk_mask(
  mel_BWCFM: Float[Array, "B W C F M"], chunk_mask_BWC4: Int[Array, "B W C 4"]
) -> Float[Array, "B W C F M"]:
  """SpecAugment (Park et al. 2019): one band of mel bins and one span of frames become 0.0.

  Args:
    mel_BWCFM: normalised log-mel of the chunks.
    chunk_mask_BWC4: `[mel_from, mel_to, frame_from, frame_to)` inside each chunk; equal ends mask
      nothing. A clip's span of frames reaches its chunks already cut to them.
  """
  mel_from, mel_to, frame_from, frame_to = (
    chunk_mask_BWC4[..., i, None] for i in range(chunk_mask_BWC4.shape[-1])
  )
  bins_M, frames_F = jnp.arange(mel_BWCFM.shape[-1]), jnp.arange(mel_BWCFM.shape[-2])
  band_BWCM = (bins_M >= mel_from) & (bins_M < mel_to)
  span_BWCF = (frames_F >= frame_from) & (frames_F < frame_to)
  return jnp.where(band_BWCM[..., None, :] | span_BWCF[..., None], 0.0, mel_BWCFM)
