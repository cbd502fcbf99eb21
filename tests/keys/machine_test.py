"""The hardware is that on which JAX will run."""

import glob
import os

import pytest

from maxtext_ext.keys import machine


@pytest.mark.parametrize(
  ("devices", "installed", "expected"),
  [
    ((), (), "cpu"),
    (("/dev/nvidia0",), ("jax_cuda12_plugin",), "gpu"),
    (("/dev/nvidia0",), (), "cpu"),  # `make demo` on a laptop with a GPU
    (("/dev/accel0",), ("libtpu",), "tpu"),
    ((), ("libtpu",), "cpu"),  # for `plan`
    (("/dev/vfio/0", "/dev/nvidia0"), ("libtpu", "jax_cuda13_plugin"), "tpu"),
  ],
)
def test_a_device_counts_where_its_extra_is_installed(monkeypatch, devices, installed, expected):
  monkeypatch.delenv("JAX_PLATFORMS", raising=False)
  monkeypatch.setattr(machine, "_is_installed", lambda package: package in installed)
  monkeypatch.setattr(os.path, "exists", lambda path: path in devices)
  monkeypatch.setattr(
    glob, "glob", lambda pattern: [path for path in devices if path.startswith(pattern[:9])]
  )
  assert machine.detect_hardware() == expected


@pytest.mark.parametrize(
  ("platforms", "expected"), [("cpu", "cpu"), ("cuda,cpu", "gpu"), ("TPU", "tpu"), ("rocm", "gpu")]
)
def test_what_jax_is_told_counts_first(monkeypatch, platforms, expected):
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  assert machine.detect_hardware() == expected
