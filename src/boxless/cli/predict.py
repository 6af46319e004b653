"""boxless predict."""

from __future__ import annotations

import glob
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxless.cli.options import BatchSize, Device, Json, Trust, parse_formats, parse_options
from boxless.errors import ConfigError

if TYPE_CHECKING:
    from boxless.cli.output import Output
    from boxless.predict.localizer import Localizer
    from boxless.predict.options import Options
    from boxless.predict.video import VideoOutcome
    from boxless.predict.writing import Outcome


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a file that 'boxless export' wrote.")],
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Images, videos, folders, globs in quotes.")],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for all that is written.", show_default=False)
    ],
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of coco, yolo, voc, labelstudio, cvat, csv, wsol; or all.")
    ] = "csv,coco",
    maps: Annotated[bool, typer.Option("--maps", help="Write each image's map as .npy.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Write each image with its map and boxes.")] = False,
    masks: Annotated[bool, typer.Option("--masks", help="Write masks: PNG, and run lengths in COCO.")] = False,
    multi: Annotated[bool, typer.Option("--multi", help="Several boxes, of one class or several.")] = False,
    abstain: Annotated[bool, typer.Option("--abstain", help="No box where nothing is to be found.")] = False,
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score", metavar="X", min=0, max=1, help="Leave out boxes with a lower score.", show_default=False
        ),
    ] = 0.0,
    threshold: Annotated[
        str | None, typer.Option("--threshold", metavar="X", help="Of maps, in place of the run's: 0 to 1, or otsu.")
    ] = None,
    label_map: Annotated[
        str | None, typer.Option("--label-map", metavar="FILE", help="What classes are called: fine,coarse lines.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="PX", min=32, help="Look at larger images in tiles of this side.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Finer: refine, flip, scales, nms, min_area, overlap ..."),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Of videos, each Nth frame.", show_default=False)
    ] = 1,
    smooth: Annotated[
        float,
        typer.Option("--smooth", metavar="S", min=0, help="Of videos, average over S seconds.", show_default=False),
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do everything again, and not only what is not done yet.")
    ] = False,
    batch_size: BatchSize = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=0, help="Threads that decode images.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    r"""Find objects in images or videos; write annotations.

    \b
      boxless predict runs/photos new-photos --out boxes
      boxless predict runs/photos new-photos 'more/**/*.jpg' --out boxes --format all --overlays
      boxless predict runs/photos crowds --out boxes --multi --abstain --masks --set nms=0.3

    Stopped at any moment, the same command goes on where it was. At the end stand the images that cannot be read, and
    how many maps are not to be trusted.
    """
    from boxless.cli.output import Output

    wanted = parse_formats(formats)
    with Output(as_json=as_json) as output:
        from boxless.predict.label_map import read_label_map
        from boxless.predict.localizer import Localizer
        from boxless.predict.video_io import is_video
        from boxless.protocol.provenance import GIVEN

        localizer = Localizer.load(run, device=device, trust=trust)
        options = parse_options(
            settings or (),
            threshold=threshold,
            min_score=min_score,
            multi=multi,
            abstain=abstain,
            masks=masks,
            tile=tile,
            label_map=None if label_map is None else read_label_map(label_map, localizer.engine.classes),
        )
        videos = [path for each in sources if is_video(each) for path in _matching(each)]
        images = [each for each in sources if not is_video(each)]
        if not videos and (every != 1 or smooth):
            raise ConfigError("--every and --smooth are for videos, and there is none among the sources.")
        job = _Job(output, localizer, options, Path(out), overlays, overwrite, batch_size)
        said: dict[str, Any] = {"out": out}
        if images:
            said |= job.images(images, wanted, maps=maps, workers=workers)
        if videos:
            said["videos"] = job.videos(videos, every=every, smooth=smooth)
        said["selected_by"] = localizer.engine.selected_by
        said["threshold_from"] = localizer.engine.threshold_from if threshold is None else GIVEN
        output.say(f"selected by {said['selected_by']}; threshold from {said['threshold_from']}")
        output.finish(said, job.refused)


@dataclass(slots=True)
class _Job:
    """What images and videos of one call have in common."""

    output: Output
    localizer: Localizer
    options: Options
    out: Path
    overlays: bool
    overwrite: bool
    batch_size: int | None
    refused: list[tuple[str, str]] = field(default_factory=list)

    def images(self, sources: list[str], formats: list[str], *, maps: bool, workers: int | None) -> dict[str, Any]:
        """Predict images, and say what was written."""
        from boxless.listener import counter
        from boxless.predict.writing import predict_to

        outcome = predict_to(
            self.localizer,
            sources,
            self.out,
            formats=formats,
            options=self.options,
            maps=maps,
            overlays=self.overlays,
            overwrite=self.overwrite,
            batch_size=self.batch_size,
            workers=workers,
            progress=counter(self.output.listener, "images"),
        )
        self.output.listener.end()
        self.refused += outcome.refused
        files = dict(zip(formats, map(str, outcome.files), strict=True))
        self.output.say(_counted(outcome))
        asked = {"maps": maps, "overlays": self.overlays, "masks": self.options.masks}
        extras = [(name, str(self.out / name)) for name, wanted in asked.items() if wanted]
        for each in outcome.warnings:
            self.output.listener.note(each.sentence())
        self.output.table([*files.items(), *extras])
        return {
            "files": files,
            "written": outcome.written,
            "skipped": outcome.skipped,
            "images_per_second": outcome.images_per_second,
            "warnings": {each.kind: {"count": each.count, "example": each.example} for each in outcome.warnings},
        }

    def videos(self, paths: list[str], *, every: int, smooth: float) -> list[dict[str, Any]]:
        """Predict videos, each into a folder of its own that is called like it, and say what was written."""
        from boxless.listener import counter
        from boxless.predict.video import predict_video

        said = []
        for path, folder in zip(paths, _folders(paths, self.out), strict=True):
            outcome = predict_video(
                self.localizer,
                path,
                folder,
                self.options,
                smooth=smooth,
                every=every,
                overlays=self.overlays,
                overwrite=self.overwrite,
                batch_size=self.batch_size,
                progress=counter(self.output.listener, "frames"),
            )
            self.output.listener.end()
            self.refused += outcome.refused
            self.output.say(
                f"{path}: {outcome.frames:,} frames, {outcome.found:,} of them with a box, "
                f"{outcome.frames_per_second:.1f} a second{'; the overlay is without sound' if _mute(outcome) else ''}"
            )
            for each in outcome.warnings:
                self.output.listener.note(each.sentence())
            self.output.table([(file.name, str(file)) for file in outcome.files])
            said.append(asdict(outcome))
        return said


def _matching(source: str) -> list[str]:
    """The videos that a glob names; anything else, and a glob that names none, as it is."""
    if Path(source).exists() or not glob.has_magic(source):
        return [source]
    return sorted(glob.glob(source, recursive=True)) or [source]  # noqa: PTH207 - Path.glob finds hidden files


def _mute(outcome: VideoOutcome) -> bool:
    return outcome.sound and any(file.suffix == ".mp4" for file in outcome.files)


def _folders(paths: list[str], out: Path) -> list[Path]:
    """A folder for each video, by its name; numbered where two are called the same."""
    names: list[str] = []
    for path in paths:
        stem = Path(path).stem
        taken = [f"{stem}-{number}" for number in range(2, len(paths) + 1)]
        names.append(next(name for name in [stem, *taken] if name not in names))
    return [out / name for name in names]


def _counted(outcome: Outcome) -> str:
    from boxless.cli.output import duration

    before = f"{outcome.skipped:,} images were done before"
    if not outcome.written:
        return f"Nothing new to do; {before}." if outcome.skipped else "No image could be used."
    seconds = outcome.written / outcome.images_per_second
    now = f"{outcome.written:,} images in {duration(seconds)}, {outcome.images_per_second:.1f} a second"
    return f"{now}; {before}" if outcome.skipped else now
