"""Weights come in whole or not at all: what is read, what is refused, and folders of ours that hold the same."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy import Body, Words

from synchresis.errors import BadInputError
from synchresis.systems import CLASSES, SYSTEMS, convert, file_of, load
from synchresis.systems.request import SoundRequest, settings_of
from synchresis.systems.weights import (
    KeyReport,
    Loaded,
    fill,
    fill_from_folder,
    randomise,
    read_tensors,
    report_line,
    skeleton,
    write_folder,
)


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Files


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", ["state_dict", "model", None])
def test_torch_files_new_and_old(tmp_path: Path, zipped: bool, inside: str | None) -> None:
    tensors = {"a": torch.randn(3, 2), "n": torch.tensor(4)}
    content: dict[str, Any] = {**tensors, "epoch": 7} if inside is None else {inside: tensors, "epoch": 7}
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    read = read_tensors(tmp_path / "x.ckpt")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "it ran"
    content = {"state_dict": {"a": torch.ones(2)}, "callbacks": Evil(trace)}
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadInputError, match=r"holds more than tensors \(posix.mkdir\).*would run code.*refused"):
        read_tensors(tmp_path / "x.ckpt")
    (tmp_path / "y.ckpt").write_bytes(pickle.dumps({"a": Evil(trace)}))
    with pytest.raises(BadInputError, match=r"y.ckpt"):
        read_tensors(tmp_path / "y.ckpt")
    assert not trace.exists()
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(BadInputError, match=r"linear.Linear"):
        read_tensors(tmp_path / "whole.pt")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
def test_random_bytes_are_one_kind_of_error(tmp_path: Path, suffix: str, recwarn: pytest.WarningsRecorder) -> None:
    generator = torch.Generator().manual_seed(0)
    begin = [b"", b"\x80\x02", b"\x80\x02}q\x00(", b"PK\x03\x04", b"\x10\0\0\0\0\0\0\0{", b"(dp0\n"]
    for trial in range(120):
        noise = torch.randint(0, 256, (trial * 7,), dtype=torch.uint8, generator=generator).numpy().tobytes()
        path = tmp_path / f"{trial}{suffix}"
        path.write_bytes(begin[trial % len(begin)] + noise)
        with pytest.raises(BadInputError, match=f"{trial}{suffix}") as caught:
            read_tensors(path)
        assert len(str(caught.value)) < 600
    assert not recwarn.list


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_short(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"a": torch.randn(500)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) * 2 // 3, 100, 3, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInputError, match=r"x\.ckpt"):
            read_tensors(path)
    save_file({"a": torch.randn(500)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-1])
    with pytest.raises(BadInputError, match="no safetensors file"):
        read_tensors(tmp_path / "x.safetensors")


def test_what_holds_no_tensors(tmp_path: Path) -> None:
    for content in ([torch.ones(2)], {"a": 1}, 5):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(BadInputError, match="no tensors by name"):
            read_tensors(tmp_path / "x.pt")
    with pytest.raises(BadInputError, match="no such file"):
        read_tensors(tmp_path / "none.pt")


GROWTH = """
import resource, sys, torch
from pathlib import Path
from synchresis.systems.weights import fill, read_tensors, skeleton
with skeleton():
    net = torch.nn.Linear(8192, 8192, bias=False)
