"""How fast and how right the dense CRF loss is, beside the C++ filter of published runs; writes results/losses.json.

    python benchmarks/losses.py [--peer DIR] [--rounds 9]

The peer is the unmodified permutohedral filter of https://github.com/meng-tang/rloss, from a checkout that is named by
--peer or BOXLESS_RLOSS, or cloned into ~/.cache/boxless-bench, compiled here with g++ -O2; without it or the compiler
its part is left out. Its time is that of the filter alone, ours is that of the loss with its checks and its gradient.
They are timed in turns on the same images: in one thread in processor seconds, in two threads by the clock. That the
method `original` gives what the filter gives is checked first.

Images are the photographs that the bundled sample is made of, and for the ends of what images can be, smooth gradients
and pixels of random colours. How right results are is told by an explicit matrix in float64 at 56 px, and by the exact
method at larger sizes. Where there is a GPU, the exact method is timed on it too.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import describe
from _rloss import COMMIT, SIGMA_RGB, SIGMA_XY, Filter, load_filter
from PIL import Image
from torch import Tensor

from boxless.data.sample.assets import load_assets
from boxless.losses.dense_crf import dense_crf_loss

RESULTS = Path(__file__).parent / "results" / "losses.json"
SIDES = (112, 224)
FEW = 4  # images of a kind that is not photographs, and those on which the exact method is timed
EQUAL = 1e-4  # the largest difference to the filter, of its largest result, with which times are reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=os.environ.get("BOXLESS_RLOSS"), help="a checkout of it")
    parser.add_argument("--rounds", type=int, default=9, help="turns that each side is timed for")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    peer = load_filter(chosen.peer)
    result: dict[str, Any] = {"accuracy": accuracy(peer), "two_threads": {}, "one_thread": {}, "exact": {}}
    for side in SIDES:
        photographs = kinds(side)["photographs"]
        images = torch.cat([photographs, photographs.flip(3)])
        result["two_threads"][f"photographs, {side} px"] = speed(images, peer, 2, chosen.rounds, time.perf_counter)
    torch.set_num_threads(1)
    for side in SIDES:
        for kind, images in kinds(side).items():
            result["one_thread"][f"{kind}, {side} px"] = speed(images, peer, 1, chosen.rounds, time.process_time)
            result["exact"][f"{kind}, {side} px"] = exact_seconds(images, side)
    result["cuda"] = on_cuda(chosen.rounds)
    result |= describe("one and two threads", "torch", "numba", "numpy") | {"peer_commit": COMMIT if peer else None}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    report(result)


def kinds(side: int) -> dict[str, Tensor]:
    """Images of each kind, (b, 3, side, side) in [0, 255]; photographs are cut to squares and made smaller."""
    photographs = []
    for pixels in (each for split in ("train", "test") for each in load_assets().photographs[split]):
        picture = Image.fromarray((pixels * 255).round().astype(np.uint8))
        width, height = picture.size
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        smaller = picture.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + edge, top + edge))
        photographs.append(torch.from_numpy(np.array(smaller, dtype=np.float32)).permute(2, 0, 1))
    rows, columns = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    waves = [torch.sin((4 + index) * rows * columns) for index in range(FEW)]
    smooth = [torch.stack([255 * columns, 255 * rows, 127.5 + 127.5 * wave]) for wave in waves]
    draws = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (FEW, 3, side, side), generator=draws).float()
    return {"photographs": torch.stack(photographs), "smooth": torch.stack(smooth), "random colours": colours}


def soft_discs(count: int, side: int) -> Tensor:
    """A background and an object for each image, (count, 2, side, side), which sum to one."""
    rows, columns = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    discs = [
        torch.exp(-((columns - 0.5 - 0.2 * math.cos(turn)) ** 2 + (rows - 0.5 - 0.2 * math.sin(turn)) ** 2) / 0.08)
        for turn in range(count)
    ]
    object_maps = 0.02 + 0.96 * torch.stack(discs)
    return torch.stack([1 - object_maps, object_maps], dim=1)


def loss_and_gradient(maps: Tensor, images: Tensor, method: Any) -> tuple[Tensor, Tensor]:
    maps = maps.detach().requires_grad_()
    loss = dense_crf_loss(maps, images, method=method, sigma_rgb=SIGMA_RGB, sigma_xy=SIGMA_XY)
    (gradient,) = torch.autograd.grad(loss, maps)
    return loss.detach(), gradient


def speed(
    images: Tensor, peer: Filter | None, threads: int, rounds: int, clock: Callable[[], float]
) -> dict[str, object]:
    """Milliseconds an image of a whole batch, and how often the filter's time ours is."""
    maps = soft_discs(len(images), images.shape[3])
    calls: dict[str, Callable[[], Any]] = {
        "lattice": lambda: loss_and_gradient(maps, images, "lattice"),
        "original": lambda: loss_and_gradient(maps, images, "original"),
    }
    if peer:
        calls["rloss"] = lambda: peer(maps, images, threads)
        check_equal(maps, images, peer(maps, images, threads))
    times = turns(calls, rounds, clock)
    found: dict[str, object] = {"batch": len(images)}
    for name, each in times.items():
        found[f"{name}_milliseconds"] = round(1e3 * float(np.median(each)) / len(images), 2)
    for name in ("lattice", "original") if peer else ():
        ratios = np.divide(times[name], times["rloss"])
        found[f"{name}_to_rloss"] = round(float(np.median(ratios)), 2)
        found[f"{name}_to_rloss_quartiles"] = np.quantile(ratios, [0.25, 0.75]).round(2).tolist()
    return found


