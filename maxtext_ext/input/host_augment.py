"""What the host adds to the training data: other speeds, rooms, noise, and noise alone."""

from dataclasses import dataclass

from maxtext_ext.audio.perturb import Perturbation, find_sounds


@dataclass(frozen=True, kw_only=True)
class HostAugment:
  """Changes of training clips, as `audio.perturb.Perturbation` has them, with folders for files.

  Attributes:
    noise_dir: folder of sounds in which nobody speaks.
    rir_dir: folder of room impulse responses.
  """

  speed_range: tuple[float, float] = (1.0, 1.0)
  gain_db: tuple[float, float] = (0.0, 0.0)
  noise_dir: str = ""
  noise_snr_db: tuple[float, float] = (5.0, 30.0)
  noise_probability: float = 0.0
  rir_dir: str = ""
  rir_probability: float = 0.0

  def __post_init__(self) -> None:
    # Folders are looked into when training begins; evaluation and decoding go without them.
    self._perturbation(*((folder,) if folder else () for folder in (self.noise_dir, self.rir_dir)))

  def perturbation(self, max_seconds: float) -> Perturbation:
    """With the files that are found.

    Raises:
      ValueError: a folder that is needed holds none.
    """
    return self._perturbation(
      find_sounds(self.noise_dir) if self.noise_probability else (),
      find_sounds(self.rir_dir) if self.rir_probability else (),
      max_seconds,
    )

  def _perturbation(
    self, noises: tuple[str, ...], rirs: tuple[str, ...], max_seconds: float = 30.0
  ) -> Perturbation:
    return Perturbation(
      speed_range=self.speed_range,
      gain_db=self.gain_db,
      noise_snr_db=self.noise_snr_db,
      noise_probability=self.noise_probability,
      rir_probability=self.rir_probability,
      noises=noises,
      rirs=rirs,
      max_seconds=max_seconds,
    )


@dataclass(frozen=True, kw_only=True)
class NoiseOnly:
  """Clips of noise with an empty text, so that the model learns to answer silence with nothing.

  Attributes:
    rate: share of all clips; 0: none.
    seconds: their lengths, uniform in [low, high].
  """

  rate: float = 0.0
  seconds: tuple[float, float] = (1.0, 10.0)

  def __post_init__(self) -> None:
    if not 0 <= self.rate < 1:
      raise ValueError(f"noise_only_rate={self.rate:g}, expected a number from 0 to below 1")
    low, high = self.seconds
    if not 0 < low <= high:
      raise ValueError(f"noise_only_seconds=[{low:g}, {high:g}], expected 0 < low <= high")
