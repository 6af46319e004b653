"""The code blocks of the documentation: found, and run as they stand but for what makes them quick."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxless import api
from boxless.recipe import Recipe
from boxless.training.session import Trained

from .conftest import call, shape

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).with_suffix("").as_posix(): path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
MARK = re.compile(r"<!-- not run: (.*?) -->")
OUTPUT = {"text", "csv", "json", "xml"}  # shown, and not run; with a title they are files that blocks read
SHELL = {"bash", "sh", "console"}
PLAIN = {"mkdir", "cp", "mv", "cat", "ls", "cd"}  # other programs that a block may call


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    title: str | None  # the file that it is
    text: str
    reason: str | None  # why it is not run; "" if a mark says none

    @property
    def where(self) -> str:
        return f"{self.page}.md:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Each command as words; lines joined that end in a backslash, comments and settings of variables left out."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
        lines = [shlex.split(line, comments=True) for line in text.splitlines()]
        return [words for line in lines if (words := _without_variables(line))]


def _without_variables(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    found: list[Block] = []
    lines = iter(enumerate(PAGES[page].read_text(encoding="utf-8").splitlines(), 1))
    reason: str | None = None
    for number, line in lines:
        if match := re.match(r"(\s*)```(\S*) *(.*)$", line):
            indent, language, more = match.groups()
            title = re.search(r'title="([^"]+)"', more)
            text = "".join(f"{inside}\n" for inside in _until_closed(lines, indent))
            found.append(Block(page, number, language, title and title[1], text, reason))
        if line.strip():
            mark = re.match(r"\s*<!-- not run:?\s*(.*?)\s*-->$", line)
            reason = mark[1] if mark else None
    return found


def _until_closed(lines: Iterator[tuple[int, str]], indent: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line.removeprefix(indent)


# What is changed in a block that is run. Nothing else is: the words and options go to the command line as they stand.
SUBSTITUTIONS = {
    "training.epochs": "1 of each stage",
    "training.batch_size": "8",
    "data.image_size": "64, or 32 with CLIP",
    "data.source": "'sample' is the small data set of the page",
    "backbone": "a tiny network of the same kind, with random weights: a transformer for one, CLIP for CLIP",
    "text.model, pseudo.classifier, protocol.classifier, --classifier": "that tiny CLIP for a CLIP",
    "method.width, method.hidden": "8 and 16, where the method has them",
    "pseudo.threshold": "0.97 of normalized cuts, as the network learnt nothing; also for '--annotator dips'",
    "training, export": "what another page made by the same recipe or command is copied, and not made again",
}

TINY_METHOD = {"width": 8, "hidden": 16}
TRANSFORMERS = re.compile("vit|deit|dino|swin|eva")
CLIP = re.compile(r"open_clip:(?!local-dir)\S+")


class World:
    """What the blocks of all pages share: runs that are trained once, and a tiny CLIP."""

    def __init__(self, root: Path, tiny_clip: Callable[[], str], train: Callable[..., Trained]) -> None:
        self.root, self.tiny_clip, self._train = root, tiny_clip, train
        self._made: dict[str, Trained] = {}
        self.exported: dict[tuple[str, ...], Path] = {}

    def train(self, recipe: Recipe, folder: Path, *, resume: bool = False, **how: Any) -> Trained:
        """`boxless.training.session.train`, quick, and once for each recipe; a folder in use is refused as ever."""
        watched = type(how.get("listener")).__module__.startswith("boxless.protocol")  # something looks at each epoch
        if resume or watched or (folder / "recipe.yaml").exists():
            return self._train(recipe if resume else self.tiny(recipe), folder, resume=resume, **how)
        recipe = self.tiny(recipe)
        key = re.sub(r"[^'\s]*/photos", "photos", repr(recipe))  # the same data on every page
        if key not in self._made:
            self._made[key] = self._train(recipe, self.root / f"run-{len(self._made)}", **how)
        shutil.copytree(self._made[key].folder, folder, dirs_exist_ok=True)
        return replace(self._made[key], folder=folder)

    def tiny(self, recipe: Recipe) -> Recipe:
        """The recipe with `SUBSTITUTIONS`."""
        name = self.network(recipe.backbone.name)
        size = 32 if "open_clip" in name else 64
        small = {key: value for key, value in TINY_METHOD.items() if key in _settings_of(recipe)}
        backbone: dict[str, Any] = {"backbone.name": name, "backbone.output_stride": None, "backbone.dilate": True}
        if "open_clip" not in name:
            backbone["backbone.weights"] = "random"
        swapped = {
            "text.model": recipe.text.model,
            "pseudo.classifier": recipe.pseudo.classifier,
            "protocol.classifier": recipe.protocol.classifier,
        }
        learnt_nothing = recipe.method.name.startswith("dips") and recipe.pseudo.source == "auto"
        given = {
            **backbone,
            **({"pseudo.threshold": 0.97} if learnt_nothing and name == "test_resnet" else {}),
            "data.image_size": size,
            "training.epochs": 1,
            "training.batch_size": 8,
            **{f"training.stages.{stage}.epochs": 1 for stage in recipe.training.stages},
            **{key: self.swapped(value) for key, value in swapped.items()},
            **{f"method.{key}": value for key, value in small.items()},
        }
        return api.with_settings(recipe, given)

    def network(self, name: str) -> str:
        """A tiny network of the same kind."""
        if name.startswith(("test_", "my_")):
            return name
        if name.startswith("open_clip:"):
            return self.swapped(name)
        return "test_vit" if TRANSFORMERS.search(name) else "test_resnet"

    def swapped(self, value: str) -> str:
        """A setting with CLIP replaced by a tiny one."""
        return CLIP.sub(lambda _: self.tiny_clip(), value)


def _settings_of(recipe: Recipe) -> set[str]:
    from inspect import signature

    from boxless.methods import METHODS

    return set(signature(METHODS.load(recipe.method.name)).parameters) if recipe.method.name != "auto" else set()


class Page:
    """A folder with the data that the documentation speaks of, and what the page's blocks have left there."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        self.names: dict[str, Any] = {"__name__": "docs"}

    def run(self, block: Block) -> None:
        """Run it, in the order of the page."""
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with chdir(self.folder):
                exec(compile(block.text, block.where, "exec"), self.names)
        elif block.language in SHELL:
            for words in block.commands:
                self._call(block, words)

    def _call(self, block: Block, words: list[str]) -> None:
        with chdir(self.folder):
            if words[0] != "boxless":
                assert words[0] in PLAIN, f"{block.where}: {words[0]} is not run; mark the block, or write it in Python"
                subprocess.run(words, check=True, capture_output=True)
                return
            given = [part for word in words[1:] for part in self._expanded(word)]
            file = self._exported(given)
            if file and file.exists():
                return
            done = call(*given, *(("--set", "pseudo.threshold=0.97") if "--annotator dips" in " ".join(given) else ()))
        assert done.code == 0, f"{block.where}: {shlex.join(words)}\n{done.err}\n{done.out}"

    def _exported(self, given: list[str]) -> Path | None:
        """The model file that a command writes, copied if another page wrote it from the same run."""
        if given[0] != "export":
            return None
        file = self.folder / given[given.index("--onnx") + 1]
        made = self.world.exported.setdefault(tuple(given), file)
        if made != file:
            shutil.copy(made, file)
        return file

    def _expanded(self, word: str) -> list[str]:
        """What a shell makes of a word with ``*``; CLIP's name as that of a tiny one."""
        found = sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(word)) if "*" in word else []
        return found or [self.world.swapped(word)]


