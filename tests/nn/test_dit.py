"""The DiT and its control branch beyond what the published weights prove."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from synchresis.diffusion import samplers
from synchresis.diffusion.guidance import classifier_free
from synchresis.diffusion.windows import cut, windowed
from synchresis.nn.control import ControlledDiT
from synchresis.nn.dit import DiT, DiTConfig

SMALL = DiTConfig(io_channels=4, embed_dim=32, depth=2, num_heads=2, ff_mult=2)
# Pocket's shape in small: no cross-attention, adaptive norms, a control that is also concatenated.
POCKET = replace(SMALL, global_cond_dim=6, global_cond_type="adaLN", qk_norm="ln", input_concat_dim=3)


def alive(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random values everywhere, so that no zero-initialised path hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.ndim == 1 else p[0].numel() ** -0.5))
    return module.eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


VARIANTS = {
    "cross": (replace(SMALL, cond_token_dim=16, project_cond_tokens=False), {"cross": noise(2, 5, 16)}),
    "projected": (replace(SMALL, cond_token_dim=10), {"cross": noise(2, 5, 10)}),
    "none": (SMALL, {}),
    "pocket": (POCKET, {"global_cond": noise(2, 6), "concat": noise(2, 3, 12)}),
    "old adaLN": (replace(POCKET, adaln_per_block=True), {"global_cond": noise(2, 6), "concat": noise(2, 3, 12)}),
    "memory": (replace(SMALL, num_memory_tokens=3, positions="learned", max_positions=40), {}),
    "sinusoidal": (
        replace(SMALL, cond_token_dim=16, project_cond_tokens=False, positions="sinusoidal", context_positions=True),
        {"cross": noise(2, 5, 16)},
    ),
    "prepend": (replace(SMALL, prepend_cond_dim=7), {"prepend": noise(2, 3, 7)}),
    "patches": (replace(SMALL, patch_size=3, qk_norm="l2"), {}),
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_parameter_and_condition_matters(name: str) -> None:
    config, conditions = VARIANTS[name]
    net = alive(DiT(config)).train()
    conditions = {key: value.clone().requires_grad_() for key, value in conditions.items()}
    x = noise(2, 4, 12)
    out = net(x, torch.tensor([0.3, 0.8]), **conditions)
    assert out.shape == x.shape
    (out**2).sum().backward()
    for key, value in [*net.named_parameters(), *conditions.items()]:
        # A constant added to all keys leaves a softmax as it is, so the bias of their norm has no gradient.
        if not key.endswith("k_norm.bias"):
            assert value.grad is not None, key
            assert float(value.grad.abs().max()) > 1e-7, key


@pytest.mark.parametrize("name", list(VARIANTS))
def test_prepared_conditions_give_the_same(name: str) -> None:
    config, conditions = VARIANTS[name]
    net = alive(DiT(config))
    x, t = noise(2, 4, 12), torch.tensor([0.3, 0.8])
    assert torch.equal(net(x, t, **conditions), net(x, t, prepared=net.prepare(**conditions)))


@pytest.mark.parametrize("name", list(VARIANTS))
def test_items_of_a_batch_do_not_meet(name: str) -> None:
    config, conditions = VARIANTS[name]
    net = alive(DiT(config))
    x, t = noise(2, 4, 12), torch.tensor([0.3, 0.8])
    alone = net(x[1:], t[1:], **{key: value[1:] for key, value in conditions.items()})
    torch.testing.assert_close(net(x, t, **conditions)[1:], alone, atol=1e-5, rtol=1e-5)


def test_old_adaln_has_the_published_names() -> None:
    names = DiT(replace(POCKET, adaln_per_block=True)).state_dict()
    assert names["transformer.layers.1.to_scale_shift_gate.1.weight"].shape == (6 * 32, 32)
    assert not any("global_cond_embedder" in name for name in names)


def test_masks_mean_something() -> None:
    net = alive(DiT(VARIANTS["cross"][0]))
    x, t, cross = noise(1, 4, 12), torch.tensor([0.5]), noise(1, 5, 16)
    short = net(x[..., :9], t, cross=cross[:, :3])
    padded = net(
        x, t, cross=cross, context_mask=torch.arange(5)[None] < 3, mask=torch.arange(12)[None] < 9
    )  # fmt: skip
    torch.testing.assert_close(padded[..., :9], short, atol=1e-5, rtol=1e-5)
    assert (net(x, t, cross=cross)[..., :9] - short).abs().max() > 0.01


def test_a_context_that_is_all_masked_is_no_context() -> None:
    net = alive(DiT(VARIANTS["cross"][0]))
    x, t, cross = noise(1, 4, 12), torch.tensor([0.5]), noise(1, 5, 16)
    masked = net(x, t, cross=cross, context_mask=torch.zeros(1, 5, dtype=torch.bool))
    torch.testing.assert_close(masked, net(x, t), atol=1e-5, rtol=1e-5)


class Calls:
    """Counts the calls of the submodules whose names end so."""

    def __init__(self, net: nn.Module, *endings: str) -> None:
        self.counts: Counter[str] = Counter()
        for name, module in net.named_modules():
            ending = next((ending for ending in endings if name.endswith(ending)), None)
            if ending is not None:
                module.register_forward_pre_hook(lambda *_, ending=ending: self.counts.update([ending]))


STEADY = ("to_cond_embed", "to_kv", "to_global_embed", "to_prepend_embed", "conv_in")


def test_what_does_not_change_is_computed_once_for_all_steps() -> None:
    """Both halves of the guidance together, over a whole sampling, through a base and its control branch."""
    config = replace(SMALL, cond_token_dim=16, project_cond_tokens=False, global_cond_dim=6, prepend_cond_dim=7)
    net = alive(ControlledDiT(config, control_depth=1))
    calls = Calls(net, *STEADY, "to_q")
    conditions = {
        "control": noise(1, 4, 12), "cross": noise(1, 5, 16), "global_cond": noise(1, 6), "prepend": noise(1, 3, 7),
    }  # fmt: skip
    run = classifier_free(net, conditions, 3)
    once = dict.fromkeys(STEADY, 2) | {"to_kv": 3, "conv_in": 1}  # base and branch; of 2 + 1 blocks
    assert calls.counts == once
    samplers.v_ddim(run, noise(1, 4, 12), samplers.linear_times(5))
    assert calls.counts == once | {"to_q": 3 * 5}


def test_windows_prepare_once_per_batch_of_windows() -> None:
    net = alive(DiT(VARIANTS["cross"][0]))
    calls = Calls(net, "to_cond_embed", "to_q")
    cross = noise(1, 30, 16)
    run = windowed(
        lambda spans: classifier_free(net, {"cross": cut(cross.transpose(1, 2), spans).transpose(1, 2)}, 3),
        total=30, size=10, overlap=5, batch=3,
    )  # fmt: skip
    samplers.v_ddim(run, noise(1, 4, 30), samplers.linear_times(4))
    assert calls.counts == {"to_cond_embed": 2, "to_q": 2 * 4 * 2}  # five windows; two blocks, four steps


def test_shared_heads_of_the_context_are_kept_once() -> None:
    """Eight query heads on two of the context: against the context's heads written out."""
    shared = DiTConfig(io_channels=4, embed_dim=64, depth=1, num_heads=8, cond_token_dim=16, project_cond_tokens=False)
    net = alive(DiT(shared))
    cross, x, t = noise(2, 5, 16), noise(2, 4, 12), torch.tensor([0.3, 0.8])
    prepared = net.prepare(cross=cross)
    assert prepared.keys_values[0][0].shape == (2, 5, 2, 8)
    written = tuple(
        (k.repeat_interleave(4, dim=2), v.repeat_interleave(4, dim=2)) for k, v in prepared.keys_values
    )  # fmt: skip
    mask = torch.tensor([[True, True, False, True, False], [True, False, True, True, True]])
    for context_mask in (None, mask):
        few = replace(prepared, context_mask=context_mask)
        torch.testing.assert_close(net(x, t, prepared=few), net(x, t, prepared=replace(few, keys_values=written)))


