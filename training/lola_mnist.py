"""Trains the shipped MNIST networks for inference under encryption alone (Brutzkus et al., ICML 2019, section 5).

    image [1, 28, 28] -> conv 5x5, stride 2, pad 1 at the end [5, 13, 13] -> square

    LoLa              -> fc 100 -> square -> fc 10
    LoLa-Small        -> fc 10

Method: function matching with a convolutional teacher, as `mnist_relu.py`; a batch norm before and a centring after
every square, folded away for export; values beyond four are charged for, so that the squares stay small.

    python lola_mnist.py --data DIR --out ../assets

writes `lola-mnist.onnx` and `lola-small.onnx`. `--validate` holds out the last 5,000 training images and reports on
them instead of the test set: use it to choose hyper-parameters.
"""

import argparse
import time
from pathlib import Path

from common import record
from mnist_teacher import Lesson
from square import SquareNet, report
from torch import nn

COPIES = 8
LEVELS, LOLA, SMALL = 16, [6, 8, 6], [6, 6]  # the image's levels, bits of the weights
PADS = [0, 1, 0, 1]
CONVOLVED = 5 * 13 * 13


def convolution() -> nn.Conv2d:
    return nn.Conv2d(1, 5, 5, stride=2, bias=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four MNIST idx .gz files")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--validate", action="store_true", help="report on 5,000 held-out training images")
    options = parser.parse_args()

    began = time.time()
    lesson = Lesson(options.data, options.seed, COPIES, options.teacher_epochs, options.validate)
    networks = {
        "lola-mnist": ([convolution(), nn.Linear(CONVOLVED, 100, bias=False), nn.Linear(100, 10)], LOLA),
        "lola-small": ([convolution(), nn.Linear(CONVOLVED, 10)], SMALL),
    }
    for name, (linear, weight_bits) in networks.items():
        print(name)
        net = SquareNet(linear, PADS, mean=[0.0])
        lesson.teach(net, options.epochs, net.excess)
        layers = net.eval().normalised(net.folded(), lesson.images)
        figures = report(net, layers, options.out / f"{name}.onnx", lesson.held_out, LEVELS, weight_bits)
        print(figures)
        if not options.validate:
            record(name, options.seed, time.time() - began, "MNIST, 10,000 test images", **figures)


if __name__ == "__main__":
    main()
