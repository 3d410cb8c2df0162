"""Sounds made by formula: struck bodies, and textures that follow a control.

A body is drawn once (its sizes, modes, dampings) and then struck or driven as often as one likes, so that
one object sounds like itself and no two objects sound alike. Everything is a function of its arguments and
of the generator that is handed in. Times are in seconds, frequencies in Hz, sounds are float32 mono [n]
whose first sample is the instant of contact, with a peak of at most 1.

Struck bodies are banks of damped modes: frequency ratios of bars, plates, membranes, bowls and bells; decay
from a quality factor (internal friction) and a constant loss (radiation, support). A blow excites them up
to a frequency that grows with its strength, at a place of its own, and adds the noise of the contact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RATE = 32000
CONTROL_RATE = 100  # Hz of the control of a texture

IMPACTS = ("wood", "metal", "glass", "plastic", "drum", "bounce", "footsteps", "splash", "clock", "bell")
TEXTURES = ("scrape", "rolling", "pour", "rain", "fire", "wind", "engine")
KINDS = IMPACTS + TEXTURES


@dataclass(frozen=True, eq=False)
class Modes:
    """Damped modes: frequencies [m] Hz, decays [m] (seconds to 1/e in amplitude), gains [m]."""

    frequencies: np.ndarray
    decays: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True, eq=False)
class Body:
    """One sounding object.

    level: peak of its hardest blow, or scale of its texture; modes: one bank, or two where the object has
    two voices (tick and tock, heel and floor); traits: the other numbers that its kind needs; variant: which
    sort of its kind it is ("snare", "gravel").
    """

    kind: str
    variant: str
    level: float
    modes: tuple[Modes, ...]
    traits: dict[str, float]


# ------------------------------------------------------------------------------------ elements

BOWL = np.array([1, 2.32, 4.25, 6.63, 9.38, 12.5, 15.9])
MEMBRANE = np.array([1, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 3.652, 4.06, 4.154])
BELL = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.17, 5.43, 6.8, 8.21])


def _spread(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high, evenly in its logarithm."""
    return float(low * (high / low) ** rng.uniform())


