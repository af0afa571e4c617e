"""Trains the linear layer of transfer learning on Caltech-101 (Brutzkus et al., ICML 2019, section 6).

    features [2048] -> fc 101

The features are public and computed by the client: SqueezeNet 1.1 with ImageNet weights (input 227x227, BGR minus
104, 117, 123) up to its last fire module [512, 14, 14], averaged over its four quarters. Only the linear layer is the
provider's. It is a logistic regression whose L2 penalty is chosen on a fifth of the training images; the mean and
spread of the features are folded into it.

    python caltech.py --data DIR --squeezenet FILE --out ../assets/caltech-linear.onnx --extractor features.onnx

Split: of each class's images in the order of their names every fourth is held out for the test.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from common import OnnxChain, record
from data import read_caltech
from onnx import TensorProto, helper
from torch import Tensor

SIZE, FEATURES = 227, 4 * 512
MEAN = torch.tensor([104.0, 117.0, 123.0]).reshape(3, 1, 1)
PENALTIES = [0.0003, 0.001, 0.003, 0.01, 0.03]


def extractor(squeezenet: Path) -> onnx.ModelProto:
    """The part of SqueezeNet that the client runs: input as it was, output `features` [n, 2048]."""
    model = onnx.load(squeezenet)
    graph = model.graph
    last = max(index for index, node in enumerate(graph.node) if node.op_type == "Concat")
    found = graph.node[last].output[0]
    del graph.node[last + 1 :]
    graph.node.append(helper.make_node("AveragePool", [found], ["quarters"], kernel_shape=[7, 7], strides=[7, 7]))
    graph.node.append(helper.make_node("Flatten", ["quarters"], ["features"], axis=1))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.output[:], graph.value_info[:]
    graph.initializer.extend(kept)
    graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, FEATURES]))
    # What `phineus --extractor` reads: pixels are bytes, blue first.
    mean = ",".join(f"{value:g}" for value in MEAN.flatten().tolist())
    helper.set_model_props(model, {"mean": mean, "std": "1", "channels": "bgr"})
    onnx.checker.check_model(model, full_check=True)
    return model


def extract(model: onnx.ModelProto, images: Tensor) -> Tensor:
    """Features [n, 2048] of images [n, 3, 227, 227] in bytes."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    prepared = (image.flip(0).float() - MEAN for image in images)
    return torch.tensor(np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in prepared]))


def regression(features: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight [classes, features] and bias of the regression on features of mean zero and spread one."""
    classes = int(labels.max()) + 1
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(features @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach(), bias.detach()


def accuracy(layer: tuple[Tensor, Tensor], features: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of a linear layer."""
    found = F.linear(features, *layer).argmax(1)
    return 100 * (found == labels).double().mean().item()


def every(labels: Tensor, count: int) -> Tensor:
    """Marks each class's `count`-th, 2 `count`-th, ... element."""
    marks = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        marks[torch.nonzero(labels == label).flatten()[count - 1 :: count]] = True
    return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of caltech101_40.tar")
    parser.add_argument("--squeezenet", type=Path, required=True, help="SqueezeNet 1.1 with ImageNet weights")
    parser.add_argument("--out", type=Path, default=Path("caltech-linear.onnx"))
    parser.add_argument("--extractor", type=Path, help="where to write the client's part")
    options = parser.parse_args()

    torch.set_num_threads(1)  # the sums of several threads are not reproducible
    began = time.time()
    public = extractor(options.squeezenet)
    if options.extractor:
        onnx.save(public, options.extractor)
    images, labels, names = read_caltech(options.data, SIZE)
    features = extract(public, images)
    print(f"{len(names)} classes, {len(labels)} images, features after {time.time() - began:.0f} s", flush=True)

    test = every(labels, 4)
    seen, seen_labels = features[~test], labels[~test]
    mean, spread = seen.mean(0), seen.std(0) + 1e-3
    standard = (seen - mean) / spread
    chosen = every(seen_labels, 5)
    trials = {}
    for penalty in PENALTIES:
        layer = regression(standard[~chosen], seen_labels[~chosen], penalty)
        trials[penalty] = accuracy(layer, standard[chosen], seen_labels[chosen])
        print(f"penalty {penalty}: {trials[penalty]:.2f} % validation", flush=True)
    penalty = max(trials, key=trials.get)
    weight, bias = regression(standard, seen_labels, penalty)
    weight = weight / spread
    layer = weight, bias - weight @ mean

    chain = OnnxChain("caltech_linear", [FEATURES])
    chain.add("Gemm", "logits", *layer, transB=1)
    chain.save(options.out, classes=len(names), metadata={"classes": "\n".join(names)})
    reached = accuracy(layer, features[test], labels[test])
    print(f"{options.out}: {reached:.2f} % of {int(test.sum())} held-out images")
    record(
        "caltech-linear", 0, time.time() - began, "Caltech-101, up to 40 images a class, every fourth held out",
        accuracy=round(reached, 2), penalty=penalty, train_images=len(seen), test_images=int(test.sum()),
        largest_feature=round(features.abs().max().item(), 2), parameters=weight.numel() + len(bias),
    )


if __name__ == "__main__":
    main()
