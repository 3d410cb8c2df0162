"""Kinds that sound as long as something moves: the same signal drives the motion and the level of the sound."""

from collections.abc import Callable

import numpy as np

from .canvas import Body, Shape, ellipse, limb, rectangle
from .motion import draw_wander, smooth
from .things import Act, Cast, block, contacts, disc, grained, hue, mix, paint, shade, vessel

STEP = 0.001  # seconds of the tables of what has to be summed up over time


def summed(rate: Callable[[np.ndarray], np.ndarray], start: float, end: float) -> Callable[[np.ndarray], np.ndarray]:
    """The integral of `rate` from `start` on, as a function of time (held outside start - 1 .. end + 1)."""
    grid = np.arange(start - 1.0, end + 1.0 + STEP, STEP)
    total = np.cumsum(rate(grid)) * STEP
    total -= np.interp(start, grid, total)
    return lambda t: np.interp(t, grid, total)


def gusts(cast: Cast, low: float, fast: float) -> Callable[[np.ndarray], np.ndarray]:
    """A level wandering between `low` and 1, with components up to `fast` Hz."""
    wander = draw_wander(cast.rng, 0.3, 0.15, fast, 4)
    base = cast.rng.uniform(0.45, 0.7)
    return lambda t: low + (1 - low) * np.clip(base + wander(t), 0, 1)


def scrape(kind: str, cast: Cast) -> Act:
    """A body rubbed to and fro over another; each stroke starts at once, sticks and slips, and stops."""
    rng = cast.rng
    stroke, pause = rng.uniform(0.15, 0.55), rng.uniform(0.08, 0.4)
    travel = rng.uniform(0.22, 0.45)
    time = cast.start + rng.uniform(0.05, 0.4) * min(1.0, cast.end - cast.start)
    starts: list[float] = []
    lengths: list[float] = []
    while not starts or time < cast.end - 0.08:
        starts.append(time)
        lengths.append(stroke * rng.uniform(0.8, 1.25))
        time += lengths[-1] + pause * rng.uniform(0.5, 1.5)
    begun, long = np.array(starts), np.array(lengths)
    signs = np.where(np.arange(len(begun)) % 2 == 0, 1.0, -1.0)
    slips = draw_wander(rng, rng.uniform(0.0, 0.3), 9, 30, 3)

    def speed(t: np.ndarray) -> np.ndarray:
        """Of each instant, -1..1: up in 25 ms, held with stick-slip, down in the last fifth."""
        k = np.clip(np.searchsorted(begun, t, side="right") - 1, 0, len(begun) - 1)
        since = t - begun[k]
        shape = smooth(since / 0.025) * smooth((long[k] - since) / (0.2 * long[k]))
        return signs[k] * shape * np.clip(1 + slips(t), 0.15, 1.6) / 1.6

    fastest = 1.6 * travel / (0.85 * stroke)
    way = summed(lambda t: speed(t) * fastest, cast.start, cast.end)
    material = ("wood", "metal", "plastic")[rng.integers(3)]
    height = rng.uniform(0.12, 0.25)
    base = (grained if material == "wood" else block)(0.85, height, paint(material, rng), cast, 0, height / 2)
    width, tall = rng.uniform(0.14, 0.28), rng.uniform(0.07, 0.16)
    tool = block(width, tall, paint("wood", rng), cast, 0, -tall / 2)
    sleeve, skin = np.array(paint("plastic", rng)), paint("skin", rng)

    def shapes(t: np.ndarray) -> list[Shape]:
        x = way(t) - travel / 2
        lean = 0.06 * speed(t)
        hand = np.stack([x, np.full_like(x, -tall - 0.015)], -1)
        elbow = np.stack([0.6 * x + 0.45, np.full_like(x, -0.55)], -1)
        out = [*base.at(0, 0, 0, count=len(t)), *tool.at(x, 0, lean), limb(elbow, hand, 0.08, 0.045, sleeve)]
        return out + Body().add(ellipse(0.06, 0.04, 0, 0, 14), skin).at(hand[:, 0], hand[:, 1])

    loud = np.clip(0.35 + 0.12 * fastest, 0.3, 0.9)
    places = np.stack([way(begun) - travel / 2, np.full(len(begun), -tall / 2)], -1)
    heard = contacts(begun, np.full(len(begun), loud), places, width, np.full(len(begun), 0.7 * fastest))
    return Act(
        kind,
        f"a block scrapes over {material}",
        shapes,
        heard,
        lambda t: np.abs(speed(t)) * np.clip(fastest / 2, 0.4, 1.2),
        (0.0, -0.08),
        width,
        0.6 * fastest,
        floor=height,
    )


