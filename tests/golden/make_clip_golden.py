"""Writes clip_maps.json: what the authors' code of SCLIP, NACLIP and CLIP-ES computes for the CLIP of clip_cases.py.

    git clone https://github.com/wangf3014/SCLIP; git clone https://github.com/sinahmr/NACLIP
    git clone https://github.com/linyq2117/CLIP-ES
    python tests/golden/make_clip_golden.py --peers DIR      # the folder of the three; a minute

Their modules are imported as they are; packages that these functions do not use (mmsegmentation, tokenizers, ttach) are
stood in for. CLIP-ES' loop over a data set runs whole, with pictures, annotations and embeddings of texts that are
made here: only the graphics card that it names is replaced by the processor, in its source. SCLIP has no licence; none
of its code is kept here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from xml.etree import ElementTree

import numpy as np
import packaging.version
import torch
import torchvision  # noqa: F401  # before anything is stood in for
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import clip_cases

GOLDEN = Path(__file__).parent / "clip_maps.json"
COMMITS = {
    "SCLIP": "b56bd3014b9e8a3ee3450bcfc53700a67d627b7a",
    "NACLIP": "0cac3a651f753b11315ea799cfbfabf79da1bd76",
    "CLIP-ES": "3893f817be359c5ee1dbf8111cad381a532c7acc",
}
UNUSED = ("mmseg.models.data_preprocessor", "mmengine.structures", "ftfy", "ttach")


@contextmanager
def peer(folder: Path, *names: str) -> Iterator[list[Any]]:
    """Modules of a checkout, which are forgotten at the end: another's have the same names."""
    for name in UNUSED:
        sys.modules[name] = MagicMock()
    sys.modules["pkg_resources"] = SimpleNamespace(packaging=packaging)  # type: ignore[assignment]
    sys.modules["lxml"] = SimpleNamespace(etree=ElementTree)  # type: ignore[assignment]
    sys.modules["mmseg"] = ModuleType("mmseg")
    sys.modules["mmseg.models"] = ModuleType("mmseg.models")
    sys.modules["mmseg.models.segmentors"] = SimpleNamespace(BaseSegmentor=object)  # type: ignore[assignment]
    registry = SimpleNamespace(register_module=lambda: lambda kind: kind)
    sys.modules["mmseg.registry"] = SimpleNamespace(MODELS=registry)  # type: ignore[assignment]
    sys.path.insert(0, str(folder))
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(f"{folder}/"):
                del sys.modules[name]


def network(model: Any, *, flat: bool) -> Any:
    """A peer's own CLIP with the weights of clip_cases; its text tower is not used."""
    built = model.CLIP(
        *(clip_cases.DIMENSIONS, clip_cases.SIDE, clip_cases.LAYERS, clip_cases.WIDTH, clip_cases.PATCH),
        *(8, 16, 64, 1, 1),
    )
    built.visual.load_state_dict(clip_cases.image_tower(flat=flat))
    built.logit_scale.data.fill_(np.log(clip_cases.SCALE))
    return built.eval()


def digits(values: Any) -> list[Any]:
    listed: list[Any] = np.round(np.asarray(values, dtype=np.float64), 6).tolist()
    return listed