def turns(calls: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in list(calls)[:: (-1) ** turn]:
            start = clock()
            calls[name]()
            if turn > 0:
                times[name].append(clock() - start)
    return times


def check_equal(maps: Tensor, images: Tensor, filtered: Tensor) -> None:
    """End the program where `original` is further from the filter than rounding takes it."""
    gradient = loss_and_gradient(maps, images, "original")[1]
    difference = ((gradient * len(maps) / -2 - filtered).abs().max() / filtered.abs().max()).item()
    if not difference <= EQUAL:
        raise SystemExit(f"The results differ from those of rloss by {difference:.1e}; no time is reported.")


def exact_seconds(images: Tensor, side: int) -> dict[str, object]:
    """Processor seconds an image of the exact method, which takes too long for more than a few."""
    count, rounds = (FEW, 3) if side == SIDES[0] else (1, 2)
    maps, images = soft_discs(count, side), images[:count]
    times = turns({"exact": lambda: loss_and_gradient(maps, images, "exact")}, rounds, time.process_time)["exact"]
    return {"batch": count, "milliseconds": round(1e3 * float(np.median(times)) / count)}


def accuracy(peer: Filter | None) -> dict[str, Any]:
    """Errors of the exact method against the matrix, and of the lattice and of the filter against the exact method."""
    found: dict[str, Any] = {"exact, 56 px": {}}
    for kind, images in kinds(56).items():
        errors = [errors_to_matrix(*each) for each in singly(images)]
        found["exact, 56 px"][kind] = worst(errors)
    for side, step in zip(SIDES, (1, FEW), strict=True):  # one in four is enough of what takes 16 times as long
        for kind, images in kinds(side).items():
            rows = [errors_to_exact(*each, peer) for each in singly(images[::step])]
            for name in rows[0]:
                found.setdefault(f"{name}, {side} px", {})[kind] = worst([row[name] for row in rows])
    return found


def singly(images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The maps and the image of each, as batches of one."""
    maps = soft_discs(len(images), images.shape[3])
    return [(maps[[index]], images[[index]]) for index in range(len(images))]


def errors_to_matrix(maps: Tensor, images: Tensor) -> dict[str, float]:
    """Relative errors of the loss, of its gradient as a whole, and of the gradient's worst entry."""
    side = images.shape[3]
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    features = [rows / SIGMA_XY, columns / SIGMA_XY, *(images[0].double() / SIGMA_RGB)]
    far = sum((each.flatten()[:, None] - each.flatten()).square() for each in features)
    own = maps[0].double().flatten(1)
    slope = -2 * own @ torch.exp(-far / 2)
    loss, gradient = loss_and_gradient(maps, images, "exact")
    off = gradient[0].flatten(1) - slope
    return {
        "value": abs(loss.item() / ((own * slope).sum().item() / 2) - 1),
        "gradient": (off.norm() / slope.norm()).item(),
        "gradient_worst_entry": (off / slope).abs().max().item(),
    }


def errors_to_exact(maps: Tensor, images: Tensor, peer: Filter | None) -> dict[str, dict[str, float]]:
    """Of the loss and of its gradient's norm, relative; and how far the gradient's direction is off."""
    exact, slope = loss_and_gradient(maps, images, "exact")
    others = {"lattice": loss_and_gradient(maps, images, "lattice")}
    if peer:
        filtered = peer(maps, images, 1)
        others["rloss"] = -(maps * filtered).sum(), -2 * filtered
    found = {}
    for name, (loss, gradient) in others.items():
        cosine = torch.cosine_similarity(gradient.flatten().double(), slope.flatten().double(), dim=0).item()
        found[name] = {
            "value": abs(loss.item() / exact.item() - 1),
            "gradient": ((gradient - slope).norm() / slope.norm()).item(),
            "one_less_cosine": 1 - cosine,
        }
    return found


def worst(errors: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The median over images, and the largest, to two digits."""
    table = {name: [each[name] for each in errors] for name in errors[0]}
    return {
        name: {"median": float(f"{np.median(each):.1e}"), "largest": float(f"{max(each):.1e}")}
        for name, each in table.items()
    }


def on_cuda(rounds: int) -> dict[str, Any] | None:
    """Milliseconds an image of the exact method on a GPU, and how far it is from the processor's."""
    if not torch.cuda.is_available():
        return None
    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for side in SIDES:
        images = kinds(side)["photographs"]
        maps = soft_discs(len(images), side)
        shown, given = images.cuda(), maps.cuda()

        def call(maps: Tensor = given, images: Tensor = shown) -> None:
            loss_and_gradient(maps, images, "exact")
            torch.cuda.synchronize()

        times = turns({"exact": call}, rounds, time.perf_counter)["exact"]
        here = loss_and_gradient(maps[:1], images[:1], "exact")[1]
        there = loss_and_gradient(given[:1], shown[:1], "exact")[1].cpu()
        found[f"{side} px"] = {
            "batch": len(images),
            "exact_milliseconds": round(1e3 * float(np.median(times)) / len(images), 2),
            "largest_relative_error": float(f"{(there / here - 1).abs().max():.1e}"),
        }
    return found


def report(result: dict[str, Any]) -> None:
    for part, rows in result.items():
        print(f"{part}:", rows if not isinstance(rows, dict) else "")
        for name, row in rows.items() if isinstance(rows, dict) else ():
            print(f"  {name}: {row}")
    print(*speed_table(result), *error_table(result["accuracy"]), f"written to {RESULTS}", sep="\n")


def speed_table(result: dict[str, Any]) -> list[str]:
    """Rows for README.md."""
    rows = []
    for threads in ("one_thread", "two_threads"):
        for name, row in result[threads].items():
            cells = [f"{name}, {threads.replace('_', ' ')}", str(row.get("rloss_milliseconds", ""))]
            for method in ("lattice", "original"):
                cells.append(str(row[f"{method}_milliseconds"]))
                low, high = row.get(f"{method}_to_rloss_quartiles", ("", ""))
                cells.append(f"{row.get(f'{method}_to_rloss', '')} ({low}-{high})")
            exact = result["exact"][name]["milliseconds"] if threads == "one_thread" else ""
            rows.append(f"| {' | '.join(cells)} | {exact} |")
    return rows


def error_table(found: dict[str, Any]) -> list[str]:
    """Rows for README.md."""
    rows = []
    for name, kind in found.items():
        errors = [each[part] for each in kind.values() for part in ("value", "gradient")]
        cells = [f"{shown(each['median'])} ({shown(each['largest'])})" for each in errors]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def shown(error: float) -> str:
    return f"{100 * error:.2g} %" if error > 1e-3 else f"{error:.0e}".replace("e-0", "e-")


if __name__ == "__main__":
    main()
