"""Motion that makes no sound: smooth movers, waving limbs, strokes that stop short, people out of contact."""

import numpy as np

from .canvas import Body, Shape, ellipse, limb, rectangle
from .motion import draw_wander
from .strikes import footsteps, stick
from .things import Act, Cast, block, disc, paint, shade


def drifting(cast: Cast) -> Act:
    """A body that floats, turns and swells smoothly."""
    rng = cast.rng
    size = rng.uniform(0.1, 0.3)
    body = (
        disc(size, paint("plastic", rng), cast)
        if rng.random() < 0.5
        else block(size, size * 1.4, paint("wood", rng), cast)
    )
    x, y = (
        draw_wander(rng, rng.uniform(0.05, 0.25), 0.1, 0.7, 2),
        draw_wander(rng, rng.uniform(0.03, 0.15), 0.1, 0.7, 2),
    )
    turn, swell = (
        draw_wander(rng, rng.uniform(0.1, 0.8), 0.1, 0.6, 2),
        draw_wander(rng, rng.uniform(0.0, 0.15), 0.2, 1.2, 2),
    )

    def shapes(t: np.ndarray) -> list[Shape]:
        grown = np.exp(swell(t))
        return body.at(x(t), y(t), turn(t), (grown, grown))

    return Act("silent", "something drifts", shapes, turnable=True)


def swinging(cast: Cast) -> Act:
    """A pendulum: a sign, a lamp, a swing."""
    rng = cast.rng
    length, size = rng.uniform(0.3, 0.6), rng.uniform(0.08, 0.2)
    colour = paint("metal", rng)
    body = Body().add(rectangle(0.015, length, 0, length / 2), (70, 70, 70))
    body.add(ellipse(size / 2, size / 2, 0, length), colour).add(
        ellipse(size / 5, size / 5, size * 0.1, length), shade(colour, 0.6)
    )
    rate, phase, wide = rng.uniform(0.4, 1.3), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9)

    def shapes(t: np.ndarray) -> list[Shape]:
        return body.at(0, -0.3, wide * np.sin(2 * np.pi * rate * t + phase))

    return Act("silent", "something swings", shapes)


def waving(cast: Cast) -> Act:
    """One or two jointed arms that wave together, with effort but without contact."""
    rng = cast.rng
    rate, wide = rng.uniform(0.6, 2.6), rng.uniform(0.3, 1.0)
    sleeve, skin = np.array(paint("plastic", rng)), paint("skin", rng)
    arms = [(side, rng.uniform(-0.4, 0.4), rng.uniform(0, 1.0), rng.uniform(-0.8, 0.8)) for side in (-1.0, 1.0)]
    arms = arms[: int(rng.integers(1, 3))]
    slow = draw_wander(rng, 0.2, 0.1, 0.5, 2)

    def shapes(t: np.ndarray) -> list[Shape]:
        out: list[Shape] = []
        for side, base, lag, lift in arms:
            turn = 2 * np.pi * rate * t
            a = base + lift + slow(t) + 0.5 * wide * np.sin(turn)
            b = a - 0.6 + wide * np.sin(turn - lag)
            c = b + 0.5 * wide * np.sin(turn - 2 * lag)
            joint = np.tile([side * 0.12, 0.25], (len(t), 1))
            for angle, length, thick, tone in ((a, 0.24, 0.06, 1.0), (b, 0.22, 0.048, 0.85), (c, 0.1, 0.035, 1.0)):
                end = joint + length * np.stack([side * np.sin(angle), -np.cos(angle)], -1)
                colour = np.array(skin) if length == 0.1 else sleeve * tone
                out.append(limb(joint, end, thick, thick * 0.8, colour))
                joint = end
        return out

    return Act("silent", "arms wave", shapes)


def dodged(cast: Cast) -> Act:
    """A tool swung again and again that always stops softly before it touches."""
    act = stick(("wood", "metal", "drum")[cast.rng.integers(3)], cast, dodge=1.0)
    return Act("silent", "someone swings a tool without striking", act.shapes, centre=act.centre, turnable=True)


def walker(cast: Cast) -> Act:
    """A person walking far away, out of hearing, whose feet meet no ground."""
    act = footsteps("footsteps", cast, silent=True)
    far = cast.rng.uniform(0.25, 0.5)

    def shapes(t: np.ndarray) -> list[Shape]:
        out = act.shapes(t)
        for shape in out:
            shape.points = shape.points * far
        return out

    return Act("silent", act.caption, shapes, centre=(act.centre[0] * far, act.centre[1] * far))


def silent(cast: Cast) -> Act:
    """One of the silent motions; effortful ones are as frequent as smooth ones."""
    makers = (drifting, swinging, waving, dodged, walker)
    return makers[int(cast.rng.choice(5, p=[0.25, 0.15, 0.2, 0.2, 0.2]))](cast)
