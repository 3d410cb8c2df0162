"""An independent judge of which ESC-10 class a sound is: a small CNN trained on real recordings only.

It shares nothing with the models that it judges but the recordings of folds 1 to 3: own mel, own net. Fold 4
(80 clips, used for nothing else) says how good it is: seed 0, 100 epochs give 0.96 on the loudest 3 s of each,
0.93 on whole clips, standard error 0.03. Read what it says of takes in the light of that.

    python benchmarks/judge.py train RECORDINGS --out judge.safetensors     (about five minutes of one core)
    python benchmarks/judge.py classify judge.safetensors SOUND...
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from synchresis.data.recordings import CLASSES, Recording, load_recordings, split

RATE = 32000
WINDOW, HOP, BANDS = 1024, 400, 64  # 32 ms every 12.5 ms
LOW, HIGH = 50.0, 14000.0  # Hz; above, many recordings end at the edge of a lossy coder
RANGE = 80.0  # dB below the loudest cell at which the picture ends
LABELS = tuple(CLASSES)


# ------------------------------------------------------------------------------------ what the judge sees


def mel_bank() -> torch.Tensor:
    """Triangles evenly spaced in mel (2595 log10(1 + f / 700)), each of unit sum: [bands, bins]."""
    to_mel = 2595 * np.log10(1 + np.array([LOW, HIGH]) / 700)
    corners = 700 * (10 ** (np.linspace(to_mel[0], to_mel[1], BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    bank = np.clip(np.minimum(rising, falling), 0, None)
    return torch.from_numpy(bank / np.maximum(bank.sum(1, keepdims=True), 1e-9)).float()


def log_mel(samples: np.ndarray) -> torch.Tensor:
    """dB of the power in each band of each frame, of a sound at RATE: [bands, frames]."""
    sound = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    sound = nn.functional.pad(sound, (0, max(0, RATE - len(sound))))  # a second at the least
    spectrum = torch.stft(
        sound, WINDOW, HOP, window=torch.hann_window(WINDOW), center=True, pad_mode="constant", return_complex=True
    )
    return 10 * torch.log10(mel_bank() @ spectrum.abs().square() + 1e-12)


def normalised(picture: torch.Tensor) -> torch.Tensor:
    """Without its level: floor RANGE dB under the loudest cell, mean 0, in units of 20 dB. [..., bands, frames]."""
    top = picture.amax((-2, -1), keepdim=True)
    picture = torch.maximum(picture, top - RANGE)
    return (picture - picture.mean((-2, -1), keepdim=True)) / 20


class Net(nn.Module):
    """Four 3x3 stages over the picture and a channel that tells the band, mean and maximum over time."""

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        sizes = [2, width, 2 * width, 4 * width, 6 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 5 if a == 2 else 3, stride=2 if a == 2 else 1, padding=2 if a == 2 else 1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Identity() if a == 2 else nn.MaxPool2d(2),
            )
            for a, b in itertools.pairwise(sizes)
        )
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(2 * sizes[-1] * (BANDS // 16), len(LABELS))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Normalised log-mels [B, bands, frames] to scores [B, labels]."""
        band = torch.linspace(-1, 1, BANDS).view(1, -1, 1).expand_as(picture)
        x = torch.stack([picture, band], dim=1)
        for stage in self.stages:
            x = stage(x)
        x = x.flatten(1, 2)
        return self.head(self.drop(torch.cat([x.mean(-1), x.amax(-1)], dim=1)))


