"""AudioLDM's codec at small size: lengths, joins, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from audioldm_files import original_of

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import HOP, MelCodec
from synchresis.errors import BadInputError
from synchresis.systems.weights import fill, randomise, skeleton


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    torch.manual_seed(0)
    made = MelCodec(audioldm.SMALL).eval()
    randomise(made)
    return made


def test_an_original_file_is_read_whole(codec: MelCodec) -> None:
    tensors = original_of(codec) | {"model.diffusion_model.x": torch.zeros(1), "scale_factor": torch.tensor(0.9)}
    with skeleton():
        empty = MelCodec(audioldm.SMALL)
    named = audioldm.original_checkpoint(tensors, Path("a.ckpt"))
    report = fill(empty, named, component="codec", source=Path("a.ckpt"), ignored=audioldm.ELSEWHERE)
    assert report.read == len(codec.state_dict())
    assert sum(report.ignored.values()) == 1
    assert float(empty.scale_factor) == pytest.approx(0.9)
    for name, value in codec.state_dict().items():
        if name != "scale_factor":
            assert torch.equal(empty.state_dict()[name], value), name


@pytest.mark.parametrize("lost", ["scale_factor", "first_stage_model.encoder.conv_in.weight"])
def test_a_file_that_lacks_something_is_refused(codec: MelCodec, lost: str) -> None:
    tensors = original_of(codec)
    del tensors[lost]
    with skeleton():
        empty = MelCodec(audioldm.SMALL)

    def read() -> None:
        named = audioldm.original_checkpoint(tensors, Path("a.ckpt"))
        fill(empty, named, component="codec", source=Path("a.ckpt"), ignored=audioldm.ELSEWHERE)

    with pytest.raises(BadInputError, match=r"scale_factor|encoder\.conv_in\.weight"):
        read()


@torch.no_grad()
def test_blocks_of_sound_join_exactly(codec: MelCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(1, 8, 40, 16, generator=torch.Generator().manual_seed(1))
    whole = codec.vocoded(codec.mel(latents))[0]
    monkeypatch.setattr(audioldm, "VOCODED", 50)
    blocks = list(codec.sounds(latents))
    assert len(blocks) == 4
    torch.testing.assert_close(torch.cat(blocks), whole, atol=1e-5, rtol=0)
    assert whole.shape == (40 * 4 * HOP,)
    assert codec.vocoded(codec.mel(latents), tail=True).shape == (1, 40 * 4 * HOP + 32)


@torch.no_grad()
def test_a_long_film_is_decoded_in_windows(codec: MelCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the joins a window's own mel is what one hears; in between it is a mixture of two."""
    monkeypatch.setattr(audioldm, "TRAINED_FRAMES", 64)
    monkeypatch.setattr(audioldm, "DECODE_OVERLAP", 4)
    latents = torch.randn(1, 8, 28, 16, generator=torch.Generator().manual_seed(2))
    mel = codec._long_mel(latents)
    first, last = codec.mel(latents[:, :, :16]), codec.mel(latents[:, :, 12:])
    torch.testing.assert_close(mel[:, :, :48], first[:, :, :48], atol=1e-5, rtol=0)
    torch.testing.assert_close(mel[:, :, 64:], last[:, :, 16:], atol=1e-5, rtol=0)
    share = (torch.arange(16) + 0.5)[:, None] / 16
    torch.testing.assert_close(mel[0, 0, 48:64], first[0, 0, 48:] * (1 - share) + last[0, 0, :16] * share)


@torch.no_grad()
def test_a_batch_gives_what_each_gives_alone(codec: MelCodec) -> None:
    latents = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    both = codec.vocoded(codec.mel(latents))
    for i in range(2):
        torch.testing.assert_close(codec.vocoded(codec.mel(latents[i : i + 1]))[0], both[i], atol=1e-5, rtol=0)


def test_full_scale_does_not_wrap() -> None:
    assert audioldm.to_int16(torch.tensor([1.0, -1.0, 0.5, 1.9 / 32768])).tolist() == [32767, -32768, 16384, 1]


def test_mel_of_a_tone_is_in_its_band_and_silence_is_the_floor() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)[None]
    mel = audioldm.log_mel(tone)
    assert mel.shape == (1, 101, 64)
    centre = float((audioldm.mel_matrix() * torch.linspace(0, 8000, 513)).sum(1)[mel[0, 50].argmax()]) / float(
        audioldm.mel_matrix()[mel[0, 50].argmax()].sum()
    )
    assert abs(centre - 1000) < 50
    assert torch.allclose(audioldm.log_mel(torch.zeros(1, 8000)), torch.tensor(-11.5129), atol=1e-4)
    assert audioldm.fitted(mel, 200)[0, 150].tolist() == pytest.approx([-11.5129] * 64, abs=1e-4)


def test_levelling() -> None:
    sound = np.sin(np.arange(3000)) * 0.1 + 0.3
    levelled = audioldm.levelled(sound, 4000)
    assert len(levelled) == 4000
    assert np.abs(levelled).max() == pytest.approx(0.5)
    assert np.abs(levelled[3000:]).max() == 0
    assert np.array_equal(audioldm.levelled(np.zeros(10), 20), np.zeros(20))