def rolling(kind: str, cast: Cast) -> Act:
    """A ball or wheel rolling to and fro, in a bowl or on a plank; its sound follows its speed."""
    rng = cast.rng
    radius = rng.uniform(0.07, 0.14)
    body = disc(radius, paint("plastic" if rng.random() < 0.6 else "metal", rng), cast)
    bowl = rng.random() < 0.5
    curve = rng.uniform(0.45, 0.7)  # radius of the bowl's arc
    if bowl:
        rate, size, fade = rng.uniform(0.4, 0.9), rng.uniform(0.5, 0.85), rng.uniform(0.0, 0.15)
        phase = rng.uniform(0, 2 * np.pi)

        def place(t: np.ndarray) -> np.ndarray:  # angle in the bowl times its radius: way along the ground
            return curve * size * np.exp(-fade * (t - cast.start)) * np.sin(2 * np.pi * rate * t + phase)
    else:
        wander = draw_wander(rng, rng.uniform(0.15, 0.28), 0.15, 0.8, 3)
        place = wander.__call__

    def speed(t: np.ndarray) -> np.ndarray:
        return np.abs(place(t + 0.005) - place(t - 0.005)) / 0.01

    grid = np.linspace(cast.start, cast.end, 200)
    fastest = max(float(speed(grid).max()), 0.3)
    colour = paint("wood", rng)
    arc = np.linspace(-1.25, 1.25, 25)
    ground = curve + radius
    inner = np.stack([np.sin(arc) * ground, np.cos(arc) * ground - curve], -1)
    outer = np.stack([np.sin(arc) * (ground + 0.05), np.cos(arc) * (ground + 0.05) - curve], -1)
    trough = Body().add(np.concatenate([inner, outer[::-1]]), colour, False)
    plank = grained(1.5, 0.06, colour, cast, 0, radius + 0.03)

    def shapes(t: np.ndarray) -> list[Shape]:
        way = place(t)
        if bowl:
            angle = way / curve
            x, y = curve * np.sin(angle), curve * np.cos(angle) - curve
            return trough.at(0, 0, 0, count=len(t)) + body.at(x, y, way / radius - angle)
        return plank.at(0, 0, 0, count=len(t)) + body.at(way, 0, way / radius)

    return Act(
        kind,
        f"a ball rolls {'in a bowl' if bowl else 'on a plank'}",
        shapes,
        control=lambda t: speed(t) / fastest * np.clip(fastest / 1.2, 0.4, 1.0),
        centre=(0.0, -0.1 if bowl else 0.0),
        extent=2 * radius,
        activity=fastest,
        floor=None if bowl else radius + 0.06,
    )


