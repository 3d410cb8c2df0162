"""The networks of the metrics, small and with random weights: what holds whatever the weights are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synchresis.nn import i3d, imagebind, panns, passt, synchformer, vggish
from synchresis.nn.vit import Attention, attend
from synchresis.systems.weights import randomise

SMALL_CNN = panns.Cnn14Config(classes_num=7, widths=(4, 4, 6, 6, 8, 8))
SMALL_PASST = passt.PasstConfig(dim=16, depth=2, heads=2, classes=7)
SMALL_SYNC = synchformer.SynchformerConfig(dim=16, depth=1, heads=2, head_depth=1, head_heads=2, picture=32)
SMALL_BIND = imagebind.ImageBindConfig(
    vision=imagebind.TowerConfig(16, 2, 2, 256),
    audio=imagebind.TowerConfig(16, 2, 2, 228),
    text=imagebind.TowerConfig(16, 2, 2, 77),
    vocabulary=50,
    out=8,
)


def built(module: nn.Module) -> nn.Module:
    randomise(module)
    for name, param in module.named_parameters():
        if name.endswith("bias"):  # which randomise leaves as they were drawn
            nn.init.constant_(param, 0.1)
    return module.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_attention_is_torchs() -> None:
    ours = built(Attention(12, 3))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    theirs.load_state_dict({
        "in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias,
        "out_proj.weight": ours.proj.weight, "out_proj.bias": ours.proj.bias,
    })  # fmt: skip
    x = noise(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


# PANNs


@pytest.mark.parametrize("config", [panns.AT_16K, panns.AT_32K])
def test_fourier_kernels_are_an_fft(config: panns.Cnn14Config) -> None:
    extractor = panns.SpectrogramExtractor(config.window_size, config.hop_size)
    sound = noise(2, 5000)
    window = torch.hann_window(config.window_size)
    spectrum = torch.stft(
        sound, config.window_size, config.hop_size, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.abs().square().transpose(1, 2)[:, None]
    torch.testing.assert_close(extractor(sound), power, atol=1e-3, rtol=1e-4)


def test_cnn14_takes_the_shortest_sound_and_none_that_is_shorter() -> None:
    net = built(panns.Cnn14(SMALL_CNN))
    assert net.shortest == 31 * 160
    embedding, logits = net(noise(2, net.shortest))
    assert embedding.shape == (2, 8)
    assert logits.shape == (2, 7)
    with pytest.raises(RuntimeError):
        net(noise(2, net.shortest - 161))


def test_a_cnn14s_own_filters_are_used() -> None:
    net = built(panns.Cnn14(SMALL_CNN))
    sound = noise(1, 16_000)
    before = net(sound)[1]
    net.logmel_extractor.melW.zero_()  # everything at the floor
    assert (net(sound)[1] - before).abs().max() > 1e-3


# VGGish


def test_examples_of_vggish() -> None:
    assert vggish.examples(noise(vggish.SHORTEST - 1)).shape == (0, 1, 96, 64)
    assert vggish.examples(noise(vggish.SHORTEST)).shape == (1, 1, 96, 64)
    long = noise(5 * 16_000)
    found = vggish.examples(long)
    assert found.shape == (5, 1, 96, 64)
    torch.testing.assert_close(vggish.examples(long[15_360:])[0], found[1])


def test_variants_of_vggish() -> None:
    net = built(vggish.Vggish((2, 3, 4, 4), hidden=8, out=6, whitening=True))
    net.embeddings[-1].bias.copy_(torch.linspace(-1, 1, 6))
    x = noise(3, 1, 96, 64)
    linear = net(x)
    torch.testing.assert_close(net(x, "activated"), linear.clamp_min(0))
    net.pproc.pca_eigen_vectors.copy_(torch.eye(6))
    quantised = net(x, "quantised")
    torch.testing.assert_close(quantised, torch.round((linear.clamp(0, 2) + 2) * 63.75))
    assert not torch.equal(net(x, "pca_linear"), quantised)
    with pytest.raises(ValueError, match="needs the PCA"):
        vggish.Vggish((2, 3, 4, 4), hidden=8, out=6)(x, "pca_linear")


# PaSST


def test_passt_cuts_its_table_for_short_sounds_and_refuses_long_ones() -> None:
    net = built(passt.Passt(SMALL_PASST))
    assert passt.mel_picture(noise(1, passt.LONGEST)).shape == (1, 128, 1000)
    logits, features = net(noise(2, 128, 200))
    assert logits.shape == (2, 7)
    assert features.shape == (2, 16)
    net.time_new_pos_embed[..., 19:] += 5.0  # of 200 frames 19 patches are made
    torch.testing.assert_close(net(noise(2, 128, 200))[1], features)
    with pytest.raises(ValueError, match="positions for 99"):
        net(noise(1, 128, 1016))


def test_features_of_passt_are_the_mean_of_two_tokens() -> None:
    net = built(passt.Passt(SMALL_PASST))
    seen: list[Tensor] = []
    net.norm.register_forward_hook(lambda module, given, out: seen.append(out))
    _, features = net(noise(1, 128, 200))
    torch.testing.assert_close(features, seen[0][:, :2].mean(1))


# Synchformer


def test_segments_of_sound_and_picture_are_abreast() -> None:
    seconds = 8
    sound = synchformer.sound_segments(torch.arange(seconds * 16_000.0))
    frames = torch.arange(25.0 * seconds)[None, :, None, None, None].expand(1, -1, 3, 2, 2)
    picture = synchformer.picture_segments(frames)
    assert len(sound) == picture.shape[1] == 24
    assert picture.shape == (1, 24, 3, 16, 2, 2)
    starts = picture[0, :, 0, 0, 0, 0] / 25
    torch.testing.assert_close(sound[:, 0] / 16_000, starts)


def test_the_last_mel_frame_of_synchformer_is_a_zero() -> None:
    mel = synchformer.mel_segments(noise(2, 3, synchformer.SEGMENT))
    assert mel.shape == (2, 3, 128, 66)
    torch.testing.assert_close(mel[..., -1], torch.full((2, 3, 128), 4.2677393 / (2 * 4.5689974)))
    assert (mel[..., -2] != mel[..., -1]).all()


def divided_by_masks(net: synchformer.DividedAttention, x: Tensor, frames: int, over: str) -> Tensor:
    """The same as one attention over everything, with a mask of who may look at whom."""
    places = (x.shape[1] - 1) // frames
    t, s = torch.arange(frames).repeat_interleave(places), torch.arange(places).repeat(frames)
    group = s if over == "time" else t
    allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
    allowed[1:, 1:] = group[:, None] == group[None]
    q, k, v = (y.unflatten(-1, (net.heads, -1)).transpose(1, 2) for y in net.qkv(x).chunk(3, -1))
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return net.proj(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("over", ["time", "space"])
def test_divided_attention_is_masked_attention(over: str) -> None:
    net = built(synchformer.DividedAttention(12, 3))
    x = noise(2, 1 + 4 * 9, 12)
    torch.testing.assert_close(net(x, 4, over), divided_by_masks(net, x, 4, over))


def test_synchformer_from_end_to_end() -> None:
    net = built(synchformer.Synchformer(SMALL_SYNC))
    for token in (net.transformer.OFF_tok, net.transformer.MOD_tok, net.transformer.pos_emb_cfg.pos_emb):
        token.copy_(noise(*token.shape, seed=3))
    picture = net.picture(noise(2, 14, 3, 16, 32, 32))
    sound = net.sound(noise(2, 14, 128, 66))
    assert picture.shape == (2, 14, 8, 16)
    assert sound.shape == (2, 14, 6, 16)
    logits = net.offsets(picture, sound)
    assert logits.shape == (2, 21)
    assert (net.offsets(picture, sound.roll(1, 1)) - logits).abs().max() > 1e-3
    torch.testing.assert_close(net.picture(noise(2, 14, 3, 16, 32, 32)[:, 3:4])[:, 0], picture[:, 3])


# ImageBind


def test_clips_of_imagebind() -> None:
    assert imagebind.clip_starts(8 * 16_000) == [0, 48_000, 96_000]
    assert imagebind.clip_starts(20_000) == [0, 0, 0]
    mel = imagebind.mel_clips(noise(3, imagebind.CLIP))
    assert mel.shape == (3, 1, 128, 204)
    torch.testing.assert_close(mel[..., 198:], torch.full((3, 1, 128, 6), 4.268 / 9.138))
    torch.testing.assert_close(imagebind.mel_clips(noise(3, imagebind.CLIP) + 0.3), mel, atol=1e-3, rtol=1e-3)


def test_towers_of_imagebind() -> None:
    net = built(imagebind.ImageBind(SMALL_BIND))
    sound = net.audio(noise(2, 3, 1, 128, 204))
    assert sound.shape == (2, 8)
    one = net.audio(noise(2, 1, 1, 128, 204))
    torch.testing.assert_close(one.norm(dim=-1), torch.full((2,), 20.0))
    alone = imagebind.ImageBindVision(SMALL_BIND)
    alone.load_state_dict({k: v for k, v in net.state_dict().items() if k.split(".")[1] == "vision"})
    clips = noise(1, 2, 3, 2, 224, 224)
    torch.testing.assert_close(alone(clips), net.vision(clips))


def test_imagebind_reads_no_further_than_the_end() -> None:
    net = built(imagebind.ImageBind(SMALL_BIND, ("text",)))
    ids = torch.zeros(1, 77, dtype=torch.long)
    ids[0, :5] = torch.tensor([40, 3, 4, 5, 49])
    later = ids.clone()
    later[0, 5:] = 7
    torch.testing.assert_close(net.text(later), net.text(ids))
    ids[0, 2] = 9
    assert (net.text(ids) - net.text(later)).abs().max() > 1e-4


def test_the_extra_key_of_imagebind_is_torchs() -> None:
    ours = built(imagebind.BoundAttention(8, 2, extra=True, causal=False))
    ours.bias_k.copy_(noise(1, 1, 8))
    ours.bias_v.copy_(noise(1, 1, 8, seed=1))
    theirs = nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    x = noise(3, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


# I3D


@pytest.mark.parametrize(("size", "kernel", "stride", "sides"), [
    (224, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (7, 3, 2, (1, 1)),
    (5, 2, 2, (0, 1)), (6, 2, 2, (0, 0)), (9, 3, 1, (1, 1)),
])  # fmt: skip
def test_same_padding(size: int, kernel: int, stride: int, sides: tuple[int, int]) -> None:
    x = torch.ones(1, 1, 1, 1, size)
    padded = i3d.pad_same(x, (1, 1, kernel), (1, 1, stride))[0, 0, 0, 0]
    assert padded.tolist() == [0.0] * sides[0] + [1.0] * size + [0.0] * sides[1]
    assert (len(padded) - kernel) // stride + 1 == -(-size // stride)


def test_i3d() -> None:
    net = built(i3d.I3D(classes=5, thin=8))
    for shape in ((10, 240, 320, 3), (12, 320, 180, 3)):
        frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        prepared = i3d.prepare(frames)
        assert prepared.shape == (1, 3, shape[0], 224, 224)
        assert -1.0 <= float(prepared.min()) < float(prepared.max()) <= 1.0
        assert net(prepared).shape == (1, 5)
    with pytest.raises(RuntimeError):
        net(prepared[:, :, :8])


def test_attend_looks_only_back_when_causal() -> None:
    x = noise(1, 4, 8)
    changed = x.clone()
    changed[:, 3] += 1.0
    torch.testing.assert_close(attend(x, x, x, 2, True)[:, :3], attend(changed, changed, changed, 2, True)[:, :3])
