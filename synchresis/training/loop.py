"""What every training shares: the schedule, the moving average of weights, and one careful step."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


def rate_at(step: int, steps: int, peak: float, warmup: int = 100, last: float = 0.02) -> float:
    """Learning rate of a step: linear warm-up, then a cosine down to `last` of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))


class Average:
    """Exponential moving average of a module's weights, with a ramp so that the start is forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def worn_by(self, module: nn.Module) -> Iterator[None]:
        """Inside, the module has the averaged weights; afterwards its own again."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)


@dataclass(frozen=True)
class Saving:
    """What is kept on the way: every `every` steps `write(step)` is called, while the module has its averaged weights.
    """

    every: int
    write: Callable[[int], object]


def train(
    module: nn.Module,
    batches: Iterator[object],
    loss_of: Callable[[object], torch.Tensor],
    *,
    steps: int,
    peak: float,
    decay: float = 0.999,
    report: Callable[[int, float], None] | None = None,
    weight_decay: float = 0.02,
    saving: Saving | None = None,
) -> dict[str, torch.Tensor]:
    """Run `steps` steps of AdamW and return the averaged weights. Stops at a loss that is not finite."""
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=peak,
        betas=(0.9, 0.95),
    )
    average = Average(module, decay)
    module.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, peak)
        loss = loss_of(next(batches))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}: the weights were left as they were")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        average.update(module)
        if report is not None:
            report(step + 1, float(loss.detach()))
        if saving is not None and (step + 1) % saving.every == 0 and step + 1 < steps:
            with average.worn_by(module):
                saving.write(step + 1)
    return average.weights


def progress_file(path: Path | None, every: int = 50) -> Callable[[int, float], None]:
    """A report that appends one line per `every` steps to a file, or prints it when there is no file."""
    recent: list[float] = []

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if step % every == 0:
            line = f"step {step} loss {sum(recent) / len(recent):.4f}"
            recent.clear()
            if path is None:
                print(line, flush=True)
            else:
                with path.open("a") as file:
                    file.write(line + "\n")

    return report
