"""Five networks that look at films, in one shape, at small size with random weights."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from synchresis.data.stage import film
from synchresis.encoders import clip as clip_eye
from synchresis.encoders import clip_text, video
from synchresis.errors import BadInputError
from synchresis.media import Clip, frames, probe, write_film
from synchresis.nn.languagebind import LanguageBindConfig, LanguageBindVideo
from synchresis.systems.video_weights import read
from synchresis.systems.weights import randomise


def made(kind: str) -> video.VideoEncoder:
    torch.manual_seed(0)
    network = video.build(video.SMALL[kind]).eval()
    randomise(network)
    return video.encoder(video.SMALL[kind], network)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    shown = film(11, size=(48, 64), seconds=5.0, fps=25, kinds=("wood",), ugly=False)
    path = tmp_path_factory.mktemp("video") / "wood.mp4"
    write_film(path, shown.frames, shown.fps, None)
    return probe(path)


@pytest.mark.parametrize("kind", video.KINDS)
def test_a_track_that_covers_the_film(kind: str, clip: Clip) -> None:
    encoder = made(kind)
    said: list[float] = []
    track = encoder.look(clip, said.append)
    assert track.rate == encoder.rate
    assert track.values.shape == (-(-clip.duration * encoder.rate // 1), encoder.width)
    assert track.values.dtype == np.float32
    assert np.isfinite(track.values).all()
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert np.array_equal(track.values, encoder.look(clip, None).values)
    assert np.abs(np.diff(track.values, axis=0)).max() > 1e-4


@pytest.mark.parametrize("kind", video.KINDS)
def test_a_film_of_one_picture_has_a_feature(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_film(path, [np.full((48, 64, 3), 90, np.uint8)], Fraction(25), None)
    assert len(made(kind).look(probe(path), None)) == 1


def test_spans_are_looked_at_together_and_by_time(clip: Clip) -> None:
    """LanguageBind: 5 s are two spans of eight pictures; the second ends with the last picture standing still."""
    encoder = made("languagebind")
    times = [Fraction(i, 2) for i in range(16)]
    seen = torch.stack([clip_eye.seen(picture, 28) for _, picture in frames(clip, times=times)])
    with torch.no_grad():
        expected = torch.cat([encoder.network(seen[None, :8]), encoder.network(seen[None, 8:])], dim=1)[0, :10]
    np.testing.assert_allclose(encoder.look(clip, None).values, expected.numpy(), atol=1e-6)


def test_stills_of_imagebind_are_unit_vectors(clip: Clip) -> None:
    values = made("imagebind").look(clip, None).values
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0, atol=1e-5)


def test_tubes_of_vivit_are_averaged_over_the_picture(clip: Clip) -> None:
    encoder = made("vivit")
    rate = Fraction(25, 2)
    pictures = [p for _, p in frames(clip, times=[i / rate for i in range(32)])]
    seen = torch.stack([(clip_eye.seen(p, 32, normalise=False) - 0.5) / 0.5 for p in pictures])
    with torch.no_grad():
        hidden = encoder.network(pixel_values=seen[None]).last_hidden_state[0, 1:]
    expected = hidden.reshape(16, 4, 32).mean(1)
    np.testing.assert_allclose(encoder.look(clip, None).values[:16], expected.numpy(), atol=1e-5)


def test_languagebind_is_clip_where_time_does_not_count(clip: Clip) -> None:
    """With nothing added along time it is transformers' CLIP on every picture."""
    sizes = video.SMALL["languagebind"]["network"]
    torch.manual_seed(0)
    bind = LanguageBindVideo(LanguageBindConfig.from_dict(sizes)).eval()
    randomise(bind)
    for layer in bind.vision_model.encoder.layers:  # type: ignore[union-attr]
        layer.temporal_attn.out_proj.weight.data.zero_()
        layer.temporal_attn.out_proj.bias.data.zero_()
        layer.temporal_embedding.data.zero_()
    eye = clip_eye.build({name: value for name, value in sizes.items() if name != "num_frames"})
    eye.load_state_dict({name: value for name, value in bind.state_dict().items() if "temporal_" not in name})
    seen = torch.stack([clip_eye.seen(p, 28) for _, p in frames(clip, times=[Fraction(i, 2) for i in range(8)])])
    with torch.no_grad():
        torch.testing.assert_close(bind(seen[None])[0], clip_eye.embed(eye, seen), atol=1e-5, rtol=0)