def pour(kind: str, cast: Cast) -> Act:
    """A jug tipped over a glass: the stream falls, the level rises, and it sounds when the stream arrives."""
    rng = cast.rng
    length = cast.end - cast.start
    time, edges = cast.start + rng.uniform(-0.4, 0.35 * length), []
    while time < cast.end - 0.3:
        stop = time + rng.uniform(0.5, 1.8)
        edges.append((time, stop))
        time = stop + rng.uniform(0.4, 1.0)
    ripple = draw_wander(rng, 0.12, 2, 9, 3)
    gravity, top = rng.uniform(3, 6), -0.32
    tall, mouth = rng.uniform(0.26, 0.36), rng.uniform(0.24, 0.36)
    width = rng.uniform(0.015, 0.035)
    water = hue(rng.uniform(15, 230), rng.uniform(0.25, 0.7), rng.uniform(0.5, 0.9))
    glass = vessel(mouth, tall, paint("glass", rng), rng.uniform(0.7, 1.0))
    jug = Body().add(np.array([[-0.02, 0.0], [0.28, -0.06], [0.3, 0.24], [0.06, 0.26]]), paint("plastic", rng))
    jug.add(
        np.array(
            [
                [0.29, 0.0],
                [0.37, 0.02],
                [0.37, 0.17],
                [0.3, 0.19],
                [0.3, 0.16],
                [0.34, 0.14],
                [0.34, 0.05],
                [0.29, 0.04],
            ]
        ),
        (70, 70, 80),
        False,
    )

    def valve(t: np.ndarray) -> np.ndarray:
        """Flow that leaves the spout, 0..1."""
        flow = np.zeros(np.shape(t))
        for start, stop in edges:
            flow = np.maximum(flow, smooth((t - start) / 0.06) * smooth((stop - t) / 0.15))
        return flow * np.clip(0.8 + ripple(t), 0.3, 1.1)

    filled = summed(valve, cast.start, cast.end)
    most = max(float(filled(np.array([cast.end]))[0]), 0.5)

    def level(t: np.ndarray) -> np.ndarray:  # height of the water's surface (y)
        return tall * (0.85 - 0.7 * filled(t) / most)

    def fall(y: np.ndarray | float) -> np.ndarray:
        return np.sqrt(2 * np.maximum(np.asarray(y) - top, 0) / gravity)

    def arriving(t: np.ndarray) -> np.ndarray:
        return valve(t - fall(level(t)))

    speckle = [(rng.uniform(-0.4, 0.4), draw_wander(rng, 0.012, 5, 12, 2), rng.uniform(0.006, 0.014)) for _ in range(6)]

    def shapes(t: np.ndarray) -> list[Shape]:
        surface = level(t)
        half = mouth * 0.42
        out = glass.at(0, 0, 0, count=len(t))
        corners = np.stack(
            [
                np.stack([np.full_like(t, sx * half), v], -1)
                for sx, v in (
                    (-1, surface),
                    (1, surface),
                    (0.85, np.full_like(t, tall * 0.96)),
                    (-0.85, np.full_like(t, tall * 0.96)),
                )
            ],
            1,
        )
        out.append(Shape(corners, np.array(water)))
        heights = np.linspace(0, 1, 9)
        y = top + (surface[:, None] - top) * heights
        flow = valve(t[:, None] - fall(y))
        thick = width * flow * (1 - 0.35 * heights) * (1 + 0.25 * np.sin(40 * y - 30 * t[:, None]))
        middle = 0.012 * np.sin(9 * t[:, None] + 6 * heights)
        stream = np.concatenate([np.stack([middle - thick, y], -1), np.stack([middle + thick, y], -1)[:, ::-1]], 1)
        out.append(Shape(stream, np.array(shade(water, 1.2)), convex=False, shown=flow.max(axis=1) > 0.02))
        busy = arriving(t)
        for x, dance, size in speckle:
            out += (
                Body()
                .add(ellipse(size, size, 0, 0, 8), shade(water, 1.5))
                .at(x * half + dance(t), surface - np.abs(dance(t * 1.3)), 0, shown=busy > 0.1)
            )
        tip = 0.5 * smooth(np.clip(filled(t) / most, 0, 1)) + 0.25 * valve(t + 0.05)
        return out + jug.at(0.01, top - 0.02, -0.35 - tip + 0.25)

    starts = np.array([start for start, _ in edges])
    arrive = starts.copy()
    for _ in range(3):  # the fall ends at the level of that moment
        arrive = starts + 0.02 + fall(level(arrive))
    arrive = arrive[(arrive > cast.start + 0.02) & (arrive < cast.end - 0.03)]
    places = np.stack([np.zeros(len(arrive)), level(arrive)], -1)
    heard = contacts(arrive, np.full(len(arrive), 0.45), places, 0.12, np.full(len(arrive), 1.5))
    return Act(kind, "water is poured into a glass", shapes, heard, arriving, (0.05, -0.1), 0.25, 1.5, floor=tall)


