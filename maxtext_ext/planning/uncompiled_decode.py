"""Estimates of memory and cost of decoding, for chips whose compiler needs the chip itself."""

from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.planning.compile_decode import DecodeCompiler, nbytes
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.model_flops import decoder_flops_per_token, encoder_flops_per_window
from maxtext_ext.planning.uncompiled import USABLE, WIDEST_COPIES

_LOGITS_COPIES = 2  # float32: those of a step, and their exponentials


class DecodeEstimator(DecodeCompiler):
  """`DecodeCompiler` that counts arrays exactly and the rest by formula.

  `benchmarks/gpu_memory.py` compares it with the compiler's memory.
  """

  def memory(self, slots: int, places: int, effort: str) -> DecodeMemory:
    """Estimates the memory of both programs."""
    del effort
    config, programs = self._config, self._programs(slots)
    shape, encoder = programs.shape, encoder_config(self._config)
    weights, cache = nbytes(self._weights), nbytes(programs.abstract_pool(places))
    ready = nbytes(programs.abstract_ready())
    logits = 4 * _LOGITS_COPIES * config.vocab_size * slots
    widest = 2 * WIDEST_COPIES * shape.windows_together * encoder.widest_values_per_window
    width = (
      4 * config.emb_dim + 2 * (config.num_query_heads + config.num_kv_heads) * config.head_dim
    )
    inside = 2 * shape.row_tokens * (width + 3 * config.mlp_dim)
    return DecodeMemory(
      weights=weights,
      cache=cache,
      ready=ready,
      total=Memory(
        arguments=weights + cache + ready,
        temporaries=max(logits, widest, inside),
        available=USABLE * self._available,
      ),
      compiling_seconds=0.0,
    )

  def costs(self, slots: int) -> DecodeCosts:
    """Counts matrix products, and what is read: weights once, a block of places of each slot."""
    config, shape = self._config, self._programs(slots).shape
    layers = nbytes(self._weights.layers)
    others = nbytes(self._weights.model)
    per_token = decoder_flops_per_token(config)
    head = 2.0 * config.emb_dim * config.vocab_size
    encode = Cost(
      flops=shape.windows_together * encoder_flops_per_window(config),
      hbm_bytes=others,
      sent_bytes=0.0,
    )
    prefill = Cost(flops=shape.row_tokens * per_token, hbm_bytes=layers, sent_bytes=0.0)
    read = nbytes(self._programs(slots).abstract_pool(128)) + layers
    read += 2 * head / 2 + 3 * 4 * config.vocab_size * slots  # the head's table and the logits
    step = Cost(flops=slots * (per_token + head), hbm_bytes=read, sent_bytes=0.0)
    none = Cost(flops=0.0, hbm_bytes=0.0, sent_bytes=0.0)
    return DecodeCosts(prefill=prefill + encode, encode=encode, step=step, close=none)
