"""A control branch beside a DiT, in the manner of ControlNet (Stable-Foley spec section 2).

The branch is a shallower DiT that sees the noisy latent plus a dense control. Each of its hidden states goes
through a zero-initialised map and is added to the input of the base block of the same number, so an
untrained branch changes nothing. Parameter names are those of Stable-Foley (`model.*`, `controlnet.*`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from synchresis.nn.dit import DiT, DiTConfig, Prepared


@dataclass(frozen=True)
class ControlPrepared:
    """Time-independent work of a `ControlledDiT`: of its base, of its branch, and the embedded control."""

    base: Prepared
    branch: Prepared
    control: Tensor
    scale_embeds: float


class ControlBranch(DiT):
    """A DiT that gives residuals [B, 1 + T, embed_dim] instead of a prediction."""

    def __init__(self, config: DiTConfig, control_channels: int) -> None:
        super().__init__(config)
        del self.postprocess_conv
        # Published branches carry this map although nothing uses it; kept so that their keys are ours.
        self.transformer.project_out.requires_grad_(False)
        self.conv_in = nn.Conv1d(control_channels, config.input_dim, 1, bias=False)
        nn.init.zeros_(self.conv_in.weight)
        width = config.embed_dim
        self.conv_outs = nn.ModuleList(nn.Conv1d(width, width, 1, bias=False) for _ in range(config.depth))
        for conv in self.conv_outs:
            nn.init.zeros_(conv.weight)  # type: ignore[arg-type]

    def residuals(self, x: Tensor, t: Tensor, prepared: Prepared, control: Tensor) -> list[Tensor]:
        """x [B, io_channels, T], `control` [B, input_dim, T] as `conv_in` gave it."""
        hidden = self.hidden(self.inputs(x, prepared) + control, t, prepared)
        weights = (conv.weight[:, :, 0] for conv in self.conv_outs)  # type: ignore[index]
        return [F.linear(h, weight) for h, weight in zip(hidden, weights, strict=True)]


class ControlledDiT(nn.Module):
    """A DiT under a dense control [B, control_channels, T] at the latent's own rate.

    `control_depth` is the number of layers of the branch; `control_channels` defaults to those of the latent.
    `scale_cond` multiplies the control, `scale_embeds` what the branch adds (0 switches it off, which a
    control of zeros does not). The other conditions are those of `DiT` and reach both networks.
    """

    def __init__(self, config: DiTConfig, control_depth: int, control_channels: int | None = None) -> None:
        super().__init__()
        if not 0 < control_depth <= config.depth:
            raise ValueError(f"control_depth {control_depth} must lie in 1..{config.depth}")
        self.control_channels = control_channels or config.io_channels
        self.model = DiT(config)
        self.controlnet = ControlBranch(replace(config, depth=control_depth), self.control_channels)

    @property
    def config(self) -> DiTConfig:
        return self.model.config

    def start_from_base(self) -> None:
        """Copies the base's weights into the branch (first layers and heads), as published."""
        base = self.model.state_dict()
        own = self.controlnet.state_dict()
        self.controlnet.load_state_dict({**own, **{k: base[k] for k in own if k in base}})

    def prepare(
        self, *, control: Tensor, scale_cond: float = 1.0, scale_embeds: float = 1.0, **conditions: Any
    ) -> ControlPrepared:
        """Everything that does not depend on x and t; see `DiT.prepare` for the other conditions."""
        if control.shape[1] != self.control_channels:
            raise ValueError(f"control has {control.shape[1]} channels; expected {self.control_channels}")
        return ControlPrepared(
            base=self.model.prepare(**conditions),
            branch=self.controlnet.prepare(**conditions),
            control=self.controlnet.conv_in(control * scale_cond),
            scale_embeds=scale_embeds,
        )

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        prepared: ControlPrepared | None = None,
        return_hidden: bool = False,
        **conditions: Any,
    ) -> Any:
        """The prediction [B, io_channels, T] for x [B, io_channels, T] at t [B].

        With `return_hidden` also the base's streams and the residuals. Give conditions (`control` and those
        of `DiT`) or what `prepare` made of them.
        """
        if prepared is None:
            prepared = self.prepare(**conditions)
        if prepared.control.shape[-1] != x.shape[-1]:
            raise ValueError(f"the control covers {prepared.control.shape[-1]} latents, x has {x.shape[-1]}")
        residuals = self.controlnet.residuals(x, t, prepared.branch, prepared.control)
        scaled = residuals if prepared.scale_embeds == 1 else [r * prepared.scale_embeds for r in residuals]
        out = self.model(x, t, prepared=prepared.base, residuals=scaled, return_hidden=return_hidden)
        if return_hidden:
            return out[0], out[1], residuals
        return out