def pixels(maps: Tensor) -> list[Any]:
    """Each so manieth pixel of maps of an image's full size, of the first five classes."""
    return digits(maps[:, :5, clip_cases.EVERY // 2 :: clip_cases.EVERY, clip_cases.EVERY // 2 :: clip_cases.EVERY])


def segmentor(kind: Any, net: Any, **settings: Any) -> Any:
    """A segmentation model of SCLIP or NACLIP, of which only what its maps are made by is set."""
    made = kind.__new__(kind)
    made.net, made.query_features, made.num_queries = net, clip_cases.texts()[0], clip_cases.CLASSES
    made.align_corners = False
    vars(made).update(settings)
    return made


@torch.no_grad()
def sclip(folder: Path) -> dict[str, Any]:
    with peer(folder, "clip.model", "clip_segmentor") as (model, segmentation):
        found: dict[str, Any] = {}
        for name, size in (("square", clip_cases.SQUARE), ("wide", clip_cases.WIDE)):
            net, images = network(model, flat=name == "wide"), clip_cases.images(size)
            made = segmentor(segmentation.CLIPForSegmentation, net)
            grid = tuple(side // clip_cases.PATCH for side in size)
            plain = net.visual(images, return_all=True, csa=False)
            plain = plain / plain.norm(dim=-1, keepdim=True)
            found[name] = {
                "maps": digits(made.forward_feature(images, logit_size=grid)[:, :5]),
                "scores": digits(scores(net.visual(images, csa=True))),
                "clip_maps": digits((plain[:, 1:] @ clip_cases.texts()[0][:5].T).mT.unflatten(2, grid)),
                "clip_scores": digits(scores(net.visual(images, csa=False))),
            }
        return found


def scores(embeddings: Tensor) -> Tensor:
    return clip_cases.SCALE * (embeddings / embeddings.norm(dim=-1, keepdim=True)) @ clip_cases.texts()[0].T


@torch.no_grad()
def naclip(folder: Path) -> dict[str, Any]:
    with peer(folder, "clip.model", "naclip", "pamr") as (model, segmentation, refinement):
        pamr = refinement.PAMR(10, dilations=(8, 16))
        large = clip_cases.images(clip_cases.LARGE)
        found: dict[str, Any] = {"pamr": pixels(pamr(large, clip_cases.masks(clip_cases.LARGE)))}
        for name, size in (("square", clip_cases.SQUARE), ("wide", clip_cases.WIDE)):
            net, images = network(model, flat=name == "wide"), clip_cases.images(size)
            net.visual.set_params("reduced", "naclip", 5.0)
            made = segmentor(segmentation.NACLIP, net)
            maps = made.forward_feature(images).contiguous()
            found[name] = {
                "maps": pixels(maps),
                "refined": pixels(pamr(images, maps)),
                "scores": digits(scores(net.visual(images))),
            }
        windows = made.forward_slide(large, clip_cases.STEP, clip_cases.WINDOW)  # of flat position embeddings
        return {**found, "windows": pixels(windows)}


def clip_es(folder: Path) -> dict[str, Any]:
    with peer(folder, "generate_cams_voc12") as (module,):
        import clip.model as model

        path = Path(module.__file__)
        source = path.read_text(encoding="utf-8")
        card = '"cuda:{}".format(process_id % n_gpus)'
        if source.count(card) != 1:
            raise SystemExit(f"{path}: the line that names the graphics card is not as it was.")
        exec(compile(source.replace(card, '"cpu"'), path, "exec"), vars(module))
        found = {}
        for name, size in (("square", clip_cases.SQUARE), ("wide", clip_cases.WIDE)):
            found[name] = perform(module, network(model, flat=name == "wide"), size)
        return found


def perform(module: Any, net: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Its loop over two pictures: of each class of a picture the CAM, and what it is refined to, on the grid.

    The latter is brought to [0, 1] without the 1e-7 that they add to the divisor: with this small model maps range over
    so little that it shows.
    """
    noted: dict[str, Any] = {"cams": [], "maps": []}
    scale, boxes = module.scale_cam_image, module.scoremap2bbox

    def scale_cam_image(maps: Any, size: Any) -> Any:
        lowest, highest = maps[0].min(), maps[0].max()
        noted["maps"].append(digits((maps[0] - lowest) / (highest - lowest or 1)))
        return scale(maps, size)

    def scoremap2bbox(scoremap: Any, **settings: Any) -> Any:
        noted["cams"].append(digits(scoremap))
        return boxes(scoremap=scoremap, **settings)

    module.scale_cam_image, module.scoremap2bbox = scale_cam_image, scoremap2bbox
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "JPEGImages").mkdir()
        (root / "Annotations").mkdir()
        for index, picture in enumerate(clip_cases.pictures(size)):
            Image.fromarray(picture).save(root / "JPEGImages" / f"{index}.jpg", format="PNG")
            named = "".join(
                f"<object><name>{module.class_names[label]}</name></object>" for label in clip_cases.LABELS[index]
            )
            (root / "Annotations" / f"{index}.xml").write_text(
                f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{named}</annotation>"
            )
        arguments = SimpleNamespace(img_root=str(root / "JPEGImages"), cam_out_dir=str(root))
        classes, background = clip_cases.texts()
        layers = [net.visual.transformer.resblocks[-1].ln_1]
        cam = module.GradCAM(model=net, target_layers=layers, reshape_transform=module.reshape_transform)
        module.perform(0, [["0.jpg", "1.jpg"]], arguments, net, background, classes, cam)
    module.scale_cam_image, module.scoremap2bbox = scale, boxes
    return noted


def check_commit(folder: Path, commit: str) -> None:
    """Refuse another commit than that which the numbers are said to be of, or files that were changed."""
    for command, expected in (("rev-parse HEAD", commit), ("status --porcelain --untracked-files=no -- *.py", "")):
        said = subprocess.run(["git", "-C", folder, *command.split()], capture_output=True, text=True, check=True)
        if said.stdout.strip() != expected:
            raise SystemExit(f"{folder} is not the unchanged commit {commit}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="the folder of the three checkouts")
    root = parser.parse_args().peers.resolve()
    for name, commit in COMMITS.items():
        check_commit(root / name, commit)
    content = {
        "about": {
            "what": "what the authors' code computes for the CLIP, the images and the texts of clip_cases.py",
            "command": "python tests/golden/make_clip_golden.py --peers DIR",
            "peers": {
                "SCLIP": "https://github.com/wangf3014/SCLIP",
                "NACLIP": "https://github.com/sinahmr/NACLIP",
                "CLIP-ES": "https://github.com/linyq2117/CLIP-ES",
            },
            "peer_commits": COMMITS,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        },
        "sclip": sclip(root / "SCLIP"),
        "naclip": naclip(root / "NACLIP"),
        "clip_es": clip_es(root / "CLIP-ES"),
    }
    GOLDEN.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
