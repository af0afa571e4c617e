"""The convolutional teacher of the MNIST networks, and the augmented copies that it and its students see."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from common import accuracy, augment, imitation, logits, shuffled_batches, train
from data import read_mnist
from torch import Tensor, nn

BATCH = 256


def teacher() -> nn.Module:
    """Three convolutions and a wide layer: about twenty times the students' work."""

    def block(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(1, 24, 5, 2), *block(24, 48, 3, 2), *block(48, 64, 3, 1),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )


class Lesson:
    """MNIST, `copies` augmented copies of it, and a trained teacher's logits on each.

    The teacher trains for `epochs` epochs, each on another copy.
    With `validate` the last 5,000 training images are held out and take the place of the test set: choose
    hyper-parameters with it.
    """

    def __init__(self, data: Path, seed: int, copies: int, epochs: int, validate: bool):
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # the sums of several threads are not reproducible
        self.images, self.labels = read_mnist(data, "train")
        if validate:
            self.held_out, self.name = (self.images[-5000:], self.labels[-5000:]), "validation"
            self.images, self.labels = self.images[:-5000], self.labels[:-5000]
        else:
            self.held_out, self.name = read_mnist(data, "t10k"), "test"
        self.copies = [augment(self.images) for _ in range(copies)]
        print("teacher")
        master = self._train_teacher(copies, epochs)
        print(f"teacher: {accuracy(master, *self.held_out):.2f} % {self.name}")
        self.copies.append(self.images)
        self.targets = [logits(master, copy) for copy in self.copies]

    def _train_teacher(self, copies: int, epochs: int) -> nn.Module:
        model = teacher()
        train(
            model,
            epochs,
            lambda epoch: shuffled_batches(BATCH, self.copies[epoch % copies], self.labels),
            lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.05),
        )
        return model

    def teach(self, student: nn.Module, epochs: int, charge: Callable[[], Tensor | float] = lambda: 0.0) -> None:
        """Trains `student` to give the teacher's distribution, each epoch on another copy (the last one plain).

        `charge` is added to the loss of each batch.
        """

        def batches(epoch: int) -> list[tuple[Tensor, ...]]:
            copy = epoch % len(self.copies)
            return shuffled_batches(BATCH, self.copies[copy], self.targets[copy])

        train(student, epochs, batches, lambda model, batch: imitation(model(batch[0]), batch[1]) + charge())
