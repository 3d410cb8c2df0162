"""TempoTokens."""

from __future__ import annotations

from synchresis.nn.mapper import Mapper, MapperConfig

from .common import Adapter, Case, Check, Outputs


def mapper(case: Case) -> Outputs:
    sizes = case.config
    net = Mapper(MapperConfig(sizes["input_size"], sizes["hidden_size"], sizes["output_size"])).eval()
    net.load_state_dict(case.weights())
    sound, frames = case.io["audio_features"], sizes["seq_target_length"]
    plain = net(sound, frames)
    dropped = net(sound, frames, case.io["dropout_keep_mask"])
    return {
        "temporal_token": plain.temporal,
        "class_token_no_dropout": plain.pooled,
        "class_token_with_mask": dropped.pooled,
        "unary_potential_no_dropout": plain.potential_unary,
        "pairwise_potential": plain.potential_self,
    } | {f"local_window_{i + 1}": local for i, local in enumerate(plain.local)}


ADAPTERS: dict[str, Adapter | Check] = {
    "tempotokens/mapper": Adapter(
        mapper,
        2e-5,
        outputs=("temporal", "local", "class_token_no", "class_token_with", "unary", "pairwise"),
    ),
}
