"""VTA-LDM."""

from __future__ import annotations

from fractions import Fraction
from itertools import count, takewhile
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import MelCodec, codec_config
from synchresis.diffusion.guidance import Branch, guided
from synchresis.encoders import clip as clip_eye
from synchresis.encoders import video
from synchresis.media import frames, probe
from synchresis.systems.latent_unet import Denoiser, Schedule, columns, padded, pictured, sample
from synchresis.systems.vta_ldm import published_numbers
from synchresis.training.latent_unet import loss_of, min_snr_weights, noised
from synchresis.training.mixing import a_weighted_levels, levels, mix

from ..roots import root
from .common import Adapter, Case, Check, Outputs

# The codec -----------------------------------------------------------------------------------------


def mel(case: Case) -> None:
    """Two tolerances, on the largest and on the mean difference."""
    io, config = case.io, case.config
    frames = config["target_frames"]
    real = audioldm.log_mel(io["real_int16"].float() / 32768)
    short = audioldm.magnitudes(io["short_wave"])
    log_magnitude = short.clamp_min(audioldm.FLOOR).log().transpose(1, 2)[..., :-1]
    got = {
        "mel_basis": audioldm.mel_matrix(),
        "real_fbank": audioldm.fitted(real, frames["real"], padding=0.0),
        "short_mel_bct": audioldm.log_mel(io["short_wave"]).transpose(1, 2),
        "short_fbank": audioldm.fitted(audioldm.log_mel(io["short_wave"]), frames["short"], padding=0.0),
        "short_log_magnitude": audioldm.fitted(log_magnitude, frames["short"], padding=0.0),
        "short_energy": audioldm.fitted(short.norm(dim=1)[..., None], frames["short"], padding=0.0)[..., 0],
        "norm_out": torch.from_numpy(audioldm.levelled(io["norm_in"].numpy(), len(io["norm_out"]))),
    }
    for name, value in got.items():
        assert value.shape == io[name].shape, name
        difference = (value.double() - io[name].double()).abs()
        assert difference.max() <= 1e-3, f"{name}: {difference.max():.2e}"
        # An energy is a number of the hundreds, whose last float32 digit is above 1e-5.
        size = io[name].double().abs().mean() if name == "short_energy" else 1.0
        assert difference.mean() <= 1e-5 * size, f"{name}: {difference.mean():.2e} on average"


def _codec(case: Case) -> MelCodec:
    config = case.config
    codec = MelCodec(codec_config(config["ddconfig"], config["embed_dim"], config["vocoder"])).eval()
    codec.load_state_dict(audioldm.original_codec(case.weights(), torch.tensor(config["scale_factor"])))
    return codec


def vae(case: Case) -> Outputs:
    codec, io = _codec(case), case.io
    mean, log_variance = codec.encode(io["mel"])
    return {
        "mean": mean,
        "moments": codec.vae.encode(io["mel"]).latent_dist.parameters,
        "logvar": log_variance,
        "latent": codec.latents(io["mel"], io["eps"]),
        "decoded_mel": codec.mel(io["z"]),
    }


def vocoder(case: Case) -> Outputs:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    sizes = codec_config(audioldm.DDCONFIG, 8, case.config)["vocoder"]
    network = SpeechT5HifiGan(SpeechT5HifiGanConfig(**sizes)).eval()
    named = audioldm.original_codec({f"vocoder.{k}": v for k, v in case.weights().items()}, torch.ones(()))
    network.load_state_dict({k.removeprefix("vocoder."): v for k, v in named.items() if k.startswith("vocoder.")})
    sound = network(case.io["mel_bct"].transpose(1, 2))
    return {"wav": sound[:, None], "wav_int16": audioldm.to_int16(sound)}


def mixing(case: Case) -> Outputs:
    a, b, rate = case.io["a"].numpy(), case.io["b"].numpy(), case.config["fs"]
    return {
        "mixed": torch.from_numpy(mix(a, b, case.config["r"], rate)),
        "gain_a_db": torch.from_numpy(a_weighted_levels(a, rate)),
        "gain_b_db": torch.from_numpy(a_weighted_levels(b, rate)),
        "rmse_a_db": torch.from_numpy(levels(a, rate)),
    }


