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

import torch.nn.functional as F
from common import OnnxChain, accuracy, fold_batch_norm, onnx_accuracy
from mnist_teacher import Lesson
from torch import Tensor, nn

COPIES = 16


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four MNIST idx .gz files")
    parser.add_argument("--out", type=Path, default=Path("mnist-relu.onnx"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=64)
    parser.add_argument("--validate", action="store_true", help="report on 5,000 held-out training images")
    options = parser.parse_args()

    lesson = Lesson(options.data, options.seed, COPIES, options.teacher_epochs, options.validate)
    print("student")
    student = Student()
    lesson.teach(student, options.epochs)
    print(f"student: {accuracy(student, *lesson.held_out):.2f} % {lesson.name}")
    student.export(options.out)
    print(f"{options.out}: {onnx_accuracy(options.out, *lesson.held_out):.2f} % {lesson.name} (onnxruntime)")


if __name__ == "__main__":
    main()
