"""Kinds that sound by contact: something hits something, and both are drawn from the same instants."""

from collections.abc import Callable

import numpy as np

from .canvas import Body, Shape, ellipse, knee, limb, rectangle
from .motion import Bounces, Strokes, draw_bounces, draw_strokes, rhythm, ringing, smooth
from .things import (
    NOTHING,
    Act,
    Cast,
    Contacts,
    anvil,
    block,
    contacts,
    disc,
    drum,
    grained,
    hue,
    paint,
    shade,
    vessel,
)

Target = Callable[[np.ndarray, np.ndarray], list[Shape]]  # instants [T], deflection [T] -> shapes

FULL_SPEED = 8.0  # picture heights per second: an approach this fast sounds at full strength


def strength_of(speeds: np.ndarray) -> np.ndarray:
    """Loudness of a contact from its speed of approach: a square-root law, so that light taps still sound."""
    return np.clip(np.sqrt(np.maximum(speeds, 0.0) / FULL_SPEED), 0.08, 1.0)


def target(kind: str, cast: Cast) -> tuple[Target, float, str]:
    """The struck body, touched at the origin from above: its drawing, its height and its name."""
    rng = cast.rng
    colour = paint(kind, rng)
    width, height = rng.uniform(0.28, 0.5), rng.uniform(0.14, 0.32)
    shake = rng.uniform(0.3, 1.0)
    if kind == "drum":
        shell, skin = drum(width * 1.2, height, colour)

        def drawn(t: np.ndarray, answer: np.ndarray) -> list[Shape]:
            return shell.at(0, 0.3 * answer, 0, count=len(t)) + skin.at(0, answer, 0, (1, 1 + 8 * answer))

        return drawn, height, "a drum"
    if kind == "metal" and rng.random() < 0.6:
        body, name = anvil(width, height, colour), "an anvil"
    elif kind == "glass":
        body, name = vessel(width * 0.5, height * 1.2, colour, rng.uniform(0.5, 0.9)), "a glass"
        height *= 1.2
    elif kind == "plastic" and rng.random() < 0.6:
        body, name = vessel(width * 0.8, height, colour, rng.uniform(1.1, 1.5)), "a plastic bucket"
    elif kind == "bell":
        body = Body().add(
            np.array([[-0.03, 0], [0.03, 0], [0.1, 0.05], [0.14, 0.16], [-0.14, 0.16], [-0.1, 0.05]]), colour
        )
        body.add(rectangle(0.34, 0.03, 0, 0.175), shade(colour, 0.6)).add(
            rectangle(0.02, 0.1, -0.06, 0.1), shade(colour, 1.4)
        )
        height, name = 0.19, "a bell"
    elif kind == "wood":
        body, name = grained(width, height, colour, cast, 0, height / 2), "a wooden block"
    else:
        body, name = block(width, height, colour, cast, 0, height / 2), f"a {kind} box"

    def rigid(t: np.ndarray, answer: np.ndarray) -> list[Shape]:
        return body.at(0, shake * answer, (1 - shake) * 3 * answer)

    return rigid, height, name


