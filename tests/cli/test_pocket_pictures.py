"""The whole way with the real system: a sound of the stage, pictured by pocket with the weights in the package."""

import json
import subprocess
import sys
from pathlib import Path

from synchresis.data.stage import film
from synchresis.media import SoundWriter, probe, read_sound

PROGRAM = Path(sys.executable).with_name("synchresis")


def test_the_program_pictures_a_sound_and_its_recipe_repeats_it(tmp_path: Path) -> None:
    hits = tmp_path / "hits.wav"
    with SoundWriter(hits, 32_000) as writer:
        writer.write(film(31, seconds=4, kinds=["wood"], ugly=False).sound.values)
    made = subprocess.run([PROGRAM, "picture", hits], capture_output=True, text=True, cwd=tmp_path)
    take = tmp_path / "hits.synchresis.mp4"
    assert (made.returncode, made.stdout) == (0, f"{take}\n"), made.stderr
    assert "not what was recorded" in made.stderr
    clip = probe(take)
    assert clip.video is not None
    assert (clip.video.width, clip.video.height, clip.video.frames) == (128, 128, 100)
    assert float(read_sound(take, mono=True).span.end) >= 3.99
    report = json.loads(take.with_suffix(".report.json").read_text())
    assert report["watched"]["within_100_ms"]["f1"] > report["watched"]["within_100_ms"]["null"]["mean"]
    assert report["told_seconds"]
    assert report["av_align"]["null"]["mean"] is not None

    again = tmp_path / "again.mp4"
    recipe = ["--recipe", take.with_suffix(".recipe.json"), "--out", again]
    remade = subprocess.run([PROGRAM, "picture", *recipe], capture_output=True, text=True)
    assert (remade.returncode, remade.stdout) == (0, f"{again}\n"), remade.stderr
    for suffix in (".mp4", ".recipe.json", ".report.json", ".png"):
        assert take.with_suffix(suffix).read_bytes() == again.with_suffix(suffix).read_bytes(), suffix
