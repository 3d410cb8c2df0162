"""The page of an evaluation: one HTML file that needs nothing else, the worst clips first."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from itertools import chain
from pathlib import Path

from synchresis.evaluation.definitions import DEFINITIONS
from synchresis.evaluation.records import Record, Report, System, drawing_path
from synchresis.timeline import written_beside

MOST = 400  # clips on the page; of more, the worst
SORTED_BY = (
    "aa-align/one-to-one",
    "onset-f1/50ms",
    "av-align/2025",
    "envelope-correlation/100hz",
    "desync/av-benchmark",
    "mrstft/auraloss",
    "psnr/frames",
)

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1d1f21;background:#fff}
table{border-collapse:collapse;margin:.6rem 0 1.4rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}
article{display:flex;gap:1.2rem;border-top:1px solid #ccc;padding:1rem 0;flex-wrap:wrap}
article img{width:640px;max-width:100%;height:auto;align-self:flex-start;background:#181818}
article table{margin:0;font-size:13px}
small,.quiet{color:#666}.warning{background:#fff4d6;padding:.4rem .8rem;border-left:4px solid #e0a800}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181a}th,td{border-color:#333}article{border-color:#444}
small,.quiet{color:#999}.warning{background:#332b10}}
"""


def write_page(report: Report, folder: Path) -> Path:
    """folder/index.html. The drawings are taken from folder/cache and lie in the page itself."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Evaluation</title><style>{STYLE}</style></head><body><h1>Evaluation</h1>",
        f"<p>{escape(', '.join(s.name for s in report.systems))}"
        + (f" against {escape(str(report.reference))}" if report.reference else "")
        + "</p>",
        *(f"<p class='warning'>{escape(s.name)}: {escape(w)}</p>" for s in report.systems for w in s.warnings),
        means_table(report),
        missing_list(report),
    ]
    path = folder / "index.html"
    with written_beside(path) as part, part.open("w") as file:
        last = (definitions_list(report), "</body></html>")
        for piece in chain(parts, clip_list(report, folder / "cache"), last):
            file.write(piece + "\n")
    return path


def number(value: float | None) -> str:
    """Four significant places; a dash for what is not there."""
    return "–" if value is None else f"{value:.4g}"


def means_table(report: Report) -> str:
    """A row per definition, for each system the mean, its interval, N, and null and z where there are."""
    head = "".join(f"<th>{escape(s.name)}</th>" for s in report.systems)
    rows = []
    for definition in report.definitions:
        cells = [cell(system, definition.id) for system in report.systems]
        if any(cells):
            arrow = {"higher": "↑", "lower": "↓", "description": ""}[definition.direction]
            rows.append(
                f"<tr><td title='{escape(definition.formula, quote=True)}'>{escape(definition.id)} {arrow}</td>"
                + "".join(f"<td>{c or '–'}</td>" for c in cells)
                + "</tr>"
            )
    note = (
        "<p class='quiet'>Mean [95 % bootstrap interval over clips], N; null: the same events rotated in time; z: "
        "standard deviations of the mean above that null. ↑ higher is better, ↓ lower is better.</p>"
    )
    return f"<table><tr><th>definition</th>{head}</tr>{''.join(rows)}</table>{note}"


def cell(system: System, name: str) -> str:
    """What one system has of one definition, or nothing."""
    if name in system.means:
        mean = system.means[name]
        text = f"<b>{number(mean.mean)}</b>"
        if mean.low is not None:
            text += f" [{number(mean.low)}, {number(mean.high)}]"
        text += f" <small>N {mean.n}</small>"
        if name in system.nulls:
            null = system.nulls[name]
            text += f"<br><small>null {number(null['null'])}, z {number(null['z'])}</small>"
        return text
    if name in system.values:
        value = system.values[name]
        return f"<b>{number(value['value'])}</b> <small>N {value['n']}</small>"
    return ""


def missing_list(report: Report) -> str:
    lines = [f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in report.missing.items()]
    for system in report.systems:
        for record in system.failed:
            lines.append(f"<li>{escape(system.name)} {escape(record['id'])}: {escape(record['failed'])}</li>")
        lines += [f"<li>{escape(system.name)} {escape(i)}: the reference has no such clip</li>" for i in system.alone]
        lines += [f"<li>{escape(system.name)} {escape(i)}: only the reference has it</li>" for i in system.absent]
        for name, reasons in system.unscored.items():
            told = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
            lines.append(f"<li>{escape(system.name)} {escape(name)}: {escape(told)}</li>")
    return f"<h2>Not computed, not paired, not readable</h2><ul>{''.join(lines)}</ul>" if lines else ""


def order(report: Report) -> str | None:
    """The definition by which clips are sorted: the first of SORTED_BY that was measured."""
    return next((name for name in SORTED_BY if any(name in s.means for s in report.systems)), None)


def badness(record: Record, name: str | None) -> float:
    """Higher for worse; the excess over the null where there is one. Clips without the value come last."""
    score = record["scores"].get(name, {}) if name else {}
    if score.get("value") is None:
        return float("-inf")
    value = score["value"] - (score.get("null") or 0.0)
    return value if name and DEFINITIONS[name].direction == "lower" else -value


def clip_list(report: Report, cache: Path) -> Iterator[str]:
    """The clips one by one, so that not all their drawings are in memory."""
    name = order(report)
    takes = sorted(
        ((system, record) for system in report.systems for record in system.records),
        key=lambda pair: (-badness(pair[1], name), pair[1]["id"], pair[0].name),
    )
    title = f"<h2>Clips, worst first by {escape(name)}</h2>" if name else "<h2>Clips</h2>"
    title += (
        "<p class='quiet'>Frames; motion with its peaks (orange); onsets and spectrogram of the take (blue), of the "
        "true sound (green).</p>"
    )
    if len(takes) > MOST:
        title += f"<p class='quiet'>The worst {MOST} of {len(takes)}; the rest is in the JSONL files.</p>"
    yield title
    for system, record in takes[:MOST]:
        yield article(system, record, cache)


def article(system: System, record: Record, cache: Path) -> str:
    drawing = drawing_path(cache, record["hashes"])
    image = ""
    if drawing.exists():
        data = base64.b64encode(drawing.read_bytes()).decode()
        image = f"<img alt='frames, motion, onsets and spectrograms' src='data:image/png;base64,{data}'>"
    rows = []
    for name, score in record["scores"].items():
        if score["value"] is not None:
            null = f" <small>null {number(score['null'])}, z {number(score['z'])}</small>" if "null" in score else ""
            sign = f" <small>signed {number(score['signed'])}</small>" if "signed" in score else ""
            rows.append(f"<tr><td>{escape(name)}</td><td>{number(score['value'])}{null}{sign}</td></tr>")
        else:
            rows.append(f"<tr><td>{escape(name)}</td><td><small>{escape(score['why'])}</small></td></tr>")
    head = f"<b>{escape(record['id'])}</b><br><small>{escape(system.name)}, {record['duration']:.2f} s</small>"
    return f"<article>{image}<div>{head}<table>{''.join(rows)}</table></div></article>"


def definitions_list(report: Report) -> str:
    lines = [
        f"<li><b>{escape(d.id)}</b>: {escape(d.formula)}" + (f". {escape(d.disagreements)}" if d.disagreements else "")
        for d in report.definitions
    ]
    return f"<h2>Definitions</h2><ul>{'</li>'.join(lines)}</li></ul>"