def test_concat_of_another_length_is_stretched() -> None:
    net = alive(DiT(POCKET))
    x, t, concat = noise(2, 4, 12), torch.tensor([0.3, 0.8]), noise(2, 3, 4)
    torch.testing.assert_close(
        net(x, t, concat=concat), net(x, t, concat=concat.repeat_interleave(3, dim=-1)), atol=0, rtol=0
    )


def test_wrong_conditions_are_refused() -> None:
    net = DiT(POCKET)
    x, t = noise(1, 4, 12), torch.tensor([0.5])
    with pytest.raises(ValueError, match="needs concat"):
        net(x, t)
    with pytest.raises(ValueError, match="no input for cross"):
        net(x, t, cross=noise(1, 5, 16), concat=noise(1, 3, 12))
    with pytest.raises(ValueError, match="global_cond is 5 wide"):
        net(x, t, global_cond=noise(1, 5), concat=noise(1, 3, 12))
    with pytest.raises(ValueError, match="ends at 10"):
        DiT(replace(SMALL, positions="learned", max_positions=10))(x, t)
    with pytest.raises(ValueError, match="patches of 5"):
        DiT(replace(SMALL, patch_size=5))(x, t)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"attn_kwargs": {"differential": True}}, r"attn_kwargs\.differential"),
        ({"attn_kwargs": {"add_rope": True}}, r"attn_kwargs\.add_rope"),
        ({"attn_kwargs": {"qk_norm": "dyt"}}, "qk_norm is 'dyt'"),
        ({"timestep_cond_type": "input_concat", "timestep_embed_dim": 32}, "timestep_cond_type, timestep_embed_dim"),
        ({"norm_type": "dyt"}, "norm_type"),
        ({"layer_scale": True}, "layer_scale"),
        ({"sliding_window": [64, 64]}, "sliding_window"),
        ({"final_cross_attn_ix": 3}, "final_cross_attn_ix"),
        ({"exit_layer_ix": 3}, "exit_layer_ix"),
        ({"ff_kwargs": {"no_bias": True}}, r"ff_kwargs\.no_bias"),
    ],
)
def test_the_newest_options_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DiTConfig.from_dict({"embed_dim": 64, "num_heads": 2, **values})


