"""The clip that is measured: an example clip, scaled up and cut, so that a model has something to talk about."""

from pathlib import Path

import av

SOURCE = Path(__file__).resolve().parent.parent / "examples" / "telescope_mirrors.mp4"


def write_clip(path: Path, *, seconds: float = 10.0, width: int = 1280, height: int = 720) -> None:
    """Write the first `seconds` of SOURCE as H.264 in `width` x `height`. Raises ValueError when SOURCE is shorter."""
    with av.open(str(SOURCE)) as source, av.open(str(path), "w") as target:
        rate = source.streams.video[0].average_rate
        count = round(seconds * rate)
        stream = target.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        written = 0
        for frame in source.decode(video=0):
            if written == count:
                break
            scaled = frame.reformat(width, height, "yuv420p")
            scaled.pts, scaled.time_base = written, 1 / rate
            target.mux(stream.encode(scaled))
            written += 1
        if written < count:
            raise ValueError(f"expected {count} frames ({seconds} s) in {SOURCE}, got {written}.")
        target.mux(stream.encode(None))
