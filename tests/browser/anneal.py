"""The made-up program of the pictures: what its tasks are."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

Gen = Generator[Any, Any, Any]


def simulate(step: int, seconds: float, task: Any = None) -> Gen:
    print(f"step {step}: residual {1 / (step + 1):.4f}", flush=True)
    yield task.sleep(seconds)
    return step * seconds


def load_images(path: str, missing: bool, seconds: float, task: Any = None) -> Gen:
    yield task.sleep(seconds)
    if missing:
        raise FileNotFoundError(2, "No such file or directory", path)
    return path


def fit_curve(points: int, path: str = "", task: Any = None) -> Gen:
    def weight(number: int) -> float:
        return 1 / (number - 3)

    yield
    return [weight(number) for number in range(points)]