def rain(kind: str, cast: Cast) -> Act:
    """Falling streaks and the rings of their drops on wet ground; denser when it rains harder."""
    rng = cast.rng
    count, rings = 70, 26
    fallen = gusts(cast, 0.15, 0.6)
    speed, slant, long = rng.uniform(1.8, 3.5), rng.uniform(-0.25, 0.25), rng.uniform(0.05, 0.14)
    wide = 1.1 * max(cast.aspect, 1.0)
    x, phase, pace = rng.uniform(-wide, wide, count), rng.uniform(0, 1.4, count), rng.uniform(0.8, 1.2, count)
    spots = np.stack([rng.uniform(-wide, wide, (rings, 32)), rng.uniform(0.24, 0.6, (rings, 32))], -1)
    beat, shift = rng.uniform(0.18, 0.3, rings), rng.uniform(0, 1, rings)
    ground = hue(rng.uniform(180, 240), rng.uniform(0.1, 0.35), rng.uniform(0.2, 0.45))
    wet = Body().add(rectangle(8, 2.4, 0, 1.4), ground)
    drop = shade(ground, 2.2)
    ring = ellipse(1.0, 0.35, corners=9)
    ring = np.concatenate([ring, ring[:1]])
    away = 50.0  # where what is not to be seen is put

    def shapes(t: np.ndarray) -> list[Shape]:
        level = fallen(t)[:, None]
        y = (phase + speed * pace * t[:, None]) % 1.4 - 0.85
        head = np.stack([x + slant * y, y], -1)
        tail = head - long * np.array([slant, 1.0])
        falls = np.stack([tail, head], 2) + away * (np.arange(count) / count > level)[..., None, None]
        turn = t[:, None] / beat + shift
        cycle = turn.astype(int) % 32
        spot = spots[np.arange(rings), cycle]
        size = 0.008 + 0.035 * (turn % 1.0)
        circles = spot[:, :, None] + ring * size[..., None, None]
        circles = circles + away * (np.arange(rings) / rings > level)[..., None, None]
        out = wet.at(0, 0, 0, count=len(t))
        out.append(Shape(circles, np.array(drop), 0.006))
        out.append(Shape(falls, np.array(drop), 0.007))
        return out

    return Act(kind, "rain falls", shapes, control=fallen, extent=0.6, activity=2.0)


def fire(kind: str, cast: Cast) -> Act:
    """Flames that flicker over logs, higher when they burn fiercely, with sparks."""
    rng = cast.rng
    burning = gusts(cast, 0.25, 2.5)
    tongues = [
        (
            x,
            rng.uniform(0.09, 0.15),
            rng.uniform(0.3, 0.5) * (1 - abs(x) * 1.6),
            draw_wander(rng, 0.16, 2, 8, 4),
            draw_wander(rng, 0.05, 0.8, 4, 3),
        )
        for x in np.linspace(-0.2, 0.2, 5) + rng.uniform(-0.02, 0.02, 5)
    ]
    u = np.linspace(0, 1, 9)
    profile = np.sin(np.pi * np.clip(u * 0.72 + 0.28, 0, 1)) ** 0.9 * (1 - u**3)
    layers = ((1.0, (30, 60, 205)), (0.72, (40, 140, 250)), (0.42, (120, 225, 255)))
    logs = Body()
    for angle in (0.18, -0.22):
        c, s = np.cos(angle), np.sin(angle)
        logs.add(rectangle(0.58, 0.075) @ np.array([[c, s], [-s, c]]) + [0, 0.04], hue(22, 0.6, rng.uniform(0.2, 0.35)))
    sparks = [
        (rng.uniform(-0.2, 0.2), rng.uniform(0.5, 1.3), rng.uniform(0, 3), rng.uniform(-0.2, 0.2)) for _ in range(9)
    ]
    glow = Body().add(ellipse(0.42, 0.1, 0, 0.06), (40, 90, 160))

    def shapes(t: np.ndarray) -> list[Shape]:
        level = burning(t)
        out = glow.at(0, 0, 0, (0.7 + 0.5 * level, 1.0))
        for share, colour in layers:
            for x, width, height, flicker, sway in tongues:
                tall = height * share * (0.35 + 0.9 * level) * np.clip(1 + flicker(t), 0.3, 1.7)
                lag = t[:, None] - 0.18 * u  # the sway runs up the flame
                middle = x + sway(lag) * u**1.5 * (0.5 + level[:, None])
                half = width * share * profile
                y = -tall[:, None] * u
                points = np.concatenate(
                    [np.stack([middle - half, y], -1), np.stack([middle + half, y], -1)[:, ::-1]], 1
                )
                out.append(Shape(points, np.array(colour, np.float64), convex=False))
        for x, pace, phase, drift in sparks:
            rise = (pace * t + phase) % 1.5
            fly = Body().add(ellipse(0.008, 0.008, 0, 0, 6), (90, 200, 255))
            out += fly.at(x + drift * rise + 0.02 * np.sin(9 * t + phase), -0.6 * rise, 0, shown=rise < 1.5 * level)
        return out + logs.at(0, 0, 0, count=len(t))

    return Act(
        kind,
        "a fire burns and crackles",
        shapes,
        control=burning,
        centre=(0.0, -0.18),
        extent=0.45,
        activity=1.2,
        floor=0.1,
    )


