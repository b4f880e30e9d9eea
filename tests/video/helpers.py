"""Small videos of a square that moves, written with PyAV."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from PIL import Image

SQUARE = (230, 30, 30)


def square_frames(count, image_hw=(48, 64), side=20):
    """Frames of a red square on gray, which moves right by two pixels per frame."""
    for index in range(count):
        frame = np.full((*image_hw, 3), 90, np.uint8)
        left = 2 * index % (image_hw[1] - side)  # chroma has half the resolution
        frame[14 : 14 + side, left : left + side] = SQUARE
        yield frame


def make_video(path, count=12, rate=Fraction(25), image_hw=(48, 64), sound=None, start=0, options=None):
    """Write a video, with silence of the codec `sound`, whose first frame has the time stamp `start`."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *image_hw, "yuv420p"
        audio = container.add_stream(sound, rate=16000) if sound else None
        for index, pixels in enumerate(square_frames(count, image_hw)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = start + index, 1 / rate
            container.mux(stream.encode(frame))
        if audio is not None:
            samples = int(count / rate * 16000)
            for first in range(0, samples, 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts = 16000, first
                container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
        container.mux(stream.encode(None))
    return path


def make_images(folder, count, image_hw=(48, 64)):
    """Write frames as image files frame_0.png, frame_1.png, ..., without leading zeros."""
    folder.mkdir(exist_ok=True)
    for index, pixels in enumerate(square_frames(count, image_hw)):
        Image.fromarray(pixels).save(folder / f"frame_{index}.png")
    return folder


def left_of_square(pixels):
    """Column where the red square of a frame begins."""
    is_red = (pixels[..., 0] > 160) & (pixels[..., 2] < 100)
    return int(np.nonzero(is_red.any(0))[0].min())


def read_video(path):
    """Frames of a video file as arrays, their times in seconds, and its streams' properties."""
    import av

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        facts = {
            "rate": video.average_rate,
            "codec": video.codec_context.name,
            "audio": [stream.codec_context.name for stream in container.streams.audio],
        }
        decoded = list(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for frame in decoded], [float(frame.time) for frame in decoded], facts
