"""Trains the shipped MNIST network: LoLa's shape (Brutzkus et al., ICML 2019, section 5) with ReLU.

    image [1, 28, 28] -> conv 5x5, stride 2, pad 1, 5 maps [5, 13, 13] -> ReLU -> fc 100 -> ReLU -> fc 10

Method: a convolutional teacher learns the training set with augmentation; the small network then learns to give
the teacher's distribution on the very same augmented images (Beyer et al., CVPR 2022, "function matching").
Batch norm stands before every ReLU and is folded into the layer before it for export.

    python mnist_relu.py --data DIR --out ../assets/mnist-relu.onnx

`--validate` holds out the last 5,000 training images and reports on them instead of the test set: use it to
choose hyper-parameters.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from common import OnnxChain, accuracy, augment, fold_batch_norm, logits, read_mnist, train
from torch import Tensor, nn

BATCH = 256
COPIES = 16
TEMPERATURE = 2.0


class Student(nn.Module):
    """The network that is shipped."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 5, 5, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(5)
        self.fc1 = nn.Linear(5 * 13 * 13, 100, bias=False)
        self.norm2 = nn.BatchNorm1d(100)
        self.fc2 = nn.Linear(100, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(image)))
        x = F.relu(self.norm2(self.fc1(x.flatten(1))))
        return self.fc2(x)

    def export(self, path: Path) -> None:
        """Writes the network as ONNX: input `image` [n, 1, 28, 28] in pixel/255, output `logits` [n, 10]."""
        chain = OnnxChain("mnist_relu", [1, 28, 28])
        chain.add("Conv", "conv1", *fold_batch_norm(self.conv1, self.norm1),
                  kernel_shape=[5, 5], strides=[2, 2], pads=[1, 1, 1, 1])
        chain.add("Relu", "relu1")
        chain.add("Flatten", "flatten", axis=1)
        chain.add("Gemm", "fc1", *fold_batch_norm(self.fc1, self.norm2), transB=1)
        chain.add("Relu", "relu2")
        chain.add("Gemm", "logits", self.fc2.weight, self.fc2.bias, transB=1)
        chain.save(path, classes=10)


def teacher() -> nn.Module:
    """Three convolutions and a wide layer: about twenty times the student's work."""

    def block(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(1, 24, 5, 2), *block(24, 48, 3, 2), *block(48, 64, 3, 1),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )


def shuffled_batches(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """All full batches of the tensors' rows in a random order."""
    order = torch.randperm(len(tensors[0]))
    rows = order[: len(order) - len(order) % BATCH].split(BATCH)
    return [tuple(tensor[batch] for tensor in tensors) for batch in rows]


def train_teacher(copies: list[Tensor], labels: Tensor, epochs: int) -> nn.Module:
    """The teacher after `epochs` epochs, each on another augmented copy."""
    model = teacher()
    train(
        model,
        epochs,
        lambda epoch: shuffled_batches(copies[epoch % len(copies)], labels),
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.05),
    )
    return model


def train_student(copies: list[Tensor], targets: list[Tensor], epochs: int) -> Student:
    """The student after `epochs` epochs of imitating `targets`, the teacher's logits on each copy."""
    model = Student()

    def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, target = batch
        found = F.log_softmax(model(images) / TEMPERATURE, 1)
        wanted = F.log_softmax(target / TEMPERATURE, 1)
        return F.kl_div(found, wanted, reduction="batchmean", log_target=True) * TEMPERATURE**2

    train(
        model,
        epochs,
        lambda epoch: shuffled_batches(copies[epoch % len(copies)], targets[epoch % len(copies)]),
        loss_of,
    )
    return model


def onnx_accuracy(path: Path, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of the exported file, run by onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images.numpy()})
    return 100 * float(np.mean(found.argmax(1) == labels.numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four MNIST idx .gz files")
    parser.add_argument("--out", type=Path, default=Path("mnist-relu.onnx"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=64)
    parser.add_argument("--validate", action="store_true", help="report on 5,000 held-out training images")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # the sums of several threads are not reproducible
    images, labels = read_mnist(options.data, "train")
    if options.validate:
        held_out, name = (images[-5000:], labels[-5000:]), "validation"
        images, labels = images[:-5000], labels[:-5000]
    else:
        held_out, name = read_mnist(options.data, "t10k"), "test"

    copies = [augment(images) for _ in range(COPIES)]
    print("teacher")
    master = train_teacher(copies, labels, options.teacher_epochs)
    print(f"teacher: {accuracy(master, *held_out):.2f} % {name}")

    copies.append(images)
    print("student")
    student = train_student(copies, [logits(master, copy) for copy in copies], options.epochs)
    print(f"student: {accuracy(student, *held_out):.2f} % {name}")
    student.export(options.out)
    print(f"{options.out}: {onnx_accuracy(options.out, *held_out):.2f} % {name} (onnxruntime)")


if __name__ == "__main__":
    main()
