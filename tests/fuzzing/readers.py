"""Every reader of files in the house, each with sound files to begin with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("cat", "dog")
NAMES = ("train/a.png", "val/b.png", "c.png")  # the images of data sets
CARD = {
    "run_version": 2,
    "boxless": "1.0",
    "classes": list(CLASSES),
    "multi_label": False,
    "data": {"source": "x", "format": "folder", "split_rule": "as given", "images": {"train": 2, "val": 1}},
    "method": "cam",
    "backbone": {"name": "test_resnet", "licence": "none", "frozen": True},
    "box_rule": "largest",
    "resolution": 64,
    "seed": 0,
    "versions": {"torch": "2"},
    "python": "3",
    "commit": None,
    "date": "2026-01-01",
    "supervision": "image labels",
    "selection": {"criterion": "x", "by": "pseudo:spectral", "measure": "iou", "value": 0.5, "epoch": 3},
    "threshold": {"rule": 0.2, "source": "x"},
    "criteria": {
        "pseudo:spectral": {
            "title": "x",
            "oracle": False,
            "value": 0.5,
            "epoch": 3,
            "threshold": 0.2,
            "thresholds": {},
            "weights": "model.safetensors",
        }
    },
    "training_seconds": 3.5,
    "refused": {},
    "map_warnings": {},
}


@dataclass(frozen=True)
class Reader:
    """One reader: in which file it looks, what is sound there, how it is called with the folder of that file."""

    file: str
    kind: str
    seeds: Callable[[], tuple[bytes, ...]]
    read: Callable[[Path], object]
    with_images: bool = False


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (24, 16), **options: Any) -> bytes:
    """A small picture as a file."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _image(name: str, *seeds: Callable[[], bytes]) -> Reader:
    def read(folder: Path) -> None:
        from boxless.data.images import decode, read_size

        read_size(folder / name)
        decode(folder / name, shrink_to=16)

    return Reader(name, "bytes", lambda: tuple(seed() for seed in seeds), read)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _large(folder: Path) -> None:
    from boxless.data.large import open_large, read_reduced

    with open_large(folder / "image.tif") as image:
        image.read((0, 0, min(20, image.size[0]), min(10, image.size[1])), (10, 5))
    read_reduced(folder / "image.tif", 16)


def _tiffs() -> tuple[bytes, ...]:
    import tifffile

    made = []
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    for options in ({}, {"tile": (32, 32)}, {"compression": "deflate", "tile": (16, 16)}, {"bigtiff": True}):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", **options)
        made.append(file.getvalue())
    return (*made, picture("TIFF"), picture("TIFF", compression="tiff_lzw"), picture("TIFF", "L"))


def _videos() -> tuple[bytes, ...]:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 32, 32
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return (file.getvalue(),)


def _video(folder: Path) -> None:
    from boxless.predict.video_io import Video

    with Video(folder / "clip.mp4") as video:
        video.count()
        for number, _ in enumerate(video):
            if number > 20:
                return


def _catalog(path: str, folder: Path) -> None:
    from boxless.data.catalog import read_catalog
    from boxless.data.masks import read_masks
    from boxless.data.truth import read_truth
    from boxless.errors import MissingTruthError

    catalog = read_catalog(folder / path)
    with suppress(MissingTruthError):
        read_truth(catalog, "train")
        read_masks(catalog, "train", None)


TABLE = (
    b"path,label,split,x0,y0,x1,y1\ntrain/a.png,cat,train,1,2,9,8\nval/b.png,dog;cat,val,0,0,5,5\nc.png,dog,train,,,,\n"
)
COCO = {
    "images": [{"id": i, "file_name": name, "width": 24, "height": 16} for i, name in enumerate(NAMES)],
    "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {"id": i, "image_id": i, "category_id": i % 2, "bbox": [1, 2, 5, 6], "iscrowd": 0} for i in range(3)
    ],
}
RECORDS = [
    {"file_name": "train/a.png", "label": "cat", "objects": {"bbox": [[1, 2, 3, 4]]}},
    {"file_name": "val/b.png", "labels": ["dog", "cat"]},
    {"file_name": "c.png", "label": 1},
]


