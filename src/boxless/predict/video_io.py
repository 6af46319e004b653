"""Video files as upright RGB frames with their times, and frames as a video file; through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import numpy as np

from boxless.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv",
})  # fmt: skip
MAX_PIXELS = 1 << 26  # of a frame: 8192 x 8192

# Containers of frames alone: no playlists, which would have other files and addresses opened.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,m4v,h264,hevc"
_TICKS = 60_000  # a second, in the files written: the usual frame rates are whole, and MPEG-4 takes at most 65,535
_LONGEST_GAP = 86_400.0  # seconds from one frame to the next; damaged files have times of any size
_MISSING = 1.0  # seconds of a video that may be missing at its end before it counts as cut off


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video."""

    index: int  # from 0, of all frames that were decoded
    time: float  # seconds from the start
    picture: NDArray[np.uint8]  # (h, w, 3) RGB, upright


def is_video(path: str | Path) -> bool:
    """Whether the file's suffix is that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@final
class Video:
    """A video file, open; iterate over it once, for its frames in the order in which they are shown.

    What cannot be decoded is left out, and ``broken`` says so once the iteration is over; so it does of damaged frames,
    which are given as the decoder mends them.

    Args:
        path: The file.
        every: Give only one frame of so many.

    Raises:
        DataError: The file is missing, is no video, or has no picture.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        av = _av("reading a video")
        self.path, self.every = path, every
        self.broken: str | None = None
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path.")
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        try:
            self._container: Any = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{path}: this is not a video that can be read ({_reason(error)}); copy it again, or convert it to MP4."
            ) from error
        if not self._container.streams.video:
            self.close()
            raise DataError(f"{path}: there is no picture in this file, only sound; name a video.")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            self.close()
            raise DataError(f"{path}: its picture is coded in a way that is not known here; convert it to MP4.")
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self.sound = bool(self._container.streams.audio)
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.seconds = self._duration()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def count(self) -> int:
        """How many frames it will give, about; 0 if the file does not say."""
        return -(-(self._stream.frames or round(self.seconds * float(self.rate))) // self.every)

    def __iter__(self) -> Iterator[Frame]:
        av = _av("reading a video")
        time = -1.0
        for index, frame in enumerate(self._decoded()):
            time = self._time(frame, time)
            if index % self.every:
                continue
            try:
                picture = _upright(frame)
            except (av.FFmpegError, ValueError) as error:
                self.broken = self.broken or f"the colours of frame {index} cannot be read ({_reason(error)})"
                continue
            yield Frame(index, time, picture)
        if self.broken is None and self.seconds - time - float(1 / self.rate) > _MISSING:
            self.broken = f"it ends at {max(time, 0):.1f} of {self.seconds:.1f} seconds"

    def _decoded(self) -> Iterator[Any]:
        """Frames as they come from the decoder; what does not decode is passed over."""
        av = _av("reading a video")
        good = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = () if packet is None else packet.decode()
            except av.FFmpegError as error:
                self.broken = self.broken or f"after frame {good} it cannot be decoded ({_reason(error)})"
                if not isinstance(error, av.error.InvalidDataError):
                    return
                continue
            if packet is None:
                return
            for frame in frames:
                if frame.is_corrupt or packet.is_corrupt:
                    self.broken = self.broken or f"frame {good} is damaged"
                if frame.width * frame.height > MAX_PIXELS:
                    self.broken = f"frame {good} has {frame.width} x {frame.height} pixels, more than {MAX_PIXELS:,}"
                    return
                good += 1
                yield frame

    def _time(self, frame: Any, before: float) -> float:
        """Seconds from the start; where the file has none that comes soon after that before, by the frame rate."""
        if frame.pts is not None:
            time = float((frame.pts - (self._stream.start_time or 0)) * frame.time_base)
            if before < time < before + _LONGEST_GAP:
                return max(time, 0.0)
        return before + float(1 / self.rate) if before >= 0 else 0.0

    def _duration(self) -> float:
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        start = self._stream.start_time  # which a container's own duration holds too
        whole = (self._container.duration or 0) / 1e6  # in microseconds
        return max(whole - (float(start * self._stream.time_base) if start else 0.0), 0.0)


@final
class VideoWriter:
    """Frames as an MP4 file: H.264 where PyAV has an encoder for it, else MPEG-4; without sound.

    Args:
        file: To write to, open in binary mode.
        size: (width, height) of the first frame; odd sides get one row or column more, others are brought to it.
        rate: Frames a second, on average.
    """

    def __init__(self, file: IO[bytes], size: tuple[int, int], rate: Fraction) -> None:
        self._av = _av("writing a video")
        self._container = self._av.open(file, "w", format="mp4")
        name, options = self._codec()
        self._stream = self._container.add_stream(name, rate=rate.limit_denominator(1001), options=options)
        self._size = size
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"  # what every player shows
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._last = -1

    def write(self, picture: NDArray[np.uint8], time: float) -> None:
        """Add a frame (h, w, 3) that is shown from ``time`` on, in seconds."""
        if picture.shape[1::-1] != self._size:
            from PIL import Image

            picture = np.asarray(Image.fromarray(picture).resize(self._size, Image.Resampling.BILINEAR))
        even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._last = max(round(time * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def _codec(self) -> tuple[str, dict[str, str]]:
        try:
            return self._av.codec.Codec("libx264", "w").name, {"preset": "veryfast", "crf": "20"}
        except self._av.codec.codec.UnknownCodecError:
            return "mpeg4", {"qscale": "3"}


def _upright(frame: Any) -> NDArray[np.uint8]:
    """RGB, turned as the file says that it is to be shown (in degrees against the clock)."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _av(what: str) -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(what, "av", "video") from error
    return av
