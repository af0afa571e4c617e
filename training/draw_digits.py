"""Draws the sample digits of the demo: strokes of a soft pen, as 28x28 grey PNG files, white on black.

    python draw_digits.py --out ../assets/digits [--check ../assets/mnist-relu.onnx]

A digit is a list of strokes and a stroke a list of points in a box of 20x20 units (x to the right, y down), joined
by a Catmull-Rom curve. As in MNIST the drawn digit's centre of mass is moved to the middle of the image.
`--check` classifies every drawn file with the network and fails if one is misread.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIDE = 28
OVERSAMPLING = 16
POINTS_PER_SEGMENT = 24

Point = tuple[float, float]


@dataclass
class Digit:
    """Strokes, the width of the pen in pixels and the slant (x moves by `slant` for each unit upwards)."""

    strokes: list[list[Point]]
    pen: float = 2.4
    slant: float = 0.0


def arc(centre: Point, radius: Point, start: float, stop: float, count: int = 10) -> list[Point]:
    """Points on an ellipse from `start` to `stop` degrees; 0 is to the right, 90 is down."""
    angles = [math.radians(start + (stop - start) * i / (count - 1)) for i in range(count)]
    return [(centre[0] + radius[0] * math.cos(a), centre[1] + radius[1] * math.sin(a)) for a in angles]


DIGITS = {
    "0": Digit([arc((10.2, 10), (6.1, 8.8), -70, 288, 14) + [(13.4, 2.6)]]),
    "1": Digit([[(7.2, 5.0), (9.4, 3.0), (10.8, 1.2)], [(10.8, 1.2), (10.5, 7.0), (10.2, 13.0), (10.0, 18.8)]]),
    "2": Digit([[(4.4, 6.0), (6.0, 2.6), (9.8, 1.2), (13.6, 2.8), (14.2, 6.6), (11.6, 11.0), (7.4, 15.4), (4.0, 18.4)],
                [(4.0, 18.4), (7.4, 17.6), (11.6, 18.2), (16.4, 17.6)]]),
    "3": Digit([[(4.8, 3.6), (8.2, 1.4), (12.6, 2.0), (14.0, 5.2), (11.8, 8.4), (8.2, 9.4)],
                [(8.2, 9.4), (12.6, 10.2), (15.0, 13.4), (13.2, 17.2), (8.8, 18.9), (4.2, 17.2)]]),
    "3-slanted": Digit([[(5.0, 2.6), (9.6, 1.2), (14.0, 2.4), (13.6, 6.0), (9.0, 9.2)],
                        [(9.0, 9.2), (13.2, 10.6), (13.8, 15.0), (9.6, 18.4), (4.0, 17.4)]], pen=2.0, slant=0.28),
    "4": Digit([[(6.6, 2.0), (5.4, 6.4), (4.4, 10.8)], [(4.4, 10.8), (9.6, 10.6), (15.8, 10.2)],
                [(13.6, 2.4), (13.1, 8.0), (12.7, 13.6), (12.4, 18.8)]]),
    "5": Digit([[(15.0, 1.8), (11.0, 1.9), (6.6, 2.2)], [(6.6, 2.2), (6.0, 5.4), (5.4, 9.2)],
                [(5.4, 9.2), (9.6, 8.0), (13.8, 9.6), (14.8, 13.4), (12.4, 17.4), (8.2, 18.8), (4.2, 17.4)]]),
    "6": Digit([[(13.2, 1.2), (9.0, 4.4), (6.2, 9.0), (5.4, 13.8), (7.2, 17.8), (10.8, 18.8), (14.2, 16.6),
                 (14.4, 12.8), (11.6, 10.6), (8.2, 11.6), (6.0, 14.4)]]),
    "7": Digit([[(4.0, 3.0), (8.6, 2.6), (12.4, 2.4), (15.8, 2.0)],
                [(15.8, 2.0), (13.0, 7.4), (10.6, 12.8), (9.0, 18.8)]]),
    "7-barred": Digit([[(4.2, 3.6), (8.6, 2.8), (15.4, 2.2)], [(15.4, 2.2), (12.2, 8.0), (9.8, 13.0), (8.2, 18.8)],
                       [(7.6, 10.8), (11.0, 10.4), (14.6, 10.0)]], pen=2.1),
    "8": Digit([[(13.8, 4.2), (10.4, 1.2), (6.8, 3.2), (7.2, 6.8), (11.2, 10.0), (13.9, 13.9), (11.8, 18.0),
                 (7.6, 18.2), (5.6, 14.6), (8.0, 10.6), (12.4, 7.4), (13.8, 4.2)]]),
    "9": Digit([[(13.8, 4.6), (10.6, 1.4), (6.6, 3.0), (5.4, 7.0), (8.2, 9.8), (11.8, 8.4), (13.8, 4.6)],
                [(13.8, 4.6), (13.4, 9.4), (12.4, 14.2), (11.2, 18.8)]]),
    "9-bold": Digit([[(13.9, 5.0), (10.4, 1.6), (6.4, 3.6), (6.0, 7.6), (9.4, 9.8), (12.8, 8.0), (13.9, 5.0)],
                     [(13.9, 5.0), (14.2, 10.0), (12.6, 15.2), (9.0, 18.6), (5.8, 17.6)]], pen=3.2, slant=0.06),
}


def curve(points: list[Point]) -> list[Point]:
    """A Catmull-Rom curve through all points."""
    padded = [points[0], *points, points[-1]]
    result = []
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:]):
        for i in range(POINTS_PER_SEGMENT):
            t = i / POINTS_PER_SEGMENT
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            result.append(tuple(sum(w * p[k] for w, p in zip(weights, (p0, p1, p2, p3))) / 2 for k in (0, 1)))
    return [*result, points[-1]]


def pen_width(pen: float, t: float) -> float:
    """The pen presses harder in the middle of a stroke than at its ends, t = 0 and t = 1."""
    return pen * (0.82 + 0.22 * math.sin(math.pi * t))


def draw(digit: Digit) -> Image.Image:
    """The digit as a 28x28 grey image."""
    canvas = Image.new("L", (SIDE * OVERSAMPLING,) * 2)
    brush = ImageDraw.Draw(canvas)
    for stroke in digit.strokes:
        points = curve(stroke)
        for i, (x, y) in enumerate(points):
            x, y = x + digit.slant * (10 - y) + 4, y + 4
            radius = pen_width(digit.pen, i / (len(points) - 1)) / 2
            corners = [(v + s * radius) * OVERSAMPLING for s in (-1, 1) for v in (x, y)]
            brush.ellipse(corners, fill=255)
    soft = canvas.filter(ImageFilter.GaussianBlur(0.35 * OVERSAMPLING))
    return centred(soft).resize((SIDE, SIDE), Image.Resampling.BOX)


def centred(image: Image.Image) -> Image.Image:
    """The image moved so that its centre of mass is in the middle."""
    mass = np.asarray(image, dtype=np.float64)
    middle = (np.array(mass.shape) - 1) / 2
    centre = [np.average(np.arange(mass.shape[k]), weights=mass.sum(1 - k)) for k in (0, 1)]
    down, right = (round(shift) for shift in middle - centre)
    return ImageChops.offset(image, right, down)


def misread(model: Path, files: list[Path]) -> list[str]:
    """Files whose name begins with another digit than the network sees."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wrong = []
    for file in files:
        image = np.asarray(Image.open(file), dtype=np.float32).reshape(1, 1, SIDE, SIDE) / 255
        (logits,) = session.run(None, {"image": image})
        odds = np.exp(logits[0] - logits[0].max())
        print(f"{file.name:16} read as {logits[0].argmax()}  ({odds.max() / odds.sum():.1%})")
        if logits[0].argmax() != int(file.name[0]):
            wrong.append(file.name)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument("--check", type=Path, metavar="ONNX", help="network that must read every digit")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    files = [options.out / f"{name}.png" for name in DIGITS]
    for file, digit in zip(files, DIGITS.values()):
        draw(digit).save(file)
    if options.check and (wrong := misread(options.check, files)):
        sys.exit(f"misread: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
