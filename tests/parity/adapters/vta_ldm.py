"""VTA-LDM."""

from __future__ import annotations

import torch

from synchresis.codecs import audioldm
from synchresis.codecs.audioldm import MelCodec, codec_config
from synchresis.training.mixing import a_weighted_levels, levels, mix

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

    network = SpeechT5HifiGan(SpeechT5HifiGanConfig(**codec_config(audioldm.DDCONFIG, 8, case.config)["vocoder"])).eval()
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


ADAPTERS: dict[str, Adapter | Check] = {
    "vta_ldm/mel": mel,
    "vta_ldm/vae": Adapter(vae, 5e-5, outputs=("mean", "moments", "logvar", "latent", "decoded_mel")),
    "vta_ldm/vocoder": Adapter(vocoder, 1e-5, special={"int16": 1.0}, outputs=("wav",)),
    "vta_ldm/mix": Adapter(mixing, 1e-5, outputs=("mixed", "gain", "rmse")),
}
