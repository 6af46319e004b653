"""How much of the bare network's speed is left from JPEG files to written boxes, and whether memory stays flat.

    python benchmarks/predict.py [--size 160] [--batch 32] [--images 320] [--rounds 9] [--no-memory]

The speed is a ratio of two things measured in turns in one process: `predict_to` with the COCO format, and the forward
pass of the same network on a batch that is already in memory. Every round starts with an empty output folder. Memory is
the peak resident size of a process of its own, for 1,000 and for 10,000 images (links to the same files).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _machine import describe
from PIL import Image

from boxless.backbones.timm_backbone import TimmBackbone
from boxless.backbones.weights import OFFLINE_BACKBONE, has_package
from boxless.data.transforms import Preprocess
from boxless.methods.cam import CAM
from boxless.predict import Localizer, predict_to

DISTINCT = 64  # picture files; the others are links to them
PICTURE = (500, 375)
CLASSES = tuple(f"class {index}" for index in range(10))


@dataclass(frozen=True)
class BenchmarkRun:
    """What prediction needs of a run, without training one: speed does not depend on the weights' values."""

    method: CAM
    preprocess: Preprocess
    classes: tuple[str, ...] = CLASSES
    threshold: str | float = "otsu"
    multi_label: bool = False
    digest: str = "benchmark"

    @property
    def device(self) -> torch.device:
        return next(self.method.parameters()).device


def main() -> None:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(peak_memory(Path(arguments.memory_of), arguments))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_pictures(folder / "pictures")
        result = speed(folder, arguments)
        if not arguments.no_memory:
            result["memory"] = memory(folder, arguments)
    result.update(describe(f"{torch.get_num_threads()} torch threads", "torch"))
    report(result, Path(__file__).parent / "results")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160, help="side of the network's input")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves torch's choice")
    parser.add_argument("--workers", type=int, default=None, help="decoding threads")
    parser.add_argument("--no-memory", action="store_true", help="measure the speed only")
    parser.add_argument("--memory-of", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_run(size: int) -> BenchmarkRun:
    torch.manual_seed(0)
    weights = "package" if has_package(OFFLINE_BACKBONE) else "random"
    backbone = TimmBackbone(OFFLINE_BACKBONE, weights=weights, image_size=size)
    method = CAM(backbone, len(CLASSES)).eval().requires_grad_(requires_grad=False)
    return BenchmarkRun(method, Preprocess(size, backbone.mean, backbone.std))


def write_pictures(folder: Path) -> None:
    """JPEG files with the spectrum of photographs and about their size: they cost as much to decode."""
    folder.mkdir(parents=True)
    width, height = PICTURE
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    generator = np.random.default_rng(0)
    for index in range(DISTINCT):
        noise = generator.standard_normal((3, height, width))
        noise = 0.8 * noise[:1] + 0.2 * noise  # photographs vary more in brightness than in colour
        planes = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.3, s=(height, width))
        planes = 128 + 55 * (planes - planes.mean()) / planes.std()
        pixels = planes.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{index:03}.jpg", quality=90)


def link_pictures(source: Path, target: Path, count: int) -> None:
    target.mkdir(parents=True)
    for index in range(count):
        os.link(source / f"{index % DISTINCT:03}.jpg", target / f"{index:06}.jpg")


def speed(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    link_pictures(folder / "pictures", folder / "speed", arguments.images)
    run = make_run(arguments.size)
    localizer = Localizer(run)
    forward, whole = [], []
    for turn in range(-1, arguments.rounds):  # the first turn warms up and does not count
        before = bare_forward(run, arguments)
        predicted = from_files(localizer, folder / "speed", folder / f"out{turn}", arguments)
        after = bare_forward(run, arguments)
        if turn >= 0:
            forward.append((before + after) / 2)
            whole.append(predicted)
    ratios = [a / b for a, b in zip(whole, forward, strict=True)]
    kilobytes = statistics.mean(path.stat().st_size for path in (folder / "pictures").iterdir()) / 1000
    return {
        "network": f"CAM on {OFFLINE_BACKBONE} at {arguments.size} px, batch {arguments.batch}",
        "pictures": f"{arguments.images} JPEG files of {PICTURE[0]} x {PICTURE[1]}, {kilobytes:.0f} kB each",
        "forward_images_per_second": round(statistics.median(forward), 1),
        "predict_images_per_second": round(statistics.median(whole), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
    }


@torch.inference_mode()
def bare_forward(run: BenchmarkRun, arguments: argparse.Namespace) -> float:
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size).to(memory_format=torch.channels_last)
    run.method.localize(images)
    batches = max(4, arguments.images // arguments.batch // 2)
    started = time.perf_counter()
    for _ in range(batches):
        run.method.localize(images)
    return batches * arguments.batch / (time.perf_counter() - started)


def from_files(localizer: Localizer, source: Path, out: Path, arguments: argparse.Namespace) -> float:
    started = time.perf_counter()
    outcome = predict_to(
        localizer, source, out, formats=["coco"], batch_size=arguments.batch, workers=arguments.workers
    )
    return outcome.written / (time.perf_counter() - started)


def memory(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Peak resident MB by number of images, each in a process of its own."""
    peaks = {}
    for count in (1_000, 10_000):
        link_pictures(folder / "pictures", folder / str(count), count)
        command = [sys.executable, __file__, "--memory-of", str(folder / str(count)), "--size", str(arguments.size)]
        command += ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[f"{count} images, MB"] = round(float(done.stdout), 1)
    return peaks


def peak_memory(source: Path, arguments: argparse.Namespace) -> float:
    localizer = Localizer(make_run(arguments.size))
    from_files(localizer, source, source.with_name(f"{source.name}-out"), arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes on macOS, kilobytes elsewhere


def report(result: dict[str, object], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / "predict.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
