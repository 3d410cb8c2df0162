import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from synchresis.data.recordings import CLASSES, Recording


@pytest.fixture(scope="module")
def judge() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "judge.py"
    spec = importlib.util.spec_from_file_location("judge_under_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def stand_ins(fold: int, count: int) -> list[Recording]:
    """Of each class a noise in its own octave, pulsing at its own rate: ten sounds easily told apart."""
    rng = np.random.default_rng(fold)
    made = []
    for k, label in enumerate(CLASSES):
        for _ in range(count):
            spectrum = np.fft.rfft(rng.standard_normal(96000))
            f = np.fft.rfftfreq(96000, 1 / 32000)
            centre = 100 * 2 ** (0.7 * k)
            sound = np.fft.irfft(spectrum * np.exp(-(np.log2(np.maximum(f, 1) / centre) ** 2) * 8))
            sound *= 1 + np.cos(2 * np.pi * (1 + k % 3) * np.arange(96000) / 32000)
            made.append(Recording((0.2 * sound / sound.std()).astype(np.float32), label, fold, label, "esc10"))
    return made


@pytest.mark.slow
def test_it_learns(judge: ModuleType) -> None:
    made = judge.train([*stand_ins(1, 5), *stand_ins(4, 1)], seed=0, epochs=30)
    assert made.facts["clips"] == 10
    assert made.facts["accuracy_3s"] >= 0.8


def test_it_is_kept_and_hears_at_any_rate_and_level(judge: ModuleType, tmp_path: Path) -> None:
    import soxr

    out = tmp_path / "judge.safetensors"
    made = judge.train([*stand_ins(1, 3), *stand_ins(4, 1)], seed=0, out=out, epochs=4)
    kept = judge.Judge.load(out)
    assert kept.facts["accuracy_3s_by_class"] == made.facts["accuracy_3s_by_class"]
    for clip in stand_ins(5, 1)[3:7]:
        label, chances = kept.classify(clip.samples, 32000)
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert label == made.classify(clip.samples, 32000)[0]
        assert chances[label] == max(chances.values())
        quiet = kept.classify(clip.samples / 50, 32000)[1]
        assert quiet[label] == pytest.approx(chances[label], abs=0.02)
        stereo = np.repeat(soxr.resample(clip.samples, 32000, 48000)[:, None], 2, axis=1)
        assert kept.classify(stereo, 48000)[1][label] == pytest.approx(chances[label], abs=0.1)


def test_only_folds_1_to_3_are_trained_on(judge: ModuleType) -> None:
    """Another fold 4 and 5 leave the weights as they are."""
    one = judge.train([*stand_ins(2, 3), *stand_ins(4, 1)], epochs=1)
    other = judge.train([*stand_ins(2, 3), *stand_ins(4, 2)[::2], *stand_ins(5, 1)], epochs=1)
    for name, tensor in one.net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), other.net.state_dict()[name].numpy())


def test_the_loudest_stretch(judge: ModuleType) -> None:
    sound = np.zeros(5 * 32000, np.float32)
    sound[3 * 32000 : 4 * 32000] = 1
    assert judge.loudest(sound, 2).sum() == 32000
    assert len(judge.loudest(sound, 2)) == 64000
    assert len(judge.loudest(sound, 9)) == len(sound)
