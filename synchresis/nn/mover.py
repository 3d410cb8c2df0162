"""Pocket's mover: where the bodies of a scene are at every frame, under the tokens of a sound.

TempoTokens' mapper tells a DiT over frames what is heard: each frame's own token, the running means around it, and one
pooled token for all. What it makes is not pixels but a pose for each body of the scene, so a film keeps its scene over
any length, and a strike is as sharp as its pose.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from synchresis.nn.dit import DiT, DiTConfig, Prepared
from synchresis.nn.mapper import REACHES, Mapped, Mapper, MapperConfig

POSE = 7          # place (2), turn and stretch (4), in picture heights; and whether the body is shown, 1 or -1
SHAPE_SIDE = 32   # pixels of the coverage maps that say where bodies are


@dataclass(frozen=True)
class MoverConfig:
    bodies: int = 7
    sound: int = 80           # features of a sound token
    heard: int = 128          # width of the mapper's tokens
    local: int = 64           # channels of what a frame is told
    shape: int = 256          # width of what the scene says
    width: int = 192
    depth: int = 6
    heads: int = 4
    ff_mult: int = 3

    @property
    def channels(self) -> int:
        return self.bodies * POSE

    def dit(self) -> DiTConfig:
        return DiTConfig(
            io_channels=self.channels,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            global_cond_dim=self.heard + self.shape,
            global_cond_type="adaLN",
            input_concat_dim=self.local + self.channels + 1,
            qk_norm="ln",
            ff_mult=self.ff_mult,
        )

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class Mover(nn.Module):
    """Velocity of the rectified flow for poses [B, bodies * POSE, T] at 25 frames a second."""

    pose_std: Tensor

    def __init__(self, config: MoverConfig) -> None:
        super().__init__()
        self.config = config
        self.mapper = Mapper(MapperConfig(config.sound, 2 * config.heard, config.heard))
        self.local = nn.Linear((1 + len(REACHES)) * config.heard, config.local)
        self.unheard = nn.Parameter(torch.zeros(config.local))
        self.unheard_pooled = nn.Parameter(torch.zeros(config.heard))
        self.shape = nn.Sequential(
            nn.Conv2d(config.bodies + 3, 32, 4, 2, 1), nn.SiLU(),
            nn.Conv2d(32, 64, 4, 2, 1), nn.SiLU(),
            nn.Conv2d(64, 64, 4, 2, 1), nn.SiLU(),
            nn.Flatten(), nn.Linear(64 * (SHAPE_SIDE // 8) ** 2, config.shape), nn.SiLU(),
        )  # fmt: skip
        self.told = nn.Sequential(nn.Linear(config.heard + config.shape, config.heard + config.shape), nn.SiLU())
        self.dit = DiT(config.dit())
        # Not-a-number until loaded, so that a forgotten load is loud.
        self.register_buffer("pose_std", torch.full((POSE,), float("nan")))

    def listen(self, sound: Tensor, deaf: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sound tokens [B, T, sound] to what each frame is told [B, local, T], and all of them [B, heard].

        Where the booleans `deaf` [B] are true, nothing is heard.
        """
        mapped: Mapped = self.mapper(sound, sound.shape[1])
        local = self.local(torch.cat([mapped.temporal, *mapped.local], dim=-1))
        pooled = mapped.pooled
        if deaf is not None:
            local = torch.where(deaf[:, None, None], self.unheard, local)
            pooled = torch.where(deaf[:, None], self.unheard_pooled, pooled)
        return local.transpose(1, 2), pooled

    def prepare(self, local: Tensor, pooled: Tensor, shapes: Tensor, known: Tensor, is_known: Tensor) -> Prepared:
        """What does not depend on x and t: shapes [B, bodies + 3, 32, 32], the coverage of each body and the colours of
        the background; known poses [B, bodies * POSE, T] at the frames where `is_known` [B, T] is 1."""
        given = torch.cat([local, known * is_known[:, None], is_known[:, None]], dim=1)
        told = self.told(torch.cat([pooled, self.shape(shapes - 0.5)], dim=-1))
        return self.dit.prepare(global_cond=told, concat=given)

    def forward(self, x: Tensor, t: Tensor, prepared: Prepared) -> Tensor:
        """x [B, bodies * POSE, T] at flow time t [B] (1 is noise)."""
        return self.dit(x, t, prepared=prepared)
