"""Networks whose activations are squares: chains of linear layers, for inference under encryption alone.

A hidden layer is `linear -> norm -> square -> centre`. `norm` is a batch norm: it keeps what is squared near one.
`centre` is a batch norm without parameters: it takes the mean off the squares, which are never negative. Both are
affine per channel, so export folds them away, the second into the next layer; what is left is `linear -> square`.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from common import OnnxChain, fold_batch_norm, onnx_accuracy
from torch import Tensor, nn

LIMIT = 4.0


def padding(layer: nn.Module) -> list[int]:
    """Rows and columns of zeros that a layer adds on each side itself."""
    return list(getattr(layer, "padding", (0, 0)))


class Square(nn.Module):
    """norm, square, centre. `excess`: the mean square of what exceeds `LIMIT` before the square in the last batch."""

    def __init__(self, channels: int, images: bool, centred: bool):
        super().__init__()
        norm = nn.BatchNorm2d if images else nn.BatchNorm1d
        self.norm = norm(channels)
        self.centre = norm(channels, affine=False) if centred else nn.Identity()
        nn.init.ones_(self.norm.bias)  # (x + 1)^2 has a linear part to learn from
        nn.init.constant_(self.norm.weight, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.float())
        self.excess = F.relu(x.abs() - LIMIT).square().mean()
        return self.centre(x * x)


class SquareNet(nn.Module):
    """`linear` layers (convolutions, then dense ones) with a square between each two.

    `pads` is the zero padding (left, right, top, bottom) of the image before the first layer, `mean` what is
    subtracted from each colour after it. The square before a later layer that pads is not centred: what is padded
    there is zero before and after folding.
    """

    def __init__(self, linear: list[nn.Module], pads: list[int], mean: list[float]):
        super().__init__()
        self.linear = nn.ModuleList(linear)
        self.squares = nn.ModuleList(
            Square(layer.weight.shape[0], layer.weight.dim() == 4, not any(padding(after)))
            for layer, after in pairwise(linear)
        )
        self.pads = pads
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.pad(image, self.pads) - self.mean
        for layer, square in zip(self.linear, self.squares, strict=False):
            x = square(layer(x if layer.weight.dim() == 4 else x.flatten(1)))
        return self.linear[-1](x.flatten(1))

    def excess(self) -> Tensor:
        """What training charges for values beyond `LIMIT`: rare large values would cost precision everywhere."""
        return sum(square.excess for square in self.squares)

    @torch.no_grad()
    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer such that `linear -> square` alone computes the network."""
        layers, gain, shift = [], torch.ones(len(self.mean)), -self.mean.flatten()
        for index, layer in enumerate(self.linear):
            weight, bias = layer.weight, layer.bias
            if index < len(self.squares):
                weight, bias = fold_batch_norm(layer, self.squares[index].norm)
            inputs = weight.shape[1]
            gain, shift = (v.repeat_interleave(inputs // len(v)) for v in (gain, shift))
            along = [1, -1] + [1] * (weight.dim() - 2)
            bias = bias + (weight * shift.reshape(along)).flatten(1).sum(1)
            layers.append((weight * gain.reshape(along), bias))
            if index < len(self.squares):
                centre = self.squares[index].centre
                if isinstance(centre, nn.Identity):
                    gain, shift = torch.ones(len(weight)), torch.zeros(len(weight))
                else:
                    gain = 1 / torch.sqrt(centre.running_var + centre.eps)
                    shift = -centre.running_mean * gain
        return layers

    def export(self, path: Path, name: str, layers: list[tuple[Tensor, Tensor]], image: list[int]) -> None:
        """Writes `layers` (see `folded`) as ONNX: input `image` [n, *image] in pixel/255, output `logits`."""
        chain = OnnxChain(name, image)
        left, right, top, bottom = self.pads
        for index, (weight, bias) in enumerate(layers):
            if weight.dim() == 4:
                pads = [top, left, bottom, right] if index == 0 else 2 * padding(self.linear[index])
                chain.add("Conv", f"conv{index + 1}", weight, bias, kernel_shape=list(weight.shape[2:]),
                          strides=list(self.linear[index].stride), pads=pads)
            else:
                if layers[index - 1][0].dim() == 4:
                    chain.add("Flatten", "flatten", axis=1)
                name = f"fc{index + 1}" if index < len(self.squares) else "logits"
                chain.add("Gemm", name, weight, bias, transB=1)
            if index < len(self.squares):
                chain.square(f"square{index + 1}")
        chain.save(path, classes=len(bias))

    @torch.no_grad()
    def run(self, layers: list[tuple[Tensor, Tensor]], images: Tensor) -> list[Tensor]:
        """The outputs of the linear layers of `layers` on `images`, in the precision of both."""
        values = []
        for index, (weight, bias) in enumerate(layers):
            x = F.pad(images, self.pads) if index == 0 else values[-1].square()
            if weight.dim() == 4:
                layer = self.linear[index]
                values.append(F.conv2d(x, weight, bias, layer.stride, layer.padding))
            else:
                values.append(F.linear(x.flatten(1), weight, bias))
        return values

    def largest(self, layers: list[tuple[Tensor, Tensor]], images: Tensor) -> list[Tensor]:
        """The largest magnitude of each channel of each linear layer's outputs over `images`."""

        def by_channel(value: Tensor) -> Tensor:
            return value.abs().amax([axis for axis in range(value.dim()) if axis != 1])

        found = [[by_channel(value) for value in self.run(layers, batch)] for batch in images.split(1000)]
        return [torch.stack(column).amax(0) for column in zip(*found, strict=True)]

    def normalised(self, layers: list[tuple[Tensor, Tensor]], images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """`layers` with every channel before a square scaled such that its largest magnitude over `images` is one.

        The squares then lie in [0, 1], all channels alike, and the next layer takes the factors back: the logits stay
        as they are.
        """
        scaled, gain = [], torch.ones(1)
        largest = [*self.largest(layers, images)[:-1], torch.ones_like(layers[-1][1])]
        for (weight, bias), most in zip(layers, largest, strict=True):
            along = [1] * (weight.dim() - 2)
            weight = weight * gain.repeat_interleave(weight.shape[1] // len(gain)).reshape(1, -1, *along)
            scaled.append((weight / most.reshape(-1, 1, *along), bias / most))
            gain = most.square()
        return scaled

    def integer_run(
        self, layers: list[tuple[Tensor, Tensor]], images: Tensor, levels: int, weight_bits: list[int]
    ) -> tuple[Tensor, list[float]]:
        """Logits and bits of each linear layer's outputs if the network is integers without any rounding between.

        The image is round(levels * pixel/255), each layer's weights are scaled such that the largest has the given
        bits beside its sign, and its bias has the scale of its products (as LoLa, section 5). The sums are of
        doubles, whose relative error of 2^-53 changes no arg-max.
        """
        integers, scale = [], float(levels)
        for (weight, bias), weight_bit in zip(layers, weight_bits, strict=True):
            factor = 2**weight_bit / weight.abs().max().double()
            scale = scale * factor
            integers.append((torch.round(weight.double() * factor), torch.round(bias.double() * scale)))
            scale = scale * scale
        logits, bits = [], [0.0] * len(layers)
        for batch in images.split(1000):
            values = self.run(integers, torch.round(batch.double() * levels))
            logits.append(values[-1])
            bits = [max(old, value.abs().max().log2().item()) for old, value in zip(bits, values, strict=True)]
        return torch.cat(logits), bits


def report(
    net: SquareNet, layers: list[tuple[Tensor, Tensor]], path: Path, held_out: tuple[Tensor, Tensor],
    levels: int, weight_bits: list[int],
) -> dict:
    """Exports `layers` of `net` and gives the figures of the file.

    `accuracy` in percent is of the file run by onnxruntime over `held_out`, `integer_accuracy` that of `integer_run`.
    """
    test, labels = held_out
    net.export(path, path.stem.replace("-", "_"), layers, list(test.shape[1:]))
    found, bits = net.integer_run(layers, test, levels, weight_bits)
    return {
        "accuracy": round(onnx_accuracy(path, test, labels), 2),
        "integer_accuracy": round(100 * (found.argmax(1) == labels).double().mean().item(), 2),
        "integer_levels_and_weight_bits": [levels, *weight_bits],
        "integer_bits": [round(bit, 1) for bit in bits],
        "largest_outputs": [round(value.max().item(), 3) for value in net.largest(layers, test)],
        "largest_weights": [round(weight.abs().max().item(), 3) for weight, _ in layers],
        "parameters": sum(weight.numel() + bias.numel() for weight, bias in layers),
    }
