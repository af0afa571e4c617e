"""The X-operator: one parametric replacement of a k x k convolution.

"Efficient ML models for practical secure inference" (Ganesan et al., arXiv 2209.00411) names an X-operator, a cheaper
drop-in replacement found by looking at a bottlenecked convolution; only the abstract could be read, so **the form here
is unverified**. Two constructions fit the words, and `XOp` holds both together with the two common operators:

    spatial     groups   operator
    DENSE       1        a standard convolution
    DEPTHWISE   1        depthwise k x k, then pointwise ("depthwise separable")
    DEPTHWISE   g > 1    X-A: the pointwise convolution is two grouped 1x1 ones with a channel shuffle between
    CROSS       1        X-B: depthwise 1 x k and depthwise k x 1 side by side, added, then pointwise

With C inputs, C' outputs and P output positions these are k^2 C C' P, (k^2 C + C C') P, (k^2 C + (C + C') C' / g) P and
(2 k C + C C') P multiplications. With g^2 <= C every output of X-A still sees every input. There is no activation
inside, so each costs as many of them as the convolution that it replaces.
"""

from enum import Enum

import torch
from common import OnnxChain, fold_batch_norm
from torch import Tensor, nn


class Spatial(Enum):
    """How an operator moves information between positions."""

    DENSE = "dense"
    DEPTHWISE = "depthwise"
    CROSS = "1xk + kx1"


class XOp(nn.Module):
    """`inputs` -> `outputs` channels with a window of odd `size`, "same" padding, and a batch norm at the end.

    `groups` > 1 splits the channel mixing into two grouped 1x1 convolutions, with a channel shuffle between them
    unless `shuffle` is false; it has to divide both channel counts. A dense operator then is grouped itself.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int = 3, stride: int = 1,
        groups: int = 1, shuffle: bool = True, spatial: Spatial = Spatial.DENSE,
    ):
        super().__init__()
        if inputs % groups or outputs % groups:
            raise ValueError(f"{groups} groups do not divide {inputs} and {outputs} channels")

        def window(height: int, width: int, maps: int, parts: int) -> nn.Conv2d:
            padding = (height // 2, width // 2)
            return nn.Conv2d(inputs, maps, (height, width), stride, padding, groups=parts, bias=False)

        def mix(maps: int) -> nn.Conv2d:
            return nn.Conv2d(maps, outputs, 1, groups=groups, bias=False)

        match spatial:
            case Spatial.DENSE:
                self.windows = nn.ModuleList([window(size, size, outputs, groups)])
                mixes = [mix(outputs)] if groups > 1 else []
            case Spatial.DEPTHWISE:
                self.windows = nn.ModuleList([window(size, size, inputs, inputs)])
                mixes = [mix(inputs), mix(outputs)] if groups > 1 else [mix(inputs)]
            case Spatial.CROSS:
                self.windows = nn.ModuleList([window(1, size, inputs, inputs), window(size, 1, inputs, inputs)])
                mixes = [mix(inputs), mix(outputs)] if groups > 1 else [mix(inputs)]
        self.mixes = nn.ModuleList(mixes)
        self.groups = groups if shuffle else 1
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = sum(window(x) for window in self.windows)
        for index, mix in enumerate(self.mixes):
            x = mix(self._shuffled(x) if self._shuffles_before(index) else x)
        return self.norm(x)

    def _shuffles_before(self, mix: int) -> bool:
        """Whether a grouped convolution stands before this one, whose groups have to be crossed."""
        grouped_before = mix > 0 or self.windows[0].groups == self.groups
        return self.groups > 1 and grouped_before

    def _shuffled(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        return x.reshape(n, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)

    @torch.no_grad()
    def export(self, chain: OnnxChain, name: str, image: list[int]) -> list[int]:
        """Appends the operator, its norm folded, for an input of shape `image`; returns the output's shape."""
        layers = [*self.windows, *self.mixes]
        weight, bias = fold_batch_norm(layers[-1], self.norm)
        stride = self.windows[0].stride[0]
        channels, height, width = image
        height, width = -(-height // stride), -(-width // stride)
        source, branches = chain.value, []
        for index, window in enumerate(self.windows):
            chain.value = source
            tensors = [weight, bias] if window is layers[-1] else [window.weight]
            add_convolution(chain, f"{name}.window{index + 1}", window, tensors)
            branches.append(chain.value)
            channels = window.out_channels
        if len(branches) == 2:
            chain.combine("Add", f"{name}.cross", *branches)
        for index, mix in enumerate(self.mixes):
            if self._shuffles_before(index):
                split = [0, self.groups, channels // self.groups, height, width]
                chain.reshape(f"{name}.split{index + 1}", split)
                chain.add("Transpose", f"{name}.shuffle{index + 1}", perm=[0, 2, 1, 3, 4])
                chain.reshape(f"{name}.join{index + 1}", [0, channels, height, width])
            tensors = [weight, bias] if mix is layers[-1] else [mix.weight]
            add_convolution(chain, f"{name}.mix{index + 1}", mix, tensors)
            channels = mix.out_channels
        return [channels, height, width]


def add_convolution(chain: OnnxChain, name: str, layer: nn.Conv2d, tensors: list[Tensor]) -> None:
    """Appends a convolution of `layer`'s geometry with the given weight and bias."""
    pads = [*layer.padding, *layer.padding]
    chain.add("Conv", name, *tensors, kernel_shape=list(layer.kernel_size), strides=list(layer.stride), pads=pads,
              group=layer.groups)
