"""Video2RMS: it learns one film, and keeps any length."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from synchresis.data.stage import film
from synchresis.encoders.rms_features import MOTION, mapper_features
from synchresis.errors import BadInputError
from synchresis.media import probe, write_film
from synchresis.nn.rms_mapper import RMSMapper, RMSMapperConfig, mapper_config, save_mapper
from synchresis.systems.foley_envelope import LOOK, LOOK_OVERLAP, predicted_classes
from synchresis.timeline import Track, correlation
from synchresis.timeline import rms_codes as rms
from synchresis.training.rms_mapper import train_mapper


def test_it_overfits_a_rendered_film(tmp_path: Path) -> None:
    """Four seconds of the stage with its own sound: the predicted envelope is the one that sounded."""
    made = film(11, size=(96, 96), seconds=4.0, fps=30, kinds=("wood",), ugly=False)
    path = tmp_path / "wood.mp4"
    write_film(path, made.frames, made.fps, None)
    clip = probe(path)
    sight = Track(np.zeros((16, 4), np.float32), Fraction(4))
    features = mapper_features(clip, sight)
    assert features.values.shape == (120, MOTION + 4)
    sound, rate = made.sound.values, float(made.sound.rate)
    envelope = rms.envelope_of(sound / np.abs(sound).max(), round(0.227 * rate), 2 * round(0.0225 * rate))
    told = envelope[np.minimum((np.arange(120) / 30 * rate).astype(int), len(envelope) - 1)]
    config = RMSMapperConfig(features.values.shape[1], width=64, lstm=32)
    losses: list[float] = []
    net = train_mapper(
        [(features.values, told)], config, steps=160, peak=5e-3, batch=2, report=lambda _, loss: losses.append(loss)
    )
    assert losses[-1] < 0.6 * losses[0]
    classes = predicted_classes(net, torch.from_numpy(features.values)).numpy()
    assert classes.shape == (120,)
    assert correlation(rms.expanded(classes), told) > 0.9
    assert np.array_equal(classes, predicted_classes(net, torch.from_numpy(features.values)).numpy())  # no dropout now


@pytest.fixture(scope="module")
def net() -> RMSMapper:
    torch.manual_seed(0)
    return RMSMapper(RMSMapperConfig(features=6, width=8, lstm=4)).eval()


@pytest.mark.parametrize("length", [1, 2, LOOK, LOOK + 1, 3 * LOOK - LOOK_OVERLAP])
def test_any_length(net: RMSMapper, length: int) -> None:
    features = torch.randn(length, 6, generator=torch.Generator().manual_seed(1))
    classes = predicted_classes(net, features)
    assert classes.shape == (length,)
    assert classes.min() >= 0
    assert classes.max() < 64


def test_windows_agree_with_the_whole_away_from_their_ends(net: RMSMapper) -> None:
    features = torch.randn(700, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = net(features[None])[0].argmax(-1)
    assert (predicted_classes(net, features) == whole).float().mean() > 0.98


def test_labels_at_another_rate_than_the_features() -> None:
    net = RMSMapper(RMSMapperConfig(features=6, width=8, lstm=4, labels_per_frame=1.2)).eval()
    assert predicted_classes(net, torch.zeros(25, 6)).shape == (30,)
    assert predicted_classes(net, torch.zeros(700, 6)).shape == (840,)


def test_it_is_kept_in_a_file(net: RMSMapper, tmp_path: Path) -> None:
    path = save_mapper(net, tmp_path / "mapper.safetensors")
    assert mapper_config(path) == net.config
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(BadInputError, match="other"):
        mapper_config(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no clips"):
        train_mapper([], steps=1)
