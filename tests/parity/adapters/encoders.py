"""The networks that metrics look and listen through, at their published sizes, with weights by formula."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.encoders import clap, ms_clap
from synchresis.nn import i3d, imagebind, panns, passt, synchformer, vggish
from synchresis.systems.weights import fill, skeleton

from .. import seeded
from .common import Adapter, Case, Check

Limits = Mapping[str, float | tuple[float, str]]
RELATIVE = "of the largest value"


def filled(build: Callable[[], nn.Module], case: Case, keys: Mapping[str, list[int]]) -> nn.Module:
    """The network with the case's weights; what the case keeps stays as it was built, nothing else may."""
    with skeleton():
        net = build()
    assert {name: list(value.shape) for name, value in net.state_dict().items()} == keys
    tensors = seeded.state(keys, case.config["seed"], case.config["keep"], case.config["adjust"])
    seeded.check(tensors, case.config["checks"])
    kept = net.load_state_dict(tensors, strict=False, assign=True)
    assert not kept.unexpected_keys
    assert not any(value.is_meta for value in net.state_dict().values())
    return net.eval()


def from_file(
    build: Callable[[], nn.Module],
    case: Case,
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    ignored: Mapping[str, str],
) -> nn.Module:
    """A network of transformers' from the names of the original, strictly, as a published file is read.

    What the case keeps (index tables) is as the network was built, and what the reader ignores is not generated.
    """
    keys = case.json("keys.json")
    wanted = {name: shape for name, shape in keys.items() if not any(re.fullmatch(p, name) for p in ignored)}
    with skeleton():
        net = build()
    tensors = seeded.state(wanted, case.config["seed"], case.config["keep"], case.config["adjust"])
    seeded.check(tensors, case.config["checks"])
    named = renamed(tensors)
    constants = {name: value for name, value in net.state_dict().items() if not value.is_meta and name not in named}
    fill(net, {**constants, **named}, component="network", source=case.folder)
    return net.eval()