path = Path(sys.argv[1])
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(l.split()[1]) // 1024 for l in lines if l.startswith("RssAnon"))
before = anonymous()
fill(net, read_tensors(path), component="net", source=path)
net(torch.ones(1, 8192))
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of Linux")
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_large_file_is_held_once(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    tensors = {"weight": torch.zeros(8192, 8192)}  # 256 MiB
    save_file(tensors, path) if suffix == ".safetensors" else torch.save({"state_dict": tensors}, path)
    grown = subprocess.run([sys.executable, "-c", GROWTH, path], capture_output=True, text=True, check=True)
    # MiB of memory of its own: a torch file stays on the disk, safetensors is read, once.
    assert int(grown.stdout) < (320 if suffix == ".safetensors" else 64)


# Filling


FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop("mix.bias"), "1 missing: mix.bias"),
    "unknown": (lambda t: t.update(more=torch.ones(1)), "1 unknown: more"),
    "shape": (lambda t: t.update({"mix.bias": torch.ones(5)}), r"mix.bias \[5\] instead of \[4\]"),
    "integers": (lambda t: t.update({"mix.bias": torch.ones(4, dtype=torch.int64)}), "1 of another kind: mix.bias"),
    "count": (lambda t: t.update({"norm.num_batches_tracked": torch.tensor(1.5)}), "num_batches_tracked"),
    "complex": (lambda t: t.update({"mix.weight": torch.ones(4, 4, dtype=torch.complex64)}), "complex64"),
    "table": (lambda t: t.update(table=torch.arange(4)), "1 unknown: table"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("empty", [True, False])
def test_what_does_not_fit_is_named_and_changes_nothing(fault: str, empty: bool) -> None:
    change, words = FAULTS[fault]
    tensors = weights_of(Body(4))
    change(tensors)
    if empty:
        with skeleton():
            module = Body(4)
    else:
        module = Body(4)
    before = dict(module.state_dict(keep_vars=True))
    values = {} if empty else weights_of(module)
    with pytest.raises(BadInputError, match=words) as caught:
        fill(module, tensors, component="body", source=Path("x.ckpt"))
    assert str(caught.value).startswith("x.ckpt does not fit body: ")
    after = module.state_dict(keep_vars=True)
    assert all(after[name] is before[name] for name in before)
    assert all(torch.equal(after[name], values[name]) for name in values)


def test_many_faults_are_counted_and_some_named() -> None:
    with pytest.raises(BadInputError, match=r"7 missing: .*, …; 1 unknown: other$"):
        fill(Body(4), {"other": torch.ones(1)}, component="body", source=Path("x"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_skeleton_is_filled_in_single_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    source = Body(4)
    source.norm(torch.randn(8, 4))
    tensors = {n: v.to(dtype) if v.is_floating_point() else v.to(torch.int32) for n, v in weights_of(source).items()}
    with skeleton():
        module = Body(4)
        module.mix.bias.requires_grad_(False)
    assert module.mix.weight.is_meta
    assert torch.equal(module.table, torch.arange(4))  # in no file, so made at once
    report = fill(module, tensors, component="body", source=Path("x"))
    assert (report.read, report.ignored) == (7, {})
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    assert module.norm.num_batches_tracked.dtype == torch.int64
    assert module.norm.num_batches_tracked == 1
    assert (module.mix.weight.requires_grad, module.mix.bias.requires_grad) == (True, False)
    assert torch.equal(module.norm.running_mean, tensors["norm.running_mean"].float())
    assert torch.isfinite(module.norm(module.mix(torch.randn(2, 4)))).all()
    assert nn.Linear(2, 2).weight.device.type == "cpu"  # outside, modules are whole again


def test_tensors_are_ignored_only_for_a_named_reason() -> None:
    tensors = weights_of(Body(4)) | {"ema.a": torch.ones(1), "ema.b": torch.ones(1), "step": torch.tensor(3)}
    reasons = {r"ema\..*": "a moving average", "step": "the trainer's count", r"mix\..*": "never: the module has it"}
    report = fill(Body(4), tensors, component="body", source=Path("x"), ignored=reasons)
    assert report.ignored == {"a moving average": 2, "the trainer's count": 1}
    with pytest.raises(BadInputError, match=r"1 unknown: ema\.a\.more"):
        fill(
            Body(4),
            tensors | {"ema.a.more": torch.ones(1)},
            component="body",
            source=Path("x"),
            ignored={r"ema\.\w": "a moving average", "step": "the trainer's count"},
        )


def test_one_of_tied_parameters_is_enough_and_they_stay_tied() -> None:
    for names in (["shared.weight"], ["encoder.embed_tokens.weight"], ["shared.weight", "encoder.embed_tokens.weight"]):
        with skeleton():
            words = Words(5, 4)
        value = torch.randn(5, 4)
        fill(words, {name: value.clone() for name in names}, component="words", source=Path("x"))
        assert words.shared.weight is words.encoder["embed_tokens"].weight
        assert torch.equal(words.shared.weight, value)
    before = words.shared.weight
    with pytest.raises(BadInputError, match=r"1 tied and yet different: shared.weight and encoder.embed_tokens.weight"):
        fill(words, {names[0]: value, names[1]: value + 1}, component="words", source=Path("x"))
    assert words.shared.weight is before
    with pytest.raises(BadInputError, match="2 missing"):
        fill(words, {}, component="words", source=Path("x"))


def test_a_buffer_made_of_an_empty_parameter_is_noticed() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(2, 2)
            self.register_buffer("twice", self.mix.weight.detach() * 2, persistent=False)

    with skeleton():
        module = Careless()
    tensors = {"mix.weight": torch.ones(2, 2), "mix.bias": torch.ones(2)}
    with pytest.raises(RuntimeError, match="twice"):
        fill(module, tensors, component="careless", source=Path("x"))


@pytest.mark.slow
def test_networks_of_transformers_survive_a_folder(tmp_path: Path) -> None:
    """T5 ties its embeddings; CLIP has position ids, which lie in no file. (Slow: importing transformers.)"""
    from transformers import CLIPVisionConfig, CLIPVisionModel, T5Config, T5EncoderModel

    def networks() -> dict[str, nn.Module]:
        words = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2, vocab_size=20)
        eye = CLIPVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
        )
        return {"words": T5EncoderModel(words).eval(), "eye": CLIPVisionModel(eye).eval()}

    torch.manual_seed(0)
    source = networks()
    write_folder(Loaded("toy", {}, source), tmp_path / "folder")
    with skeleton():
        again = networks()
    fill_from_folder(tmp_path / "folder", again)
    assert Loaded("toy", {}, again).digest == Loaded("toy", {}, source).digest
    assert again["words"].shared.weight is again["words"].encoder.embed_tokens.weight
    text, picture = torch.tensor([[3, 4, 1]]), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again["words"](text).last_hidden_state, source["words"](text).last_hidden_state)
        assert torch.equal(again["eye"](picture).pooler_output, source["eye"](picture).pooler_output)


