"""Recordings of the world in a folder, with their labels and the words for them.

Two layouts are read, alone or side by side under one folder:

* `esc10/CLASS/FOLD-SOURCE-TAKE.ogg`: ESC-10 (Piczak, ESC: Dataset for Environmental Sound Classification,
  ACM Multimedia 2015). Clips cut from one recording share a fold, so folds keep training and validation apart.
* `percussion/*.flac` (or .wav, .ogg): one-shot hits whose file names begin with a key of `HITS`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInputError

TRAIN_FOLDS = (1, 2, 3)
VALIDATION_FOLD = 4
SUFFIXES = (".ogg", ".flac", ".wav")
CLIP = re.compile(r"(\d)-[^-]+-[A-Z]")  # the stem of an ESC-10 file


@dataclass(frozen=True, eq=False)
class Recording:
    """samples float32 mono [n]; label: ESC-10 class or a key of `HITS`; fold: 1..5, None for a hit;
    name: file name without suffix; source: "esc10" or "percussion"."""

    samples: np.ndarray
    label: str
    fold: int | None
    name: str
    source: str


def load_recordings(folder: str | Path, rate: int = 32000) -> list[Recording]:
    """All recordings under a folder, mono at `rate`, in the order of their names.

    folder: one that holds `esc10` or `percussion` or both, or is one of the two itself. BadInputError if it
    is none of these, or names the file that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInputError(f"{folder}: there is no such folder of recordings")
    found: list[tuple[Path, str, int | None, str]] = []
    for part in (folder, folder / "esc10"):
        for path in sorted(p for p in part.glob("*/*") if p.suffix in SUFFIXES and CLIP.fullmatch(p.stem)):
            found.append((path, path.parent.name, int(path.stem[0]), "esc10"))
    for part in (folder, folder / "percussion"):
        for path in sorted(p for p in part.glob("*") if p.suffix in SUFFIXES and _hit(p.stem)):
            found.append((path, _hit(path.stem), None, "percussion"))
    if not found:
        raise BadInputError(
            f"{folder}: neither ESC-10 (CLASS/FOLD-SOURCE-TAKE.ogg) nor percussion hits are in this folder"
        )
    return [
        Recording(_read(path, rate), label, fold, path.stem, source) for path, label, fold, source in found
    ]