def answer_of(cast: Cast, times: np.ndarray, strengths: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Visible deflection of the struck body; 40 % of rough bodies stay still."""
    rng = cast.rng
    still = rng.random() < 0.4 * min(1.0, 2 * cast.hardness)
    amounts = strengths * (0.0 if still else rng.uniform(0.008, 0.03))
    frequency, decay = rng.uniform(4, 14), rng.uniform(0.08, 0.35)
    return lambda t: ringing(t, times, amounts, frequency, decay)


def beats(cast: Cast, rate: float | None = None) -> np.ndarray:
    """Contact times of a scene; harder scenes are faster."""
    if rate is None:
        top = 2.2 + 2.5 * cast.hardness
        rate = float(np.exp(cast.rng.uniform(np.log(0.7), np.log(top))))
    return rhythm(cast.rng, cast.start, cast.end, rate)


def joined(lanes: list[Strokes], places: list[np.ndarray], size: float) -> Contacts:
    """The landing strokes of several lanes in one list."""
    times = np.concatenate([s.times[s.lands] for s in lanes])
    speeds = np.concatenate([s.speeds()[s.lands] for s in lanes])
    bounce = np.concatenate([s.rebounds[s.lands] for s in lanes])
    where = np.concatenate([np.tile(p, (int(s.lands.sum()), 1)) for s, p in zip(lanes, places, strict=True)])
    return contacts(times, strength_of(speeds), where, size, speeds * (1 + bounce))


def dodge_of(cast: Cast) -> float:
    return 0.25 * cast.hardness if cast.rng.random() < 0.5 else 0.0


def stick(kind: str, cast: Cast, dodge: float | None = None) -> Act:
    """A pivoted tool (hammer, mallet, drumstick) swung by an arm onto a block, drum, glass ..."""
    rng = cast.rng
    roll = rng.random() < (0.08 if kind == "drum" or cast.rough else 0.0) + 0.12 * cast.hardness
    lanes = 2 if roll or rng.random() < (0.6 if kind == "drum" else 0.1) else 1
    times = beats(cast, rng.uniform(8, 12) if roll else None)
    drawn, height, name = target(kind, cast)
    reach = rng.uniform(0.1, 0.18) if roll else rng.uniform(0.26, 0.5)
    dodge = dodge_of(cast) if dodge is None else dodge
    strokes = [
        draw_strokes(rng, times[k::lanes], reach, dodge, 0.2 * cast.rough) for k in range(lanes) if len(times[k::lanes])
    ]
    length = rng.uniform(0.38, 0.6)
    half = 0.016 if kind == "drum" else rng.uniform(0.035, 0.08)  # of the head, across the handle
    handle, head = paint("wood", rng), paint(("drum", "metal", "wood", "plastic")[rng.integers(1, 4)], rng)
    tool = Body().add(rectangle(length * 1.08, 0.02 + 0.012 * (kind != "drum"), length * 0.46, 0), handle)
    if kind == "drum":
        tool.add(ellipse(0.024, half, length, 0, 12), shade(handle, 1.2))
        tool_name = "a drumstick"
    elif rng.random() < 0.6:
        wide = rng.uniform(0.07, 0.13)
        tool.add(rectangle(wide, 2 * half, length, 0), head).add(
            rectangle(wide, half * 0.5, length, half * 0.75), shade(head, 0.7)
        )
        tool_name = "a hammer"
    else:
        tool.add(ellipse(half, half, length, 0), head).add(
            ellipse(half * 0.4, half * 0.4, length - half * 0.3, -half * 0.3, 10), shade(head, 1.4)
        )
        tool_name = "a mallet"
    share = rng.uniform(0.1, 0.5)  # of the gap that the hand makes; the wrist makes the rest
    armed = rng.random() < 0.75 or cast.hardness == 0
    sleeve, skin = paint("plastic", rng), paint("skin", rng)
    elbow = np.array([-length - rng.uniform(0.25, 0.4), rng.uniform(0.05, 0.3)])
    offset = 0.09 if lanes == 2 else 0.0
    places = [np.array([(-offset, offset)[k], 0.0]) for k in range(len(strokes))]
    seen = joined(strokes, places, 2 * half + 0.08)
    answer = answer_of(cast, seen.times, seen.strengths)

    def shapes(t: np.ndarray) -> list[Shape]:
        out = drawn(t, answer(t))
        for k, lane in enumerate(strokes):
            side = (1.0, -1.0)[k]
            gap = lane.gap(t)
            px, py = places[k][0] - side * length, -half - share * gap
            angle = -(1 - share) * gap / length
            out += tool.at(px, py, side * angle, (side, 1.0))
            if armed:
                hand = np.stack([np.full_like(gap, px), py], -1)
                bent = np.stack([np.full_like(gap, side * elbow[0]), elbow[1] - 0.4 * share * gap], -1)
                shoulder = bent + np.array([-side * 1.6, 0.1])  # out of the picture
                out.append(limb(shoulder, bent, 0.1, 0.075, np.array(shade(sleeve, 0.85))))
                out.append(limb(bent, hand, 0.07, 0.04, np.array(sleeve)))
                out += Body().add(ellipse(0.042, 0.036, 0, 0, 14), skin).at(px, py)
        return out

    verb = "rolls on" if roll else "strikes"
    caption = f"{tool_name} {verb} {name}"
    room = reach + height + 0.15
    middle = (-0.1 if lanes == 1 else 0.0, height + 0.05 - room / 2)
    return Act(kind, caption, shapes, seen, None, middle, room=room, floor=height, turnable=kind != "glass")


def push(kind: str, cast: Cast) -> Act:
    """A body pushed straight onto another by an arm: a knock, a stamp, a thing put down hard."""
    rng = cast.rng
    drawn, height, name = target(kind, cast)
    lane = draw_strokes(rng, beats(cast), rng.uniform(0.22, 0.42), dodge_of(cast), 0.2 * cast.rough)
    size = rng.uniform(0.1, 0.24)
    mover = block(size, size * rng.uniform(0.7, 1.3), paint(("wood", "metal", "skin")[rng.integers(3)], rng), cast)
    low = float(max(p[:, 1].max() for p, _, _ in mover.parts[:1]))
    sleeve = np.array(paint("plastic", rng))
    lean = rng.uniform(-0.35, 0.35)
    seen = joined([lane], [np.zeros(2)], size)
    answer = answer_of(cast, seen.times, seen.strengths)

    def shapes(t: np.ndarray) -> list[Shape]:
        gap = lane.gap(t)
        wrist = np.stack([0.3 * lean * gap, -gap - low * 1.5], -1)
        elbow = wrist + np.array([lean, -0.6])
        arm = limb(elbow, wrist, 0.08, min(0.05, size * 0.4), sleeve)
        return [*drawn(t, answer(t)), arm, *mover.at(0.3 * lean * gap, -gap - low, 0)]

    caption = f"a block is knocked on {name}"
    return Act(kind, caption, shapes, seen, None, (0.0, -0.14), room=0.82, floor=height, turnable=kind != "glass")


def clap(kind: str, cast: Cast) -> Act:
    """Two bodies brought together and parted again."""
    rng = cast.rng
    lane = draw_strokes(rng, beats(cast), rng.uniform(0.3, 0.55), dodge_of(cast), 0.2 * cast.rough)
    width, height = rng.uniform(0.06, 0.16), rng.uniform(0.2, 0.4)
    bodies = [block(width, height, paint(kind, rng), cast, side * width / 2) for side in (-1, 1)]
    tilt = rng.uniform(0, 0.7)
    sleeve = np.array(paint("plastic", rng))
    seen = joined([lane], [np.zeros(2)], height)
    answer = answer_of(cast, seen.times, seen.strengths)

    def shapes(t: np.ndarray) -> list[Shape]:
        gap, out = lane.gap(t), []
        for body, side in zip(bodies, (-1.0, 1.0), strict=True):
            x, shift = side * gap / 2, answer(t)
            inner = np.stack([x + side * width, np.full_like(gap, 0.02)], -1)
            outer = np.stack([side * 1.1 + 0.3 * x, np.full_like(gap, 0.55)], -1)
            out += [limb(outer, inner, 0.08, 0.045, sleeve), *body.at(x, shift, side * tilt * gap)]
        return out

    return Act(kind, f"two pieces of {kind} clap together", shapes, seen, room=0.75, turnable=True)


def cradle(kind: str, cast: Cast) -> Act:
    """Hanging balls that hand their momentum on: the outer ones swing in turn."""
    rng = cast.rng
    count = int(rng.integers(2, 6))
    radius = min(rng.uniform(0.05, 0.1), 0.24 / count)
    cord, swing = rng.uniform(0.4, 0.55), rng.uniform(0.5, 1.0)
    half = rng.uniform(0.28, 0.6)  # seconds between contacts
    keep = rng.uniform(0.93, 0.995)
    first = cast.start + rng.uniform(0.15, 0.6) * half
    times = np.arange(first, cast.end - 0.04, half)
    size = swing * keep ** np.arange(-1, len(times))  # size[k]: swing that ends in contact k
    speeds = size[:-1] * cord * np.pi / half
    balls = [disc(radius, paint(kind, rng), cast, spokes=cast.rough > 0.3) for _ in range(count)]
    beam = Body().add(rectangle(count * 2 * radius + 0.25, 0.05, 0, -cord - radius - 0.02), paint("wood", rng))
    xs = (np.arange(count) - (count - 1) / 2) * 2 * radius
    flip = int(rng.integers(2))
    edge = np.array([[xs[0] + radius, 0.0], [xs[-1] - radius, 0.0]])
    seen = contacts(times, strength_of(speeds * 1.5), edge[(np.arange(len(times)) + flip) % 2], 2 * radius, speeds)

    def shapes(t: np.ndarray) -> list[Shape]:
        turn = (t - first) / half
        k = np.floor(turn).astype(int)  # the swing after contact k
        angle = size[np.clip(k + 1, 0, len(size) - 1)] * np.sin(np.pi * (turn - k))
        out = beam.at(0, 0, 0, count=len(t))
        for i, ball in enumerate(balls):
            outer = (i == 0) - (i == count - 1)
            mine = ((k + flip) % 2 == 1) if i == 0 else ((k + flip) % 2 == 0)
            a = np.where(mine, angle, 0.0) * outer if outer else np.zeros(len(t))
            x, y = xs[i] - cord * np.sin(a), -cord + cord * np.cos(a)
            line = np.stack([np.stack([np.full_like(x, xs[i]), np.full_like(x, -cord)], -1), np.stack([x, y], -1)], 1)
            out.append(Shape(line[:, None], np.array([90.0, 90, 90]), 0.008))
            out += ball.at(x, y, a)
        return out

    return Act(kind, f"{kind} balls on strings swing and click together", shapes, seen, None, (0.0, -0.25), room=0.8)


def recoil(kind: str, cast: Cast) -> Act:
    """A machine that jerks back at once and returns slowly, with or without a flash."""
    rng = cast.rng
    times = beats(cast)
    kick, back = rng.uniform(0.06, 0.16), rng.uniform(0.12, 0.35)
    lift = rng.uniform(0.0, 0.5)
    flash = rng.random() < 0.5
    colour = paint("metal", rng)
    body = block(0.36, 0.14, colour, cast, -0.18).add(rectangle(0.16, 0.06, 0.07, 0), shade(colour, 0.7))
    body.add(np.array([[-0.3, 0.06], [-0.2, 0.06], [-0.24, 0.28], [-0.34, 0.28]]), shade(colour, 0.55))
    spark = np.array([[0.15, -0.02], [0.3, -0.12], [0.26, -0.02], [0.42, 0.0], [0.26, 0.03], [0.3, 0.12], [0.15, 0.02]])
    light = Body().add(spark, (140, 230, 255), False)
    jolts = np.full(len(times), kick / 0.03)
    seen = contacts(times, rng.uniform(0.6, 1.0, len(times)), np.array([0.05, 0.0]), 0.35, jolts)

    def shapes(t: np.ndarray) -> list[Shape]:
        since = t[:, None] - times[None]
        jerk = np.where(since > 0, np.minimum(since / 0.03, 1) * np.exp(-np.maximum(since - 0.03, 0) / back), 0)
        jerk = jerk.max(axis=1) if len(times) else np.zeros(len(t))
        out = body.at(-kick * jerk, -0.3 * lift * kick * jerk, -lift * jerk * 0.4)
        if flash:
            lit = ((since >= 0) & (since < 0.055)).any(axis=1)
            out += light.at(-kick * jerk, -0.3 * lift * kick * jerk, 0, shown=lit)
        return out

    return Act(kind, f"a {kind} machine bangs and recoils", shapes, seen, None, (-0.12, 0.05), room=0.7, turnable=True)


def fingers(kind: str, cast: Cast) -> Act:
    """Several small strikers side by side, together 4 to 12 strokes a second: typing, drumming fingers."""
    rng = cast.rng
    count = int(rng.integers(3, 7))
    times = beats(cast, rng.uniform(4, 12))
    turn = rng.integers(0, count, len(times))
    turn = np.where(np.diff(turn, prepend=-1) == 0, (turn + 1) % count, turn)
    lanes, places = [], []
    step = 0.7 / count
    for k in range(count):
        mine = times[turn == k]
        if len(mine):
            lanes.append(draw_strokes(rng, mine, rng.uniform(0.07, 0.14), 0.0, 0.2 * cast.rough))
            places.append(np.array([(k - (count - 1) / 2) * step, 0.0]))
    colour, skin = paint(kind, rng), np.array(paint("skin", rng))
    keys = [block(step * 0.9, 0.1, colour, cast, 0, 0.05) for _ in range(count)]
    sleeve = np.array(paint("plastic", rng))
    seen = joined(lanes, places, step * 0.7)

    def shapes(t: np.ndarray) -> list[Shape]:
        out: list[Shape] = []
        for k in range(count):
            out += keys[k].at((k - (count - 1) / 2) * step, 0.0, count=len(t))
        base = np.tile([0.1, -0.22], (len(t), 1))
        out.append(limb(np.tile([0.35, -0.6], (len(t), 1)), base, 0.12, 0.1, sleeve))
        for lane, place in zip(lanes, places, strict=True):
            gap = lane.gap(t)
            tip = np.stack([np.full_like(gap, place[0]), -gap - 0.014], -1)
            root = base + np.array([0.5 * place[0], 0.0])
            out.append(limb(root, tip, 0.04, 0.02, skin))
        return out

    return Act(kind, f"fingers tap fast on {kind} keys", shapes, seen, None, (0.0, -0.12), room=0.65, floor=0.1)


def drop(kind: str, cast: Cast) -> Act:
    """Things dropped on the ground, one after the other, each bouncing until it lies still."""
    rng = cast.rng
    ball = kind == "bounce"
    radius = rng.uniform(0.06, 0.14) if ball else rng.uniform(0.05, 0.1)
    colour = paint("plastic" if ball else kind, rng)
    body = disc(radius, colour, cast) if ball else block(2 * radius, 2 * radius, colour, cast)
    runs: list[Bounces] = []
    time = cast.start + rng.uniform(0.1, 0.5) * min(1.0, cast.end - cast.start)
    while not runs or time < cast.end - 0.1:
        runs.append(draw_bounces(rng, time, cast.end - 0.03, rng.uniform(0.3, 0.62)))
        time = runs[-1].times[-1] + rng.uniform(0.5, 1.0)
    starts = [cast.start - 9.0] + [r.times[0] - np.sqrt(2 * r.height / r.gravity) - 0.05 for r in runs[1:]]
    ends = [*starts[1:], cast.end + 9.0]
    xs = rng.uniform(-0.15, 0.15, len(runs))
    drift, spin = rng.uniform(-0.18, 0.18, len(runs)), rng.uniform(-5, 5)
    soft = rng.uniform(0.1, 0.35) if ball else 0.0
    settle = [r.times[-1] for r in runs]

    def path(k: int, t: np.ndarray) -> np.ndarray:
        return xs[k] + drift[k] * (np.minimum(t, settle[k]) - runs[k].times[0])

    times = np.concatenate([r.times for r in runs])
    speeds = np.concatenate([r.speeds for r in runs])
    kept = np.concatenate([np.full(len(r.times), r.rebound) for r in runs])
    places = np.concatenate([np.stack([path(k, r.times), np.zeros(len(r.times))], -1) for k, r in enumerate(runs)])
    seen = contacts(times, strength_of(speeds * 2), places, 2 * radius, speeds * (1 + kept))

    def shapes(t: np.ndarray) -> list[Shape]:
        out: list[Shape] = []
        for k, run in enumerate(runs):
            here = (t >= starts[k]) & (t < ends[k])
            if not here.any():
                continue
            gap = run.gap(t)
            since = np.min(np.abs(t[:, None] - run.times[None]), axis=1)
            squash = 1 - soft * np.exp(-since / 0.03) * np.clip(1 - gap / radius, 0, 1)
            angle = spin * (np.clip(t, run.times[0] - 1, settle[k]) - run.times[0]) if ball else 0.0
            x = path(k, np.maximum(t, run.times[0]))
            shadow = Body().add(ellipse(radius, radius * 0.14, 0, 0.01, 14), (40, 40, 40))
            out += shadow.at(x, 0.0, 0, (1 / (1 + 2 * gap), 1.0), here)
            if ball:  # the spokes turn, the flattening stays upright
                turned = body.at(0.0, 0.0, angle, (1, 1), here, count=len(t))
                for shape in turned:
                    shape.points = shape.points * np.stack([2 - squash, squash], -1)[:, None]
                    shape.points = shape.points + np.stack([x, -gap - radius * squash], -1)[:, None]
                out += turned
            else:
                out += body.at(x, -gap - radius, 0.0, (1, 1), here)
        return out

    name = "a ball bounces" if ball else f"a {kind} block falls and bounces"
    return Act(kind, name, shapes, seen, None, (0.0, -0.3), room=0.85, floor=0.0)


def impact(kind: str, cast: Cast) -> Act:
    """A strike on `kind` in one of the ways in which things strike."""
    ways = [stick, push, clap, cradle, recoil, fingers, drop]
    weights = np.array([0.46, 0.16, 0.08, 0.08, 0.07, 0.03 + 0.1 * cast.hardness, 0.1])
    if kind == "drum":
        weights = weights * [1, 1, 0, 0, 1, 0, 0]
    return ways[int(cast.rng.choice(len(ways), p=weights / weights.sum()))](kind, cast)


def footsteps(kind: str, cast: Cast, silent: bool = False) -> Act:
    """A walking or running figure; a foot is set down at each contact and stays there while the other swings.

    With `silent` nothing sounds: the feet never reach the ground (a person out of contact).
    """
    rng = cast.rng
    period = float(np.exp(rng.uniform(np.log(0.3), np.log(0.7))))
    follow = rng.random() < 0.6
    closeup = rng.random() < 0.5 * (cast.rough > 0)
    thigh = 0.27 if closeup else 0.2
    leg = 2 * thigh
    stride = rng.uniform(0.75, 1.15) * thigh * (1.2 if period < 0.42 else 1.0)
    speed = stride / period
    lift = rng.uniform(0.25, 0.5) * thigh
    first = cast.start + rng.uniform(0.1, 1.0) * period - 4 * period
    times = np.arange(first, cast.end + 3 * period, period)
    count = len(times)
    spots = (times - times[0]) * speed + 0.45 * stride  # where each foot lands, in ground coordinates
    heard = (times > cast.start + 0.03) & (times < cast.end - 0.03)
    middle = (cast.start + cast.end) / 2
    floating = rng.uniform(0.08, 0.2) if silent else 0.0
    trousers, shoe, shirt, skin = (
        paint("plastic", rng),
        hue(rng.uniform(0, 360), 0.4, 0.25),
        paint("plastic", rng),
        paint("skin", rng),
    )
    bob_size, lean = rng.uniform(0.006, 0.016), rng.uniform(0.0, 0.2) * (period < 0.42)

    def hip_x(t: np.ndarray) -> np.ndarray:
        return (t - times[0]) * speed

    def shown_x(t: np.ndarray, x: np.ndarray) -> np.ndarray:
        return x - (hip_x(t) if follow else hip_x(np.full_like(t, middle)))

    def foot(t: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        mine = np.arange(side, count, 2)
        k = mine[np.clip(np.searchsorted(times[mine], t, side="right") - 1, 0, len(mine) - 2)]
        start, land = times[k] + 1.12 * period, times[k] + 2 * period
        u = np.clip((t - start) / (land - start), 0, 1)
        x = spots[k] + (spots[np.minimum(k + 2, count - 1)] - spots[k]) * smooth(u**0.85)
        y = -lift * 1.9 * np.sqrt(u) * (1 - u**2.2)
        return x, y

    def hips(t: np.ndarray) -> np.ndarray:
        """Just low enough for the legs to reach both feet; lowest when a foot is set down."""
        high = np.sqrt(leg**2 - (0.66 * stride) ** 2)
        return -0.985 * high - 0.035 + bob_size * np.cos(2 * np.pi * (t - times[0]) / period)

    def shapes(t: np.ndarray) -> list[Shape]:
        out: list[Shape] = []
        hip = np.stack([shown_x(t, hip_x(t)), hips(t) - floating], -1)
        swing = np.pi * (t - times[0]) / period
        chest = hip + np.array([lean * 0.25, -1.35 * thigh])
        for side in (1, 0):  # the far side first
            tone = 0.75 if side else 1.0
            x, y = foot(t, side)
            ankle = np.stack([shown_x(t, x), y - floating - 0.035], -1)
            bend = knee(hip, ankle, thigh, thigh, -1.0)
            out.append(limb(hip, bend, 0.06 * thigh / 0.19, 0.045 * thigh / 0.19, np.array(shade(trousers, tone))))
            out.append(
                limb(bend, ankle, 0.045 * thigh / 0.19, 0.03 * thigh / 0.19, np.array(shade(trousers, tone * 0.9)))
            )
            sole = Body().add(
                np.array([[-0.035, -0.03], [0.02, -0.03], [0.08, 0.01], [0.08, 0.035], [-0.04, 0.035]]),
                shade(shoe, tone),
            )
            out += sole.at(ankle[:, 0], ankle[:, 1], np.clip(-y / lift, 0, 1) * 0.35)
            arm = 0.5 * np.sin(swing + np.pi * side)
            elbow = chest + 0.16 * np.stack([np.sin(arm), np.cos(arm)], -1)
            hand = elbow + 0.14 * np.stack([np.sin(arm + 0.5), np.cos(arm + 0.5)], -1)
            sleeve = np.array(shade(shirt, tone * 0.85))
            pieces = [limb(chest, elbow, 0.04, 0.035, sleeve), limb(elbow, hand, 0.034, 0.025, np.array(skin))]
            if side:
                out += [*pieces, limb(hip, chest, 0.085, 0.1, np.array(shirt))]
                out += Body().add(ellipse(0.07, 0.085), skin).at(chest[:, 0] + 0.02, chest[:, 1] - 0.15)
            else:
                front = pieces
        out += front
        if follow:  # marks on the ground glide by
            for mark in range(8):
                x = (mark * 0.35 - hip_x(t)) % 2.8 - 1.4
                out += Body().add(rectangle(0.12, 0.012, 0, 0.06), (70, 70, 70)).at(x, 0.0)
        return out

    mine = times[heard]
    landing = spots[heard]
    places = np.stack([shown_x(mine, landing), np.zeros(len(mine))], -1)
    jolts = np.full(len(mine), 1.5 * speed + 4 * lift / period)
    seen = contacts(mine, rng.uniform(0.35, 0.75) * rng.uniform(0.85, 1.15, len(mine)), places, 0.12, jolts)
    verb = "runs" if period < 0.42 else "walks"
    caption = f"a person {verb}" if silent else f"footsteps: a person {verb}"
    centre = (0.0, -0.34 if closeup else -0.42)
    return Act(
        kind,
        caption,
        shapes,
        NOTHING if silent else seen,
        None,
        centre,
        room=0.7 if closeup else 0.95,
        floor=None if silent else 0.0,
    )


def splash(kind: str, cast: Cast) -> Act:
    """Drops or stones falling into a pool: ripples spread and droplets fly from each contact."""
    rng = cast.rng
    stones = rng.random() < 0.5
    times = beats(cast, rng.uniform(0.8, 2.5) if stones else rng.uniform(1.5, 4.0))
    n = len(times)
    sizes = rng.uniform(0.05, 0.1, n) if stones else rng.uniform(0.018, 0.035, n)
    spots = np.stack([rng.uniform(-0.25, 0.25, n), rng.uniform(-0.04, 0.05, n)], -1)
    gravity = rng.uniform(4, 8)
    speeds = np.sqrt(2 * gravity * 0.8) * np.ones(n)
    water = hue(rng.uniform(180, 225), rng.uniform(0.35, 0.7), rng.uniform(0.35, 0.75))
    pale = shade(water, 1.6)
    colour = paint("wood" if stones else "glass", rng)
    spread = [(rng.uniform(-0.5, 0.5, 7), rng.uniform(0.5, 1.3, 7)) for _ in range(n)]
    pool = Body().add(ellipse(0.62, 0.17, 0, 0.02, 40), shade(water, 0.8)).add(ellipse(0.58, 0.15, 0, 0.015, 40), water)
    circle = ellipse(1.0, 0.26)
    circle = np.concatenate([circle, circle[:1]])

    def shapes(t: np.ndarray) -> list[Shape]:
        out = pool.at(0, 0, 0, count=len(t))
        flying: list[Shape] = []
        for k in range(n):
            since = t - times[k]
            wet = (since >= 0) & (since < 0.9)
            if wet.any():
                for lag in (0.0, 0.12):
                    age = since - lag
                    radius = np.maximum(0.6 * sizes[k] + 0.35 * np.maximum(age, 0) * (0.7 + 4 * sizes[k]), 1e-3)
                    ring = (spots[k] + circle * radius[:, None, None])[:, None]
                    fade = np.clip(1 - age / 0.8, 0, 1)[:, None]
                    tone = np.array(water) + (np.array(pale) - np.array(water)) * fade
                    out.append(Shape(ring, tone, 0.014, wet & (age > 0) & (fade[:, 0] > 0.05)))
                vx, vy = spread[k]
                force = np.sqrt(sizes[k] / 0.06)
                for i in range(len(vx)):
                    x = spots[k, 0] + vx[i] * force * since
                    y = spots[k, 1] - vy[i] * force * since + 0.5 * gravity * since**2
                    up = (since >= 0) & (y < spots[k, 1])
                    flying += Body().add(ellipse(0.013, 0.016, 0, 0, 8), pale).at(x, y, 0, (force, force), up)
            falling = (since < 0) & (since > -1.0)
            if falling.any():
                y = spots[k, 1] - sizes[k] - 0.8 + 0.5 * gravity * np.maximum(since + np.sqrt(1.6 / gravity), 0) ** 2
                long = 1.0 if stones else 1.5
                flying += (
                    Body()
                    .add(ellipse(sizes[k], sizes[k]), colour)
                    .at(spots[k, 0], y, 0.0, (1 / long, long), falling & (since > -np.sqrt(1.6 / gravity)))
                )
        return out + flying

    seen = contacts(times, np.clip(0.3 + 7 * sizes, 0, 1), spots, 2 * sizes + 0.05, speeds)
    caption = "stones splash into water" if stones else "drops fall into water"
    return Act(kind, caption, shapes, seen, None, (0.0, -0.18), room=0.85)


def clock(kind: str, cast: Cast) -> Act:
    """A clock whose hand jumps and stops dead at every tick; often a pendulum keeps it company."""
    rng = cast.rng
    period = float((0.5, 1.0, 0.25, 0.6)[rng.integers(4)]) * rng.uniform(0.9, 1.1)
    times = np.arange(cast.start + rng.uniform(0.1, 0.95) * period, cast.end - 0.03, period)
    step = 2 * np.pi / float((60, 60, 12, 20)[rng.integers(4)])
    travel = rng.uniform(0.03, 0.06)  # seconds; the tick is the stop
    radius = rng.uniform(0.3, 0.42)
    case = paint("wood" if rng.random() < 0.5 else "plastic", rng)
    face = (
        Body()
        .add(ellipse(radius * 1.12, radius * 1.12, 0, 0, 40), case)
        .add(ellipse(radius, radius, 0, 0, 40), (228, 238, 240))
    )
    for k in range(12):
        a = k * np.pi / 6
        turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        face.add(rectangle(0.012, 0.045 if k % 3 else 0.07, 0, -radius * 0.86) @ turn, (50, 45, 45))
    hand = Body().add(
        np.array([[-0.012, 0.08], [0.012, 0.08], [0.006, -radius * 0.86], [-0.006, -radius * 0.86]]), (40, 40, 200)
    )
    hand.add(ellipse(0.025, 0.025, 0, 0, 12), (40, 40, 200))
    slow = Body().add(rectangle(0.026, radius * 0.6, 0, -radius * 0.27), (40, 40, 40))
    wide = rng.random() < 0.5
    bob = (
        Body()
        .add(rectangle(0.014, radius * 1.5, 0, radius * 0.75), (60, 90, 120))
        .add(ellipse(0.07, 0.07, 0, radius * 1.5), paint("metal", rng))
    )
    origin, hour = rng.uniform(0, 2 * np.pi, 2)
    begin = times[0] if len(times) else cast.start

    def shapes(t: np.ndarray) -> list[Shape]:
        turn = (t - begin) / period
        done = np.ceil(turn)  # the tick that is coming (or just arrives) takes the hand to done * step
        u = np.clip(1 - (done - turn) * period / travel, 0, 1)
        since = (turn - np.floor(turn)) * period
        shiver = 0.18 * np.exp(-since / 0.03) * np.sin(2 * np.pi * 18 * since)
        angle = origin + step * (done - 1 + u**2 + shiver)
        out: list[Shape] = []
        if wide:
            out += bob.at(0, radius * 0.5, 0.3 * np.cos(np.pi * turn))
        out += face.at(0, 0, 0, count=len(t)) + slow.at(0, 0, hour, count=len(t))
        return out + hand.at(0, 0, angle)

    jolts = np.full(len(times), 2 * step * radius / travel)
    level = rng.uniform(0.4, 0.8)
    seen = contacts(times, np.full(len(times), level), np.zeros(2), 0.02 + step * radius, jolts)
    return Act(kind, "a clock ticks", shapes, seen, extent=2 * radius)


def bell(kind: str, cast: Cast) -> Act:
    """A swinging bell: near the end of each swing the clapper overtakes the wall and strikes it."""
    rng = cast.rng
    if rng.random() < 0.25:
        return stick(kind, cast)
    half = rng.uniform(0.35, 0.8)  # seconds between strikes
    first = cast.start + rng.uniform(0.15, 0.95) * half
    times = np.arange(first, cast.end - 0.04, half)
    swing, early = rng.uniform(0.35, 0.7), rng.uniform(0.1, 0.22)  # the strike comes before the turn
    colour = paint("bell", rng)
    height, width = rng.uniform(0.38, 0.5), rng.uniform(0.2, 0.27)  # width: half the mouth
    curve = np.array([[0.18, 0.0], [0.42, 0.06], [0.55, 0.25], [0.62, 0.55], [0.78, 0.85], [1.0, 1.0]]) * [
        width,
        height,
    ]
    outline = np.concatenate([curve, curve[::-1] * [-1, 1]])
    shell = Body().add(outline, colour, False)
    shell.add(np.array([[-0.4, 0.2], [-0.25, 0.2], [-0.42, 0.9], [-0.62, 0.9]]) * [width, height], shade(colour, 1.35))
    shell.add(rectangle(2 * width, 0.035, 0, height), shade(colour, 0.7)).add(
        rectangle(0.07, 0.06, 0, -0.02), shade(colour, 0.6)
    )
    knob, rope = 0.05, height * 1.08
    tongue = (
        Body().add(rectangle(0.02, rope, 0, rope / 2), (60, 60, 60)).add(ellipse(knob, knob, 0, rope, 16), (70, 75, 80))
    )
    reach = float(np.arcsin((width * 0.98 - knob) / rope))  # the clapper's angle in the bell at contact
    beam = Body().add(rectangle(0.9, 0.06, 0, -0.07), paint("wood", rng))
    answer = answer_of(cast, times, np.full(len(times), 0.6))

    def swung(t: np.ndarray) -> np.ndarray:
        return swing * np.sin(np.pi * ((t - first) / half + 0.5 - early))

    def shapes(t: np.ndarray) -> list[Shape]:
        turn = (t - first) / half
        k = np.floor(turn)
        u = turn - k
        side = np.where(k % 2 == 0, -1.0, 1.0)  # the wall struck at k, left behind for the other one
        u = np.clip((u - 0.25) / 0.75, 0, 1)
        inside = side * reach * (1 - 2 * u**1.8)
        angle = swung(t) + answer(t)
        return beam.at(0, -0.2, 0, count=len(t)) + tongue.at(0, -0.2, angle - inside) + shell.at(0, -0.2, angle)

    sides = np.where(np.arange(len(times)) % 2 == 0, -1.0, 1.0)
    turned = swung(times) - sides * reach
    places = np.stack([-np.sin(turned) * rope, -0.2 + np.cos(turned) * rope], -1)
    jolts = np.full(len(times), 2 * 1.8 * 2 * reach * rope / (0.75 * half))
    seen = contacts(times, np.full(len(times), rng.uniform(0.55, 0.95)), places, 0.25, jolts)
    return Act(kind, "a bell swings and rings", shapes, seen)
