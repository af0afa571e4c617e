"""Trains the shipped LoLa-CIFAR network (Brutzkus et al., ICML 2019, section 6) on the JPEG copy of CIFAR-10.

    image [3, 32, 32] -> conv 8x8, stride 2, pad 1 [83, 14, 14] -> square
                      -> conv 6x6, stride 2 [163, 5, 5] -> square -> fc 10

or, with `--variant padded`, the shape of LoLa's repository, whose second layer is a convolution 10x10, stride 2, pad 4
[112, 7, 7].

Method: the first layer starts as the leading principal components of the image patches; random shifts and mirror
images; a batch norm before and a centring after every square, folded away for export; values beyond four are charged
for; one cycle of the learning rate, then a moving average at a constant one with smaller shifts; matrix products of
training in bfloat16. 2,000 training images are held out for the choice of hyper-parameters.

    python lola_cifar.py --data DIR --out ../assets/lola-cifar.onnx
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import accuracy, polish, record, shuffled_batches, train
from data import crops, read_cifar_jpeg
from square import SquareNet, report
from torch import Tensor, nn

BATCH = 256
HELD_OUT = 2000
MAPS = 83
MEAN = [0.4914, 0.4822, 0.4465]
LEVELS, WEIGHT_BITS = 32, [8, 8, 8]


def network(variant: str) -> SquareNet:
    """The network before training."""
    first = nn.Conv2d(3, MAPS, 8, stride=2, bias=False)
    if variant == "paper":
        layers = [nn.Conv2d(MAPS, 163, 6, stride=2, bias=False), nn.Linear(163 * 5 * 5, 10)]
    else:
        layers = [nn.Conv2d(MAPS, 112, 10, stride=2, padding=4, bias=False), nn.Linear(112 * 7 * 7, 10)]
    return SquareNet([first, *layers], [1] * 4, MEAN)


@torch.no_grad()
def start_from_components(net: SquareNet, images: Tensor) -> None:
    """Sets the first layer to the leading principal components of the patches of `images`, each of spread one."""
    patches = F.unfold(images - net.mean, 8, stride=4).transpose(1, 2).flatten(0, 1)
    _, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    leading = components[:, -MAPS:].T
    leading = leading / (patches @ leading.T).std(0)[:, None]
    net.linear[0].weight.copy_(leading.reshape(MAPS, 3, 8, 8))


def loss_of(model: SquareNet, batch: tuple[Tensor, Tensor], margin: int = 4) -> Tensor:
    """Loss of a batch whose images are shifted by up to `margin` pixels."""
    images, labels = batch
    shifted = crops(images.float() / 255, margin).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(shifted)
    return F.cross_entropy(found.float(), labels, label_smoothing=0.05) + model.excess()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.jpgs.xz and test.jpgs.xz")
    parser.add_argument("--out", type=Path, default=Path("lola-cifar.onnx"))
    parser.add_argument("--variant", choices=["paper", "padded"], default="paper")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--polish-epochs", type=int, default=8)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # the sums of several threads are not reproducible
    began = time.time()
    images, labels = read_cifar_jpeg(options.data, "train")
    order = torch.randperm(len(images))
    held_out, kept = order[-HELD_OUT:], order[:-HELD_OUT]
    validation = (images[held_out].float() / 255, labels[held_out])
    images, labels = images[kept], labels[kept]

    net = network(options.variant)
    start_from_components(net, images[:4000].float() / 255)
    net.to(memory_format=torch.channels_last)

    def batches(_: int) -> list[tuple[Tensor, ...]]:
        return shuffled_batches(BATCH, images, labels)

    train(net, options.epochs, batches, loss_of, peak_rate=2e-3, decay=0.01)
    print(f"{accuracy(net, *validation):.2f} % validation")
    torch.manual_seed(options.seed + 1)
    net = polish(net, options.polish_epochs, batches, partial(loss_of, margin=2), rate=4e-4, decay=0.01)
    validated = round(accuracy(net, *validation), 2)
    print(f"{validated} % validation")

    test, test_labels = read_cifar_jpeg(options.data, "test")
    net.eval().to(memory_format=torch.contiguous_format)
    layers = net.normalised(net.folded(), images[:10000].float() / 255)
    figures = report(net, layers, options.out, (test.float() / 255, test_labels), LEVELS, WEIGHT_BITS)
    print(figures)
    epochs = options.epochs + options.polish_epochs
    data = "CIFAR-10 (JPEG copy), 10,000 test images"
    record(
        options.out.stem, options.seed, time.time() - began, data,
        epochs=epochs, validation_accuracy=validated, **figures,
    )


if __name__ == "__main__":
    main()
