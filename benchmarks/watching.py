"""How well the watcher sees when a film sounds: held-out films of the stage, and real clips, beside frame difference.

    python benchmarks/watching.py WEIGHTS --stage 120          # films of the stage, seeds never trained on
    python benchmarks/watching.py WEIGHTS --real               # clips of $SYNCHRESIS_SHARED (default ../shared)

Every figure on real clips stands beside its shift null: the same prediction rotated in time (40 shifts), z against
4000 draws of one random shift per clip, and a 90 % bootstrap interval over clips. F1 is one-to-one and
count-matched (as many peaks as the reference has), AUC is of the 50 Hz curve against "within 60 ms of a reference
onset", r is the correlation of the loudness with the true RMS envelope. Reference onsets of real clips are found in
their own sound and were not checked by hand. The depth of `pick` was chosen with an eye on the hammer, so its line
and the picked counts are no held-out figures; AUC, F1 and r do not depend on it.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchresis.encoders.motion import RATE, SEEN_RATE, SIDE
from synchresis.encoders.watcher import Watched, pick, view_grids, watched_of
from synchresis.media import frames, read_sound
from synchresis.nn.watcher import Watcher, load_watcher
from synchresis.timeline import Track
from synchresis.timeline.envelope import rms_envelope
from synchresis.timeline.onsets import detect_onsets, f1, match, pick_peaks
from synchresis.training.watcher import Shelf, area_under_curve, load_shelf, seen_on, seen_share, shelf_of, stage_scores

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[1] / ".." / "shared"))
TEMPO = "parity/tempotokens/av_align/clips"
# Split by looking at stills, before any model was run: can one see the thing that sounds, and does it strike?
IMPACT = {
    "hammer": "media/clips/short_4s.mp4",
    "drummer": "media/clips/drum.mp4",
    "djembe": "media/sta_v2a_demo/6pwhiA535q0_000166/gt.mp4",
    "vibraphone": "media/vggsound/-BAKe6QGTUk_000030.mp4",
    "squash": "media/vggsound/-yoaSondvkw_000071.mp4",
    "dog": f"{TEMPO}/foleycrafter_avsync_0.mp4",
    "pistol": f"{TEMPO}/foleycrafter_avsync_1.mp4",
    "keyboard": f"{TEMPO}/stav2a_1XBz00U_pv0_000180.mp4",
}
OTHER = {
    "erhu": "media/clips/lova_demo.mp4",
    "train": "media/clips/variable_rate.mp4",
    "trumpet": "media/sta_v2a_demo/0_ixmalQrig_000100/gt.mp4",
    "horse": "media/sta_v2a_demo/0e_96pcTzKQ_000030/gt.mp4",
    "puppies": "media/sta_v2a_demo/4LcMAREn89c_000013/gt.mp4",
    "pigeons": "media/sta_v2a_demo/5dE1LcQ-kPw_000010/gt.mp4",
    "tapping guitar": "media/sta_v2a_demo/DxgZZInOX0_000062/gt.mp4",
    "guitar": "media/sta_v2a_demo/cavp_reference/4dtlc2iiVjw_000013.mp4",
    "race car": "media/sta_v2a_demo/cavp_reference/WguzItBThxY_000230.mp4",
    "singer": "media/vggsound/-26aVYRtEAc_000030.mp4",
    "singer 2": f"{TEMPO}/vtaldm_0DCit2EBtjs_000030.mp4",
}
HAMMER = np.array([0.55, 1.02, 2.28, 3.25])
SHIFTS = 40


@dataclass(frozen=True)
class RealClip:
    name: str
    onsets: np.ndarray
    envelope: np.ndarray
    """RMS at 50 Hz, as long as the picture."""
    grids: list[np.ndarray]
    difference: np.ndarray
    """Mean absolute difference of neighbouring pictures (whole picture, 96 x 96), at 50 Hz."""


def read_clip(name: str, path: Path) -> RealClip:
    pictures = list(frames(path, rate=RATE, size=(2 * SIDE, 2 * SIDE), gray=True))
    small = np.stack([p.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3)) for _, p in pictures])
    difference = np.abs(np.diff(small, axis=0, prepend=small[:1])).mean(axis=(1, 2))
    sound = read_sound(path, mono=True)
    cells = 2 * len(pictures)
    envelope = rms_envelope(sound, rate=2 * RATE).values[:cells]
    onsets = detect_onsets(sound).times
    return RealClip(
        name,
        onsets[onsets < len(pictures) / RATE],
        np.pad(envelope, (0, cells - len(envelope))),
        list(view_grids(pictures)),
        np.repeat(difference, 2),
    )


# -- scores of one curve against one clip ---------------------------------------------------------------------


def near(cells: int, times: np.ndarray) -> np.ndarray:
    centres = (np.arange(cells) + 0.5) / (2 * RATE)
    return (np.abs(centres[:, None] - times[None]) <= 0.06).any(axis=1)


def auc(curve: np.ndarray, clip: RealClip) -> float:
    return area_under_curve(curve, near(len(curve), clip.onsets))


def matched_f1(tolerance: float) -> Callable[[np.ndarray, RealClip], float]:
    def score(curve: np.ndarray, clip: RealClip) -> float:
        peaks = pick_peaks(Track(curve, SEEN_RATE), count=len(clip.onsets))
        return f1(peaks.times, clip.onsets, tolerance)

    return score


def correlation(curve: np.ndarray, clip: RealClip) -> float:
    a, b = curve - curve.mean(), clip.envelope - clip.envelope.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


@dataclass(frozen=True)
class Figure:
    """One score over a set of clips: values [n] and their shift nulls [n, SHIFTS]."""

    values: np.ndarray
    nulls: np.ndarray

    def line(self, name: str) -> str:
        rng = np.random.default_rng(0)
        n = len(self.values)
        chance = self.nulls[np.arange(n), rng.integers(0, SHIFTS, (4000, n))].mean(axis=1)
        z = (self.values.mean() - chance.mean()) / chance.std()
        low, high = interval(self.values)
        return (
            f"{name:<34} {self.values.mean():6.3f} [{low:.3f}, {high:.3f}]  null {chance.mean():6.3f}"
            f"  z {z:+5.1f}  N {n}"
        )


def interval(values: np.ndarray) -> tuple[float, float]:
    """90 % bootstrap interval of the mean over clips."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (4000, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.05)), float(np.quantile(means, 0.95))


