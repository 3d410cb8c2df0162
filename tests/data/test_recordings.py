import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from synchresis.data.recordings import CLASSES, HITS, attribution, load_recordings, split, words
from synchresis.errors import BadInputError

SHARED = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[2] / ".." / "shared"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four clips of two classes in four folds, and three hits, at several rates."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    for label, stem in [("rain", "1-10-A"), ("rain", "4-11-B"), ("dog_bark", "5-12-A"), ("dog_bark", "3-7-C")]:
        (tmp_path / "esc10" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "esc10" / label / f"{stem}.ogg", 0.5 * tone, 44100)
    (tmp_path / "percussion").mkdir()
    stereo = np.stack([tone, 0 * tone], axis=1)
    for stem, rate in [("drum_snare_hard", 96000), ("tabla_na_o", 32000), ("perc_bell2", 44100)]:
        soundfile.write(tmp_path / "percussion" / f"{stem}.flac", stereo, rate)
    (tmp_path / "esc10" / "attribution.csv").write_text(
        "clip,source_title,author,licence\n"
        '1-10-A.ogg,"rain, sm57.wav",zoe,CC0\n4-11-B.ogg,roof,Adam,CC-BY\n'
        "5-12-A.ogg,yard,Adam,CC-BY\n3-7-C.ogg,yard,Adam,CC-BY\n"
    )
    return tmp_path


def test_both_layouts_are_read(folder: Path) -> None:
    recordings = load_recordings(folder, rate=16000)
    assert [(r.label, r.fold, r.name, r.source) for r in recordings] == [
        ("dog_bark", 3, "3-7-C", "esc10"),
        ("dog_bark", 5, "5-12-A", "esc10"),
        ("rain", 1, "1-10-A", "esc10"),
        ("rain", 4, "4-11-B", "esc10"),
        ("drum_snare", None, "drum_snare_hard", "percussion"),
        ("perc_bell", None, "perc_bell2", "percussion"),
        ("tabla", None, "tabla_na_o", "percussion"),
    ]
    for recording in recordings:
        assert recording.samples.dtype == np.float32
        assert recording.samples.ndim == 1
        assert 0.3 < np.abs(recording.samples).max() <= 0.55
    assert len(recordings[2].samples) == 16000
    assert np.abs(np.fft.rfft(recordings[2].samples)).argmax() == 1000  # the tone is where it was
    assert len(load_recordings(folder / "esc10")) == 4
    assert len(load_recordings(folder / "percussion")) == 3


def test_folds_are_kept_apart(folder: Path) -> None:
    train, validation = split(load_recordings(folder))
    assert [r.fold for r in train] == [3, 1, None, None, None]
    assert [r.fold for r in validation] == [4]


def test_wrong_folders_and_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nowhere: there is no such folder"):
        load_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="neither ESC-10"):
        load_recordings(tmp_path / "empty")
    with pytest.raises(BadInputError, match="no recordings to attribute"):
        attribution(tmp_path / "empty")
    (folder / "esc10" / "rain" / "2-1-A.ogg").write_bytes(b"no sound")
    with pytest.raises(BadInputError, match=r"2-1-A\.ogg: cannot be read as a sound"):
        load_recordings(folder)


def test_every_label_has_words() -> None:
    assert len(CLASSES) == 10
    for phrases in CLASSES.values():
        assert len(set(phrases)) == len(phrases) >= 12
    assert "snare drum" in words("drum_snare")
    assert words("dog_bark") == CLASSES["dog_bark"]
    assert words("my_own_class") == ("my own class",)
    assert all(HITS.values())


def test_attribution_names_every_author_under_the_licence(folder: Path) -> None:
    text = attribution(folder)
    assert "10.1145/2733373.2806390" in text
    assert "CC BY 3.0" in text
    assert "* CC-BY, 3 clips: Adam (roof, yard)." in text
    assert "* CC0, 1 clips: zoe (rain, sm57.wav)." in text
    assert "Sonic Pi, CC0" in text
    (folder / "esc10" / "attribution.csv").unlink()
    with pytest.raises(BadInputError, match=r"attribution\.csv: is missing"):
        attribution(folder)


def test_the_shared_recordings() -> None:
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the shared recordings are not here")
    hits = load_recordings(folder / "percussion")
    assert len(hits) == len(list((folder / "percussion").glob("*.flac")))
    clips = (folder / "esc10").glob("*/*.ogg")
    assert {path.parent.name for path in clips} == set(CLASSES)
    text = attribution(folder)
    assert "Sonic Pi" in text
    assert len(text) < 20000
