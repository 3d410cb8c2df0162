"""A small picture of one clip: strip of the film, spectrogram of the take and of the true sound, onsets on both."""

from __future__ import annotations

import numpy as np

from synchresis.evaluation.clips import Material
from synchresis.evaluation.measure import Pair
from synchresis.evaluation.spectra import slaney_bank, stft

WIDTH, HEIGHT, BAR = 640, 72, 10
TAKE, TRUE, PEAK = (90, 200, 255), (120, 230, 120), (255, 170, 60)  # RGB


def draw(pair: Pair) -> bytes:
    """A PNG 640 px wide. Top to bottom: eight frames; motion (orange, its peaks as ticks); the take's mel spectrogram
    with its onsets (blue); the true one's (green). What is missing is left out. Time runs from 0 to the duration."""
    import cv2

    rows: list[np.ndarray] = []
    if pair.shown.film is not None:
        seen = pair.shown.seen
        if seen.strip:
            small = [cv2.resize(f, (WIDTH // 8, 45), interpolation=cv2.INTER_AREA) for f in seen.strip]
            strip = np.concatenate(small, axis=1) & 0xF8  # fewer levels, fewer bytes
            rows.append(np.pad(strip, ((0, 2), (0, WIDTH - strip.shape[1]), (0, 0))))
        rows.append(curve(seen.flow))
    for material, colour in ((pair.take, TAKE), (pair.true, TRUE)):
        if material is not None and material.sounds:
            rows += [ticks(material.onsets, pair.duration, colour), spectrogram(material, pair.duration)]
    picture = np.concatenate(rows) if rows else np.zeros((1, WIDTH, 3), np.uint8)
    quality = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    assert done
    return data.tobytes()


def spectrogram(material: Material, duration: float) -> np.ndarray:
    """64 mel bands, 70 dB under the loudest, uint8 [72, 640, 3]; black beyond the end."""
    import cv2

    spectrum = stft(material.wave, 1024, 512, edge="constant")
    power = np.square(np.abs(spectrum)) @ slaney_bank(64, 1024, 22_050).T
    level = 10 * np.log10(np.maximum(power, 1e-10))
    grey = np.clip((level - level.max() + 70) / 70, 0, 1) * 255
    length = max(1, min(WIDTH, round(WIDTH * len(material.wave) / 22_050 / duration)))
    cells = max(1, min(len(grey), round(len(grey) * duration * 22_050 / max(1, len(material.wave)))))
    image = cv2.resize(grey[:cells].T[::-1].astype(np.uint8), (length, HEIGHT), interpolation=cv2.INTER_AREA)
    image = np.round(image / 8).astype(np.uint8) * 8  # fewer levels: a third of the bytes
    coloured = cv2.cvtColor(cv2.applyColorMap(image, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
    return np.pad(coloured, ((0, 2), (0, WIDTH - length), (0, 0)))


def ticks(times: np.ndarray, duration: float, colour: tuple[int, int, int]) -> np.ndarray:
    """Instants as ticks, uint8 [10, 640, 3]."""
    row = np.full((BAR, WIDTH, 3), 24, np.uint8)
    for time in times:
        if 0 <= time < duration:
            row[1:, int(time / duration * WIDTH)] = colour
    return row


def curve(flow: np.ndarray) -> np.ndarray:
    """Motion as bars, uint8 [24, 640, 3]; its strict maxima from 0.1 px on are bright."""
    from synchresis.evaluation.alignment import flow_peaks

    image = np.full((24, WIDTH, 3), 24, np.uint8)
    if len(flow) == 0:
        return image
    peaks = set(np.round(flow_peaks(flow, 1.0)).astype(int).tolist())
    height = np.round(np.minimum(flow / max(float(flow.max()), 1e-6), 1.0) * 22).astype(int)
    for i, h in enumerate(height):
        left, right = i * WIDTH // len(flow), max((i + 1) * WIDTH // len(flow), i * WIDTH // len(flow) + 1)
        image[24 - h :, left:right] = PEAK if i in peaks else (130, 90, 40)
    return image