def figure(
    score: Callable[[np.ndarray, RealClip], float], curves: list[np.ndarray], clips: list[RealClip]
) -> Figure:
    nulls = []
    for curve, clip in zip(curves, clips, strict=True):
        shifts = np.linspace(15, len(curve) - 15, SHIFTS).round().astype(int)
        nulls.append([score(np.roll(curve, shift), clip) for shift in shifts])
    values = [score(curve, clip) for curve, clip in zip(curves, clips, strict=True)]
    return Figure(np.array(values), np.array(nulls))


# -- the two benches ------------------------------------------------------------------------------------------


def real(net: Watcher) -> None:
    for title, chosen in (("impact", IMPACT), ("other", OTHER)):
        paths = {name: SHARED / path for name, path in chosen.items()}
        missing = [str(path) for path in paths.values() if not path.exists()]
        if missing:
            print(f"not measured, absent: {', '.join(missing)}")
        clips = [read_clip(name, path) for name, path in paths.items() if path.exists()]
        clips = [clip for clip in clips if len(clip.onsets)]
        if not clips:
            continue
        watched = [watched_of(clip.grids, net) for clip in clips]
        print(f"\nreal clips, {title} set (N = {len(clips)}; mean, 90 % interval over clips)")
        report(clips, watched)
        for clip, seen in zip(clips, watched, strict=True):
            picked = pick(seen)
            print(
                f"  {clip.name:<15} onsets {len(clip.onsets):3d} picked {len(picked):3d}"
                f"  hits at 100 ms {match(picked.times, clip.onsets, 0.1):3d}"
                f"  AUC {auc(seen.onset.values, clip):.2f} (difference {auc(clip.difference, clip):.2f})"
                f"  r {correlation(seen.loudness.values, clip):+.2f}"
                f"  confidence {seen.confidence.values.mean():.2f}"
            )
            if clip.name == "hammer":
                hits = match(picked.times, HAMMER, 0.1)
                print(
                    f"    hammer: {hits} of 4 strikes within 100 ms, {len(picked) - hits} extra: "
                    f"{', '.join(f'{t:.2f}' for t in picked.times)} s"
                )


