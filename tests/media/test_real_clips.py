"""The same promises on films from the world: web encoders, phones, a train at 32.4 frames per second."""

import math
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from synchresis.media import SoundWriter, frames, mux, probe, read_sound
from synchresis.media.probe import picture_stream
from synchresis.timeline import sample_count

CLIPS = Path(os.environ.get("SYNCHRESIS_SHARED", Path(__file__).parents[2] / ".." / "shared")) / "media/clips"
NAMES = [
    "drum",
    "lova_demo",
    "rotated_90_one_frame",
    "short_4s",
    "silent_generated",
    "sintel_26s",
    "variable_rate",
]


@pytest.fixture(params=NAMES)
def clip(request):
    path = CLIPS / f"{request.param}.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return probe(path)


def packets(clip):
    with av.open(str(clip.path)) as container:
        return [
            (bytes(packet), packet.pts * packet.time_base - clip.origin)
            for packet in container.demux(picture_stream(container))
            if packet.size
        ]


def test_a_new_sound_lies_under_an_untouched_picture(clip, tmp_path):
    sound = tmp_path / "sound.wav"
    with SoundWriter(sound, 48000) as writer:
        writer.write(np.random.default_rng(0).normal(0, 0.1, 30 * 48000))
    out = tmp_path / "out.mp4"
    assert mux(clip, sound, out, original="keep") == ()
    after = probe(out)
    assert packets(after) == packets(clip)
    assert after.video == clip.video
    assert after.duration == clip.duration
    assert [info.codec for info in after.audio] == ["aac", *[info.codec for info in clip.audio]]
    assert len(read_sound(after)) == sample_count(clip.duration, 48000)


def test_frames_at_a_rate_are_the_nearest(clip):
    with av.open(str(clip.path)) as container:
        shown = np.array([float(f.pts * f.time_base - clip.origin) for f in container.decode(video=0)])
    seen = list(frames(clip, rate=25, size=(24, 32)))
    assert len(seen) == math.ceil(clip.duration * 25)
    for i, (time, picture) in enumerate(seen):
        asked = float((i + Fraction(1, 2)) / 25)
        assert abs(time - asked) == pytest.approx(np.abs(shown - asked).min(), abs=1e-9)
        assert picture.shape == (24, 32, 3)


def test_the_rotated_clip_stands_upright():
    path = CLIPS / "rotated_90_one_frame.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    clip = probe(path)
    assert (clip.video.height, clip.video.width, clip.video.rotation) == (100, 60, 270)
    ((_, picture),) = frames(clip)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (100, 60, 3)
    # A quarter turn clockwise: the left column of the stored frame, read upwards, becomes the top row.
    difference = np.abs(picture[0].astype(int) - stored[::-1, 0].astype(int))
    assert difference.max() <= 8