def split(recordings: Iterable[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Those to train on (folds 1 to 3 and all hits) and those to validate on (fold 4). Fold 5 is neither."""
    recordings = list(recordings)
    train = [r for r in recordings if r.fold is None or r.fold in TRAIN_FOLDS]
    return train, [r for r in recordings if r.fold == VALIDATION_FOLD]


def words(label: str) -> tuple[str, ...]:
    """Phrases that a person might type for this label; for an unknown one, its own name in plain words."""
    return CLASSES.get(label) or HITS.get(label) or (label.replace("_", " "),)


def attribution(folder: str | Path) -> str:
    """What a model card must say about the recordings of this folder (Markdown): sets, licences, authors.

    The authors come from `attribution.csv` beside the ESC-10 classes (clip, source_title, author, licence);
    BadInputError where ESC-10 is there without it.
    """
    folder = Path(folder)
    parts = []
    esc10 = next((p for p in (folder, folder / "esc10") if any(p.glob("*/?-*-?.ogg"))), None)
    if esc10:
        parts.append(_esc10_attribution(esc10 / "attribution.csv"))
    if any(_hit(path.stem) for part in (folder, folder / "percussion") for path in part.glob("*.flac")):
        parts.append("One-shot percussion hits from the sample set of Sonic Pi, CC0.")
    if not parts:
        raise BadInputError(f"{folder}: no recordings to attribute are in this folder")
    return "\n\n".join(parts) + "\n"


def _esc10_attribution(table: Path) -> str:
    if not table.is_file():
        raise BadInputError(f"{table}: is missing; without it the authors of ESC-10 cannot be named")
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    authors: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        authors[row["licence"], row["author"]].add(row["source_title"])
    text = [
        "ESC-10, CC BY 3.0: K. J. Piczak, \"ESC: Dataset for Environmental Sound Classification\", ACM "
        "Multimedia 2015, doi 10.1145/2733373.2806390. Made of recordings from Freesound:",
        "",
    ]
    for licence in sorted({licence for licence, _ in authors}):
        credits = [
            f"{author} ({', '.join(sorted(titles))})"
            for (one, author), titles in sorted(authors.items(), key=lambda item: item[0][1].lower())
            if one == licence
        ]
        clips = sum(row["licence"] == licence for row in rows)
        text.append(f"* {licence}, {clips} clips: {'; '.join(credits)}.")
    return "\n".join(text)


def _hit(stem: str) -> str:
    """The longest key of HITS that a file name begins with, or nothing."""
    return max((key for key in HITS if stem.startswith(key)), key=len, default="")


def _read(path: Path, rate: int) -> np.ndarray:
    import soundfile
    import soxr

    try:
        samples, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadInputError(f"{path}: cannot be read as a sound ({error}); replace or remove it") from error
    mono = samples.mean(axis=1)
    return mono if own == rate else soxr.resample(mono, own, rate).astype(np.float32)


#: The classes of ESC-10.
CLASSES: dict[str, tuple[str, ...]] = {
    "dog_bark": (
        "dog barking", "a dog barks", "a dog barks in a yard", "barking", "dog bark", "a small dog yaps",
        "a big dog barks", "an angry dog", "a guard dog", "a puppy barks", "woof", "a dog in the distance",
        "hound barking", "the dog barks twice",
    ),
    "rain": (
        "rain", "rain falling", "heavy rain", "rain on a roof", "it is raining", "rain shower", "a downpour",
        "raindrops", "steady rain", "rain in the street", "rainstorm", "rain outside the window",
        "light rain on leaves",
    ),
    "sea_waves": (
        "sea waves", "waves on a beach", "the sea", "ocean waves", "surf", "waves breaking on the shore",
        "ocean", "waves roll in", "seashore", "a calm sea", "waves against rocks", "the beach", "breakers",
        "coast with waves",
    ),
    "baby_cry": (
        "baby crying", "a baby cries", "crying baby", "an infant wails", "a newborn cries", "baby",
        "a hungry baby", "a child cries in a cradle", "wailing infant", "a baby screams", "crying child",
        "baby whining", "a toddler cries",
    ),
    "clock_tick": (
        "clock ticking", "a clock ticks", "ticking clock", "tick tock", "a wall clock", "ticking",
        "a watch ticks", "an old clock in a quiet room", "alarm clock ticking", "second hand ticking",
        "grandfather clock", "mechanical clock", "clock",
    ),
    "person_sneeze": (
        "sneeze", "a person sneezes", "a man sneezes", "sneezing", "a woman sneezes", "achoo", "a loud sneeze",
        "someone sneezes", "a sudden sneeze", "sneezing twice", "a child sneezes", "a person with a cold",
        "he sneezes",
    ),
    "helicopter": (
        "helicopter", "a helicopter flies over", "helicopter rotor", "a chopper", "helicopter hovering",
        "rotor blades", "a helicopter passes", "helicopter taking off", "military helicopter",
        "a helicopter in the distance", "chopper blades", "rescue helicopter", "a helicopter lands",
    ),
    "chainsaw": (
        "chainsaw", "a chainsaw cuts wood", "chain saw running", "a chainsaw revs", "sawing a tree",
        "cutting down a tree", "a lumberjack at work", "chainsaw in the forest", "a motor saw",
        "chainsaw idling", "felling trees", "power saw", "cutting logs with a chainsaw",
    ),
    "rooster": (
        "rooster", "a rooster crows", "rooster crowing", "cock-a-doodle-doo", "a cock crows", "cockerel",
        "a rooster at dawn", "crowing", "farm rooster", "a rooster in the morning", "a cock on a farm",
        "the rooster crows", "a crowing cockerel",
    ),
    "fire_crackling": (
        "fire crackling", "a crackling fire", "campfire", "burning wood", "a fireplace", "fire",
        "crackling flames", "a bonfire", "logs burning", "a hearth fire", "flames", "a fire burns",
        "wood crackles in the fire", "burning logs",
    ),
}  # fmt: skip

#: One-shot hits, by the beginning of their file names.
HITS: dict[str, tuple[str, ...]] = {
    "bd": ("bass drum", "kick drum", "a soft kick"),
    "drum_bass": ("bass drum", "kick drum", "a drum kit kick"),
    "drum_cowbell": ("cowbell", "a cowbell is struck", "metal bell hit"),
    "drum_cymbal": ("cymbal", "a cymbal is struck", "crash cymbal", "drum kit cymbal"),
    "drum_heavy_kick": ("heavy kick drum", "bass drum", "a heavy thump"),
    "drum_snare": ("snare drum", "a snare hit", "drum hit", "a drummer hits the snare"),
    "drum_splash": ("splash cymbal", "a small cymbal", "cymbal hit"),
    "drum_tom": ("tom tom", "a tom drum", "drum hit", "a drummer hits a tom"),
    "elec_wood": ("wood block", "wooden click", "a wooden knock"),
    "hat": ("hi-hat", "a closed hi-hat", "a short cymbal", "hi-hat hit"),
    "misc_cineboom": ("deep boom", "cinematic boom", "a huge impact", "explosion in the distance"),
    "misc_crow": ("crow", "a crow caws", "crows calling"),
    "perc_bell": ("bell", "a bell is struck", "small bell", "ringing bell"),
    "perc_door": ("door", "a door shuts", "a door slams", "closing a door"),
    "perc_impact": ("impact", "a heavy hit", "thud", "something hits hard"),
    "perc_snap": ("finger snap", "snapping fingers", "a snap", "a sharp click"),
    "perc_swash": ("swash", "a swish", "a soft whoosh"),
    "perc_swoosh": ("swoosh", "whoosh", "something rushes by", "a stick swings through the air"),
    "perc_till": ("cash register", "a till opens", "shop till"),
    "tabla": ("tabla", "a tabla is played", "hand drum", "Indian drum", "fingers on a drum"),
}  # fmt: skip