@contextmanager
def outputs_of(net: nn.Module, **names: str) -> Iterator[dict[str, Tensor]]:
    """What the submodules of these names give while the context is open, by keyword; of many times the last."""
    seen: dict[str, Tensor] = {}

    def listener(keyword: str) -> Callable[..., None]:
        def listen(module: nn.Module, given: object, out: Tensor) -> None:
            seen[keyword] = out

        return listen

    handles = [net.get_submodule(name).register_forward_hook(listener(key)) for key, name in names.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def agree(case: Case, got: Mapping[str, Tensor], limits: Limits) -> None:
    """Compares what the case stores (some of it thinned) and prints every difference, then asserts."""
    faults = []
    for name, limit in limits.items():
        tolerance, relative = limit if isinstance(limit, tuple) else (limit, "")
        described = case.config["stored"][name]
        assert list(got[name].shape) == described["shape"], name
        found = seeded.thin(got[name], described["thinned"]) if "thinned" in described else got[name]
        expected = case.io[name]
        scale = float(expected.abs().max()) if relative else 1.0
        difference = float((found.double() - expected.double()).abs().max()) / scale
        print(f"{case.folder.name} {name}: {difference:.1e} (limit {tolerance:.0e} {relative})")
        if not difference <= tolerance:
            faults.append(f"{name}: {difference:.2e} is over {tolerance:.0e}")
    assert not faults, faults


def sounds(case: Case) -> Tensor:
    given = case.config["input"]["waveform"]
    return torch.stack(
        [torch.from_numpy(seeded.waveform(given["samples"], given["rate"], seed)) for seed in given["seeds"]]
    )


def pictures(case: Case) -> Tensor:
    """uint8 [T, H, W, 3]."""
    given = case.config["input"]["frames"]
    return torch.from_numpy(seeded.frames(given["count"], given["height"], given["width"], given["seed"]))


def cnn14(case: Case) -> None:
    net = filled(lambda: panns.Cnn14(panns.Cnn14Config(**case.config["constructor"])), case, case.json("keys.json"))
    blocks = {f"block{i}": f"conv_block{i}" for i in (1, 4, 6)}
    with outputs_of(net, log_mel="logmel_extractor", **blocks) as seen:
        embedding, logits = net(sounds(case))
    pooled = {name: F.avg_pool2d(seen[name], 2) if name != "block6" else seen[name] for name in blocks}
    got = {**seen, **pooled, "embedding": embedding, "logits": logits, "clipwise": logits.sigmoid()}
    relative = (1e-4, RELATIVE)
    agree(case, got, {
        "log_mel": 1e-3, "block1": relative, "block4": relative, "block6": relative,
        "embedding": relative, "logits": relative, "clipwise": 1e-5,
    })  # fmt: skip


def vgg(case: Case) -> None:
    net = filled(lambda: vggish.Vggish(whitening=True), case, case.json("keys.json"))
    got = {"examples": torch.cat([vggish.examples(sound) for sound in sounds(case)])}
    with outputs_of(net, conv="features") as seen:
        for variant in ("linear", "activated", "quantised", "pca_linear"):
            got[variant] = net(got["examples"], variant)
    relative = (1e-4, RELATIVE)
    agree(case, {**got, **seen}, {
        "examples": 1e-5, "conv": relative, "linear": relative, "activated": relative, "quantised": 1, "pca_linear": 1,
    })  # fmt: skip
    for variant in ("quantised", "pca_linear"):  # a value on the edge of a step may fall to either side
        assert float((got[variant] != case.io[variant]).float().mean()) < 0.01


def passt_s(case: Case) -> None:
    keys = {name.removeprefix("net."): shape for name, shape in case.json("keys.json").items()}
    assert keys.pop("device_proxy") == [1]  # of the wrapper, which puts `net.` before the network's names
    net = filled(lambda: nn.ModuleDict({"net": passt.Passt()}), case, {f"net.{k}": v for k, v in keys.items()})
    given = case.config["input"]["waveform"]
    padded = F.pad(sounds(case), (0, given["zero_padded_to"] - given["samples"]))
    mel = passt.mel_picture(padded)
    with outputs_of(net, block5="net.blocks.5") as seen:
        logits, features = net["net"](mel)  # type: ignore[index]
    agree(case, {**seen, "mel": mel, "logits": logits, "features": features}, {
        "mel": 1e-4, "block5": 1e-4, "features": 1e-4, "logits": 1e-4,
    })  # fmt: skip


def i3d_400(case: Case) -> None:
    net = filled(i3d.I3D, case, case.json("keys.json"))
    prepared = i3d.prepare(pictures(case))
    assert list(prepared.shape) == case.config["input"]["network_input_shape"]
    with outputs_of(net, mixed_3c="Mixed_3c", mixed_4f="Mixed_4f", pooled="pool") as seen:
        logits = net(prepared)
    relative = (1e-4, RELATIVE)
    agree(case, {**seen, "logits": logits}, dict.fromkeys(("mixed_3c", "mixed_4f", "pooled", "logits"), relative))


def synchformer_on(case: Case, segments: list[int] | None) -> None:
    """All of it; of the picture's segments, which cost 300 GFLOP each, those alone that are named."""
    net = filled(synchformer.Synchformer, case, case.json("keys.json"))
    assert isinstance(net, synchformer.Synchformer)
    mel = synchformer.mel_segments(synchformer.sound_segments(sounds(case)))
    with outputs_of(net, ast_hidden="afeat_extractor.ast") as heard:
        sound = net.sound(mel)
    frames = pictures(case)[None].permute(0, 1, 4, 2, 3).float() / 255.0
    cut = synchformer.picture_segments((frames - 0.5) / 0.5)
    assert cut.shape[1] == case.config["stored"]["video_features"]["shape"][1]
    picture = case.io["video_features"].clone()
    places = {}
    for i in segments if segments is not None else range(cut.shape[1]):
        with outputs_of(net, patches="vfeat_extractor.patch_embed_3d", norm="vfeat_extractor.norm") as seen:
            picture[:, i] = net.picture(cut[:, i : i + 1])[:, 0]
        if i == 0:
            places["visual_patches_first"] = seen["patches"].flatten(2).transpose(1, 2)
            places["visual_norm_first"] = seen["norm"]
        if i == cut.shape[1] - 1:
            places["visual_norm_last"] = seen["norm"]
    with outputs_of(net, tokens="transformer.pos_emb_cfg") as head:
        logits = net.offsets(picture, sound)
    rolled = net.offsets(picture, sound.roll(1, 1))
    got = {
        **heard, **places, "mel": mel, "audio_features": sound, "video_features": picture,
        "head_tokens": head["tokens"], "logits": logits, "logits_audio_rolled": rolled,
    }  # fmt: skip
    agree(case, got, dict.fromkeys(case.config["stored"], 1e-4))


def imagebind_on(case: Case, towers: tuple[str, ...]) -> None:
    keys = {name: shape for name, shape in case.json("keys.json").items() if name.split(".")[1] in towers}
    net = filled(lambda: imagebind.ImageBind(towers=towers), case, keys)
    assert isinstance(net, imagebind.ImageBind)
    got: dict[str, Tensor] = {}
    relative = (1e-4, RELATIVE)
    limits: dict[str, float | tuple[float, str]] = {}
    with outputs_of(net, **{f"{tower}_trunk": f"modality_trunks.{tower}" for tower in towers}) as seen:
        if "audio" in towers:
            (sound,) = sounds(case)
            starts = imagebind.clip_starts(len(sound))
            expected = case.config["input"]["waveform"]["clip_start_seconds"]
            assert starts == [int(start * imagebind.RATE) for start in expected]
            mel = imagebind.mel_clips(torch.stack([sound[start : start + imagebind.CLIP] for start in starts]))[None]
            got |= {"mel": mel, "audio_embedding": net.audio(mel)}
            limits |= {"mel": 5e-4, "audio_embedding": relative}
        if "text" in towers:
            got["text_embedding"] = net.text(case.io["text_ids"])
            limits["text_embedding"] = relative
        if "vision" in towers:
            frames = imagebind.normalise_picture(pictures(case).permute(0, 3, 1, 2).float() / 255.0)
            size = frames.shape[-2]
            crops = [frames[..., left : left + size] for left in case.config["input"]["frames"]["crop_offsets"]]
            pairs = [torch.stack([crop[i], crop[i + 1]], 1) for i in range(len(frames) - 1) for crop in crops]
            got["vision_embedding"] = net.vision(torch.stack(pairs)[None])
            limits["vision_embedding"] = relative
    if {"audio", "vision"} <= set(towers):
        got["audio_vision_cosine"] = F.cosine_similarity(got["audio_embedding"], got["vision_embedding"])
        limits["audio_vision_cosine"] = 1e-5
    limits |= dict.fromkeys(seen, relative)
    agree(case, {**got, **seen}, limits)


def first_of(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def laion_clap(case: Case) -> None:
    keys = case.json("keys.json")
    sizes = clap.HTSAT_BASE if case.config["amodel"] == "HTSAT-base" else clap.HTSAT_TINY
    assert clap.tower_of({name: torch.empty(shape, device="meta") for name, shape in keys.items()}) == sizes
    net = from_file(lambda: clap.build(sizes), case, clap.laion_keys, clap.IGNORED)
    tower = "audio_model.audio_encoder"
    heard = sounds(case)
    padded = clap.filled_up(heard).double()
    sums = torch.stack([padded.sum(1), padded.square().sum(1)], 1)
    assert torch.allclose(sums, torch.tensor(case.config["padded_checksum"], dtype=torch.float64), atol=1e-6)
    mel = clap.log_mel(heard)
    with outputs_of(net, layer0=f"{tower}.layers.0", latent=f"{tower}.avgpool") as seen:
        audio = clap.embed_mel(net, mel)
    text = clap.embed_words(net, case.io["input_ids"], case.io["attention_mask"])
    got = {
        "log_mel": mel[:, None], "layer0": first_of(seen["layer0"]), "latent": seen["latent"].flatten(1),
        "audio_embedding": audio, "text_embedding": text, "cosine": audio @ text.T,
    }  # fmt: skip
    agree(case, got, {
        "log_mel": 1e-3, "layer0": 1e-4, "latent": 1e-4,
        "audio_embedding": 2e-5, "text_embedding": 2e-5, "cosine": 2e-5,
    })  # fmt: skip


def microsoft_clap(case: Case) -> None:
    net = from_file(ms_clap.MsClap, case, ms_clap.ms_keys, ms_clap.IGNORED)
    assert isinstance(net, ms_clap.MsClap)
    tower = "audio_encoder.base.audio_encoder"
    mel = ms_clap.log_mel(sounds(case))
    with outputs_of(net, layer0=f"{tower}.layers.0", latent=f"{tower}.avgpool") as seen:
        audio = net.sound(mel)
    text = net.words(case.io["input_ids"], case.io["attention_mask"])
    similarity = net.similarity(audio, text)
    got = {
        "log_mel": mel[:, None], "layer0": first_of(seen["layer0"]), "latent": seen["latent"].flatten(1),
        "audio_embedding": audio, "text_embedding": text, "similarity": similarity, "pam": similarity.softmax(-1)[:, 0],
    }  # fmt: skip
    agree(case, got, {
        "log_mel": 1e-3, "layer0": 1e-4, "latent": 1e-4, "audio_embedding": 1e-4, "text_embedding": 1e-4,
        "similarity": 1e-4, "pam": 1e-5,
    })  # fmt: skip


def imagebind_without_vision(case: Case) -> None:
    for tower in ("audio", "text"):
        imagebind_on(case, (tower,))


ADAPTERS: dict[str, Adapter | Check] = {
    "encoders/panns_cnn14_16k": cnn14,
    "encoders/panns_cnn14_32k": cnn14,
    "encoders/vggish": vgg,
    "encoders/passt_s": passt_s,
    "encoders/i3d_videogpt": i3d_400,
    "encoders/laion_clap_htsat_base": laion_clap,
    "encoders/laion_clap_htsat_tiny": laion_clap,
    "encoders/ms_clap_2023": microsoft_clap,
    "encoders/synchformer": lambda case: synchformer_on(case, [0, len(case.io["video_features"][0]) - 1]),
    "encoders/imagebind_huge": imagebind_without_vision,
}

# All of a case of which the above is a part: minutes, or gigabytes.
SLOW: dict[str, Adapter | Check] = {
    "encoders/synchformer": lambda case: synchformer_on(case, None),
    "encoders/imagebind_huge": lambda case: imagebind_on(case, ("vision", "audio", "text")),
}
