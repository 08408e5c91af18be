"""Digits, and a small perceptron trained on them."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def perceptron(width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def small_convolutions() -> nn.Sequential:
    """On 8x8 images: batch norm to fold, a layer whose 144 rows do not fit 128, groups, a stride."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def train(network: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, rate: float = 0.05) -> torch.optim.Optimizer:
    """Plain gradient descent in a fixed order."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    network.train()
    for _ in range(epochs):
        for batch, truth in zip(images.split(64), labels.split(64), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), truth).backward()
            optimizer.step()
    network.eval()
    return optimizer


@pytest.fixture(scope="session")
def digits() -> Data:
    """Training images, their labels, test images, their labels."""
    bundle = load_digits()
    order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(bundle.images, dtype=torch.float32)[order, None] / 8 - 1
    labels = torch.tensor(bundle.target)[order]
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


@pytest.fixture(scope="session")
def digital(digits: Data) -> nn.Module:
    """The perceptron, trained digitally."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = perceptron()
    train(network, digits[0], digits[1], epochs=8)
    torch.set_num_threads(threads)
    return network


@pytest.fixture(scope="session")
def convolutional(digits: Data) -> nn.Module:
    """The small convolutional network, trained a little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = small_convolutions()
    train(network, digits[0], digits[1], epochs=3)
    torch.set_num_threads(threads)
    return network