def wind(kind: str, cast: Cast) -> Act:
    """Grass that bends in travelling gusts, with a tree or a flag."""
    rng = cast.rng
    gust = gusts(cast, 0.08, 0.9)
    blades = 46
    wide = 1.05 * max(cast.aspect, 1.0)
    x = np.sort(rng.uniform(-wide, wide, blades))
    tall, stiff = rng.uniform(0.15, 0.34, blades), rng.uniform(0.7, 1.3, blades)
    phase, pace = rng.uniform(0, 2 * np.pi, blades), rng.uniform(1.5, 3.5, blades)
    green = hue(rng.uniform(50, 130), rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.6))
    u = np.array([0.0, 0.4, 0.75, 1.0])
    flag = rng.random() < 0.5
    cloth, pole = np.array(paint("plastic", rng)), Body().add(rectangle(0.025, 0.9, -0.25, -0.05), (90, 95, 100))
    trunk = np.array([[-0.04, 0.4], [0.04, 0.4], [0.025, -0.05], [-0.025, -0.05]])
    leaves = [
        (
            rng.uniform(-0.2, 0.2),
            rng.uniform(-0.38, -0.05),
            rng.uniform(0.09, 0.17),
            rng.uniform(0, 6),
            rng.uniform(0.75, 1.25),
        )
        for _ in range(12)
    ]
    bark, foot = hue(25, 0.5, 0.3), Body().add(rectangle(8, 1.6, 0, 1.2), shade(green, 0.7))

    def shapes(t: np.ndarray) -> list[Shape]:
        out: list[Shape] = []
        level = gust(t)
        if flag:
            out += pole.at(0, 0, 0, count=len(t))
            s = np.linspace(0, 1, 10)
            hang = (1 - level[:, None]) * 0.25 * s
            wave = 0.055 * s * (0.3 + level[:, None]) * np.sin(9 * s - 2 * np.pi * 2.2 * t[:, None])
            reach = 0.42 * s * (0.55 + 0.45 * level[:, None])
            top = np.stack([-0.24 + reach, -0.48 + wave + hang], -1)
            out.append(Shape(np.concatenate([top, (top + np.array([0.0, 0.24]))[:, ::-1]], 1), cloth, convex=False))
            out.append(
                Shape(
                    np.concatenate([top + np.array([0.0, 0.08]), (top + np.array([0.0, 0.15]))[:, ::-1]], 1),
                    cloth * 0.6,
                    convex=False,
                )
            )
        else:
            out += Body().add(trunk, bark).at(0, 0, 0, count=len(t))
            for lx, ly, size, ph, tone in leaves:
                away = (0.4 - ly) * 0.28
                shake = away * (level * 0.75 + 0.25 * (0.15 + level) * np.sin(2 * np.pi * 1.9 * t + ph))
                out += (
                    Body()
                    .add(ellipse(size, size * 0.8, 0, 0, 14), shade(green, tone))
                    .at(lx + shake, ly + 0.2 * shake, 0.5 * shake)
                )
        out += foot.at(0, 0, 0, count=len(t))
        local = gust(t[:, None] - 0.25 * x)  # the gust travels across the grass
        bend = stiff * (local * 0.8 + (0.06 + 0.18 * local) * np.sin(2 * np.pi * pace * t[:, None] + phase))
        bx = x[:, None] + tall[:, None] * (u**1.6) * np.sin(bend)[..., None]
        by = 0.42 - tall[:, None] * u * (0.4 + 0.6 * np.cos(bend))[..., None]
        out.append(Shape(np.stack([bx, by], -1), np.array(mix(green, (255, 255, 255), 0.12)), 0.011))
        return out

    what = "a flag" if flag else "a tree"
    return Act(kind, f"wind blows through grass and {what}", shapes, control=gust, extent=0.5, activity=0.8)


