"""Trains one small network four times, each with another operator and as many multiplications as the others.

    image -> conv 3x3, stride 2 [w] -> op [w] -> op, stride 2 [2w] -> op [2w] -> op, stride 2 [4w] -> op [4w]
          -> mean over positions -> fc

with ReLU after every operator; `op` is a standard convolution, a depthwise separable one, or the X-operator in either
reading (see `xop.py`; its form in the paper is unverified). The width w is the largest that keeps to the budget; with
`--width` all have the same width, and so the same activations, but not the same multiplications.

    python operators.py pneumonia --data DIR --out DIR
    python operators.py cifar --data DIR --out DIR

writes `pneumonia-standard.onnx` and so on. PneumoniaMNIST trains with three seeds and reports each; the file is that
of the first. Accuracy is of the last epoch, on the test images; nothing was chosen by looking at them.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from common import OnnxChain, accuracy, logits, onnx_accuracy, record, shuffled_batches, train
from data import crops, read_cifar_jpeg, read_pneumonia
from torch import Tensor, nn
from xop import Spatial, XOp

OPERATORS = {
    "standard": {"spatial": Spatial.DENSE},
    "depthwise": {"spatial": Spatial.DEPTHWISE},
    "xop-a": {"spatial": Spatial.DEPTHWISE, "groups": 4},
    "xop-b": {"spatial": Spatial.CROSS},
}


@dataclass
class Task:
    """A data set, and the budget and schedule that suit its size."""

    title: str
    budget: int
    epochs: int
    batch: int
    peak_rate: float
    seeds: int
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    class_weights: Tensor


def pneumonia(directory: Path) -> Task:
    """Its classes are far from equally many: each counts the same in the loss."""
    images, labels = read_pneumonia(directory, "train")
    weights = len(labels) / (2 * labels.bincount().float())
    test = read_pneumonia(directory, "test")
    return Task("PneumoniaMNIST, 624 test images", 500_000, 20, 64, 3e-3, 3, (images, labels), test, weights)


def cifar(directory: Path) -> Task:
    images, labels = read_cifar_jpeg(directory, "train")
    test, test_labels = read_cifar_jpeg(directory, "test")
    test = (test.float() / 255, test_labels)
    title = "CIFAR-10 (JPEG copy), 10,000 test images"
    return Task(title, 1_500_000, 10, 128, 5e-3, 1, (images, labels), test, torch.ones(10))


class Network(nn.Module):
    """The network of the module's description, of width `width`."""

    def __init__(self, image: list[int], classes: int, width: int, operator: dict):
        super().__init__()
        self.image = image
        plan = [(width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1),
                (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)]
        stem = XOp(image[0], width, stride=2)
        self.operators = nn.ModuleList([stem, *(XOp(i, o, stride=s, **operator) for i, o, s in plan)])
        self.dense = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for operator in self.operators:
            x = F.relu(operator(x))
        return self.dense(x.mean((2, 3)))

    def export(self, path: Path) -> None:
        """Writes the network as ONNX: input `image` in pixel/255, output `logits`."""
        chain, shape = OnnxChain(path.stem.replace("-", "_"), self.image), self.image
        for index, operator in enumerate(self.operators):
            shape = operator.export(chain, f"op{index + 1}", shape)
            chain.add("Relu", f"relu{index + 1}")
        chain.add("GlobalAveragePool", "mean")
        chain.add("Flatten", "flatten", axis=1)
        chain.add("Gemm", "logits", self.dense.weight, self.dense.bias, transB=1)
        chain.save(path, classes=len(self.dense.bias))

    @torch.no_grad()
    def cost(self) -> tuple[int, int]:
        """Multiplications and activations of one image."""
        counts = [0, 0]

        def count(layer: nn.Module, _: object, output: Tensor) -> None:
            if isinstance(layer, XOp):
                counts[1] += output.numel()
            else:
                counts[0] += output.numel() * layer.weight[0].numel()

        counted = [layer for layer in self.modules() if isinstance(layer, XOp | nn.Conv2d | nn.Linear)]
        hooks = [layer.register_forward_hook(count) for layer in counted]
        self.eval()(torch.zeros(1, *self.image))
        for hook in hooks:
            hook.remove()
        return counts[0], counts[1]


def widest(task: Task, operator: dict) -> int:
    """The largest width, a multiple of the operator's groups, whose multiplications keep to the budget."""
    image, classes, step = list(task.train[0].shape[1:]), len(task.class_weights), operator.get("groups", 1)
    width = step
    while Network(image, classes, width + step, operator).cost()[0] <= task.budget:
        width += step
    return width


def train_one(task: Task, operator: dict, width: int, seed: int) -> Network:
    """A network of the given operator and width after training with `seed`."""
    torch.manual_seed(seed)
    images, labels = task.train
    net = Network(list(images.shape[1:]), len(task.class_weights), width, operator)
    scale = 255 if images.dtype == torch.uint8 else 1

    def loss_of(model: Network, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(crops(batch[0] / scale, 3)), batch[1], task.class_weights, label_smoothing=0.05)

    batches = lambda _: shuffled_batches(task.batch, images, labels)  # noqa: E731
    train(net, task.epochs, batches, loss_of, task.peak_rate, decay=0.01)
    return net


def area_under_curve(net: Network, images: Tensor, labels: Tensor) -> float:
    """The chance in percent that a random positive image scores higher than a random negative one."""
    scores = logits(net, images) @ torch.tensor([-1.0, 1.0])
    differences = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return 100 * ((differences > 0).double() + 0.5 * (differences == 0).double()).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["pneumonia", "cifar"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--width", type=int, help="this width for every operator, whatever its multiplications")
    parser.add_argument("--only", choices=OPERATORS, help="this operator alone")
    options = parser.parse_args()

    torch.set_num_threads(1)  # the sums of several threads are not reproducible
    task = {"pneumonia": pneumonia, "cifar": cifar}[options.task](options.data)
    for name in [options.only] if options.only else OPERATORS:
        began, operator = time.time(), OPERATORS[name]
        width = options.width or widest(task, operator)
        nets = [train_one(task, operator, width, seed) for seed in range(1, task.seeds + 1)]
        path = options.out / f"{options.task}-{name}{f'-w{width}' if options.width else ''}.onnx"
        nets[0].export(path)
        products, activations = nets[0].cost()
        found = [accuracy(net, *task.test) for net in nets]
        figures = {
            "accuracy": round(onnx_accuracy(path, *task.test), 2),
            "accuracy_of_seeds": [round(value, 2) for value in found],
            "width": width, "multiplications": products, "activations": activations, "epochs": task.epochs,
            "parameters": sum(parameter.numel() for parameter in nets[0].parameters()),
        }
        if options.task == "pneumonia":
            figures["area_under_curve_of_seeds"] = [round(area_under_curve(net, *task.test), 2) for net in nets]
        print(path, figures, flush=True)
        record(path.stem, 1, time.time() - began, task.title, **figures)


if __name__ == "__main__":
    main()