def _ratios(shape: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Frequencies of the first `count` modes over the lowest, or fewer where the table ends."""
    if shape == "bar":  # free at both ends
        odd = np.append(3.0112, 2.0 * np.arange(2, count + 1) + 1)
        return (odd / odd[0]) ** 2
    if shape == "plate":  # simply supported, of a drawn side ratio
        m, n = np.meshgrid(np.arange(1, 9), np.arange(1, 9))
        square = np.sort((m**2 + (rng.uniform(0.45, 0.95) * n) ** 2).ravel())
        return square[:count] / square[0]
    if shape == "lump":  # no simple shape: modes at uneven distances
        return 1 + np.append(0.0, np.cumsum(rng.gamma(2.0, 0.35, count - 1)))
    return {"bowl": BOWL, "membrane": MEMBRANE, "bell": BELL}[shape][:count]


def _modes(
    rng: np.random.Generator,
    shape: str,
    lowest: float,
    count: int,
    quality: float,
    loss: float,
    tilt: float,
    jitter: float = 0.02,
) -> Modes:
    """loss: 1/s added to the damping pi f / quality; tilt: gains fall as (f / lowest) ** -tilt."""
    ratios = _ratios(shape, count, rng)
    frequencies = lowest * ratios * np.exp(jitter * rng.standard_normal(len(ratios)))
    frequencies = frequencies[frequencies < 14000]
    damping = (np.pi * frequencies / quality + loss) * np.exp(0.25 * rng.standard_normal(len(frequencies)))
    gains = (frequencies / lowest) ** -tilt * np.exp(0.4 * rng.standard_normal(len(frequencies)))
    return Modes(frequencies, 1 / damping, gains)


def _ring(modes: Modes, excitation: np.ndarray, samples: int, rate: int) -> np.ndarray:
    """Sum of the decaying sines, each from phase 0.

    exp(z (256 a + b)) = exp(256 a z) exp(b z) makes a bank of modes one small matrix product.
    """
    use = modes.frequencies < 0.45 * rate
    pole = (2j * np.pi * modes.frequencies[use] - 1 / modes.decays[use]) / rate
    blocks = -(-samples // 256)
    coarse = np.exp(np.outer(256 * np.arange(blocks), pole)) * (-1j * excitation[use])
    fine = np.exp(np.outer(pole, np.arange(256)))
    sound = np.hstack([coarse.real, -coarse.imag]).astype(np.float32) @ np.vstack([fine.real, fine.imag]).astype(
        np.float32
    )
    return sound.ravel()[:samples]


def _noise(rng: np.random.Generator, samples: int, rate: int, shape: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Stationary noise of unit RMS whose amplitude spectrum is shape(frequencies in Hz)."""
    size = 64
    while size < samples:  # sizes that the transform likes
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    frequencies = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
    bins = len(frequencies)
    random = rng.standard_normal((2, bins), dtype=np.float32)
    magnitude = shape(np.maximum(frequencies, 1.0)).astype(np.float32)
    magnitude[0] = 0
    sound = np.fft.irfft((random[0] + 1j * random[1]) * magnitude, size)[:samples]
    scale = np.sqrt(2 * np.sum(magnitude.astype(np.float64) ** 2) * 2) / size
    return (sound / max(scale, 1e-12)).astype(np.float32)


def _band(low: float, high: float, steep: float = 2.0) -> Callable[[np.ndarray], np.ndarray]:
    """Amplitude about 1 between low and high Hz, falling as a power of `steep` outside."""
    return lambda f: 1 / np.sqrt((1 + (low / f) ** (2 * steep)) * (1 + (f / high) ** (2 * steep)))


def _filtered(sound: np.ndarray, rate: int, shape: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The sound with its spectrum multiplied by shape (zero phase, wrapped at the ends)."""
    frequencies = np.fft.rfftfreq(len(sound), 1 / rate)
    return np.fft.irfft(np.fft.rfft(sound) * shape(np.maximum(frequencies, 1.0)), len(sound)).astype(np.float32)


def _convolved(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """As long as the sound; what rings on after its end is cut."""
    size = 1 << (len(sound) + len(response) - 2).bit_length()
    product = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(sound)].astype(np.float32)


def _decay(samples: int, rate: int, seconds: float) -> np.ndarray:
    return np.exp(-np.arange(samples, dtype=np.float32) / (seconds * rate))


def _unit(sound: np.ndarray) -> np.ndarray:
    """Scaled to an RMS of 1 (silence stays silence)."""
    return sound / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9)


def _scatter(grains: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
    """Grains [g, n] added at their first samples [g] into a sound of so many samples."""
    at = starts[:, None] + np.arange(grains.shape[1])
    inside = at < samples
    return np.bincount(at[inside], grains[inside], samples).astype(np.float32)


def _bubbles(
    rng: np.random.Generator, starts: np.ndarray, frequencies: np.ndarray, heights: np.ndarray, rate: int
) -> np.ndarray:
    """One chirp per bubble [g, 40 ms]: a decaying sine whose pitch rises as the bubble nears the surface."""
    time = np.arange(round(0.04 * rate), dtype=np.float32) / rate
    damping = 0.13 * frequencies + 0.0072 * frequencies**1.5 / 8
    rise = rng.uniform(0, 0.15, len(starts)) * damping  # slope of the pitch, 1/s
    cycles = frequencies[:, None] * time * (1 + 0.5 * rise[:, None] * time)
    sines = np.sin((2 * np.pi * cycles).astype(np.float32))
    return sines * np.exp(-damping[:, None].astype(np.float32) * time) * heights[:, None].astype(np.float32)


def _poisson(rng: np.random.Generator, density: np.ndarray, rate: int) -> np.ndarray:
    """Sample indices of a Poisson process, density [n] in events per second: increasing."""
    expected = np.cumsum(density, dtype=np.float64) / rate
    count = rng.poisson(expected[-1]) if len(expected) else 0
    at = np.searchsorted(expected, np.sort(rng.uniform(size=count)) * expected[-1:])
    return np.minimum(at, len(density) - 1)


def _wander(rng: np.random.Generator, samples: int, rate: int, hertz: float) -> np.ndarray:
    """A slow random curve of unit variance that changes about `hertz` times a second."""
    knots = max(4, int(samples / rate * hertz * 2) + 4)
    at = np.arange(samples) * (2 * hertz / rate) + rng.uniform()
    return np.interp(at, np.arange(knots), rng.standard_normal(knots) * 1.2).astype(np.float32)


def _per_sample(control: np.ndarray, rate: int) -> np.ndarray:
    """A control at 100 Hz (cells) as one value per sample, float32, cut to 0..1."""
    control = np.clip(np.asarray(control, np.float32), 0, 1)
    samples = round(len(control) * rate / CONTROL_RATE)
    position = (np.arange(samples) + 0.5) * (CONTROL_RATE / rate) - 0.5
    return np.interp(position, np.arange(len(control)), control).astype(np.float32)


# ------------------------------------------------------------------------------------ drawing bodies


class Material(NamedTuple):
    shapes: tuple[str, ...]
    lowest: tuple[float, float]  # Hz of the lowest mode
    modes: int  # how many
    quality: tuple[float, float]
    loss: tuple[float, float]  # 1/s
    tilt: tuple[float, float]
    hardness: tuple[float, float]  # Hz up to which a hard blow excites
    knock: tuple[float, float]  # contact noise, as a part of the ringing
    level: tuple[float, float]


MATERIALS = {
    "wood": Material(
        ("bar", "plate", "lump"), (110, 1100), 14, quality=(14, 60), loss=(8, 40), tilt=(0.2, 1.0),
        hardness=(1500, 6000), knock=(0.2, 1.2), level=(0.3, 0.9),
    ),
    "metal": Material(
        ("bar", "plate", "lump"), (180, 2600), 26, quality=(300, 3000), loss=(1, 9), tilt=(-0.1, 0.6),
        hardness=(4000, 14000), knock=(0.05, 0.5), level=(0.3, 0.95),
    ),
    "glass": Material(
        ("bowl", "plate", "lump"), (900, 4200), 9, quality=(250, 1500), loss=(4, 25), tilt=(0.1, 0.8),
        hardness=(6000, 15000), knock=(0.05, 0.5), level=(0.2, 0.8),
    ),
    "plastic": Material(
        ("plate", "lump"), (160, 1500), 12, quality=(8, 35), loss=(15, 60), tilt=(0.1, 0.9),
        hardness=(1500, 7000), knock=(0.3, 1.5), level=(0.25, 0.8),
    ),
}  # fmt: skip


def _draw_material(kind: str, rng: np.random.Generator) -> Body:
    stuff = MATERIALS[kind]
    shape = str(rng.choice(stuff.shapes))
    bank = _modes(
        rng,
        shape,
        _spread(rng, *stuff.lowest),
        stuff.modes,
        _spread(rng, *stuff.quality),
        _spread(rng, *stuff.loss),
        rng.uniform(*stuff.tilt),
    )
    traits = {
        "hardness": _spread(rng, *stuff.hardness),
        "knock": _spread(rng, *stuff.knock),
        "position": rng.uniform(0.1, 0.5),
    }
    return Body(kind, shape, rng.uniform(*stuff.level), (bank,), traits)


def _draw_drum(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["kick", "tom", "snare", "hand"]))
    lowest = {"kick": (42, 80), "tom": (75, 240), "snare": (150, 260), "hand": (90, 420)}[variant]
    quality = {"kick": (6, 14), "tom": (15, 45), "snare": (8, 20), "hand": (8, 30)}[variant]
    bank = _modes(
        rng,
        "membrane",
        _spread(rng, *lowest),
        10,
        _spread(rng, *quality),
        rng.uniform(2, 9),
        rng.uniform(0.6, 1.4),
    )
    traits = {
        "glide": {"kick": 1.2, "tom": 0.25, "snare": 0.1, "hand": 0.15}[variant] * rng.uniform(0.5, 1.6),
        "glide_time": rng.uniform(0.015, 0.06),
        "hardness": _spread(rng, 600, 4000),
        "knock": _spread(rng, 0.1, 0.6),
        "wires": rng.uniform(0.4, 1.1) if variant == "snare" else 0.0,
        "wires_time": rng.uniform(0.05, 0.16),
        "position": rng.uniform(0.1, 0.5),
    }
    return Body("drum", variant, rng.uniform(0.4, 0.95), (bank,), traits)


def _draw_bounce(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["big", "rubber", "hollow", "hard"]))
    banks: tuple[Modes, ...]
    if variant == "big":  # a basketball: thud of the floor, and the air inside
        banks = (
            _modes(rng, "lump", _spread(rng, 55, 120), 5, rng.uniform(2.5, 6), 10, 0.8),
            _modes(rng, "lump", _spread(rng, 350, 800), 5, rng.uniform(25, 70), 15, 0.7),
        )
    elif variant == "rubber":
        banks = (_modes(rng, "lump", _spread(rng, 110, 380), 7, rng.uniform(3, 9), 25, 0.7),)
    elif variant == "hollow":  # table tennis
        banks = (_modes(rng, "bowl", _spread(rng, 900, 2600), 6, rng.uniform(12, 45), 80, 0.5),)
    else:  # a marble
        banks = (_modes(rng, "lump", _spread(rng, 1500, 4500), 8, rng.uniform(25, 120), 60, 0.4),)
    hardness = {"big": (300, 900), "rubber": (500, 1800), "hollow": (3000, 9000), "hard": (5000, 14000)}[variant]
    traits = {
        "hardness": _spread(rng, *hardness),
        "knock": _spread(rng, 0.2, 0.9),
        "position": rng.uniform(0.1, 0.5),
    }
    return Body("bounce", variant, rng.uniform(0.25, 0.85), banks, traits)


def _draw_footsteps(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["plank", "stone", "gravel", "soft"]))
    heel = {"plank": (90, 260), "stone": (180, 700), "gravel": (80, 160), "soft": (50, 110)}[variant]
    quality = {"plank": (6, 18), "stone": (4, 12), "gravel": (2, 4), "soft": (2, 5)}[variant]
    bank = _modes(rng, "plate", _spread(rng, *heel), 10, rng.uniform(*quality), 25, rng.uniform(0.5, 1.2))
    hardness = {"plank": (900, 3500), "stone": (2500, 9000), "gravel": (400, 900), "soft": (250, 700)}[variant]
    traits = {
        "hardness": _spread(rng, *hardness),
        "knock": _spread(rng, 0.3, 1.2),
        "position": rng.uniform(0.1, 0.5),
        "toe": rng.uniform(0.05, 0.15),  # seconds after the heel
        "toe_level": rng.uniform(0.2, 0.7),
        "grain": {"plank": 0.03, "stone": 0.08, "gravel": 1.0, "soft": 0.35}[variant] * rng.uniform(0.6, 1.4),
        "grain_low": {"gravel": 1200.0, "soft": 500.0}.get(variant, 2000.0) * rng.uniform(0.7, 1.4),
        "grain_count": {"gravel": 70.0, "soft": 260.0}.get(variant, 15.0) * rng.uniform(0.7, 1.4),
    }
    return Body("footsteps", variant, rng.uniform(0.12, 0.6), (bank,), traits)


def _draw_splash(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["drop", "stone", "plunge"]))
    size = {"drop": 0.15, "stone": 0.5, "plunge": 1.0}[variant] * rng.uniform(0.7, 1.3)
    traits = {
        "size": size,
        "spray": _spread(rng, 1200, 4500),  # Hz of the middle of the spray
        "bubbles": 6 + 70 * size,
        "pitch": _spread(rng, 500, 1600) / (0.5 + size),
    }
    return Body("splash", variant, rng.uniform(0.25, 0.85), (), traits)


def _draw_clock(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["watch", "wall", "tall"]))
    lowest = _spread(rng, *{"watch": (3500, 6500), "wall": (1200, 3500), "tall": (450, 1300)}[variant])
    quality = _spread(rng, 12, 70)
    tick = _modes(rng, "lump", lowest, 8, quality, 90, 0.3)
    other = rng.uniform(0.75, 0.97)  # the tock is a little lower and otherwise weighted
    gains = tick.gains * np.exp(0.7 * rng.standard_normal(len(tick.gains)))
    tock = Modes(tick.frequencies * other, tick.decays, gains)
    traits = {
        "hardness": _spread(rng, 6000, 15000),
        "knock": _spread(rng, 0.3, 1.2),
        "position": rng.uniform(0.1, 0.5),
        "echo": rng.uniform(0.008, 0.035),  # the escapement touches twice
        "echo_level": rng.uniform(0.1, 0.6),
    }
    return Body("clock", variant, _spread(rng, 0.08, 0.5), (tick, tock), traits)


def _draw_bell(rng: np.random.Generator) -> Body:
    variant = str(rng.choice(["church", "hand", "shop"]))
    lowest = _spread(rng, *{"church": (220, 700), "hand": (700, 1700), "shop": (1500, 3200)}[variant])
    seconds = _spread(rng, *{"church": (1.0, 2.5), "hand": (0.4, 1.2), "shop": (0.2, 0.7)}[variant])
    single = _modes(rng, "bell", lowest, 12, 4000, 1 / seconds, rng.uniform(0.0, 0.5), jitter=0.006)
    # No bell is round: each mode is a pair a little apart, which beats.
    split = 1 + rng.uniform(0.0003, 0.002, len(single.frequencies))
    bank = Modes(
        np.concatenate([single.frequencies, single.frequencies * split]),
        np.concatenate([single.decays, single.decays]),
        np.concatenate([single.gains, single.gains * rng.uniform(0.2, 0.9, len(split))]),
    )
    traits = {
        "hardness": _spread(rng, 3000, 12000),
        "knock": _spread(rng, 0.03, 0.2),
        "position": rng.uniform(0.1, 0.5),
    }
    return Body("bell", variant, rng.uniform(0.3, 0.9), (bank,), traits)


def _draw_texture(kind: str, rng: np.random.Generator) -> Body:
    """Numbers of a texture; what they mean stands where they are used, in its function."""
    u, s = rng.uniform, _spread
    variants: dict[str, tuple[str, ...]] = {
        "scrape": ("wood", "metal", "stone"),
        "rolling": ("ball", "barrel", "wheel"),
        "pour": ("glass", "basin", "bottle"),
        "rain": ("roof", "leaves", "street"),
        "fire": ("hearth", "camp"),
        "wind": ("open", "gap", "trees"),
        "engine": ("motor", "moped", "truck"),
    }
    variant = str(rng.choice(variants[kind]))
    banks: tuple[Modes, ...] = ()
    if kind == "scrape":
        quality = {"wood": (10, 40), "metal": (80, 600), "stone": (4, 12)}[variant]
        banks = (_modes(rng, "lump", s(rng, 250, 1800), 12, s(rng, *quality), 20, u(-0.2, 0.4)),)
        traits = {
            "bright": s(rng, 2500, 9000),
            "dark": s(rng, 400, 1500),
            "grain": s(rng, 15, 120),
            "rough": u(0.3, 1),
        }
    elif kind == "rolling":
        lowest = {"ball": (120, 400), "barrel": (50, 140), "wheel": (200, 900)}[variant]
        banks = (_modes(rng, "plate", s(rng, *lowest), 12, s(rng, 6, 40), 15, u(0.3, 1.0)),)
        traits = {
            "turns": s(rng, 1.5, 9),
            "uneven": u(0.2, 0.8),
            "grain": s(rng, 40, 300),
            "high": s(rng, 500, 2500),
        }
    elif kind == "pour":
        start = s(rng, *{"glass": (450, 900), "basin": (250, 500), "bottle": (180, 420)}[variant])
        fill = {"glass": 1.3, "basin": 0.3, "bottle": 1.9}[variant] * u(0.6, 1.3)
        traits = {
            "start": start,
            "fill": fill,
            "seconds": u(3, 9),
            "bubbles": s(rng, 60, 300),
            "pitch": s(rng, 500, 1500),
        }
        traits |= {"hiss": s(rng, 0.15, 0.9), "hiss_low": s(rng, 800, 3000)}
    elif kind == "rain":
        low = {"roof": (300, 1200), "leaves": (1500, 4000), "street": (800, 2500)}[variant]
        traits = {
            "low": s(rng, *low),
            "high": s(rng, 6000, 13000),
            "drops": s(rng, 80, 900),
            "hiss": s(rng, 0.2, 1.2),
        }
        traits |= {"splats": s(rng, 0.5, 8), "drop_time": s(rng, 0.0008, 0.006)}
    elif kind == "fire":
        traits = {
            "crackles": s(rng, 5, 30),
            "roar": s(rng, 0.15, 0.7),
            "roar_high": s(rng, 150, 500),
            "hiss": u(0.02, 0.15),
        }
        traits |= {"pitch": s(rng, 1200, 4500), "pops": s(rng, 0.2, 1.5)}
    elif kind == "wind":
        middle = s(rng, *{"open": (180, 420), "gap": (400, 1100), "trees": (300, 700)}[variant])
        traits = {"middle": middle, "width": {"open": 90, "gap": 30, "trees": 150}[variant] * u(0.6, 1.6)}
        traits |= {
            "whistle": {"open": 0.6, "gap": 1.3, "trees": 0.3}[variant] * u(0.6, 1.4),
            "wander": s(rng, 0.3, 1.2),
        }
        traits |= {"leaves": u(0.3, 0.8) if variant == "trees" else u(0.0, 0.1)}
    else:
        idle, top = {"motor": (11, 70), "moped": (18, 110), "truck": (6, 28)}[variant]
        cylinders = {"motor": 4, "moped": 1, "truck": 6}[variant]
        traits = {
            "idle": idle * u(0.8, 1.25),
            "top": top * u(0.7, 1.3),
            "cylinders": cylinders,
            "sharp": s(rng, 0.03, 0.2),
        }
        traits |= {
            "uneven": u(0.05, 0.45),
            "noise": s(rng, 0.05, 0.4),
            "pipe": s(rng, 70, 320),
            "high": s(rng, 900, 4000),
        }
    return Body(kind, variant, rng.uniform(0.08, 0.3), banks, {k: float(v) for k, v in traits.items()})


def draw_body(kind: str, rng: np.random.Generator) -> Body:
    """A new object of one of KINDS; ValueError for another name."""
    if kind in MATERIALS:
        return _draw_material(kind, rng)
    if kind in TEXTURES:
        return _draw_texture(kind, rng)
    draw = {
        "drum": _draw_drum,
        "bounce": _draw_bounce,
        "footsteps": _draw_footsteps,
        "splash": _draw_splash,
        "clock": _draw_clock,
        "bell": _draw_bell,
    }
    if kind not in draw:
        raise ValueError(f"no such kind of sound: {kind!r}; there are {', '.join(KINDS)}")
    return draw[kind](rng)


# ------------------------------------------------------------------------------------ striking


def strike(
    body: Body, strength: float, rng: np.random.Generator, rate: int = RATE, turn: int | None = None
) -> np.ndarray:
    """The sound of one event of a body of one of IMPACTS, strength 0..1: float32 [n], at most 5 s.

    A harder blow is louder and brighter. turn: for a clock, even is tick and odd is tock; drawn where None.
    """
    strength = float(np.clip(strength, 0.02, 1))
    if body.kind == "splash":
        sound = _splash(body, strength, rng, rate)
    elif body.kind == "drum":
        sound = _drum(body, strength, rng, rate)
    elif body.kind == "footsteps":
        sound = _footstep(body, strength, rng, rate)
    elif body.kind == "clock":
        sound = _tick(body, strength, rng, rate, int(rng.integers(2)) if turn is None else turn)
    elif body.kind in IMPACTS:
        sound = _together([_blow(body, bank, strength, rng, rate) for bank in body.modes])
    else:
        raise ValueError(f"{body.kind} is not struck; it is a texture")
    fade = min(len(sound), round(0.005 * rate))
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    level = body.level * strength**1.3 * rng.uniform(0.85, 1.0)
    return (sound * (level / max(float(np.abs(sound).max()), 1e-9))).astype(np.float32)


def _together(sounds: list[np.ndarray]) -> np.ndarray:
    """Sum of sounds that begin together, as long as the longest."""
    total = np.zeros(max(len(sound) for sound in sounds), np.float32)
    for sound in sounds:
        total[: len(sound)] += sound
    return total


def _excitation(body: Body, bank: Modes, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """How much a blow moves each mode [m], and the frequency up to which it excites.

    The contact of a hard blow is shorter; a mode is not moved where it has a node.
    """
    top = body.traits["hardness"] * (0.25 + 0.75 * strength)
    place = np.clip(body.traits["position"] + 0.04 * rng.standard_normal(), 0.02, 0.5)
    order = np.arange(1, len(bank.gains) + 1)
    shape = 0.15 + np.abs(np.sin(np.pi * order * place))
    return bank.gains * shape / (1 + (bank.frequencies / top) ** 2), float(top)


def _contact(body: Body, top: float, strength: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """The short noise of the touch itself, 30 ms, peak about 1; a hard touch is shorter and brighter."""
    samples = round(0.03 * rate)
    seconds = 0.001 + 0.005 * (1 - strength) * rng.uniform(0.5, 1.5) + 1 / top
    return _noise(rng, samples, rate, _band(60, min(top, 0.45 * rate))) * _decay(samples, rate, seconds) / 2


def _blow(body: Body, bank: Modes, strength: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A bank of modes struck once, with the noise of the contact."""
    excitation, top = _excitation(body, bank, strength, rng)
    heard = excitation > 1e-3 * excitation.max()
    seconds = min(5.0, 0.04 + 6.9 * float(bank.decays[heard].max()))  # until it has fallen by 60 dB
    sound = _ring(bank, excitation, round(seconds * rate), rate)
    touch = _contact(body, top, strength, rng, rate)
    sound[: len(touch)] += touch * (body.traits["knock"] * float(np.abs(sound).max()))
    return sound


def _drum(body: Body, strength: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A skin whose pitch falls as its tension relaxes, the stick, and the wires of a snare."""
    bank, traits = body.modes[0], body.traits
    excitation, top = _excitation(body, bank, strength, rng)
    seconds = float(np.clip(6.9 * max(bank.decays.max(), traits["wires_time"] if traits["wires"] else 0), 0.15, 1.5))
    time = np.arange(round(seconds * rate), dtype=np.float32) / rate
    # Integral of 1 + glide exp(-t / glide_time)
    bend = traits["glide"] * (0.3 + 0.7 * strength)
    warped = time + bend * traits["glide_time"] * (1 - np.exp(-time / traits["glide_time"]))
    sound = np.zeros_like(time)
    for frequency, decay, gain in zip(bank.frequencies, bank.decays, excitation, strict=True):
        sound += np.float32(gain) * np.exp(-time / decay) * np.sin((2 * np.pi * frequency) * warped)
    peak = float(np.abs(sound).max())
    touch = _contact(body, top, strength, rng, rate)
    sound[: len(touch)] += touch * (traits["knock"] * peak)
    if traits["wires"]:
        wires = _noise(rng, len(sound), rate, _band(1200, 9000)) * _decay(len(sound), rate, traits["wires_time"])
        sound += wires * (traits["wires"] * peak * 0.4)
    return sound


def _footstep(body: Body, strength: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Heel, then toe, on a ground that rings a little or grinds a lot."""
    traits = body.traits
    sound = np.zeros(round(0.6 * rate), np.float32)
    toe = traits["toe"] * rng.uniform(0.8, 1.25) * (1.3 - 0.5 * strength)  # a runner's follows sooner
    for start, weight in ((0.0, 1.0), (toe, traits["toe_level"] * rng.uniform(0.7, 1.2))):
        first = round(start * rate)
        blow = _blow(body, body.modes[0], strength * (0.5 + 0.5 * weight), rng, rate)
        blow *= weight / max(float(np.abs(blow).max()), 1e-9)
        length = min(len(blow), len(sound) - first)
        sound[first : first + length] += blow[:length] * (1 - 0.6 * min(1.0, traits["grain"]))
        sound[first:] += weight * traits["grain"] * _grind(traits, len(sound) - first, rng, rate)
    return sound


def _grind(traits: dict[str, float], samples: int, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Stones, snow or dust giving way under a foot: many small clicks within a tenth of a second."""
    count = rng.poisson(traits["grain_count"]) + 1
    starts = np.minimum(rng.gamma(1.5, 0.035, count) * rate, samples - 1).astype(np.int64)
    clicks = np.bincount(starts, rng.lognormal(-1, 0.8, count) * rng.choice([-1, 1], count), samples)
    burst = _filtered(clicks, rate, _band(traits["grain_low"], 4 * traits["grain_low"]))
    return burst / max(float(np.abs(burst).max()), 1e-9)


def _splash(body: Body, strength: float, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Spray: a noise that swells for some milliseconds and falls; then bubbles, each with a rising pitch."""
    size, samples = body.traits["size"] * (0.4 + 0.6 * strength), round(1.2 * rate)
    time = np.arange(samples, dtype=np.float32) / rate
    attack = 0.001 + 0.012 * size
    swell = np.minimum(time / attack, 1) * np.exp(-time / (0.03 + 0.18 * size))
    spray = _noise(rng, samples, rate, _band(body.traits["spray"] / 3, body.traits["spray"] * 2.5, 1.5)) * swell
    slap = _noise(rng, samples, rate, _band(60, 700)) * _decay(samples, rate, 0.02 + 0.05 * size) * size
    count = rng.poisson(body.traits["bubbles"] * (0.4 + 0.6 * strength)) + 1
    starts = ((0.01 + rng.gamma(1.3, 0.1 + 0.12 * size, count)) * rate).astype(np.int64)
    pitches = np.clip(body.traits["pitch"] * rng.lognormal(0, 0.5, count), 150, 5000)
    bubbles = _bubbles(rng, starts, pitches, rng.lognormal(-0.7, 0.6, count), rate)
    return (0.5 + size) * spray + 0.7 * slap + _scatter(bubbles, starts, samples)


def _tick(body: Body, strength: float, rng: np.random.Generator, rate: int, turn: int) -> np.ndarray:
    """A tick or a tock: the escapement falls on a tooth, and again a little later."""
    bank = body.modes[turn % 2]
    first = _blow(body, bank, strength, rng, rate)
    second = _blow(body, bank, 0.6 * strength, rng, rate)
    gap = round(body.traits["echo"] * rng.uniform(0.95, 1.05) * rate)
    return _together([first, np.append(np.zeros(gap, np.float32), second * np.float32(body.traits["echo_level"]))])


# ------------------------------------------------------------------------------------ driving


def texture(body: Body, control: np.ndarray, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """The sound of a body of one of TEXTURES under a control [T] at 100 Hz, 0..1: float32 [T rate / 100].

    The control is what drives the sound: speed of a scrape or a roll, flow of a pour, heaviness of rain,
    fierceness of a fire or a wind, revolutions of an engine. Where it is 0 a scrape, a roll, a pour, rain and
    wind are silent; a fire glows on softly and an engine idles.
    """
    make = {
        "scrape": _scrape,
        "rolling": _rolling,
        "pour": _pour,
        "rain": _rain,
        "fire": _fire,
        "wind": _wind,
        "engine": _engine,
    }
    if body.kind not in make:
        raise ValueError(f"{body.kind} is not driven; it is struck")
    if len(control) == 0:
        return np.zeros(0, np.float32)
    drive = _per_sample(control, rate)
    # A single grain may stand far out of a texture: it is rounded off, rather than the whole made soft.
    return np.tanh(make[body.kind](body, drive, rng, rate) * np.float32(body.level)).astype(np.float32)


def _surface(rng: np.random.Generator, way: np.ndarray, grain: float) -> np.ndarray:
    """What a rough surface with `grain` bumps per unit shows to something that has gone so far along it."""
    knots = rng.standard_normal(int(way[-1] * grain) + 3)
    return np.interp(way * grain, np.arange(len(knots)), knots).astype(np.float32)


def _scrape(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Two bands of noise, the brighter one taking over with speed, under the bumps of the surface, and the
    modes of the body excited by them."""
    traits, samples = body.traits, len(drive)
    way = np.cumsum(drive, dtype=np.float64) / rate
    rough = np.clip(1 + traits["rough"] * _surface(rng, way, traits["grain"]), 0, 3)
    dark = _noise(rng, samples, rate, _band(traits["dark"] / 2, traits["dark"] * 1.5))
    bright = _noise(rng, samples, rate, _band(traits["bright"] / 3, traits["bright"]))
    rub = (dark * (1 - 0.7 * drive) + bright * drive) * rough * drive
    bank = body.modes[0]
    length = min(samples, round(rate * min(1.0, 4 * float(bank.decays.max()) + 0.01)))
    rung = _convolved(rub, _ring(bank, bank.gains, length, rate))
    return rub + _unit(rung) * float(np.sqrt(np.mean(np.square(rub)))) * 0.8


def _rolling(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Small impacts of the surface in a rhythm of turns, heard through the modes of what is rolled on."""
    traits, samples = body.traits, len(drive)
    way = np.cumsum(drive, dtype=np.float64) / rate
    angle = 2 * np.pi * traits["turns"] * way + rng.uniform(0, 2 * np.pi)
    rhythm = 1 + traits["uneven"] * np.cos(angle + 0.5 * np.sin(2 * angle)).astype(np.float32)
    bumps = np.zeros(samples, np.float32)
    at = _poisson(rng, traits["grain"] * drive, rate)
    bumps[at] = rng.lognormal(-0.5, 0.7, len(at)) * (0.2 + drive[at]) * rhythm[at]
    rumble = _noise(rng, samples, rate, _band(40, traits["high"])) * drive * rhythm
    bank = body.modes[0]
    length = min(samples, round(rate * min(0.6, 4 * float(bank.decays.max()) + 0.01)))
    rung = _convolved(bumps, _ring(bank, bank.gains, length, rate))
    return rumble + 1.2 * _unit(rung) * float(np.sqrt(np.mean(np.square(drive))))


def _pour(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Bubbles at the rate of the flow, hiss of the stream, and the air over the water, whose resonance rises
    as the vessel fills."""
    traits, samples = body.traits, len(drive)
    filled = np.minimum(np.cumsum(drive, dtype=np.float64) / rate / traits["seconds"], 1)
    resonance = traits["start"] * (1 + traits["fill"] * filled)
    at = _poisson(rng, traits["bubbles"] * drive, rate)
    pitches = np.clip(0.5 * (traits["pitch"] + resonance[at]) * rng.lognormal(0, 0.45, len(at)), 150, 6000)
    bubbles = _scatter(_bubbles(rng, at, pitches, rng.lognormal(-0.5, 0.6, len(at)), rate), at, samples)
    hiss = _noise(rng, samples, rate, _band(traits["hiss_low"], 9000, 1.5)) * drive * traits["hiss"]
    air = _narrow(rng, resonance, 60.0, rate) * drive
    loud = float(np.sqrt(np.mean(np.square(drive))))
    return _unit(bubbles) * loud + hiss + 0.6 * air


def _narrow(rng: np.random.Generator, frequency: np.ndarray, width: float, rate: int) -> np.ndarray:
    """Noise of unit RMS, `width` Hz wide, around a frequency that moves [n]."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    low = _band(0.01, width / 2)
    along, across = (_noise(rng, len(phase), rate, low) for _ in range(2))
    return along * np.cos(phase).astype(np.float32) + across * np.sin(phase).astype(np.float32)


def _rain(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Clicks of many drops, the hiss of those that cannot be told apart, and some that fall into puddles."""
    traits, samples = body.traits, len(drive)
    clicks = np.zeros(samples, np.float32)
    for _ in range(4):  # four sorts of place that drops fall on
        at = _poisson(rng, traits["drops"] / 4 * drive**1.5, rate)
        drops = np.bincount(at, rng.lognormal(-0.5, 0.9, len(at)) * rng.choice([-1, 1], len(at)), samples)
        seconds = traits["drop_time"] * rng.uniform(0.6, 1.6)
        drop = _noise(rng, round(6 * seconds * rate) + 8, rate, _band(traits["low"], traits["high"]))
        clicks += _convolved(drops.astype(np.float32), drop * _decay(len(drop), rate, seconds))
    hiss = _noise(rng, samples, rate, _band(traits["low"], traits["high"], 1.0)) * drive**1.2
    into = _poisson(rng, traits["splats"] * drive, rate)
    pitches = rng.uniform(700, 3000, len(into))
    splats = _scatter(_bubbles(rng, into, pitches, rng.lognormal(-0.3, 0.5, len(into)), rate), into, samples)
    loud = float(np.sqrt(np.mean(np.square(drive))))
    return _unit(clicks) * loud + traits["hiss"] * hiss + 0.8 * splats * loud


def _fire(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A flickering roar, crackles with their own pitch, and now and then a pop."""
    traits, samples = body.traits, len(drive)
    flicker = np.clip(1 + 0.35 * _wander(rng, samples, rate, 4), 0, None)
    fierce = 0.15 + 0.85 * drive
    roar = _noise(rng, samples, rate, _band(30, traits["roar_high"], 1.0)) * flicker * fierce * traits["roar"]
    hiss = _noise(rng, samples, rate, _band(2000, 9000, 1.0)) * flicker * fierce * traits["hiss"]
    sound = roar + hiss
    for pitch, density, height, seconds in (
        (traits["pitch"], traits["crackles"], 1.0, 0.0015),
        (traits["pitch"] * 0.6, traits["crackles"] * 0.5, 1.2, 0.003),
        (traits["pitch"] * 0.25, traits["pops"], 3.0, 0.008),
    ):
        # Crackles come in bunches.
        at = _poisson(rng, density * fierce * np.clip(_wander(rng, samples, rate, 3), 0, None) * 2, rate)
        clicks = np.bincount(at, rng.lognormal(-0.4, 0.9, len(at)) * height, samples)
        grain = _noise(rng, round(8 * seconds * rate), rate, _band(pitch * 0.6, pitch * 1.8))
        sound += _convolved(clicks.astype(np.float32), grain * _decay(len(grain), rate, seconds))
    return sound


def _wind(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A low rush and a resonance that wanders, both rising with the speed; leaves above them."""
    traits, samples = body.traits, len(drive)
    gust = np.clip(drive * (1 + 0.25 * _wander(rng, samples, rate, traits["wander"])), 0, 1.2)
    pitch = traits["middle"] * (0.6 + 0.8 * gust) * np.exp(0.12 * _wander(rng, samples, rate, 0.5))
    rush = _noise(rng, samples, rate, _band(40, 1.2 * traits["middle"], 0.8))
    whistle = _narrow(rng, pitch, traits["width"], rate) + 0.4 * _narrow(rng, 2.1 * pitch, 2 * traits["width"], rate)
    leaves = _noise(rng, samples, rate, _band(2500, 8000, 1.0))
    rustle = np.clip(1 + 0.5 * _wander(rng, samples, rate, 6), 0, None)
    return (rush + traits["whistle"] * gust * whistle + traits["leaves"] * gust * rustle * leaves) * gust**1.5


def _engine(body: Body, drive: np.ndarray, rng: np.random.Generator, rate: int) -> np.ndarray:
    """Pulses of the cylinders, no two alike, read from one cycle of the crank and heard through a pipe; and
    noise in the same rhythm."""
    traits, samples = body.traits, len(drive)
    wheel = _convolved(drive, np.full(round(0.15 * rate), 1 / round(0.15 * rate), np.float32))  # inertia
    wheel[: round(0.15 * rate)] = np.maximum(wheel[: round(0.15 * rate)], drive[: round(0.15 * rate)])
    cycles = traits["idle"] + (traits["top"] - traits["idle"]) * wheel
    cycles = cycles * (1 + 0.01 * _wander(rng, samples, rate, 8))
    phase = np.cumsum(cycles, dtype=np.float64) / rate + rng.uniform()
    cylinders = int(traits["cylinders"])
    table = np.arange(4096) / 4096
    pulses = np.zeros(4096)
    for firing in (np.arange(cylinders) + 0.03 * rng.standard_normal(cylinders)) / cylinders:
        since = (table - firing) % 1.0
        width = traits["sharp"] / cylinders
        pulses += (1 + traits["uneven"] * rng.standard_normal()) * since / width * np.exp(1 - since / width)
    pulses -= pulses.mean()
    at = (phase % 1.0 * 4096).astype(np.int64)
    thump = _unit(pulses)[at].astype(np.float32)
    pipe = traits["pipe"]
    low, high = _band(30, pipe), _band(3 * pipe, traits["high"])
    thump = _filtered(thump, rate, lambda f: low(f) + 0.5 * high(f) + 0.05)
    rush = _noise(rng, samples, rate, _band(200, traits["high"])) * np.clip(1 + _unit(pulses)[at], 0, 3)
    return (1.5 * thump + traits["noise"] * (0.3 + wheel) * rush.astype(np.float32)) * (0.45 + 0.55 * wheel)


# ------------------------------------------------------------------------------------ putting together


def place(events: Iterable[tuple[float, np.ndarray]], duration: float, rate: int = RATE) -> np.ndarray:
    """Sounds at their times (seconds, to the nearest sample) in a silence of `duration` seconds, summed.

    What lies before 0 or after the end is cut. Where the sum would exceed 1 the whole is scaled down.
    """
    total = np.zeros(round(duration * rate), np.float32)
    for time, sound in events:
        first = round(time * rate)
        start, stop = max(first, 0), min(first + len(sound), len(total))
        if start < stop:
            total[start:stop] += sound[start - first : stop - first]
    peak = float(np.abs(total).max(initial=0.0))
    return total / peak if peak > 1 else total


def reverberate(sound: np.ndarray, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """The sound [n] in a room drawn anew: a decaying noise tail, 0.1 to 1.2 s, at -28 to -8 dB."""
    seconds = _spread(rng, 0.1, 1.2)
    samples = round(seconds * rate)
    tail = _noise(rng, samples, rate, _band(120, _spread(rng, 1500, 8000), 1.0)) * _decay(samples, rate, seconds / 6.9)
    tail[: round(rng.uniform(0.002, 0.02) * rate)] = 0  # the way to the nearest wall
    tail *= 10 ** (rng.uniform(-28, -8) / 20) / float(np.sqrt(np.square(tail).sum()))
    wet = sound + _convolved(sound, tail)
    return (wet / max(1.0, float(np.abs(wet).max(initial=0.0)))).astype(np.float32)


# ------------------------------------------------------------------------------------ words

#: What a person might type who wants to hear a sound of this kind.
WORDS: dict[str, tuple[str, ...]] = {
    "wood": (
        "wood", "wooden knock", "knocking on a table", "a stick hits wood", "knock on a wooden door",
        "wood block", "tapping on a wooden box", "a wooden thud", "a plank is struck", "chopping wood",
        "hammering on wood", "knocking", "a log hit with a stick", "dry wooden clack",
    ),
    "metal": (
        "metal", "metal clang", "a hammer hits an anvil", "a pipe falls on concrete", "banging on metal",
        "metallic impact", "a pan is struck", "clanking metal", "steel hitting steel", "a wrench dropped",
        "iron bar struck", "a metal sheet is hit", "ringing metal strike", "blacksmith hammering",
    ),
    "glass": (
        "glass", "glass clink", "two glasses touch", "tapping on a glass", "a bottle is struck",
        "clinking glasses", "a spoon against a glass", "glass tinkling", "a wine glass is tapped",
        "a jar is hit", "toast with glasses", "a small glass impact",
    ),
    "plastic": (
        "plastic", "plastic knock", "a plastic box is hit", "tapping on plastic", "a bucket is struck",
        "a plastic cup falls", "hollow plastic thud", "a toy is dropped", "plastic clatter",
        "hitting a plastic bottle", "a plastic lid is tapped", "a plastic container dropped",
    ),
    "drum": (
        "drum", "drum hit", "a drummer plays", "snare drum", "bass drum", "tom tom", "beating a drum",
        "kick drum", "hand drum", "drum beat", "a drum is struck", "drumming", "percussion", "drum kit",
    ),
    "bounce": (
        "bounce", "a ball bounces", "bouncing ball", "basketball dribbling", "a rubber ball on the floor",
        "ping pong ball", "table tennis", "a tennis ball bounces", "a ball hits the ground", "a marble drops",
        "ball hitting a wall", "dribbling a ball", "a bouncing toy ball",
    ),
    "footsteps": (
        "footsteps", "a person walks", "walking on a wooden floor", "steps on gravel", "walking",
        "someone running", "footsteps in the snow", "heels on stone", "steps in a corridor", "a man walking",
        "footsteps on concrete", "slow steps", "walking up the stairs", "a woman walks by",
    ),
    "splash": (
        "splash", "a stone falls into water", "water splash", "something drops into a pool", "splashing",
        "jumping into the water", "a splash in a pond", "a drop falls into water", "plop",
        "a fish jumps", "hand splashing in a bath", "diving into a lake", "a pebble thrown in water",
    ),
    "clock": (
        "clock", "clock ticking", "tick tock", "a wall clock", "ticking watch", "a clock in a quiet room",
        "grandfather clock", "ticking", "mechanical clock", "the ticking of an alarm clock",
        "second hand ticking", "kitchen timer ticking", "pendulum clock",
    ),
    "bell": (
        "bell", "a bell rings", "church bell", "hand bell", "shop door bell", "bell toll", "ringing bell",
        "a small bell", "bell strike", "a brass bell is struck", "bicycle bell", "distant church bells",
        "chime", "temple bell",
    ),
    "scrape": (
        "scrape", "scraping", "a chair dragged over the floor", "metal scraping", "scratching a surface",
        "dragging a box", "a knife is sharpened", "sanding wood", "sliding a heavy object", "sweeping",
        "rubbing stone on stone", "sawing", "a shovel scrapes", "furniture being moved",
    ),
    "rolling": (
        "rolling", "a ball rolls", "rolling marble", "a barrel rolls over the floor", "wheels on pavement",
        "a trolley rolls by", "skateboard rolling", "a suitcase on wheels", "a bowling ball rolls",
        "a cart on cobblestones", "a coin rolling", "rolling wheel", "something rolls on a table",
    ),
    "pour": (
        "pour", "pouring water", "water poured into a glass", "filling a glass", "a drink is poured",
        "pouring from a bottle", "filling a bucket", "water running into a basin", "pouring tea",
        "liquid pouring", "a tap fills the sink", "pouring coffee into a cup", "water flowing",
    ),
    "rain": (
        "rain", "rain falling", "heavy rain", "rain on a roof", "rain on leaves", "light rain", "a rainstorm",
        "raindrops on a window", "drizzle", "it is raining", "rain in the street", "pouring rain",
        "rain shower", "rain outside",
    ),
    "fire": (
        "fire", "fire crackling", "a campfire", "burning wood", "a fireplace", "crackling flames",
        "logs on the fire", "a bonfire", "flames", "a hearth fire", "fire burning", "embers crackle",
        "a burning house", "wood fire at night",
    ),
    "wind": (
        "wind", "wind blowing", "howling wind", "a storm wind", "a breeze in the trees", "strong wind",
        "gusts of wind", "wind through a window gap", "wind in the desert", "windy day", "whistling wind",
        "wind over the hills", "leaves rustling in the wind",
    ),
    "engine": (
        "engine", "engine running", "a car engine", "a motor idles", "a motorcycle", "truck engine",
        "an engine revs up", "moped driving", "a car accelerates", "motor noise", "diesel engine",
        "a car drives by", "engine hum", "a tractor",
    ),
}  # fmt: skip
