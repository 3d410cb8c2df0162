from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synchresis.errors import BadInputError
from synchresis.timeline import (
    Onsets,
    Track,
    midi,
    quantise_envelope,
    quantise_onsets,
    read_envelope,
    read_onsets,
    rms_envelope,
    write_envelope,
    write_onsets,
    written_beside,
)

SUFFIXES = [".csv", ".json", ".mid", ".wav"]
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 1)), max_size=30))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_quantised_onsets_come_back_equal(tmp_path, suffix, pairs):
    times, strengths = np.array(pairs).reshape(-1, 2).T
    onsets = quantise_onsets(Onsets(times, strengths))
    write_onsets(tmp_path / f"o{suffix}", onsets)
    back = read_onsets(tmp_path / f"o{suffix}")
    assert np.array_equal(back.times, onsets.times)
    assert np.array_equal(back.strengths, onsets.strengths)


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=120))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_quantised_envelopes_come_back_equal(tmp_path, suffix, values):
    track = quantise_envelope(Track(np.array(values), 100))
    write_envelope(tmp_path / f"e{suffix}", track)
    back = read_envelope(tmp_path / f"e{suffix}")
    assert (back.rate, back.start) == (100, 0)
    assert np.array_equal(back.values, track.values)


@quick
@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 1)), min_size=1, max_size=30))
def test_quantising_moves_little_and_only_once(pairs):
    times, strengths = np.array(pairs).T
    onsets = Onsets(times, strengths)
    once = quantise_onsets(onsets)
    again = quantise_onsets(once)
    assert np.array_equal(once.times, again.times)
    assert np.array_equal(once.strengths, again.strengths)
    assert all(np.abs(once.times - time).min() <= 0.0005001 for time in onsets.times)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_text_holds_any_onsets_and_any_envelope_exactly(tmp_path, suffix):
    onsets = Onsets(np.array([0.12345678901, 2 / 3]), np.array([1 / 3, 0.9]))
    write_onsets(tmp_path / f"o{suffix}", onsets)
    assert np.array_equal(read_onsets(tmp_path / f"o{suffix}").times, onsets.times)
    track = Track(np.array([0.1, 1 / 3, 0.0, 2.5]), Fraction(30000, 1001), Fraction(1, 4))
    write_envelope(tmp_path / f"e{suffix}", track)
    back = read_envelope(tmp_path / f"e{suffix}")
    assert back.rate == track.rate
    assert float(back.start) == pytest.approx(0.25, abs=1e-9)
    assert np.array_equal(back.values, track.values)


def test_the_envelope_wav_measures_as_the_envelope(tmp_path):
    import soundfile

    track = quantise_envelope(Track(np.array([0.0, 0.5, 1.0, 0.25]), 100))
    write_envelope(tmp_path / "e.wav", track)
    samples, rate = soundfile.read(tmp_path / "e.wav")
    assert (rate, len(samples)) == (48000, 4 * 480)
    measured = np.sqrt(np.square(samples).reshape(4, 480).mean(axis=1))
    assert measured == pytest.approx(track.values, abs=1e-6)


def test_a_recording_given_as_an_envelope_is_measured(tmp_path):
    import soundfile

    samples = np.random.default_rng(0).normal(0, 0.1, (44100, 2)) * np.linspace(0, 1, 44100)[:, None]
    soundfile.write(tmp_path / "hum.flac", samples, 44100)
    heard, _ = soundfile.read(tmp_path / "hum.flac")
    assert read_envelope(tmp_path / "hum.flac").values == pytest.approx(
        rms_envelope(Track(heard, 44100)).values, abs=2e-6
    )


def test_a_recording_given_as_onsets_is_listened_to(tmp_path):
    import soundfile

    samples = np.random.default_rng(0).normal(0, 1e-3, 64000)
    for place in (16000, 40000):
        samples[place : place + 3200] += np.exp(-np.arange(3200) / 400) * np.sin(np.arange(3200) / 3)
    soundfile.write(tmp_path / "knocks.wav", samples, 32000)
    assert read_onsets(tmp_path / "knocks.wav").times == pytest.approx([0.5, 1.25], abs=0.02)