class Judge:
    """`classify` names the class of a sound. Made by `train`, read by `Judge.load`."""

    def __init__(self, net: Net, facts: dict) -> None:
        self.net = net.eval()
        self.facts = facts  # accuracy on fold 4, per class, seed, seconds

    @classmethod
    def load(cls, path: str | Path) -> Judge:
        with safe_open(str(path), "pt") as file:
            facts = json.loads(file.metadata()["judge"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if tuple(facts["labels"]) != LABELS:
            raise ValueError(f"{path}: was trained for other classes; train it again")
        net = Net()
        net.load_state_dict(weights)
        return cls(net, facts)

    def save(self, path: str | Path) -> None:
        weights = {name: tensor.contiguous() for name, tensor in self.net.state_dict().items()}
        save_file(weights, str(path), {"judge": json.dumps(self.facts)})

    @torch.no_grad()
    def classify(self, samples: np.ndarray, rate: int) -> tuple[str, dict[str, float]]:
        """Sound [n] or [n, channels] at any rate, best of 2 to 10 s: the likeliest label, and the probability
        of each."""
        mono = samples.mean(axis=1) if samples.ndim == 2 else samples
        if rate != RATE:
            import soxr

            mono = soxr.resample(mono.astype(np.float32), rate, RATE)
        scores = self.net(normalised(log_mel(mono))[None])
        chances = dict(zip(LABELS, scores.softmax(1)[0].tolist(), strict=True))
        return max(chances, key=lambda label: chances[label]), chances


# ------------------------------------------------------------------------------------ training


def loudest(samples: np.ndarray, seconds: float, rate: int = RATE) -> np.ndarray:
    """The stretch of so many seconds that holds the most energy."""
    length = round(seconds * rate)
    if len(samples) <= length:
        return samples
    energy = np.append(0.0, np.cumsum(np.square(samples, dtype=np.float64)))
    first = int((energy[length:] - energy[:-length])[:: rate // 20].argmax()) * (rate // 20)
    return samples[first : first + length]


def varied(picture: torch.Tensor, frames: int, rng: np.random.Generator) -> torch.Tensor:
    """One training view of a log-mel in dB: stretched, cut to `frames` where something sounds, shifted in
    pitch, tilted, with a floor of noise. [bands, frames]."""
    length = max(frames, round(picture.shape[1] * rng.uniform(0.85, 1.18)))
    stretched = nn.functional.interpolate(picture[None], length, mode="linear")[0]
    power = (10 ** (stretched / 10)).sum(0).numpy()
    for _ in range(8):
        first = int(rng.integers(0, length - frames + 1))
        if power[first : first + frames].sum() > 0.15 * power.sum():
            break
    cut = stretched[:, first : first + frames]
    shift = int(rng.integers(-3, 4))
    cut = torch.roll(cut, shift, 0)
    if shift:
        cut[: shift if shift > 0 else None][shift if shift < 0 else None :] = cut.min()
    bands = torch.linspace(-1, 1, BANDS)[:, None]
    curve = rng.normal(0, 4) * bands + rng.normal(0, 3) * torch.cos(rng.uniform(1, 6) * bands + rng.uniform(0, 6))
    cut = cut + curve.float()
    noise = cut.max() - rng.uniform(35, 90) + rng.normal(0, 4) * bands.float() + 2 * torch.randn(cut.shape)
    return torch.logaddexp(cut * (math.log(10) / 10), noise * (math.log(10) / 10)) * (10 / math.log(10))


def batch_of(
    pictures: list[torch.Tensor], labels: np.ndarray, index: np.ndarray, frames: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of the chosen clips, half of them mixed with another clip in power, and their soft labels."""
    views, targets = [], []
    for i in index:
        view, target = varied(pictures[i], frames, rng), torch.zeros(len(LABELS))
        target[labels[i]] = 1
        if rng.random() < 0.5:
            j, share = int(rng.integers(len(pictures))), rng.beta(0.6, 0.6)
            other = varied(pictures[j], frames, rng)
            gain = 10 * math.log10((1 - share + 1e-4) / (share + 1e-4))
            scale = math.log(10) / 10
            view = torch.logaddexp(scale * (view - view.max()), scale * (other - other.max() + gain)) / scale
            target = share * target
            target[labels[j]] += 1 - share
        view = normalised(view)
        for size, axis in ((10, 0), (25, 1)):  # masks: some bands, some frames
            width = int(rng.integers(0, size))
            first = int(rng.integers(0, view.shape[axis] - width))
            view.narrow(axis, first, width).zero_()
        views.append(view)
        targets.append(target)
    return torch.stack(views), torch.stack(targets)


def train(
    recordings: str | Path | list[Recording], seed: int = 0, out: str | Path | None = None, epochs: int = 100
) -> Judge:
    """Train on folds 1 to 3 of ESC-10, measure on fold 4, write to `out`. A function of its arguments.

    The last weights are kept, averaged over the last steps; fold 4 chooses nothing.
    """
    begin = time.process_time()
    clips = recordings if isinstance(recordings, list) else load_recordings(recordings, RATE)
    training, validation = split(clip for clip in clips if clip.label in LABELS)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pictures = [log_mel(clip.samples) for clip in training]
    labels = np.array([LABELS.index(clip.label) for clip in training])

    net, size, frames = Net(), 24, 3 * RATE // HOP
    steps = epochs * (len(training) // size)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.15)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=True
    )
    order = np.concatenate([rng.permutation(len(training))[: steps // epochs * size] for _ in range(epochs)])
    for step in range(steps):
        views, targets = batch_of(pictures, labels, order[step * size : (step + 1) * size], frames, rng)
        loss = nn.functional.cross_entropy(net(views), targets, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(net)
        if (step + 1) % (steps // 10 or 1) == 0:
            seconds = time.process_time() - begin
            print(f"step {step + 1} of {steps}, loss {loss.item():.3f}, {seconds:.0f} s", file=sys.stderr)

    net.load_state_dict(average.module.state_dict())
    judge = Judge(net, {"labels": LABELS, "seed": seed, "epochs": epochs})
    judge.facts |= measure(judge, validation) | {"seconds": round(time.process_time() - begin)}
    if out:
        judge.save(out)
    return judge


def measure(judge: Judge, clips: list[Recording]) -> dict:
    """Accuracy on whole clips and on their loudest 3 s, N, and the latter for each class."""
    right: dict[str, list[bool]] = {"whole": [], "3 s": []}
    for clip in clips:
        for name, samples in (("whole", clip.samples), ("3 s", loudest(clip.samples, 3))):
            right[name].append(judge.classify(samples, RATE)[0] == clip.label)
    of_class = {
        label: float(np.mean([hit for hit, clip in zip(right["3 s"], clips, strict=True) if clip.label == label]))
        for label in LABELS
        if any(clip.label == label for clip in clips)
    }
    return {
        "clips": len(clips),
        "accuracy_whole": float(np.mean(right["whole"])),
        "accuracy_3s": float(np.mean(right["3 s"])),
        "accuracy_3s_by_class": of_class,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, dest="part")
    training = parts.add_parser("train")
    training.add_argument("recordings", help="folder that holds esc10")
    training.add_argument("--out", required=True, help="file to write")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--epochs", type=int, default=100)
    classifying = parts.add_parser("classify")
    classifying.add_argument("judge")
    classifying.add_argument("sounds", nargs="+")
    asked = parser.parse_args()
    if asked.part == "train":
        print(json.dumps(train(asked.recordings, asked.seed, asked.out, asked.epochs).facts, indent=2))
        return
    import soundfile

    judge = Judge.load(asked.judge)
    for sound in asked.sounds:
        label, chances = judge.classify(*soundfile.read(sound, dtype="float32"))
        print(f"{sound}\t{label}\t{chances[label]:.2f}")


if __name__ == "__main__":
    main()