def engine(kind: str, cast: Cast) -> Act:
    """A machine that shakes while a crank drives its piston; both faster and wilder as it is driven harder."""
    rng = cast.rng
    drive = gusts(cast, 0.05, rng.uniform(0.4, 1.5))
    idle, top = rng.uniform(0.8, 2.0), rng.uniform(3.5, 6.5)  # turns a second
    turns = summed(lambda t: idle + (top - idle) * drive(t), cast.start, cast.end)
    colour, steel = paint("plastic", rng), paint("metal", rng)
    radius, crank, rod = rng.uniform(0.13, 0.18), 0.085, 0.26
    body = block(0.46, 0.3, colour, cast, 0.18, 0.05)
    for k in range(4):
        body.add(rectangle(0.36, 0.018, 0.2, -0.06 + 0.055 * k), shade(colour, 0.6))
    foot = Body().add(rectangle(0.8, 0.06, 0.0, 0.25), shade(steel, 0.5))
    wheel = disc(radius, steel, cast).add(ellipse(radius * 0.14, radius * 0.14, 0, 0, 10), (40, 40, 40))
    cylinder = Body().add(rectangle(0.17, 0.03, -0.22, -0.17), shade(steel, 0.6))
    piston = Body().add(rectangle(0.13, 0.1), shade(steel, 1.2)).add(rectangle(0.13, 0.02, 0, -0.03), shade(steel, 0.6))
    shake = rng.uniform(0.006, 0.02)
    puffs = 5

    def shapes(t: np.ndarray) -> list[Shape]:
        turn = 2 * np.pi * turns(t)
        level = drive(t)
        jolt = shake * (0.35 + level)
        jx, jy = jolt * np.sin(2 * turn + 0.7), jolt * np.sin(2 * turn)
        out = foot.at(0, 0, 0, count=len(t))
        for k in range(puffs):
            age = (0.8 * turns(t) + k / puffs) % 1.0
            grey = np.array([150.0, 150, 150]) + np.zeros((len(t), 3)) + 60 * age[:, None]
            puff = (
                Body()
                .add(ellipse(1, 1, 0, 0, 12), (0, 0, 0))
                .at(0.42 + 0.2 * age, -0.12 - 0.4 * age, 0, (0.02 + 0.07 * age,) * 2, age < 0.4 + 0.6 * level)
            )
            puff[0].colour = grey
            out += puff
        out += Body().add(rectangle(0.05, 0.12, 0.38, -0.13), shade(steel, 0.6)).at(jx, jy)
        out += body.at(jx, jy, 0.6 * jx)
        pin = np.stack([-0.22 + jx + crank * np.sin(turn), 0.06 + jy - crank * np.cos(turn)], -1)
        lift = np.sqrt(rod**2 - (crank * np.sin(turn)) ** 2)
        head = np.stack([-0.22 + jx, pin[:, 1] - lift], -1)
        out += wheel.at(-0.22 + jx, 0.06 + jy, turn)
        out += [limb(pin, head, 0.022, 0.018, np.array(shade(steel, 0.8)))]
        return out + piston.at(head[:, 0], head[:, 1]) + cylinder.at(jx, jy)

    speed = 2 * np.pi * crank * top * 0.7
    return Act(
        kind,
        "an engine runs and shakes",
        shapes,
        control=drive,
        centre=(0.02, -0.05),
        extent=0.4,
        activity=speed,
        floor=0.28,
    )