def test_clicks_longer_than_a_sample_are_one_onset_each(tmp_path):
    import soundfile

    samples = np.zeros(44100)
    samples[4410:4414] = [0.5, -1.0, 0.5, 0.2]
    samples[22050:22060:3] = 0.5
    soundfile.write(tmp_path / "clicks.wav", samples, 44100, subtype="FLOAT")
    onsets = read_onsets(tmp_path / "clicks.wav")
    assert onsets.times == pytest.approx([0.1, 0.5])
    assert onsets.strengths == pytest.approx([1.0, 0.5], abs=1e-6)


def test_points_drawn_by_hand_are_joined_by_lines(tmp_path):
    (tmp_path / "drawn.csv").write_text("time,rms\n0,0\n1,0.5\n1.5,0.5\n2,0\n")
    track = read_envelope(tmp_path / "drawn.csv")
    assert (track.rate, len(track)) == (100, 200)
    assert track.at([0.505, 1.255, 1.755]) == pytest.approx([0.2525, 0.5, 0.245])


def test_midi_follows_tempo_running_status_and_several_tracks(tmp_path):
    """Two tracks of another program: 96 ticks a quarter, tempo 60 and from the second quarter on 120."""
    tempos = bytes.fromhex("00ff51030f4240 60ff510307a120 00ff2f00")
    notes = bytes.fromhex("00903c7f 60 3c00 60 3e40 30 ff0100 00 903e00 00ff2f00")
    chunks = [b"MTrk" + len(body).to_bytes(4, "big") + body for body in (tempos, notes)]
    data = b"MThd" + bytes.fromhex("00000006 0001 0002 0060") + b"".join(chunks)
    (tmp_path / "song.mid").write_bytes(data)
    onsets = read_onsets(tmp_path / "song.mid")
    assert onsets.times == pytest.approx([0, 1.5])
    assert onsets.strengths == pytest.approx([1, 64 / 127])
    _, end = midi.decode(data)
    assert end == Fraction(7, 4)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "time,strength\n0.5,0.5\n\nx,1\n", r"a\.csv, line 4: 'x' is not a number"),
        ("a.csv", "time,strength\n0.5,1.5\n", r"line 2: strength must be 0 to 1"),
        ("a.csv", "time,strength\n-1,1\n", r"line 2: the time must be 0 or more"),
        ("a.csv", "time,strength\n1\n", r"line 2: needs two numbers"),
        ("a.csv", "when,what\n1,1\n", r"line 1: the first line must be time,strength"),
        ("a.csv", "", r"line 1: the first line must be"),
        ("a.json", "{\n,", r"a\.json, line 2: is not JSON"),
        ("a.json", "[]", "must be a JSON object"),
        ("a.json", "{}", 'needs "onsets"'),
        ("a.json", '{"onsets": [{"time": 1}]}', "onset 1: needs time and strength"),
        ("a.mid", "MThd", "not a MIDI file"),
        ("a.wav", "RIFF", "not a sound file"),
    ],
)
def test_each_mistake_is_named_with_its_place(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=complaint):
        read_onsets(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "time,rms\n0,-1\n", "line 2: rms must be 0 or more"),
        ("a.csv", "time,rms\n1,1\n0.5,1\n", "times must increase"),
        ("a.csv", "time,rms\n", "holds no values"),
        ("a.json", '{"rms": [0.5, "x"]}', "value 2: 'x' is not a number"),
        ("a.json", '{"rms": [0.5], "rate": 0}', "rate above 0"),
    ],
)
def test_each_mistake_in_an_envelope_is_named_with_its_place(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=complaint):
        read_envelope(tmp_path / name)


def test_a_missing_file_a_folder_and_an_unknown_suffix(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        read_onsets(tmp_path / "none.csv")
    with pytest.raises(BadInputError, match="folder"):
        read_envelope(tmp_path)
    with pytest.raises(BadInputError, match="must end in"):
        write_onsets(tmp_path / "o.txt", Onsets(np.zeros(0), np.zeros(0)))


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "take.txt"
    path.write_text("old")

    def fail():
        with written_beside(path) as part:
            part.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="full"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["take.txt"]
    assert path.read_text() == "old"
    with written_beside(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadInputError, match="no folder"), written_beside(tmp_path / "no" / "take.txt"):
        pass