def test_languagebind_hears_the_order_of_pictures() -> None:
    torch.manual_seed(0)
    bind = LanguageBindVideo(LanguageBindConfig.from_dict(video.SMALL["languagebind"]["network"])).eval()
    randomise(bind)
    seen = torch.randn(1, 8, 3, 28, 28)
    with torch.no_grad():
        there, back = bind(seen), bind(seen.flip(1)).flip(1)
    assert float((there - back).abs().max()) > 1e-2


def test_positions_are_sines_and_cosines() -> None:
    table = video.positions(40, 6)
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(table[3, 2:4], [np.sin(3 / 10_000 ** (1 / 3)), np.cos(3 / 10_000 ** (1 / 3))], atol=1e-6)


def test_no_picture_no_features(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.zeros(8000, np.float32), 16_000)
    for kind in video.KINDS:
        with pytest.raises(BadInputError, match="no picture"):
            made(kind).look(probe(path), None)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="eagle"):
        video.build({"kind": "eagle", "network": {}})
    with pytest.raises(BadInputError, match="eagle"):
        read("eagle", Path("."))


# Published weights


@pytest.mark.parametrize("kind", ["clip", "languagebind", "imagebind", "cavp"])
def test_published_layouts_are_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file with what else its authors keep in it, and the same numbers out."""
    encoder = made(kind)
    sizes = video.SMALL[kind]["network"]
    state = dict(encoder.network.state_dict())
    monkeypatch.setitem(video.FULL, kind, video.SMALL[kind])
    place = tmp_path
    if kind in ("clip", "languagebind"):
        state |= {"logit_scale": torch.ones(()), "text_projection.weight": torch.ones(2, 2)}
        save_file(state, tmp_path / "model.safetensors")
        described = {"model_type": "clip", "vision_config": sizes, "projection_dim": sizes["projection_dim"]}
        (tmp_path / "config.json").write_text(json.dumps(described))
    elif kind == "imagebind":
        place = tmp_path / "imagebind_huge.pth"
        others = {
            "modality_trunks.depth.blocks.0.norm_1.bias": torch.ones(2),
            "modality_heads.audio.2.weight": torch.ones(2, 2),
        }
        torch.save(state | others, place)
    else:
        place = tmp_path / "cavp_epoch66.ckpt"
        renamed = {f"module.{name}": value for name, value in state.items()}
        torch.save({"state_dict": renamed | {"module.spec_encoder.x": torch.ones(1)}}, place)
    config, network, report = read(kind, place)
    assert config == video.SMALL[kind]
    assert report.read == len(encoder.network.state_dict())
    assert sum(report.ignored.values()) in (1, 2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, encoder.network.state_dict()[name]), name


def test_vivit_is_read_through_transformers(tmp_path: Path) -> None:
    encoder: Any = made("vivit")
    encoder.network.save_pretrained(tmp_path)
    config, network, report = read("vivit", tmp_path)
    assert config == video.SMALL["vivit"]
    assert report.read == len(network.state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(value, encoder.network.state_dict()[name]), name
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[1:]), file, metadata={"format": "pt"})
    with pytest.raises(BadInputError, match="does not fit ViViT"):
        read("vivit", tmp_path)


def test_adapters_beside_the_attention_are_refused(tmp_path: Path) -> None:
    save_file({"vision_model.q_proj.lora_A.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInputError, match="LoRA"):
        read("languagebind", tmp_path)


# Words


def test_sentences_are_cut_and_kept_apart() -> None:
    torch.manual_seed(0)
    ear = clip_text.ClipText(clip_text.untrained(clip_text.SMALL)).eval()
    randomise(ear)
    tokens = ear.tokens("a " * 200)
    assert tokens.shape == (1, clip_text.LIMIT)
    assert tokens[0, -1] == ear.end
    both, alone = ear(["dog", "a dog and a bird"]), ear(["dog"])
    assert both.shape == (2, 64)
    torch.testing.assert_close(both[:1], alone)


def test_a_file_that_is_no_tokenizer_of_clip_is_refused(tmp_path: Path) -> None:
    config = clip_text.untrained(clip_text.SMALL)
    ear = clip_text.ClipText(config | {"tokenizer_bytes": 4})
    with pytest.raises(BadInputError, match="cannot be read"):
        ear.tokens("dog")
    other = clip_text.ClipText({"network": clip_text.SMALL | {"eos_token_id": 7}, **{"tokenizer_bytes": 1}})
    other.tokenizer_json = clip_text.as_bytes(clip_text.plain_tokenizer())
    with pytest.raises(BadInputError, match="not CLIP's"):
        other.tokens("dog")
    with pytest.raises(BadInputError, match=r"no tokenizer\.json"):
        clip_text.read_tokenizer(tmp_path)