def test_random_weights_are_a_function_of_name_and_seed() -> None:
    one, other, third = Body(4), Body(4), Body(4)
    torch.nn.init.zeros_(one.mix.weight)
    for module, seed in ((one, 0), (other, 0), (third, 1)):
        randomise(module, seed)
    assert torch.equal(one.mix.weight, other.mix.weight)
    assert not torch.equal(one.mix.weight, third.mix.weight)
    assert 0.1 < one.mix.weight.std() < 1.0
    assert torch.equal(one.norm.weight, torch.ones(4))


# Systems


def test_an_original_and_its_folder_are_the_same_system(published: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    converted = convert("toy", published["toy"], folder, {"words": published["words"]})
    original = load("toy", published["toy"], "cpu", parts={"words": published["words"]})
    ours = load("toy", folder, "cpu")
    assert converted.digest == original.weights_hash == ours.weights_hash
    for name, module in original.loaded.components.items():
        assert equal(module, ours.loaded.components[name])
    assert (
        ours.loaded.components["words"].shared.weight is ours.loaded.components["words"].encoder["embed_tokens"].weight
    )
    assert original.key_report == (
        "toy: 8 tensors read: body 7 from toy.ckpt, words 1 from words.pt; 1 ignored (1 a moving average)"
    )
    assert ours.key_report == (
        "toy: 9 tensors read: body 7 from body.safetensors, words 2 from words.safetensors; 0 ignored"
    )
    assert json.loads((folder / "system.json").read_text()) == {
        "format": 1,
        "system": "toy",
        "config": {"width": 4, "words": 5},
        "components": {
            "body": {"file": "body.safetensors", "tensors": 7, "parameters": 37},
            "words": {"file": "words.safetensors", "tensors": 2, "parameters": 40},
        },
    }
    assert {path.name for path in folder.iterdir()} == {"system.json", "body.safetensors", "words.safetensors"}


def test_another_value_is_another_digest(published: dict[str, Path]) -> None:
    parts = {"words": published["words"]}
    before = load("toy", published["toy"], "cpu", parts=parts).weights_hash
    tensors = read_tensors(published["words"])
    torch.save({name: value + 1e-6 for name, value in tensors.items()}, published["words"])
    assert load("toy", published["toy"], "cpu", parts=parts).weights_hash != before


def test_what_a_folder_of_ours_can_lack(published: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    parts = {"words": published["words"]}
    convert("toy", published["toy"], folder, parts)
    with pytest.raises(BadInputError, match="already holds a system"):
        convert("toy", published["toy"], folder, parts)
    with pytest.raises(BadInputError, match="is a file"):
        convert("toy", published["toy"], published["words"], parts)
    with pytest.raises(BadInputError, match="leave out --part"):
        load("toy", folder, "cpu", parts=parts)
    system = folder / "system.json"
    content = json.loads(system.read_text())
    for change, words in [
        ({"system": "lova"}, "holds lova, not toy: say --system lova"),
        ({"format": 2}, "format 2; this version reads 1"),
        ({"config": {"width": 4}}, "does not describe the networks"),
        ({"config": {"width": "wide", "words": 2}}, "does not describe the networks"),
        ({"config": {"width": 5, "words": 5}}, "does not fit body: 6 of another shape"),
    ]:
        system.write_text(json.dumps(content | change))
        with pytest.raises(BadInputError, match=words):
            load("toy", folder, "cpu")
    for text in ("", "[]", "{}", json.dumps({k: v for k, v in content.items() if k != "config"})):
        system.write_text(text)
        with pytest.raises(BadInputError, match="does not describe a system"):
            load("toy", folder, "cpu")
    system.write_text(json.dumps(content))
    (folder / "words.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"words.safetensors: there is no such file"):
        load("toy", folder, "cpu")


def test_parts_and_places(published: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="add --part words"):
        load("toy", published["toy"])
    with pytest.raises(BadInputError, match=r"toy has no part eyes: it takes words$"):
        load("toy", published["toy"], parts={"eyes": "x"})
    with pytest.raises(BadInputError, match=r"--part words= .*none: there is no such file"):
        load("toy", published["toy"], parts={"words": tmp_path / "none"})
    with pytest.raises(BadInputError, match="not in the package: give their place with --weights"):
        load("toy")
    with pytest.raises(BadInputError, match="pocket has no published weights"):
        convert("pocket", published["toy"], tmp_path / "x")
    with pytest.raises(BadInputError, match="no system is called 'radio'"):
        convert("radio", published["toy"], tmp_path / "x")


def test_untrained(toy: None, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    small = load("toy", untrained="small", device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert (small.untrained, small.key_report) == ("small", None)
    assert small.weights_hash == load("toy", untrained="small", device="cpu").weights_hash
    assert load("toy", untrained="full", device="cpu").weights_hash != small.weights_hash
    write_folder(small.loaded, tmp_path / "folder")
    kept = load("toy", tmp_path / "folder", "cpu")
    assert (kept.untrained, kept.weights_hash) == ("small", small.weights_hash)
    # A file may be a configuration, or the system.json of a folder.
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"width": 4, "words": 5}))
    for file in (own, tmp_path / "folder" / "system.json"):
        system = load("toy", untrained=file, device="cpu")
        assert (system.untrained, system.weights_hash) == (str(file), small.weights_hash)
    write_folder(system.loaded, tmp_path / "other")
    assert json.loads((tmp_path / "other" / "system.json").read_text())["untrained"] == "system.json"
    for text, words in [
        ("{", "not a configuration"),
        ("[]", "not a configuration"),
        ('{"width": 4}', "does not describe"),
        ('{"system": "lova", "config": {}}', "of lova, not of toy"),
    ]:
        own.write_text(text)
        with pytest.raises(BadInputError, match=words):
            load("toy", untrained=own)
    with pytest.raises(BadInputError, match="no size huge: choose from small, full, or give a JSON file"):
        load("toy", untrained="huge")
    with pytest.raises(BadInputError, match="takes no weights"):
        load("toy", own, untrained="small")
    with pytest.raises(BadInputError, match="never untrained"):
        load("pocket", untrained="small")


def test_the_report_is_one_line() -> None:
    reports = [KeyReport("a", Path("x/y.ckpt"), 3, {"old": 2}), KeyReport("b", Path("z.pt"), 4, {"old": 1, "new": 5})]
    line = report_line(Loaded("toy", {}, {}, reports))
    assert line == "toy: 7 tensors read: a 3 from y.ckpt, b 4 from z.pt; 8 ignored (3 old, 5 new)"
    assert report_line(Loaded("toy", {}, {}, [])) is None


def test_the_files_of_a_folder_can_be_read_by_others(tmp_path: Path) -> None:
    folder = write_folder(Loaded("toy", {}, {"words": Words(3, 4)}), tmp_path / "toy")
    assert {path.stat().st_mode & 0o444 for path in folder.iterdir()} == {0o444}


def test_numbers_that_are_none_are_refused_before_any_work() -> None:
    for text in ("nan", "inf", "-inf"):
        with pytest.raises(BadInputError, match="say a finite number"):
            settings_of(file_of("lova").Settings, {"fps": text}, "lova")
        with pytest.raises(BadInputError, match="say a finite number"):
            SoundRequest(guidance=float(text))
    with pytest.raises(BadInputError, match="0 steps are too few"):
        SoundRequest(steps=0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_the_face_that_all_share(name: str) -> None:
    file = file_of(name)
    settings = settings_of(file.Settings, {}, name)
    for field in file.Settings.__dataclass_fields__.values():
        assert field.metadata["help"]
        value = getattr(settings, field.name)
        assert isinstance(value, bool | int | float | str)
        assert value in field.metadata.get("choices", [value])
        assert settings_of(file.Settings, {field.name: str(value)}, name) == settings
    if name in CLASSES:
        assert {"small", "full"} <= file.SIZES.keys()
        assert json.loads(json.dumps(file.SIZES)) == file.SIZES
        assert all(isinstance(text, str) for text in file.PARTS.values())
        assert file.read_original.__doc__
        assert getattr(file, CLASSES[name]).name == name
