"""Frames of videos, one after another: video files, cameras, and images as frames."""

from __future__ import annotations

import contextlib
import glob
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..batch.inputs import InputImage, find_images
from ..data.images import read_image
from ..error_report import sentence
from ..files import expand_home
from ..image_files import MAX_MEGAPIXELS
from ..optional_packages import require_packages

if TYPE_CHECKING:
    from av import Packet

CAMERA_PREFIX = "camera:"
"""Before the name of a camera, such as "camera:/dev/video0"."""

_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}  # of FFmpeg
_USUAL_RATE = Fraction(25)  # frames per second, where a file has none
_LATEST_END = 0.95  # a file whose frames end before this share of its duration is incomplete ...
_LEAST_MISSING = 0.5  # ... if it lacks at least so many seconds


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Args:
        time: in seconds from the first frame.
        pixels: (H, W, 3) uint8 RGB.
    """

    time: Fraction
    pixels: np.ndarray


class FrameSource(Protocol):
    """Frames that are read one after another, once.

    Attributes:
        name: for messages.
        rate: frames per second.
        time_base: seconds; times of frames are multiples of it.
        num_frames: how many there should be; None: not known, or without end.
        audio: PyAV's audio stream; None: there is no sound.
        problem: after the last frame: why there are fewer than there should be, one sentence without a full stop; "":
            all were read.
    """

    name: str
    rate: Fraction
    time_base: Fraction
    num_frames: int | None
    audio: Any
    problem: str

    def frames(self, on_audio: Callable[[Packet], None] | None = None) -> Iterator[Frame]:
        """The frames in order, upright and all of the size of the first one.

        Args:
            on_audio: called with the packets of `audio` between the frames; their times count as those of frames.
        """
        ...


@contextlib.contextmanager
def open_source(name: str, frame_rate: float | None = None) -> Iterator[FrameSource]:
    """Open a video file, a camera ("camera:NAME", or its device file), or a folder or glob of images.

    Args:
        name: see above.
        frame_rate: frames per second of images, and for a camera the rate to ask for; None: 25, the camera's own.

    Raises:
        FileNotFoundError: there is no such file, or no image in the folder.
        ImportError: PyAV is not installed.
        ValueError: it is no video, or has no video stream; a video file has a frame rate of its own.
    """
    require_packages("A video", "video", "av")
    path = expand_home(name)
    if name.startswith(CAMERA_PREFIX) or _is_device(path):
        device = name.removeprefix(CAMERA_PREFIX)
        options = {} if frame_rate is None else {"framerate": f"{frame_rate:g}"}
        with VideoFile(device, _camera_format(), options) as camera:
            yield camera
    elif path.is_file():
        if frame_rate is not None:
            raise ValueError(f"{name} has its own frame rate; leave out --frame-rate, for images and cameras.")
        with VideoFile(str(path)) as file:
            yield file
    else:
        if not path.is_dir() and not glob.has_magic(name):
            raise FileNotFoundError(f"There is no video {name}.")
        images = sorted(find_images([name]), key=lambda image: _natural_key(image.name))
        yield ImageSequence(name, images, Fraction(frame_rate or _USUAL_RATE).limit_denominator(1001))


class VideoFile:
    """A video file or a camera, see `FrameSource`; a context manager.

    Args:
        name: of the file or device.
        camera_format: FFmpeg's name of a kind of devices; None: a file.
        options: of that format.
    """

    def __init__(self, name: str, camera_format: str | None = None, options: dict[str, str] | None = None) -> None:
        import av
        from av.error import FFmpegError

        self.name, self.problem = name, ""
        # A file may be a playlist that names others, on this machine or elsewhere.
        options = options if camera_format else {"protocol_whitelist": "file"}
        try:
            self._container = av.open(name, format=camera_format, options=options or {})
        except (FFmpegError, ValueError) as error:  # a ValueError where this FFmpeg has no such format
            kind = "as a camera" if camera_format else "as a video; it is none, or it is incomplete or damaged"
            raise ValueError(f"{name} cannot be opened {kind} ({_reason(error)}).") from error
        streams = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not streams:
            self._container.close()
            raise ValueError(f"{name} has no video stream.")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.audio = next(iter(self._container.streams.audio), None)
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE)
        self.time_base = Fraction(self._stream.time_base or 1 / self.rate)
        self.num_frames = self._stream.frames or _frames_in(self._container.duration, self.rate)
        self._is_counted = self._stream.frames > 0
        self._num_damaged, self._error, self._end = 0, "", 0.0  # end of the last packet, in seconds
        self._size: tuple[int, int] | None = None  # (width, height) of the first frame, as stored

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def frames(self, on_audio: Callable[[Packet], None] | None = None) -> Iterator[Frame]:
        from av.error import EOFError, FFmpegError

        start, last, count = self._start_time(), None, 0
        for packet in self._packets(on_audio is not None):
            if packet.stream is self.audio:
                if on_audio is not None and packet.dts is not None and start is not None:
                    on_audio(_earlier(packet, start))
                continue
            try:
                decoded = packet.decode()
            except FFmpegError as error:
                self._num_damaged += not isinstance(error, EOFError)
                continue
            for frame in decoded:
                time = count / self.rate if frame.pts is None else frame.pts * Fraction(frame.time_base)
                start = time if start is None else start
                last = max(time, start) if last is None else max(time, last + self.time_base)
                count += 1
                yield Frame(last - start, self._upright_pixels(frame))
        self.problem = self._problem(count)

    def _start_time(self) -> Fraction | None:
        start = self._stream.start_time
        return None if start is None else start * self.time_base

    def _packets(self, with_audio: bool) -> Iterator[Packet]:
        from av.error import FFmpegError

        streams = [self._stream, self.audio] if with_audio and self.audio is not None else [self._stream]
        try:
            for packet in self._container.demux(streams):
                if packet.pts is not None and packet.time_base is not None:
                    self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                yield packet
        except FFmpegError as error:
            self._error = _reason(error)

    def _upright_pixels(self, frame: Any) -> np.ndarray:
        if self._size is None:
            self._size = frame.width, frame.height
        width, height = self._size
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def _problem(self, count: int) -> str:
        """Why there are fewer frames than there should be."""
        container, expected = self._container, self.num_frames
        if self._error:
            return f"{self.name} ends after {count} frames with an error ({self._error})"
        duration = (container.duration or 0) / 1e6
        is_short = self._end < min(_LATEST_END * duration, duration - _LEAST_MISSING)
        if self._is_counted and expected is not None and count < expected and (is_short or self._num_damaged):
            return f"{self.name} is incomplete or damaged: {count} of its {expected} frames could be read"
        if is_short or self._num_damaged:
            return f"{self.name} is incomplete or damaged: {count} frames could be read"
        return ""


class ImageSequence:
    """Image files as frames, see `FrameSource`; files that cannot be read are left out.

    Args:
        name: for messages.
        images: in order.
        rate: frames per second.
    """

    audio: Any = None

    def __init__(self, name: str, images: list[InputImage], rate: Fraction) -> None:
        self.name, self.rate, self.problem = name, rate, ""
        self.time_base = 1 / rate
        self.num_frames: int | None = len(images)
        self._images = images

    def frames(self, on_audio: Callable[[Packet], None] | None = None) -> Iterator[Frame]:
        first_hw, problems = None, []
        for index, image in enumerate(self._images):
            try:
                pixels = read_image(image.path, MAX_MEGAPIXELS)
                first_hw = first_hw or pixels.shape[:2]
                if pixels.shape[:2] != first_hw:
                    size, first = _size(pixels.shape[:2]), _size(first_hw)
                    raise ValueError(f"Image {image.path} is {size}, the first frame is {first} (width x height).")
            except (ValueError, OSError) as error:
                problems.append(sentence(error))
                continue
            yield Frame(index * self.time_base, pixels)
        if problems:
            self.problem = f"{len(problems)} of {len(self._images)} images were left out ({problems[0].rstrip('.')})"


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _camera_format() -> str:
    if sys.platform not in _CAMERA_FORMATS:
        raise ValueError(f"Cameras are read on {', '.join(_CAMERA_FORMATS)} only; this is {sys.platform}.")
    return _CAMERA_FORMATS[sys.platform]


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the cover picture of an audio file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _earlier(packet: Packet, seconds: Fraction) -> Packet:
    offset = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts - offset
    packet.dts = None if packet.dts is None else packet.dts - offset
    return packet


def _frames_in(duration: int | None, rate: Fraction) -> int | None:
    """Number of frames in a duration in microseconds."""
    return round(duration / 1e6 * rate) if duration and duration > 0 else None


def _natural_key(name: str) -> list[tuple[int, str]]:
    """Orders frame_9 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _size(image_hw: tuple[int, ...]) -> str:
    return f"{image_hw[1]}x{image_hw[0]}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