def report(clips: list[RealClip], watched: list[Watched]) -> None:
    onset = [w.onset.values for w in watched]
    loudness = [w.loudness.values for w in watched]
    difference = [clip.difference for clip in clips]
    for name, score, ours in (
        ("AUC", auc, onset),
        ("F1 at 60 ms, count-matched", matched_f1(0.06), onset),
        ("F1 at 100 ms, count-matched", matched_f1(0.1), onset),
        ("r with the envelope", correlation, loudness),
    ):
        a, b = figure(score, ours, clips), figure(score, difference, clips)
        print(a.line(f"{name}: watcher"))
        print(b.line(f"{' ' * len(name)}  frame difference"))
        low, high = interval(a.values - b.values)
        print(f"{' ' * len(name)}  gain {(a.values - b.values).mean():+.3f} [{low:+.3f}, {high:+.3f}]")


def stage(net: Watcher, shelf: Shelf) -> None:
    onset, loudness, confidence = seen_on(net, shelf)
    difference = np.repeat(shelf.grids[:, :, 5].float().mean(dim=(-1, -2)).numpy(), 2, axis=1)
    print(f"held-out films of the stage (N = {len(shelf)}; single view; mean, 90 % interval over films)")
    rolled = np.roll(onset, onset.shape[1] // 2, axis=1)
    for name, curves in (
        ("watcher", onset),
        ("frame difference", difference),
        ("watcher, shifted 1.5 s", rolled),
    ):
        scores = stage_scores(curves, shelf)
        for label, values in (
            ("AUC", scores.auc),
            ("F1 at 60 ms", scores.f1_60),
            ("F1 at 100 ms", scores.f1_100),
        ):
            values = values[np.isfinite(values)]
            low, high = interval(values)
            print(f"{name:<24} {label:<13} {values.mean():.3f} [{low:.3f}, {high:.3f}]  N {len(values)}")
    sounding = ((shelf.loudness.amax(dim=1) > 0) & (seen_share(shelf) > 0.5)).numpy()
    pairs = zip(loudness[sounding], shelf.loudness.numpy()[sounding], strict=True)
    r = np.nan_to_num([np.corrcoef(told, true)[0, 1] for told, true in pairs])
    low, high = interval(r)
    print(f"{'watcher':<24} {'envelope r':<13} {r.mean():.3f} [{low:.3f}, {high:.3f}]  N {len(r)}")
    sure = area_under_curve(confidence.ravel(), shelf.source.numpy().ravel() > 0.5)
    print(f"{'watcher':<24} {'source AUC':<13} {sure:.3f}  (cells in which a source is in sight, all films)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--stage", type=int, default=0, metavar="N", help="render and measure N held-out films"
    )
    parser.add_argument("--shelf", type=Path, help="measure on films rendered before (render_shelf)")
    parser.add_argument("--real", action="store_true", help="measure on the real clips")
    chosen = parser.parse_args()
    net = load_watcher(chosen.weights)
    if chosen.shelf:
        stage(net, load_shelf(chosen.shelf))
    if chosen.stage:
        from synchresis.data.stage import film

        stage(net, shelf_of([film(HELD_OUT + i) for i in range(chosen.stage)]))
    if chosen.real:
        real(net)


HELD_OUT = 900_000
"""First seed of the films that no training uses."""

if __name__ == "__main__":
    main()