def _jsonl(records: list[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _wsol(name: str) -> Reader:
    """One of the files of wsolevaluation's metadata; the others are sound."""
    files = {
        "meta/train/image_ids.txt": b"train/a.png\nc.png\n",
        "meta/train/class_labels.txt": b"train/a.png,0\nc.png,1\n",
        "meta/train/image_sizes.txt": b"train/a.png,24,16\nc.png,24,16\n",
        "meta/train/localization.txt": b"train/a.png,1,2,9,8\nc.png,0,0,5,5\n",
        "meta/encoding.yaml": b"cat: 0\ndog: 1\n",
    }

    def read(folder: Path) -> None:
        from boxless.data.box_files import read_box_file

        for other, content in files.items():
            if other != name and not (folder / other).exists():
                (folder / other).parent.mkdir(parents=True, exist_ok=True)
                (folder / other).write_bytes(content)
        _catalog("meta", folder)
        read_box_file(folder / "meta" / "train", images=folder)

    kind = "yaml" if name.endswith("yaml") else "table"
    return Reader(name, kind, lambda: (files[name],), read, with_images=True)


def _boxes(name: str, folder: Path) -> None:
    from boxless.data.box_files import read_box_file

    for pseudo in (False, True):
        read_box_file(folder / name, images=folder, pseudo=pseudo)


def _mask(folder: Path) -> None:
    from boxless.data.masks import _read

    _read(folder / "mask.png")


def _call(module: str, function: str, *arguments: Any) -> Callable[[Path], object]:
    """Call a function with a file; ``None`` among the arguments is where its path goes."""

    def read(file: str, folder: Path) -> object:
        from importlib import import_module

        return getattr(import_module(module), function)(
            *(folder / file if each is None else each for each in arguments)
        )

    return read  # type: ignore[return-value]


def _file(
    file: str,
    kind: str,
    seeds: tuple[bytes, ...] | Callable[[], tuple[bytes, ...]],
    module: str,
    function: str,
    *rest: Any,
) -> Reader:
    made = seeds if callable(seeds) else lambda: seeds
    return Reader(file, kind, made, partial(_call(module, function, *(rest or (None,))), file))


def _recipes() -> tuple[bytes, ...]:
    from boxless.recipe import Recipe

    whole = Recipe().override(pseudo={"source": "cam"}, text={"model": "none"}, method={"name": "cam"})
    return (
        yaml.safe_dump(json.loads(json.dumps(whole.to_dict(whole=True)))).encode(),
        b"method: {name: dips}\ntraining: {epochs: 3, stages: {method: {epochs: 2}}}\n",
        b"notes: &a [1, 2]\nours: [*a, *a]\n",
    )


def _settings(folder: Path) -> None:
    from boxless.api import with_settings
    from boxless.cli.options import parse_settings
    from boxless.recipe import Recipe

    lines = (folder / "settings.txt").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    with_settings(Recipe(), parse_settings(lines))


def _card(folder: Path) -> None:
    from boxless.cli.show import run_rows
    from boxless.report.card import facts
    from boxless.runs import read_card

    card = read_card(folder)
    run_rows(folder, card)
    facts(card)


def _journals() -> tuple[bytes, ...]:
    from boxless.predict.journal import Header

    lines = [
        {
            "name": name,
            "path": f"/x/{name}",
            "size": [24, 16],
            "label": 0,
            "score": 0.5,
            "threshold": 0.2,
            "boxes": [[1, 2, 9, 8, 0, 0.5]],
            "masks": ["04"],
            "presence": 0.5,
        }
        for name in NAMES
    ]
    refused = {"name": "d.png", "path": "/x/d.png", "refused": "broken"}
    return (Header("digest", "otsu", {}, CLASSES, ("/x",)).line() + _jsonl([*lines, refused]),)


def _journal(folder: Path) -> None:
    from boxless.predict.journal import Header, Journal

    with Journal(folder / "predictions.jsonl", Header("digest", "otsu", {}, CLASSES, ("/x",))) as journal:
        list(journal.predictions(NAMES))
        str(journal.refused)


def _review(folder: Path) -> None:
    from boxless.app.record import Record

    Record(folder / "review.jsonl", CLASSES, "")


def _store(folder: Path) -> None:
    import zlib

    from boxless.pseudo._lines import decode, joined

    rows = []
    for line in (folder / "proposals.jsonl").read_bytes().splitlines():
        row = decode(b"%08x %s\n" % (zlib.crc32(line), line))  # as one who means harm would write it
        rows.append(row)
    if any(rows):
        joined(rows, 2, (4, 4))


ROW = {
    "key": "k",
    "grid": [4, 4],
    "boxes": [[0, 0, 2, 2]],
    "scores": [0.5],
    "maps": [0],
    "kept_largest": False,
    "side": [2, 2],
    "activations": "AAAAAAAAAAA=",
}


def _ledger(folder: Path) -> None:
    from boxless.search.ledger import Ledger, read_plan

    for name, content in TRIAL.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.write_bytes(content)
    read_plan(folder)
    Ledger(folder, "method").trials()


TRIAL = {
    "search.json": json.dumps({"search_version": 1, "plan": {"trials": 2}, "space": {}, "recipe": {}}).encode(),
    "trials/0001/trial.json": b'{"number": 1, "settings": {"training.learning_rate": 0.1}}',
    "trials/0001/outcome.json": b'{"state": "failed", "reason": "x", "kind": "DataError"}',
    "trials/0002/trial.json": b'{"number": 2, "settings": {"training.learning_rate": 0.1}}',
    "trials/0002/metrics.jsonl": _jsonl([{"epoch": i, "stage": "method", "select": 0.1 * i} for i in range(3)]),
    "trials/0003/trial.json": b'{"number": 3, "settings": {}}',
    "trials/0003/card.json": json.dumps(CARD).encode(),
}


def _npy() -> tuple[bytes, ...]:
    made = []
    for kind in ("<f4", "<f8", "<f2", ">f4"):
        file = io.BytesIO()
        np.save(file, np.linspace(0, 1, 48).reshape(6, 8).astype(kind))
        made.append(file.getvalue())
    return tuple(made)


def _mats() -> tuple[bytes, ...]:
    """Cells of numbers, and structs, plain and compressed."""
    from scipy.io import savemat

    cells, fields = np.empty((1, 2), dtype=object), np.empty((1, 1), dtype=[("im", object), ("boxes", object)])
    cells[0, 0], cells[0, 1] = np.array([[1.5, 2, 3, 4]]), "text"
    fields[0, 0] = ("car00000001", np.uint16([[1, 2, 3, 4], [5, 6, 7, 8]]))
    made = []
    for value, compressed in ((cells, False), (fields, False), (fields, True)):
        file = io.BytesIO()
        savemat(file, {"a": value}, do_compression=compressed)
        made.append(file.getvalue())
    return tuple(made)


def _evaluations() -> tuple[bytes, ...]:
    file = io.BytesIO()
    told = json.dumps({"names": ["a", "b"], "refused": []})
    arrays = {"overlaps": np.zeros((2, 4), np.float16), "highest": np.zeros(3), "right_class": np.zeros(2, bool)}
    np.savez(file, told=np.array(told), **arrays)
    return (file.getvalue(),)


def _tensors(metadata: dict[str, str]) -> tuple[bytes, ...]:
    from safetensors.numpy import save

    tensors = {"embeddings": np.ones((2, 4), np.float32), "model/x": np.zeros(3, np.float32)}
    return (save(tensors, metadata=metadata),)


def _embeddings(folder: Path) -> None:
    from boxless.text.towers import FileText, dimensions

    dimensions(str(folder / "text.safetensors"))
    FileText(folder / "text.safetensors").rows(CLASSES)


def _progress() -> tuple[bytes, ...]:
    from dataclasses import asdict

    from boxless.training.checkpoints import Progress

    return _tensors({"progress": json.dumps(asdict(Progress())), "optimizer": "{}"})


def _facts(folder: Path) -> None:
    from boxless.export.facts import KEY, read_facts

    read_facts({KEY: (folder / "facts.json").read_bytes().decode("utf-8", "replace")}, "model.onnx")


def _all_facts() -> tuple[bytes, ...]:
    from boxless.export.facts import Facts

    return (Facts(CLASSES, "otsu", False, 64, False, "all", "x", "y").to_json().encode(),)


def _rle(folder: Path) -> None:
    from boxless.ops.run_lengths import area, decode

    text = (folder / "counts.txt").read_bytes().decode("latin-1")
    decode(text, (8, 6))
    area(text, (8, 6))


def _masks() -> tuple[bytes, ...]:
    from boxless.ops.run_lengths import encode

    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    return tuple(encode(each).encode() for each in (mask, np.ones_like(mask), np.zeros_like(mask)))


def _clip(folder: Path) -> None:
    from boxless.backbones.open_clip_models import dimensions, preprocess

    preprocess(f"open_clip:local-dir:{folder}")
    dimensions(f"open_clip:local-dir:{folder}")


def _named(name: str, module: str, function: str) -> Callable[[Path], object]:
    return partial(_call(module, function, CLASSES, None, lambda sentence: None), name)


CLIP_CONFIG = {
    "model_cfg": {"embed_dim": 24, "vision_cfg": {"image_size": 32}, "text_cfg": {"width": 32}},
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
BENCHMARK = b"""datasets: {shapes: {source: shapes, set: {data.image_size: 64}}}
methods: {cam: null, fcam: {set: {training.epochs: 2}}}
configurations: {training.learning_rate: [0.1, 0.01]}
seeds: [0, 1]
protocol: {oracle: true}
evaluate: {split: test}
"""
SPACE = b"training: {learning_rate: 1e-4..1e-2:log, batch_size: [16, 32]}\nmethod.x: null\n"
NAMES_FILE = b"cat: tabby cat\ndog: {names: [dog, hound], templates: ['a photo of a {}.']}\n"
PSEUDO = b"path,x0,y0,x1,y1,score\na.png,1,2,3,4,0.5\nb.png,,,,,\n"
LIST = b"path,x0,y0,x1,y1,width,height\ntrain/a.png,1,2,9,8,24,16\nc.png,0,0,5,5,24,16\n"
GRADES = b"name, patient ID, grade (GlaS)\ntrain_1,1,benign\ntrain_3,2,malignant\n"


@cache
def readers() -> dict[str, Reader]:
    """All readers by name."""
    png, jpeg = partial(picture, "PNG"), partial(picture, "JPEG")
    return dict(_images(png, jpeg)) | dict(_data()) | dict(_texts()) | dict(_runs())


def _images(png: Any, jpeg: Any) -> Iterator[tuple[str, Reader]]:
    kinds = {
        "jpeg": (
            "a.jpg",
            jpeg,
            partial(jpeg, progressive=True),
            partial(jpeg, mode="CMYK"),
            partial(jpeg, exif=_exif()),
        ),
        "png": (
            "a.png",
            png,
            partial(png, mode="P"),
            partial(png, mode="RGBA"),
            partial(png, mode="I;16"),
            partial(png, mode="1"),
        ),
        "gif": ("a.gif", partial(picture, "GIF", "P"), partial(picture, "GIF", "P", save_all=True)),
        "webp": ("a.webp", partial(picture, "WEBP"), partial(picture, "WEBP", lossless=True)),
        "avif": ("a.avif", partial(picture, "AVIF", speed=10)),
        "bmp": ("a.bmp", partial(picture, "BMP"), partial(picture, "BMP", "P")),
        "ppm": (
            "a.ppm",
            partial(picture, "PPM"),
            lambda: b"P3\n2 1\n255\n1 2 3 4 5 6\n",
            lambda: b"Pf\n1 1\n-1.0\n0000",
        ),
        "jpeg 2000": ("a.jp2", partial(picture, "JPEG2000")),
        "tiff": ("a.tif", partial(picture, "TIFF"), partial(picture, "TIFF", compression="tiff_deflate")),
    }
    for name, (file, *seeds) in kinds.items():
        yield f"image: {name}", _image(file, *seeds)
    yield "image: parts of a tiff", Reader("image.tif", "bytes", _tiffs, _large)
    yield "mask", Reader("mask.png", "bytes", lambda: (png(mode="L"), png(mode="1"), png(mode="P")), _mask)
    yield "video", Reader("clip.mp4", "bytes", _videos, _video)


def _data() -> Iterator[tuple[str, Reader]]:
    coco, records = json.dumps(COCO).encode(), _jsonl(RECORDS)
    hf = b"file_name,label\ntrain/a.png,cat\nval/b.png,dog\nc.png,dog\n"
    for name, file, kind, seed in (
        ("data: csv", "list.csv", "table", TABLE),
        ("data: coco", "coco.json", "json", coco),
        ("data: metadata.jsonl", "metadata.jsonl", "lines", records),
        ("data: metadata.csv", "metadata.csv", "table", hf),
    ):
        yield name, Reader(file, kind, lambda seed=seed: (seed,), partial(_catalog, file), with_images=True)
    yield (
        "data: boxes.csv",
        Reader(
            "boxes.csv",
            "table",
            lambda: (LIST,),
            _beside,
            with_images=True,
        ),
    )
    for name in ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"):
        yield f"data: wsol {name}", _wsol(f"meta/train/{name}")
    yield "data: wsol encoding.yaml", _wsol("meta/encoding.yaml")
    yield "data: glas", Reader("Grade.csv", "table", lambda: (GRADES,), partial(_catalog, ""), with_images=True)
    yield "boxes: csv", Reader("b.csv", "table", lambda: (LIST,), partial(_boxes, "b.csv"), with_images=True)
    yield "boxes: coco", Reader("b.json", "json", lambda: (coco,), partial(_boxes, "b.json"), with_images=True)
    yield "boxes: of a run", _file("p.csv", "table", (PSEUDO,), "boxless.training.val_boxes", "read_boxes")
    yield "boxes: matlab", _file("a.mat", "bytes", _mats, "boxless.data.matlab", "read_matlab", None, "a")
    yield "maps", _file("m.npy", "bytes", _npy, "boxless.data.map_files", "read_map")
    yield "masks: run lengths", Reader("counts.txt", "bytes", _masks, _rle)


def _texts() -> Iterator[tuple[str, Reader]]:
    where = "boxless.text.names", "name_classes"
    yield "names: yaml", Reader("n.yaml", "yaml", lambda: (NAMES_FILE,), _named("n.yaml", *where))
    as_json = json.dumps({"cat": "tabby", "dog": {"names": ["dog"]}}).encode()
    yield "names: json", Reader("n.json", "json", lambda: (as_json,), _named("n.json", *where))
    pairs = b"cat: animal\ndog: animal\n"
    label_map = "boxless.predict.label_map", "read_label_map", None, CLASSES
    yield "label map: yaml", _file("l.yaml", "yaml", (pairs,), *label_map)
    yield "label map: csv", _file("l.csv", "table", (b"fine,coarse\ncat,animal\n",), *label_map)
    yield "recipe", _file("recipe.yaml", "yaml", _recipes, "boxless.recipe", "read_recipe")
    texts = (b"training.epochs=3\nmethod.x=[1, 2]\ndata.image_size=64\ntraining.stages.method.epochs=2",)
    yield "settings", Reader("settings.txt", "bytes", lambda: texts, _settings)
    yield "benchmark", _file("bench.yaml", "yaml", (BENCHMARK,), "boxless.benchmark.plan", "read_plan")
    yield "search space", Reader("space.yaml", "yaml", lambda: (SPACE,), _space)
    yield (
        "embeddings",
        Reader("text.safetensors", "bytes", lambda: _tensors({"classes": json.dumps(CLASSES)}), _embeddings),
    )
    yield "clip folder", Reader("open_clip_config.json", "json", lambda: (json.dumps(CLIP_CONFIG).encode(),), _clip)


def _runs() -> Iterator[tuple[str, Reader]]:
    yield "card", Reader("card.json", "json", lambda: (json.dumps(CARD).encode(),), _card)
    checkpoints = "boxless.training.checkpoints"
    yield "weights", _file("w.safetensors", "bytes", lambda: _tensors({}), checkpoints, "load_tensors")
    yield "checkpoint", _file("c.safetensors", "bytes", _progress, checkpoints, "read_progress")
    yield "evaluation", _file("e.npz", "bytes", _evaluations, "boxless.protocol.evaluations", "read_evaluation")
    metrics = (TRIAL["trials/0002/metrics.jsonl"],)
    yield "metrics", Reader("metrics.jsonl", "lines", lambda: metrics, _metrics)
    yield "journal", Reader("predictions.jsonl", "lines", _journals, _journal)
    header = {"boxless_review": 1, "classes": list(CLASSES), "folder": ""}
    review = _jsonl([header, {"name": "a", "boxes": [[1, 2, 3, 4, 0]], "state": "accepted"}])
    yield "review", Reader("review.jsonl", "lines", lambda: (review,), _review)
    yield "proposals", Reader("proposals.jsonl", "lines", lambda: (_jsonl([ROW, {**ROW, "key": "l"}]),), _store)
    for name, content in TRIAL.items():
        if "0003/trial" not in name and "0002/trial" not in name:
            kind = "lines" if name.endswith("jsonl") else "json"
            yield f"search: {Path(name).name}", Reader(name, kind, lambda content=content: (content,), _ledger)
    yield "onnx metadata", Reader("facts.json", "json", _all_facts, _facts)


def _metrics(folder: Path) -> None:
    from boxless.report.card import training
    from boxless.training.events import MetricsLog

    training(folder)
    MetricsLog(folder, keep_epochs=2, tensorboard=False)


def _space(folder: Path) -> None:
    from boxless.search.space import read_space

    read_space([str(folder / "space.yaml")])


def _beside(folder: Path) -> None:
    (folder / "list.csv").write_bytes(b"path,label\ntrain/a.png,cat\nc.png,dog\n")
    _catalog("list.csv", folder)