LONG = """
import resource, torch
from synchresis.nn.dit import DiT, DiTConfig
torch.set_num_threads(1)
net = DiT(DiTConfig(io_channels=4, embed_dim=64, depth=1, num_heads=8, ff_mult=1, cond_token_dim=32,
                    project_cond_tokens=False))
def run(length):
    with torch.inference_mode():
        x, cross = torch.randn(1, 4, length), torch.randn(1, length, 32)
        mask = torch.ones(1, length, dtype=torch.bool)
        for masks in ({}, {"mask": mask, "context_mask": mask}):
            net(x, torch.tensor([0.5]), cross=cross, **masks)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
short = run(100)
print((run(5000) - short) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
def test_no_matrix_of_all_pairs_is_made() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    # One matrix of 8 heads, 5000 by 5000, would be 763 MiB, and of single bytes 191 MiB.
    assert float(done.stdout) < 120


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"attn_kwargs\.feat_scale, conformer, differential"):
        DiTConfig.from_dict(
            {"embed_dim": 64, "differential": 1, "conformer": True, "attn_kwargs": {"feat_scale": True}}
        )
    with pytest.raises(ValueError, match="qk_norm is 'dyt'"):
        DiTConfig.from_dict({"embed_dim": 64, "num_heads": 2, "attn_kwargs": {"qk_norm": "dyt"}})
    with pytest.raises(ValueError, match="does not split"):
        DiTConfig(embed_dim=65, num_heads=2)


def test_layouts_differ_where_the_sources_do() -> None:
    values = {"embed_dim": 64, "num_heads": 2, "cond_token_dim": 32, "use_abs_pos_emb": True, "rotary_pos_emb": True}
    old, new = DiTConfig.from_dict(values, "lova"), DiTConfig.from_dict(values)
    assert (old.max_positions, old.context_positions, old.adaln_per_block) == (3000, True, True)
    assert (new.max_positions, new.context_positions, new.adaln_per_block) == (10000, False, False)
    assert DiTConfig.from_dict(values | {"attn_kwargs": {"qk_norm": True}}).qk_norm == "l2"


def test_an_untrained_branch_changes_nothing() -> None:
    torch.manual_seed(0)
    net = ControlledDiT(POCKET, control_depth=1, control_channels=3)
    alive(net.model)
    control, told = noise(2, 3, 12), noise(2, 6)
    x, t = noise(2, 4, 12), torch.tensor([0.3, 0.8])
    with_branch = net(x, t, control=control, global_cond=told, concat=control)
    torch.testing.assert_close(with_branch, net.model(x, t, global_cond=told, concat=control), atol=0, rtol=0)


def test_a_branch_can_start_from_its_base() -> None:
    net = ControlledDiT(POCKET, control_depth=1, control_channels=3)
    alive(net.model)
    net.start_from_base()
    base, branch = net.model.state_dict(), net.controlnet.state_dict()
    own = [name for name in branch if not name.startswith(("conv_in", "conv_outs"))]
    assert own
    assert all(torch.equal(branch[name], base[name]) for name in own)


def test_control_of_the_wrong_shape_is_refused() -> None:
    net = ControlledDiT(SMALL, control_depth=1)
    x, t = noise(1, 4, 12), torch.tensor([0.5])
    with pytest.raises(ValueError, match="3 channels; expected 4"):
        net(x, t, control=noise(1, 3, 12))
    with pytest.raises(ValueError, match="covers 11 latents"):
        net(x, t, control=noise(1, 4, 11))
    with pytest.raises(ValueError, match=r"1\.\.2"):
        ControlledDiT(SMALL, control_depth=3)


def test_pocket_trains_from_nothing() -> None:
    """A tiny network learns to repeat a control it is told, from its own first values, also through the branch."""
    torch.manual_seed(0)
    net = ControlledDiT(POCKET, control_depth=1, control_channels=3)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 3e-3)
    losses = []
    for step in range(120):
        control, told = noise(8, 3, 12, seed=step), noise(8, 6, seed=step + 1000)
        wanted = torch.cat((control, told[:, :1, None].expand(-1, -1, 12)), dim=1)
        # The base sees no control here, so only the branch can tell it.
        out = net(noise(8, 4, 12, seed=-step), torch.rand(8), control=control, global_cond=told,
                  concat=torch.zeros(8, 3, 12))  # fmt: skip
        loss = ((out - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 1:  # at step 0 zero-initialised maps still stand before most of the branch
            assert all(p.grad is not None for p in trained)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 0.4 * losses[0], losses[::20]
