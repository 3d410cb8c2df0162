"""CLIP's eye: what it is shown, and when."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from synchresis.encoders import clip
from synchresis.errors import BadInputError
from synchresis.media import frames, probe, write_film
from synchresis.systems.weights import randomise


@pytest.fixture(scope="module")
def eye() -> torch.nn.Module:
    net = clip.build(clip.SMALL)
    randomise(net)
    return net


@pytest.fixture(scope="module")
def flashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.5 s at 10 fps, 48x64; every picture has a brightness of its own."""
    path = tmp_path_factory.mktemp("clip") / "flashes.mp4"
    write_film(path, (np.full((48, 64, 3), 40 + 8 * i, np.uint8) for i in range(25)), Fraction(10), None)
    return path


@pytest.mark.parametrize(("height", "width"), [(300, 200), (97, 131), (28, 28), (20, 50), (360, 640)])
def test_pictures_are_prepared_as_transformers_does(height: int, width: int) -> None:
    """Bicubic to the shorter side, the middle, mean and deviation: the published preprocessing."""
    from transformers import CLIPImageProcessorPil

    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    expected = processor(picture, return_tensors="pt")["pixel_values"][0]
    got = clip.seen(picture, 28)
    assert got.shape == (3, 28, 28)
    assert float((got - expected).abs().max()) < 1e-5
    raw = clip.seen(picture, 28, normalise=False)
    assert 0 <= float(raw.min()) <= float(raw.max()) <= 1
    mean, std = (torch.tensor(values)[:, None, None] for values in (clip.MEAN, clip.STD))
    assert torch.allclose((raw - mean) / std, got, atol=1e-6)


def test_an_odd_rest_is_cut_as_torchvision_does() -> None:
    """torchvision, which the published code uses, rounds half the rest to even; transformers cuts one pixel earlier."""
    ramp = np.broadcast_to(np.arange(31, dtype=np.uint8)[None, :, None] * 8, (28, 31, 3)).copy()
    assert torch.equal(clip.seen(ramp, 28, normalise=False)[0, 0] * 255, torch.arange(2.0, 30.0) * 8)


def test_features_are_of_the_pictures_at_the_instants(eye: torch.nn.Module, flashes: Path) -> None:
    film = probe(flashes)
    track = clip.frame_features(eye, film, rate=4, batch=3)
    assert (track.rate, track.start) == (4, 0)
    assert track.values.shape == (10, clip.SMALL["projection_dim"])
    shown = [picture for _, picture in frames(film, times=[Fraction(i, 4) for i in range(10)])]
    alone = torch.cat([clip.embed(eye, clip.seen(picture, 28)[None]) for picture in shown])
    assert np.abs(track.values - alone.numpy()).max() < 1e-5
    assert np.abs(np.diff(track.values, axis=0)).max(1).min() > 1e-4


def test_a_picture_that_serves_many_instants_is_looked_at_once(
    eye: torch.nn.Module, flashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    embed = clip.embed
    monkeypatch.setattr(clip, "embed", lambda net, pictures: looked.append(len(pictures)) or embed(net, pictures))
    told: list[float] = []
    track = clip.frame_features(eye, probe(flashes), rate=50, batch=4, progress=told.append)
    assert len(track) == 125
    assert sum(looked) == 25
    assert max(looked) == 4
    assert told[-1] == 1.0
    assert np.abs(track.values[0] - track.values[2]).max() == 0


def test_raw_pictures_give_other_features(eye: torch.nn.Module, flashes: Path) -> None:
    usual = clip.frame_features(eye, probe(flashes), rate=2)
    raw = clip.frame_features(eye, probe(flashes), rate=2, normalise=False)
    assert np.abs(usual.values - raw.values).max() > 1e-3


def test_a_film_shorter_than_a_step_has_one_feature(eye: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    write_film(path, [np.full((32, 32, 3), 90, np.uint8)], Fraction(25), None)
    assert len(clip.frame_features(eye, probe(path), rate=8)) == 1
    with pytest.raises(BadInputError, match="above 0"):
        clip.frame_features(eye, probe(path), rate=0)
    with pytest.raises(BadInputError, match="no instant"):
        clip.frame_features(eye, probe(path), rate=8, times=[])


def test_other_instants_than_the_grid_s(eye: torch.nn.Module, flashes: Path) -> None:
    film = probe(flashes)
    track = clip.frame_features(eye, film, rate=2, times=[0.5, 0.7, 1.9])
    grid = clip.frame_features(eye, film, rate=10)
    assert (track.start, track.rate) == (Fraction(1, 2), 2)
    assert np.abs(track.values - grid.values[[5, 7, 19]]).max() < 1e-5


def test_sizes_are_read_from_either_kind_of_configuration() -> None:
    vision = {name: value for name, value in clip.SMALL.items() if name != "projection_dim"}
    whole = {"model_type": "clip", "vision_config": vision, "projection_dim": 64, "text_config": {}}
    assert clip.vision_config(whole) == clip.SMALL
    assert clip.vision_config(clip.SMALL | {"model_type": "clip_vision_model"}) == clip.SMALL
    with pytest.raises(BadInputError, match="siglip"):
        clip.vision_config({"model_type": "siglip"})
    with pytest.raises(ValueError, match="colour"):
        clip.build(clip.SMALL | {"colour": 3})


def test_the_published_size_has_the_published_tensors() -> None:
    """392 tensors, 303.97 million values (VTA-LDM spec, table of its file)."""
    with torch.device("meta"):
        net = clip.build(clip.VIT_L_14)
    assert len(net.state_dict()) == 392
    assert round(sum(value.numel() for value in net.state_dict().values()) / 1e6, 2) == 303.97
