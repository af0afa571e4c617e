"""What every recipe shares: the augmentation, the training loop, folding and ONNX export."""

import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

OPSET = 17
RESULTS = Path(__file__).with_name("results.json")


def augment(images: Tensor) -> Tensor:
    """A random affine map and a smooth elastic field for each image.

    Rotation +-12 degrees, scale +-12 %, shear +-0.12, shift +-2 px, elastic displacement of about 0.7 px that
    varies over a quarter of the image.
    """
    n, _, height, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(n) - 1) * limit

    angle, shear = torch.deg2rad(uniform(12)), uniform(0.12)
    scale_x, scale_y = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cos * scale_x, (shear * cos - sin) * scale_y, uniform(4 / width)], 1),
        torch.stack([sin * scale_x, (shear * sin + cos) * scale_y, uniform(4 / height)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    field = F.interpolate(0.05 * torch.randn(n, 2, 4, 4), (height, width), mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + field.permute(0, 2, 3, 1), align_corners=False)


def train(model: nn.Module, epochs: int, batches, loss_of, peak_rate: float = 3e-3, decay: float = 0.0) -> None:
    """AdamW, one cycle up to `peak_rate`, gradients clipped to norm 1.

    `batches(epoch)` returns one epoch's list of batches, always equally many; `loss_of(model, batch)` its loss.
    """
    began = time.time()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=decay)
    schedule = None
    for epoch in range(epochs):
        epoch_batches = batches(epoch)
        if schedule is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, peak_rate, epochs=epochs, steps_per_epoch=len(epoch_batches)
            )
        model.train()
        total = 0.0
        for batch in epoch_batches:
            optimiser.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        mean = total / len(epoch_batches)
        print(f"  epoch {epoch + 1:3}/{epochs}  loss {mean:.4f}  {time.time() - began:.0f} s", flush=True)
    model.eval()


def polish(model: nn.Module, epochs: int, batches, loss_of, rate: float, decay: float = 0.0) -> nn.Module:
    """Goes on training at a constant `rate` and returns the moving average of the networks on the way.

    The average is over about the last two hundred steps, buffers included. Arguments are as those of `train`.
    """
    began = time.time()
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    for epoch in range(epochs):
        model.train()
        for batch in batches(epoch):
            optimiser.zero_grad()
            loss_of(model, batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(model)
        print(f"  polish {epoch + 1:3}/{epochs}  {time.time() - began:.0f} s", flush=True)
    return averaged.module.eval()


def shuffled_batches(size: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """All full batches of `size` rows of the tensors in a random order."""
    order = torch.randperm(len(tensors[0]))
    rows = order[: len(order) - len(order) % size].split(size)
    return [tuple(tensor[batch] for tensor in tensors) for batch in rows]


def imitation(found: Tensor, wanted: Tensor, temperature: float = 2.0) -> Tensor:
    """Divergence of the distribution of the logits `found` from that of a teacher's logits `wanted`."""
    found, wanted = (F.log_softmax(logits / temperature, 1) for logits in (found, wanted))
    return F.kl_div(found, wanted, reduction="batchmean", log_target=True) * temperature**2


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Outputs of `model`, in evaluation mode, batch by batch."""
    model.eval()
    return torch.cat([model(batch) for batch in images.split(1000)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of correctly classified images in percent."""
    return 100 * (logits(model, images).argmax(1) == labels).double().mean().item()


def onnx_accuracy(path: Path, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of the exported file, run by onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"image": batch.numpy()})[0] for batch in images.split(1000)]
    return 100 * float(np.mean(np.concatenate(found).argmax(1) == labels.numpy()))


def record(name: str, seed: int, seconds: float, data: str, **figures: object) -> None:
    """Writes what a recipe measured into `results.json`, under `name`, with what it takes to repeat it."""
    try:
        results = json.loads(RESULTS.read_text())
    except FileNotFoundError:
        results = {}
    results[name] = {
        **figures,
        "data": data,
        "recipe": Path(sys.argv[0]).name,
        "seed": seed,
        "seconds": round(seconds),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def fold_batch_norm(linear: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one layer that equals `norm(linear(x))` in evaluation mode."""
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = linear.weight * gain.reshape(-1, *[1] * (linear.weight.dim() - 1))
    bias = torch.zeros_like(gain) if linear.bias is None else linear.bias
    return weight, norm.bias + (bias - norm.running_mean) * gain


class OnnxChain:
    """Writes a network, in the main a chain of layers, as ONNX, all weights inside the file."""

    def __init__(self, name: str, input_shape: list[int]):
        self.name = name
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *input_shape])
        self.value = "image"
        self.nodes, self.tensors = [], []

    def add(self, op: str, name: str, *tensors: Tensor, **attributes) -> None:
        """Appends node `name`; its tensors are named `name.weight` and `name.bias`."""
        inputs = [self.value]
        for tensor, role in zip(tensors, ["weight", "bias"], strict=False):
            inputs.append(f"{name}.{role}")
            array = np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
            self.tensors.append(numpy_helper.from_array(array, inputs[-1]))
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self.value = name

    def square(self, name: str) -> None:
        """Appends the product of the value with itself."""
        self.combine("Mul", name, self.value, self.value)

    def combine(self, op: str, name: str, *values: str) -> None:
        """Appends node `name` of several values, which becomes the chain's end. Set `value` to go on elsewhere."""
        self.nodes.append(helper.make_node(op, values, [name], name))
        self.value = name

    def reshape(self, name: str, shape: list[int]) -> None:
        """Appends a reshape; 0 keeps the batch."""
        self.tensors.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), f"{name}.shape"))
        self.combine("Reshape", name, self.value, f"{name}.shape")

    def save(self, path: Path, classes: int, metadata: dict[str, str] | None = None) -> None:
        """Checks the graph and writes it to `path`, with `metadata` in the file."""
        output = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, ["n", classes])
        graph = helper.make_graph(self.nodes, self.name, [self.input], [output], self.tensors)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="phineus-training"
        )
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
