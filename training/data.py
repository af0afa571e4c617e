"""The public data sets, as tensors: images [n, channels, height, width] in pixel/255 and labels [n]."""

import gzip
import io
import lzma
import struct
import tarfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801


def read_mnist(directory: Path, split: str) -> tuple[Tensor, Tensor]:
    """MNIST's `split` ("train" or "t10k") from the idx `.gz` files."""

    def read_idx(kind: str, magic: int, rank: int) -> np.ndarray:
        path = directory / f"{split}-{kind}-idx{rank}-ubyte.gz"
        raw = gzip.decompress(path.read_bytes())
        found, *shape = struct.unpack_from(f">{1 + rank}I", raw)
        if found != magic:
            raise ValueError(f"{path}: magic {found:#x}, expected {magic:#x}")
        return np.frombuffer(raw, np.uint8, offset=4 * (1 + rank)).reshape(shape)

    images = torch.tensor(read_idx("images", IMAGES_MAGIC, 3), dtype=torch.float32)
    labels = torch.tensor(read_idx("labels", LABELS_MAGIC, 1), dtype=torch.int64)
    return images.unsqueeze(1) / 255, labels


def read_cifar_jpeg(directory: Path, split: str) -> tuple[Tensor, Tensor]:
    """The JPEG copy of CIFAR-10: `split` ("train" or "test") as bytes [n, 3, 32, 32] and labels.

    `split.jpgs.xz` holds records of class (u8), length (u32, little-endian) and one JPEG. The copy is lossy: a
    network trained on the original loses points on it.
    """
    raw = lzma.decompress((directory / f"{split}.jpgs.xz").read_bytes())
    images, labels, at = [], [], 0
    while at < len(raw):
        label, size = struct.unpack_from("<BI", raw, at)
        at += 5
        images.append(np.asarray(Image.open(io.BytesIO(raw[at : at + size])).convert("RGB")))
        labels.append(label)
        at += size
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def read_pneumonia(directory: Path, split: str) -> tuple[Tensor, Tensor]:
    """PneumoniaMNIST (MedMNIST): `split` ("train", "val" or "test"), 1 = pneumonia."""
    with np.load(directory / "pneumoniamnist.npz") as arrays:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return torch.tensor(images).unsqueeze(1).float() / 255, torch.tensor(labels).flatten().long()


def read_caltech(directory: Path, size: int) -> tuple[Tensor, Tensor, list[str]]:
    """The Caltech-101 images of `caltech101_40.tar` in the order of their names, with the names of the classes.

    Images are bytes [n, 3, size, size], stretched bilinearly to the square.
    """
    images, labels, names = [], [], []
    with tarfile.open(directory / "caltech101_40.tar") as archive:
        for member in sorted((m for m in archive if m.name.endswith(".jpg")), key=lambda m: m.name):
            name = Path(member.name).parent.name
            if name not in names:
                names.append(name)
            picture = Image.open(archive.extractfile(member)).convert("RGB")
            images.append(np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)))
            labels.append(names.index(name))
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels), names


def crops(images: Tensor, margin: int = 4) -> Tensor:
    """A random shift by up to `margin` pixels (edges reflected) and a coin's mirror image of each image."""
    n, channels, height, width = images.shape
    padded = F.pad(images, [margin] * 4, mode="reflect")
    rows = torch.randint(0, 2 * margin + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(0, 2 * margin + 1, (n, 1)) + torch.arange(width)
    mirrored = torch.rand(n, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    at = [torch.arange(n)[:, None, None, None], torch.arange(channels)[None, :, None, None]]
    return padded[at[0], at[1], rows[:, None, :, None], columns[:, None, None, :]]
