"""Folders in, numbers out: pairing, failures that are named, records that are taken up again, the page, the command."""

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from synchresis.cli import run
from synchresis.errors import BadInputError
from synchresis.evaluation import engine as module
from synchresis.evaluation import evaluate
from synchresis.evaluation.definitions import DEFINITIONS, chosen
from synchresis.evaluation.measure import CLIP_METRICS
from synchresis.evaluation.published import beside, refused, rows
from synchresis.media import SoundWriter, write_film
from synchresis.timeline import Track

RATE = 16_000


def strikes(times: list[float], seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave = rng.normal(0, 1e-4, round(seconds * RATE))
    for time in times:
        start = round(time * RATE)
        burst = rng.normal(0, 0.3, 2000) * np.exp(-np.arange(2000) / 300)
        wave[start : start + 2000] += burst[: len(wave) - start]
    return wave.astype(np.float32)


def block_at(times: list[float], seconds: float = 2.0, fps: int = 25):
    """A square that jumps at the instants."""
    texture = np.random.default_rng(9).integers(0, 60, (72, 96, 3)).astype(np.uint8)
    for i in range(round(seconds * fps)):
        frame = texture.copy()
        x = 8 + 12 * sum(time <= i / fps for time in times)
        frame[20:50, x : x + 24] = 220
        yield frame


def write_sound(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with SoundWriter(path, RATE) as writer:
        writer.write(wave)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Three true films, a good system, and one that is late by 0.3 s."""
    true, good, late = (tmp_path / name for name in ("true", "good", "late"))
    true.mkdir()
    for i, times in enumerate(([0.3, 0.9, 1.5], [0.5, 1.1], [0.2, 0.7, 1.2])):
        wave = strikes(times, seed=i)
        write_film(true / f"clip{i}.mp4", block_at(times), 25, Track(wave, RATE))
        write_sound(good / f"clip{i}.wav", wave)
        write_sound(late / f"clip{i}.wav", strikes([t + 0.3 for t in times], seed=i))
    return true, good, late


def test_a_good_system_is_told_from_a_late_one(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    true, good, late = folders
    report = evaluate([good, late], true, ["alignment", "onsets", "envelope"], out=tmp_path / "out", workers=1)
    first, second = report.systems
    assert (first.name, second.name) == ("good", "late")
    assert first.means["aa-align/one-to-one"].mean > 0.8  # the reference went through AAC
    assert second.means["aa-align/one-to-one"].mean < 0.5
    assert first.nulls["aa-align/one-to-one"]["z"] > 2
    assert first.means["av-align/2025"].mean > second.means["av-align/2025"].mean + 0.3
    assert first.means["onset-lag/strength"].mean == 0.0
    for record in second.records:
        assert record["scores"]["envelope-lag/100hz"]["signed"] == pytest.approx(0.3, abs=0.03)
    difference = report.comparisons["aa-align/one-to-one"]["good", "late"]
    assert difference.n == 3
    assert difference.mean > 0.5
    assert difference.p is None  # three clips cannot tell
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["systems"]["good"]["clips"] == 3


def test_every_clip_metric_has_a_definition_and_the_other_way_round() -> None:
    of_clips = {d.id for d in DEFINITIONS.values() if not d.network and d.kind == "clip"}
    assert of_clips == CLIP_METRICS.keys()
    assert {d.id for d in chosen(["offline"])} == {d.id for d in DEFINITIONS.values() if not d.network}
    with pytest.raises(BadInputError, match="av-align"):
        chosen(["av-aline"])


def test_offline_metrics_of_a_clip_against_itself(folders: tuple[Path, Path, Path]) -> None:
    true, _, _ = folders
    system = evaluate([true], true, workers=1).systems[0]
    assert not system.failed
    for name in ("aa-align/one-to-one", "onset-acc/condfoleygen", "onset-f1/50ms", "envelope-correlation/100hz"):
        assert system.means[name].mean == pytest.approx(1.0), name
    for name in ("e-l1/t-foley", "e-l1/stable-foley", "mrstft/auraloss", "lsd/2048", "duration-error/s"):
        assert system.means[name].mean == pytest.approx(0.0, abs=1e-9), name
    assert system.means["psnr/frames"].mean == 100.0
    assert system.means["ssim/frames"].mean == pytest.approx(1.0)
    assert system.means["flicker/mean-difference"].mean > 0
    assert system.values["fd-logmel/208"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert any("208 dimensions" in warning for warning in system.warnings)


def test_a_broken_a_missing_and_a_silent_clip_are_named(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    true, good, _ = folders
    (good / "clip0.wav").write_bytes(b"RIFF" + bytes(range(200)))
    (good / "clip1.wav").rename(good / "other.wav")
    write_sound(good / "clip2.wav", np.zeros(2 * RATE, np.float32))
    system = evaluate([good], true, out=tmp_path / "out", workers=1).systems[0]
    assert [record["id"] for record in system.failed] == ["clip0"]
    assert "clip0.wav" in system.failed[0]["failed"]
    assert system.alone == ["other"]
    assert system.absent == ["clip1"]
    assert [record["id"] for record in system.records] == ["clip2"]
    assert system.means["silence/share"].mean == 1.0
    assert "under 0.4 s or -70 LUFS" in system.unscored["loudness/bs1770"]
    page = (tmp_path / "out" / "index.html").read_text()
    for name in ("clip0", "clip1", "other", "clip2"):
        assert name in page


def test_a_second_run_measures_only_what_is_new(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, good, _ = folders
    out = tmp_path / "out"
    first = evaluate([good], true, ["alignment", "set"], out=out, workers=1)
    before = (out / "good.jsonl").read_bytes()
    measured: list[list[str]] = []
    honest = module.measure
    monkeypatch.setattr(module, "measure", lambda pair, ids: (measured.append(ids), honest(pair, ids))[1])
    again = evaluate([good], true, ["alignment", "set"], out=out, workers=1)
    assert measured == []
    assert (out / "good.jsonl").read_bytes() == before
    assert again.summary() == first.summary()

    evaluate([good], true, ["alignment", "wave"], out=out, workers=1)
    assert len(measured) == 3
    assert all(not name.startswith("a") for names in measured for name in names)  # only the new ids

    measured.clear()
    with (out / "good.jsonl").open("a") as file:
        file.write('{"id": "clip0", "system": "go')  # stopped in the middle of a line
    write_sound(good / "clip1.wav", strikes([1.0]))  # another sound under an old name
    changed = evaluate([good], true, ["alignment"], out=out, workers=1)
    assert len(measured) == 1
    old = first.systems[0].column("aa-align/one-to-one")
    new = changed.systems[0].column("aa-align/one-to-one")
    assert new["clip0"] == old["clip0"]
    assert new["clip1"] < old["clip1"]


def test_workers_give_the_same_numbers(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    true, good, late = folders
    threads = os.environ.get("OMP_NUM_THREADS")
    alone = evaluate([good, late], true, ["alignment", "set"], workers=1)
    together = evaluate([good, late], true, ["alignment", "set"], out=tmp_path / "out", workers=2)
    assert alone.summary() == together.summary()
    assert os.environ.get("OMP_NUM_THREADS") == threads


class Page(HTMLParser):
    """Collects what a browser would fetch, and whether tags close."""

    VOID = ("meta", "img", "br", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.articles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == ["div", "b"] and "article" in self.open:
            self.articles.append(data)


def test_the_page_needs_nothing_else_and_begins_with_the_worst(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    true, good, _ = folders
    write_sound(good / "clip2.wav", strikes([0.45, 0.95, 1.45, 1.7]))
    evaluate([good], true, ["alignment", "level"], out=tmp_path / "out", workers=1)
    page = Page()
    page.feed((tmp_path / "out" / "index.html").read_text())
    assert page.open == []
    assert len(page.sources) == 3
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)
    assert page.articles[0] == "clip2"
    assert set(page.articles) == {"clip0", "clip1", "clip2"}


def test_the_page_in_a_browser(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """What a person would see: one drawing per take, none broken, under the table."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: one of {', '.join(names)}")
    true, good, late = folders
    evaluate([good, late], true, ["alignment"], out=tmp_path / "out", workers=1)
    page = tmp_path / "out" / "index.html"
    seen = tmp_path / "seen.html"
    report = "document.body.append([...document.images].map(i => i.naturalWidth > 100 && i.width > 100).join())"
    seen.write_text(page.read_text() + f"<script>addEventListener('load', () => {{{report}}})</script>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user", "--dump-dom"]
    command = [browser, *options, seen.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert ",".join(["true"] * 6) + "</body>" in shown.replace("\n", "")
    assert shown.index("aa-align/one-to-one") < shown.index("<img")


def test_the_command(folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true, good, late = folders
    call = ["evaluate", str(good), str(late), "--reference", str(true), "--metrics", "alignment,fd-vgg/av-benchmark"]
    assert run([*call, "--workers", "1", "--published", "vggsound"]) == 0
    said = capsys.readouterr().out
    assert "fd-vgg/av-benchmark: not computed: weights missing (vggish-10086976.pth" in said
    assert "aa-align/one-to-one" in said
    assert "null" in said
    assert "good - late" in said
    assert "No published row" in said
    assert "TempoTokens, working version of 2023" in said  # a like name, another definition: named, not mixed in
    assert run([*call, "--workers", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["systems"]["late"]["means"]["av-align/2025"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{good}", "--metrics", "nonsense"], "--metrics nonsense"),
        (["{good}", "--reference", "/nowhere"], "/nowhere"),
        (["{good}", "--weights", "vggish"], "ID=PLACE"),
        (["{good}", "--weights", "ears=file.pth", "--metrics", "network"], "ears"),
        (["{good}", "--published", "atlantis"], "--published atlantis"),
        (["{good}", "{good}"], "twice"),
        ([], "folders"),
    ],
)
def test_bad_requests(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    filled = [text.replace("{good}", str(folders[1])) for text in arguments]
    assert run(["evaluate", *filled]) == 2
    assert word in capsys.readouterr().err


def test_folders_without_a_clip_in_common(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    write_sound(tmp_path / "strange" / "nothing_like_it.wav", strikes([0.5]))
    with pytest.raises(BadInputError, match="no clip in common"):
        evaluate([tmp_path / "strange"], folders[0])


def test_the_list_says_what_runs_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--list"]) == 0
    said = capsys.readouterr().out
    assert said.count("runs here") == sum(not d.network for d in DEFINITIONS.values())
    assert "CC BY-NC-SA 4.0" in said
    assert run(["evaluate", "--list", "--json", "--weights", "vggish=file.pth"]) == 0
    facts = {fact["id"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert facts.keys() == DEFINITIONS.keys()
    assert facts["fd-vgg/av-benchmark"]["runs"]
    assert not facts["fd-passt/av-benchmark"]["runs"]


def test_published_rows_are_of_the_same_definition() -> None:
    assert len(rows()) > 900
    same = beside(DEFINITIONS["fd-passt/av-benchmark"], "vggsound")
    assert len(same) > 20
    assert {row.definition for row in same} == {"av-benchmark FD-PASST"}
    mine = [row.value for row in same if row.system.startswith("MMAudio")]
    assert mine
    ib = beside(DEFINITIONS["ib/av-benchmark"], "vggsound")
    assert ib
    assert all(row.value < 1 for row in ib)  # printed times 100
    assert beside(DEFINITIONS["fd-logmel/208"], "vggsound") == []
    assert "FD_PaSST (av-benchmark FD-PASST)" in refused(["fd-logmel/208"], "vggsound")["fd-logmel/208"]


def test_a_network_of_a_small_size_scores(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of the embeddings, with a network that hears a few numbers: cached by content, nothing invented."""
    from synchresis.evaluation import listening

    class Small:
        digest, warnings = "0" * 64, []
        calls = batches = 0

        def embed(self, sounds: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
            Small.calls += len(sounds)
            Small.batches += 1
            return [
                {
                    "features": np.array([[s.std(), np.abs(s).max(), len(s) / 1e5]], np.float32),
                    "logits": np.array([[10 * s.std(), s.max(), s.min()]], np.float32),
                }
                for s in sounds
            ]

    class Info:
        rate, version, picture_rate = 16_000, 1, None

        def open(self, *_: object) -> Small:
            return Small()

        def missing(self) -> str:
            return "not computed"

    monkeypatch.setattr(listening, "NETWORKS", {"vggish": Info(), "panns-cnn14-16k": Info()})
    true, good, late = folders
    wanted = ["fd-vgg/av-benchmark", "kl-panns/av-benchmark", "is-panns/av-benchmark"]
    places = {"vggish": "x", "panns-cnn14-16k": "y"}
    out = tmp_path / "out"
    report = evaluate([good, late], true, wanted, places, out, workers=1)
    assert report.missing == {}
    assert report.systems[0].values["fd-vgg/av-benchmark"]["n"] == 3
    assert report.systems[0].means["kl-panns/av-benchmark"].mean < report.systems[1].means["kl-panns/av-benchmark"].mean
    assert report.systems[0].unscored["is-panns/av-benchmark"] == {"fewer than ten clips": 3}
    calls = Small.calls
    assert calls == 2 * 9  # each of nine sounds once per network
    assert Small.batches == 2 * 2  # those of a system together
    again = evaluate([good, late], true, wanted, places, out, workers=1)
    assert Small.calls == calls
    assert again.summary() == report.summary()


def test_a_film_that_breaks_when_looked_at_is_named_and_the_run_goes_on(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from synchresis.evaluation import clips

    honest = clips.look

    def breaks(clip):
        if clip.path.stem == "clip1":
            raise BadInputError(f"{clip.path}: its picture cannot be decoded")
        return honest(clip)

    monkeypatch.setattr(clips, "look", breaks)
    true, good, _ = folders
    system = evaluate([good], true, ["av-align/2025"], workers=1).systems[0]
    assert [record["id"] for record in system.records] == ["clip0", "clip2"]
    assert "clip1.mp4: its picture cannot be decoded" in system.failed[0]["failed"]


def test_every_score_of_timing_has_its_null(folders: tuple[Path, Path, Path]) -> None:
    true, good, _ = folders
    system = evaluate([good], true, ["offline"], workers=1).systems[0]
    timed = {d.id for d in DEFINITIONS.values() if d.null}
    assert {d.id for d in DEFINITIONS.values() if d.group == "alignment"} <= timed
    assert timed <= system.nulls.keys()
    for name in timed:
        assert system.nulls[name]["excess"] > 0, name