# The model -----------------------------------------------------------------------------------------


class _Model:
    """The networks of a `denoiser` case, with the original's names."""

    def __init__(self, case: Case) -> None:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        config = case.config
        sizes = UNet2DConditionModel.extract_init_dict(config["unet_config"])[0]
        self.unet = UNet2DConditionModel(**sizes).eval()
        self.eye = clip_eye.build(clip_eye.VIT_L_14 | config["clip_vision_config"])
        self.ear = CLIPTextModelWithProjection(CLIPTextConfig(**config["clip_text_config"]))
        self.linear = nn.Linear(config["clip_vision_config"]["projection_dim"], config["embedding_dim"])
        extractor = "vid_fea_extractor."
        self.unet.load_state_dict(case.weights("unet."))
        self.eye.load_state_dict(case.weights(f"{extractor}clip_vision."))
        self.ear.eval().load_state_dict(case.weights(f"{extractor}clip_text."))
        self.linear.load_state_dict(case.weights(f"{extractor}linear_layer."))
        self.schedule = Schedule.from_dict(config["scheduler_config"])
        self.bins = case.io["latents"].shape[-1]
        self.denoiser = Denoiser(self.unet, self.bins)

    def predict(self, latents: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        prepared = self.denoiser.prepare(context=context, mask=mask)
        return pictured(self.denoiser(columns(latents), t, prepared), self.bins)


def _videos(case: Case) -> list[Tensor]:
    return [case.io[name] for name in takewhile(case.io.__contains__, (f"video_{i}" for i in count()))]


def denoiser(case: Case) -> Outputs:
    model, io = _Model(case), case.io
    seen = [clip_eye.embed(model.eye, pictures) for pictures in _videos(case)]
    said = [model.ear(input_ids=io[f"input_ids_{i}"]).text_embeds for i in range(len(case.config["texts"]))]
    context, mask = padded([model.linear(features) for features in seen])
    both = [torch.cat([text.expand(len(f), -1), f]) for text, f in zip(said, seen, strict=True)]
    concat, concat_mask = padded([model.linear(features) for features in both])
    table = video.positions(case.config["pe_rows"], seen[0].shape[1])
    placed, _ = padded([model.linear(features + table[: len(features)]) for features in seen])
    nothing, everywhere = torch.zeros_like(context), torch.ones_like(mask)

    clean_t, noise = io["train_timesteps"], io["train_noise"]
    noisy, target = noised(model.schedule, io["latents"], noise, clean_t)
    predicted = model.predict(noisy, clean_t, context, mask)
    weights = min_snr_weights(model.schedule, clean_t, case.config["snr_gamma"], "epsilon")
    ones = torch.ones_like(weights)
    return {
        "encoder_hidden_states": context,
        "encoder_mask": mask,
        "concat_encoder_hidden_states": concat,
        "concat_encoder_mask": concat_mask,
        "pe_encoder_hidden_states": placed,
        "pe_table": table[: len(io["pe_table"])],
        "text_only_0": model.linear(said[0].expand(len(io["text_only_0"]), -1)),
        "cfg_encoder_hidden_states": torch.cat([nothing, context]),
        "cfg_encoder_mask": torch.cat([everywhere, mask]),
        "unet_out": model.predict(io["latents"], io["timesteps"], context, mask),
        "unet_out_unconditional": model.predict(io["latents"], io["timesteps"], nothing, everywhere),
        "train_noisy_latents": noisy,
        "train_target_v": target,
        "train_model_pred": predicted,
        "train_snr": model.schedule.alphas[clean_t] / (1 - model.schedule.alphas[clean_t]),
        "train_minsnr_weight": weights,
        "loss_plain": loss_of(predicted, target, ones)[None],
        "loss_minsnr": loss_of(predicted, target, weights)[None],
        **{f"image_embeds_{i}": features for i, features in enumerate(seen)},
        **{f"text_embeds_{i}": text for i, text in enumerate(said)},
    }


class _Beside(Case):
    """The case of another network of the same system."""

    def __init__(self, case: Case, name: str) -> None:
        super().__init__(case.folder.parent / name)


def trajectory(case: Case) -> None:
    """Three tolerances, along the way to the sound."""
    model, codec = _Model(_Beside(case, "denoiser")), _codec(_Beside(case, "vae"))
    io, steps = case.io, case.config["steps"]
    schedule = Schedule.from_dict(case.config["scheduler_config"])
    context, mask = padded([model.linear(clip_eye.embed(model.eye, pictures)) for pictures in _videos(case)])
    base = {"context": torch.zeros_like(context), "mask": torch.ones_like(mask)}
    network = guided(model.denoiser, base, [Branch({"context": context, "mask": mask}, case.config["guidance"])])
    before: list[Tensor] = []

    def noise(stream: int) -> Tensor:
        return columns(io["initial_noise"] if stream == 0 else io["step_noise"][stream - 1])

    final = sample(
        network, noise, schedule, steps=steps, spacing="leading", watch=lambda i, x, clean: before.append(x)
    )
    assert schedule.timesteps(steps, "leading") == io["timesteps"].tolist()
    after = torch.stack([pictured(x, model.bins) for x in [*before[1:], final]])
    assert (after - io["latents_after_step"]).abs().max() <= 1e-4
    assert (pictured(final, model.bins) - io["final_latents"]).abs().max() <= 1e-4
    mel = codec.mel(pictured(final, model.bins)[:1])
    assert (mel - io["decoded_mel_0"]).abs().max() <= 2e-4
    sound = audioldm.to_int16(codec.vocoded(mel, tail=True)).int()
    assert (sound - io["wav_int16_0"].int()).abs().max() <= 2


def scheduler(case: Case) -> None:
    described = case.json("scheduler.json")
    schedule = Schedule.from_dict(described["scheduler_config"])
    spacing = described["effective"]["timestep_spacing"]
    for steps, expected in described["timesteps"].items():
        times = schedule.timesteps(int(steps), spacing)
        assert times[:3] == expected["first"]
        assert times[-3:] == expected["last"]
        assert (len(times), max(times)) == (expected["count"], expected["max"])
    for t, alpha in described["alphas_cumprod"].items():
        assert abs(schedule.alpha(int(t)) - alpha) <= 1e-6


def picture_times(case: Case) -> None:
    """Which frames are asked for exactly, and their pixels as far as decoders agree."""
    config = case.config
    numbers = published_numbers(config["frame_count"], fps_of(config), config["target_fps"])
    assert numbers == config["requested_indices"]
    name = config["clip"]
    folders = [root().parent / "media", root().parents[1] / "media"]
    film = next((path for folder in folders for path in sorted(folder.glob(f"*/{name}"))), None)
    if film is None:
        pytest.skip(f"{name} is not in the shared media")
    clip = probe(film)
    times = [number / fps_of(config) for number in numbers[: config["returned_frames"]]]
    seen = [clip_eye.seen(picture, config["size"], normalise=False) for _, picture in frames(clip, times=times)]
    assert [round(float(picture.mean()), 5) for picture in seen] == pytest.approx(config["mean_per_frame"], abs=4e-3)
    for number in config["stored"]:
        picture = Image.open(case.folder / f"frame_{number:02d}.png").convert("RGB")
        stored = torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1).copy())
        assert float((seen[number] * 255 - stored).abs().mean()) < 2.0


def fps_of(config: dict[str, Any]) -> Fraction:
    return Fraction(config["fps"]).limit_denominator(1001)


ADAPTERS: dict[str, Adapter | Check] = {
    "vta_ldm/mel": mel,
    "vta_ldm/vae": Adapter(vae, 5e-5, outputs=("mean", "moments", "logvar", "latent", "decoded_mel")),
    "vta_ldm/vocoder": Adapter(vocoder, 1e-5, special={"int16": 1.0}, outputs=("wav",)),
    "vta_ldm/denoiser": Adapter(
        denoiser,
        1e-5,
        outputs=(
            "encoder", "concat", "pe_", "cfg", "unet", "text_only", "image_embeds", "text_embeds", "train_noisy",
            "train_target", "train_model", "train_snr", "train_minsnr", "loss",
        ),
    ),
    "vta_ldm/trajectory": trajectory,
    "vta_ldm/scheduler": scheduler,
    "vta_ldm/frames": picture_times,
    "vta_ldm/mix": Adapter(mixing, 1e-5, outputs=("mixed", "gain", "rmse")),
}
