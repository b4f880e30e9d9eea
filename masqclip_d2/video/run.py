"""A video -> a video with its segments drawn, and a record of each frame."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from ..batch.inputs import listed
from ..batch.progress import Progress
from ..files import expand_home
from ..predictor import Predictor
from ..results import Segmentation
from ..results.drawing import draw
from ..results.saving import make_writable
from ..vocabulary import Vocabulary
from .joining import SegmentJoiner
from .reading import CAMERA_PREFIX, Frame, FrameSource
from .writing import VIDEO_SUFFIXES, VideoWriter, video_format


def output_file(source: str, output: str) -> Path:
    """The video file that is written: `output`, or in this folder a file with the name of the source.

    Raises:
        ValueError: the file would replace its own source, has no known suffix, or cannot be written.
    """
    path = expand_home(output)
    if path.suffix.lower() not in VIDEO_SUFFIXES and (path.is_dir() or not path.suffix):
        name = source.removeprefix(CAMERA_PREFIX)
        path = path / f"{Path(name).stem.strip('*?[]') or 'video'}.mp4"
    video_format(path)
    if path.resolve() == expand_home(source).resolve():
        raise ValueError(f"The output would overwrite the input {source}; pass another --output.")
    make_writable(path.parent)
    return path


def records_file(output: Path) -> Path:
    """The file of records beside a video."""
    return output.with_suffix(".jsonl")


def segment_video(
    predictor: Predictor,
    source: FrameSource,
    output: Path,
    vocabulary: Vocabulary,
    task: str = "panoptic",
    confidence_threshold: float | None = None,
    batch_size: int = 8,
    max_frames: int | None = None,
    with_records: bool = False,
    **settings: Any,
) -> None:
    """Write a video with the segments of its frames; memory is that of a batch of frames.

    Frames before an error or an interrupt are in the file, which is playable.

    Args:
        predictor: the model.
        source: the frames, see `open_source`.
        output: see `output_file`; is replaced.
        vocabulary, task: see `Predictor`.
        confidence_threshold: see `Predictor`; None: 0, but instances from 0.3 on.
        batch_size: frames that share passes of the networks.
        max_frames: how many frames are read at most.
        with_records: also write `records_file`: a line of JSON about the video, then one for each frame.
        settings: further arguments of `Predictor.batch`, such as `unknown_threshold`.

    Raises:
        ValueError: the vocabulary or a setting does not fit the model; or, after all frames, the source is incomplete
            or damaged.
    """
    settings = {"task": task, "confidence_threshold": confidence_threshold or 0.0, **settings}
    predictor.prepare(vocabulary, **settings)  # the text embeddings, once
    run = _Run(source, output, vocabulary, task, confidence_threshold, max_frames, with_records)
    run.write(lambda images: predictor.batch(images, vocabulary, batch_size=batch_size, **settings), batch_size)
    print(run.summary())
    if source.problem:
        raise ValueError(f"{source.problem}; {output} has {run.num_frames} frames.")


class _Run:
    """The frames of a source on their way to the output."""

    def __init__(
        self,
        source: FrameSource,
        output: Path,
        vocabulary: Vocabulary,
        task: str,
        min_score: float | None,
        max_frames: int | None,
        with_records: bool,
    ) -> None:
        self._source, self._output, self._vocabulary = source, output, vocabulary
        self._task, self._min_score, self._max_frames = task, min_score, max_frames
        self._with_records = with_records
        self._joiner = SegmentJoiner(vocabulary, task)
        self._writer: VideoWriter | None = None
        self._records: TextIO | None = None
        self._early_audio: list[Any] = []
        self._labels: dict[int, str] = {}  # number of an object -> its category
        self._start = time.monotonic()
        self.num_frames = 0

    def write(self, predict: Callable[[list], list[Segmentation]], batch_size: int) -> None:
        """Read, segment and write all frames."""
        frames = islice(self._source.frames(self._copy_audio), self._max_frames)
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(self._expected(), noun="frames"))
            try:
                while batch := list(islice(frames, batch_size)):
                    if self._writer is None:
                        self._open(stack, batch[0])
                    for frame, result in zip(batch, predict([frame.pixels for frame in batch]), strict=True):
                        self._write_frame(frame, result)
                        progress.advance()
            except (KeyboardInterrupt, RuntimeError, MemoryError, OSError, ValueError):
                progress.clear()
                if self.num_frames:
                    print(f"{self._output} has the first {self.num_frames} frames.", file=sys.stderr)
                raise
        if self._writer is None:
            problem = f": {self._source.problem}" if self._source.problem else ""
            raise ValueError(f"{self._source.name} has no frame that can be read{problem}.")

    def _expected(self) -> int | None:
        counts = [count for count in (self._source.num_frames, self._max_frames) if count is not None]
        return min(counts, default=None)

    def _open(self, stack: ExitStack, first: Frame) -> None:
        """Open the output once there is a frame: a source without frames replaces no file."""
        height, width = first.pixels.shape[:2]
        source = self._source
        writer = VideoWriter(self._output, (height, width), source.rate, source.time_base, source.audio)
        self._writer = stack.enter_context(writer)
        if source.audio is not None and not writer.has_audio:
            codec = source.audio.codec_context.name
            print(f"The sound ({codec}) is left out: {self._output.suffix} files have no such audio.", file=sys.stderr)
        for packet in self._early_audio:
            writer.copy_audio(packet)
        self._early_audio.clear()
        if self._with_records:
            self._records = stack.enter_context(records_file(self._output).open("w", encoding="utf-8"))
            head = {"video": source.name, "height": height, "width": width, "frame_rate": float(source.rate)}
            self._record({**head, "task": self._task, "vocabulary": list(self._vocabulary.names)})

    def _write_frame(self, frame: Frame, result: Segmentation) -> None:
        assert self._writer is not None
        result.segments = result.drawn_segments(self._min_score)
        identities, colors = self._joiner.join(result.segments)
        self._writer.write(draw(result, 0.0, labels="name", colors=colors, keep_size=True), frame.time)
        self._labels.update(zip(identities, (segment.label for segment in result.segments), strict=True))
        if self._records is not None:
            rows = zip(identities, result.segments, strict=True)
            segments = [{"id": identity, **segment.to_dict()} for identity, segment in rows]
            rejected = [region.to_dict() for region in result.rejected]
            time_of = round(float(frame.time), 6)
            self._record({"frame": self.num_frames, "time": time_of, "segments": segments, "rejected": rejected})
        self.num_frames += 1

    def _record(self, content: dict[str, Any]) -> None:
        assert self._records is not None
        self._records.write(f"{json.dumps(content)}\n")
        self._records.flush()

    def _copy_audio(self, packet: Any) -> None:
        if self._writer is None:
            self._early_audio.append(packet)  # until the first batch of frames is there
        else:
            self._writer.copy_audio(packet)

    def summary(self) -> str:
        """One line: frames, objects and their categories, and the speed."""
        counts = Counter(self._labels.values())
        names = [name if count == 1 else f"{name} x{count}" for name, count in counts.most_common()]
        found = f"{len(self._labels)} objects ({listed(names)})" if names else "no objects"
        speed = self.num_frames / (time.monotonic() - self._start)
        return f"{self._output}: {self.num_frames} frames, {found}, {speed:.2g} frames per second"
