"""Video files that are playable while they are written: an interrupted run leaves what it has done."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import Packet


@dataclass(frozen=True)
class _Format:
    """How files of a suffix are written: encoder, its options, and options of the file."""

    encoder: str
    options: dict[str, str]
    file_options: dict[str, str] = field(default_factory=dict)


# zerolatency: no frame is kept back. hybrid_fragmented: a file of fragments, one per keyframe, until it is closed, then
# an ordinary one. delay_moov: sound that begins before the first frame moves no frame. Killed, a file lacks a second.
_H264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "20", "g": "25"}
_AT_ONCE = {"flush_packets": "1"}
_MP4 = _Format("libx264", _H264, {"movflags": "+hybrid_fragmented+frag_keyframe+delay_moov", **_AT_ONCE})
_MATROSKA = {"cluster_time_limit": "1000", **_AT_ONCE}  # milliseconds
_VP9 = {"deadline": "realtime", "cpu-used": "7", "lag-in-frames": "0", "crf": "24", "b": "0", "g": "25"}
_FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MP4,
    ".mkv": _Format("libx264", _H264, _MATROSKA),
    ".webm": _Format("libvpx-vp9", _VP9, _MATROSKA),
}

VIDEO_SUFFIXES = tuple(_FORMATS)
"""Suffixes of files that can be written."""

_HD_HEIGHT = 720  # pixels; from here on players expect the colors of BT.709, below those of BT.601


class VideoWriter:
    """A video file, H.264 (VP9 for .webm) with 4:2:0 chroma, which all players read; a context manager.

    Width and height must be even for that: the last column or row is repeated if they are not.

    Args:
        path: of the file, with one of `VIDEO_SUFFIXES`; is replaced.
        image_hw: size of the frames.
        rate: frames per second.
        time_base: seconds; times of frames are multiples of it.
        audio: PyAV's audio stream whose packets are copied; None: no sound. `has_audio` is False where the format of
            the file has no such audio.

    Raises:
        OSError: the file cannot be written.
        ValueError: another suffix, or this FFmpeg has no such encoder.
    """

    def __init__(
        self, path: Path, image_hw: tuple[int, int], rate: Fraction, time_base: Fraction, audio: Any = None
    ) -> None:
        import av
        from av.codec.codec import UnknownCodecError

        chosen = video_format(path)
        self._time_base = time_base
        self._pad_hw = image_hw[0] % 2, image_hw[1] % 2
        self._container = av.open(str(path), "w", options=chosen.file_options)
        try:
            stream: Any = self._container.add_stream(chosen.encoder, rate=rate.limit_denominator(1001))
        except UnknownCodecError as error:
            self._container.close()
            raise ValueError(f"{path} cannot be written: PyAV has no encoder {chosen.encoder}.") from error
        stream.height, stream.width = image_hw[0] + self._pad_hw[0], image_hw[1] + self._pad_hw[1]
        stream.pix_fmt = "yuv420p"
        stream.options = dict(chosen.options)
        stream.codec_context.time_base = time_base
        self._colorspace = "itu709" if image_hw[0] >= _HD_HEIGHT else "itu601"
        stream.codec_context.colorspace = 1 if image_hw[0] >= _HD_HEIGHT else 6  # numbers of H.273
        self._stream = stream
        self._step = max(1, round(1 / rate / time_base))  # a frame in units of the time base
        self._audio = None
        if audio is not None and audio.codec_context.name in self._container.supported_codecs:
            self._audio = self._container.add_stream_from_template(audio)

    @property
    def has_audio(self) -> bool:
        """Whether packets of sound are copied."""
        return self._audio is not None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        if error_type is None:
            self._close()
        else:
            with contextlib.suppress(OSError, ValueError):  # the error in the block is the first
                self._close()

    def write(self, pixels: np.ndarray, time: Fraction) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            time: in seconds, later than that of the frame before.
        """
        import av

        if any(self._pad_hw):
            pixels = np.pad(pixels, ((0, self._pad_hw[0]), (0, self._pad_hw[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=self._colorspace)
        frame.pts, frame.time_base = round(time / self._time_base), self._time_base
        self._mux(self._stream.encode(frame))

    def copy_audio(self, packet: Packet) -> None:
        """Append a packet of sound."""
        if self._audio is not None:
            packet.stream = self._audio
            self._container.mux(packet)

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            packet.duration = packet.duration or self._step
            self._container.mux(packet)

    def _close(self) -> None:
        try:
            self._mux(self._stream.encode(None))
        finally:
            self._container.close()


def video_format(path: Path) -> _Format:
    """How a file is written.

    Raises:
        ValueError: its suffix is none of `VIDEO_SUFFIXES`.
    """
    chosen = _FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise ValueError(f"A video cannot be written as {path.name}; suffixes are {', '.join(_FORMATS)}.")
    return chosen
