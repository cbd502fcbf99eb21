"""Dropout of whole audio tokens in front of the projector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model
from tests import tiny
from tests.train.steps import KEYS, noise_rows


@pytest.mark.parametrize("projector", ["mlp", "normed_mlp"])
def test_a_share_of_the_tokens_is_zero_before_the_projector_and_the_others_as_without(projector):
  config = load(tiny.DEMO, [*KEYS, "frame_dropout=0.3", f"projector={projector}"])
  batch = jax.tree.map(jnp.asarray, noise_rows([1, 1]))
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    model = make_model(config, mesh)
    keys = [None, *jax.random.split(jax.random.key(0), 2)]
    plain, first, second = (np.asarray(model.encode(batch, key=key)) for key in keys)
    silent = np.asarray(model.projector(jnp.zeros((1, model.speech_encoder.config.out_dim))))[0]
  dropped = np.all(first == silent, axis=-1)
  assert dropped.mean() == pytest.approx(0.3, abs=0.1)
  np.testing.assert_array_equal(first[~dropped], plain[~dropped])
  assert not np.array_equal(first, second)
