"""How each network of a published system is run on a case: a file per system, a function per network."""

from __future__ import annotations

from . import encoders, lova, metrics, sta_v2a, stable_foley, tempotokens, vta_ldm
from .common import Adapter, Case, Check

ADAPTERS: dict[str, Adapter | Check] = {
    **lova.ADAPTERS,
    **stable_foley.ADAPTERS,
    **vta_ldm.ADAPTERS,
    **sta_v2a.ADAPTERS,
    **tempotokens.ADAPTERS,
    **encoders.ADAPTERS,
    **metrics.ADAPTERS,
}

# All of those cases of which the above runs a part, because the rest takes minutes or gigabytes.
SLOW: dict[str, Adapter | Check] = {**encoders.SLOW, **metrics.SLOW}

# Cases known to be without an adapter yet: they skip. A case that is neither here nor above fails.
KNOWN = (
    "encoders/i3d_videogpt",
    "encoders/imagebind_huge",
    "encoders/laion_clap_htsat_base",
    "encoders/laion_clap_htsat_tiny",
    "encoders/ms_clap_2023",
    "encoders/panns_cnn14_16k",
    "encoders/panns_cnn14_32k",
    "encoders/passt_s",
    "encoders/synchformer",
    "encoders/vggish",
    "lova/conditioners",
    "metrics/av_bench_end_to_end",
    "metrics/classifier_probs",
    "metrics/embedding_scores",
    "metrics/envelopes",
    "metrics/frechet_kernel",
    "metrics/onsets_and_align",
    "metrics/waveform_distances",
    "sta_v2a/align_metrics",
    "sta_v2a/attentive_pool",
    "sta_v2a/attentive_pool_full_seeded",
    "sta_v2a/controlnet_unet",
    "sta_v2a/eval_stats",
    "sta_v2a/onset_predictor",
    "sta_v2a/sampling",
    "stable_foley/cavp_full",
    "stable_foley/cavp_tiny",
    "stable_foley/clap_audio_tiny",
    "stable_foley/conditioners",
    "stable_foley/control_path",
    "stable_foley/rms_codes",
    "tempotokens/audio_frontend",
    "tempotokens/av_align",
    "tempotokens/beats",
    "tempotokens/end_to_end",
    "tempotokens/mapper",
    "tempotokens/round_robin",
    "tempotokens/text_encoder",
    "tempotokens/unet3d",
    "vta_ldm/denoiser",
    "vta_ldm/frames",
    "vta_ldm/mel",
    "vta_ldm/mix",
    "vta_ldm/scheduler",
    "vta_ldm/trajectory",
    "vta_ldm/vae",
    "vta_ldm/vocoder",
)
PENDING = {name: "this network is not built yet" for name in KNOWN if name not in ADAPTERS}

__all__ = ["ADAPTERS", "PENDING", "Adapter", "Case", "Check"]