def make_page(folder: Path) -> None:
    """``photos`` with classes, splits and boxes, ``new-photos``, and the parts of the repository that pages name."""
    lines = ["path,x0,y0,x1,y1"]
    for split, count in {"train": 6, "val": 3, "test": 3}.items():
        for channel, label in enumerate(("cat", "dog")):
            (folder / "photos" / split / label).mkdir(parents=True)
            for number in range(1, count + 1):
                image, box = shape(channel, 100 * len(split) + number)
                name = f"{split}/{label}/{number}.jpg"
                image.save(folder / "photos" / name)
                lines.append(f"{name},{','.join(map(str, box))}")
    (folder / "photos" / "boxes.csv").write_text("\n".join(lines) + "\n")
    (folder / "new-photos").mkdir()
    for number in range(4):
        shape(number % 2, 900 + number)[0].save(folder / "new-photos" / f"{number}.jpg")
    for part in ("recipes/sample", "src/boxless/data/sample/assets"):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks" / "protocol.yaml", folder / "benchmarks")


def make_maps(folder: Path) -> None:
    """The files of another program: maps of the test images, and their boxes."""
    for label in ("cat", "dog"):
        (folder / "maps" / "test" / label).mkdir(parents=True)
        for number in range(1, 4):
            np.save(folder / "maps" / "test" / label / f"{number}.npy", np.random.default_rng(number).random((8, 8)))
    lines = (folder / "photos" / "boxes.csv").read_text().splitlines()
    (folder / "boxes.csv").write_text("\n".join(line for line in lines if not line.startswith(("train", "val"))) + "\n")


def make_clip(folder: Path) -> None:
    """A video of the test images, one after the other."""
    import av

    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(8):
            picture = shape(number % 2, 40 + number)[0].resize((64, 64))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def make_videos(folder: Path) -> None:
    """``videos`` of two classes in splits, a video file or a folder of frames each, with boxes of test."""
    import av

    lines = ["path,frame,x0,y0,x1,y1"]
    for split, count in {"train": 3, "val": 1, "test": 1}.items():
        for channel, label in enumerate(("cat", "dog")):
            place = folder / "videos" / split / label
            place.mkdir(parents=True)
            for number in range(1, count + 1):
                pictures = [shape(channel, 10 * number + each) for each in range(3)]
                if number == 3:
                    (place / "beach").mkdir()
                    for each, (picture, _) in enumerate(pictures):
                        picture.save(place / "beach" / f"{each:04d}.jpg")
                    continue
                with av.open(str(place / f"{number}.mp4"), "w") as container:
                    stream = container.add_stream("libx264", rate=5)
                    stream.width, stream.height, stream.pix_fmt = *pictures[0][0].size, "yuv420p"
                    for picture, _ in pictures:
                        container.mux(stream.encode(av.VideoFrame.from_image(picture)))
                    container.mux(stream.encode())
                if split == "test":
                    lines += [
                        f"test/{label}/{number}.mp4,{each},{','.join(map(str, box))}"
                        for each, (_, box) in enumerate(pictures)
                    ]
    (folder / "videos" / "boxes.csv").write_text("\n".join(lines) + "\n")


def make_slide(folder: Path) -> None:
    """A picture larger than a tile."""
    shape(0, 50)[0].resize((1200, 1100)).save(folder / "slide.tif")
