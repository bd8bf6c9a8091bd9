"""Every container and codec gives the right frames at the right times, whatever its header says."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from encoder.video import VideoError, VideoFrames, probe, read_frames

Clip = Callable[..., Path]
Numbers = Callable[[torch.Tensor], list[int]]
Command = Callable[..., Path]

QUICK_VPX = {"deadline": "realtime", "cpu-used": "8", "g": "8"}
KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.mkv": {"options": {"g": "8", "bf": "2"}},
    "h264.mov": {},
    "h264.flv": {},
    "h264.ts": {"options": {"g": "8", "bf": "2"}},
    "h264_192_byte_packets.m2ts": {"muxer": "mpegts", "muxer_options": {"mpegts_m2ts_mode": "1"}},
    "h264_fragmented.mp4": {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h264_10_bit.mkv": {"pixel_format": "yuv420p10le"},
    "h264_444.mp4": {"pixel_format": "yuv444p"},
    "hevc.mp4": {"codec": "libx265"},
    "vp8.webm": {"codec": "libvpx", "options": QUICK_VPX},
    "vp9.webm": {"codec": "libvpx-vp9", "options": QUICK_VPX},
    "vp9_odd.webm": {"codec": "libvpx-vp9", "options": QUICK_VPX, "size": (161, 97)},
    "vp9.ivf": {"codec": "libvpx-vp9", "options": QUICK_VPX, "muxer": "ivf"},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "fps": 25, "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25, "muxer": "vob", "options": {"bf": "2"}},
    "mpeg2.mxf": {"codec": "mpeg2video", "fps": 25},
    "mpeg1.mpg": {"codec": "mpeg1video", "fps": 25},
    "wmv2.wmv": {"codec": "wmv2", "fps": 25},
    "dv.dv": {"codec": "dvvideo", "fps": 25, "size": (720, 576), "muxer": "dv"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1"},
    "h264.nut": {},
    "animated.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "animated.png": {"codec": "apng", "pixel_format": "rgb24", "muxer": "apng"},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "raw.hevc": {"codec": "libx265", "muxer": "hevc"},
}


@pytest.mark.parametrize("name", KINDS)
def test_kind(name: str, make_clip: Clip, numbers: Numbers) -> None:
    settings = KINDS[name]
    path = make_clip(name, 30, **settings)
    frames = read_frames(path, 5)
    fps = settings.get("fps", 10)
    assert numbers(frames.pixels) == [3, 9, 15, 21, 27]
    torch.testing.assert_close(
        frames.times, torch.tensor([3, 9, 15, 21, 27], dtype=torch.float64) / fps, atol=5e-3, rtol=0
    )
    assert frames.info.num_frames == 30
    assert frames.info.duration == pytest.approx(30 / fps, abs=0.02)
    assert frames.info.fps == pytest.approx(fps, rel=0.02)
    assert not frames.info.is_image
    assert frames.info.damaged is None
    assert probe(path) == frames.info


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "vp9.webm", "hevc.mp4", "mpeg2.mpg"])
def test_content_counts_not_the_name(name: str, make_clip: Clip, numbers: Numbers) -> None:
    path = make_clip(name, 10, **KINDS[name])
    disguised = path.rename(path.with_name("film.avi"))
    assert numbers(read_frames(disguised, 2).pixels) == [2, 7]


def test_raw_h264_has_usable_times(make_clip: Clip, numbers: Numbers) -> None:
    frames = read_frames(make_clip("raw.264", 30, muxer="h264"), 5)
    assert numbers(frames.pixels) == [3, 9, 15, 21, 27]
    assert (frames.times.diff() > 0).all()


def test_motion_jpeg_is_no_picture(make_clip: Clip, numbers: Numbers) -> None:
    path = make_clip("camera.mjpeg", 10, codec="mjpeg", pixel_format="yuvj420p", muxer="mjpeg")
    assert numbers(read_frames(path, 2).pixels) == [2, 7]


def test_short_clip_repeats_frames(make_clip: Clip, numbers: Numbers) -> None:
    frames = read_frames(make_clip("two.mp4", 2), 4)
    assert numbers(frames.pixels) == [0, 0, 1, 1]
    assert numbers(read_frames(make_clip("one.mp4", 1), 3).pixels) == [0, 0, 0]


def test_every_frame_can_be_read(clip: Path, numbers: Numbers) -> None:
    assert numbers(read_frames(clip, 30).pixels) == list(range(30))


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(1.0, 1.3, [10, 12, 13]), (2.5, None, [25, 27, 29]), (None, 0.0, [0, 0, 0])]
)
def test_span(clip: Path, numbers: Numbers, start: float | None, end: float | None, expected: list[int]) -> None:
    frames = read_frames(clip, 3, start=start, end=end)
    assert numbers(frames.pixels) == expected
    assert frames.times.tolist() == pytest.approx([n / 10 for n in expected])


def test_span_without_frames(clip: Path) -> None:
    with pytest.raises(VideoError, match="no frame between 7.00 s and 8.00 s"):
        read_frames(clip, 3, start=7.0, end=8.0)


def test_variable_rate_gives_true_times(make_clip: Clip, numbers: Numbers) -> None:
    times = [0.0, 0.04, 0.08, 0.12, 9.0, 9.5, 10.0, 30.0]
    path = make_clip("gaps.mp4", 8, pts=lambda i: round(1000 * times[i]))
    frames = read_frames(path, 8)
    assert numbers(frames.pixels) == list(range(8))
    assert frames.times.tolist() == pytest.approx(times, abs=2e-3)


def test_times_count_from_the_first_frame(make_clip: Clip, numbers: Numbers) -> None:
    frames = read_frames(make_clip("late.mkv", 10, pts=lambda i: 10_000 + 100 * i), 2)
    assert numbers(frames.pixels) == [2, 7]
    assert frames.times.tolist() == pytest.approx([0.2, 0.7])


ONE = 1 << 16
MATRICES = {  # matrix, how an upright picture was turned before it was stored
    "90": ([0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30], lambda p: np.rot90(p), 90),
    "180": ([-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30], lambda p: np.rot90(p, 2), 180),
    "270": ([0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30], lambda p: np.rot90(p, -1), 270),
    "flipped": ([ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30], lambda p: p[::-1], 0),
    "mirrored": ([-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30], lambda p: p[:, ::-1], 180),
    "transposed": ([0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30], lambda p: p.transpose(1, 0, 2), 90),
    "anti": ([0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30], lambda p: np.rot90(p, 2).transpose(1, 0, 2), 270),
}


@pytest.mark.parametrize("name", MATRICES)
def test_picture_is_upright(name: str, make_clip: Clip, numbers: Numbers) -> None:
    matrix, store, rotation = MATRICES[name]
    path = make_clip("turned.mp4", 10, matrix=matrix, store=store)
    frames = read_frames(path, 2, short_side=48)
    assert numbers(frames.pixels) == [2, 7]
    assert (frames.info.width, frames.info.height) == (160, 96)
    assert frames.pixels.shape == (2, 3, 48, 80)
    red = frames.pixels[0, 0, -4:].float().mean() - frames.pixels[0, 2, -4:].float().mean()
    assert red > 100  # the strip lies at the bottom
    assert frames.info.rotation == rotation
    assert frames.info.mirrored == (name in ("flipped", "mirrored", "transposed", "anti"))


def test_square_pixels(make_clip: Clip, numbers: Numbers) -> None:
    frames = read_frames(make_clip("wide.mp4", 10, sar=(4, 3)), 2)
    assert (frames.info.width, frames.info.height) == (213, 96)
    assert frames.pixels.shape == (2, 3, 96, 213)
    assert numbers(frames.pixels) == [2, 7]


def test_frames_are_scaled_down_never_up(clip: Path) -> None:
    assert read_frames(clip, 1, short_side=48).pixels.shape == (1, 3, 48, 80)
    assert read_frames(clip, 1, short_side=1000).pixels.shape == (1, 3, 96, 160)


def test_size_change_in_mid_stream(make_clip: Clip, numbers: Numbers) -> None:
    small = make_clip("small.ts", 20, size=(80, 48))
    path = make_clip("large.ts", 20)
    path.write_bytes(path.read_bytes() + small.read_bytes())
    frames = read_frames(path, 40)
    assert frames.pixels.shape == (40, 3, 96, 160)
    assert numbers(frames.pixels) == [*range(20), *range(20)]
    assert (frames.times.diff() > 0).all()  # the second half starts anew at 0; it is shown after the first


def test_edit_list(ffmpeg: Command, clip: Path, numbers: Numbers) -> None:
    path = ffmpeg("-ss", "1.2", "-i", clip, "-c", "copy", "cut.mp4")
    frames = read_frames(path, 18)
    assert numbers(frames.pixels) == list(range(12, 30))
    assert frames.times.tolist() == pytest.approx([i / 10 for i in range(18)], abs=2e-3)


def test_interlaced_fields_are_whole_frames(ffmpeg: Command) -> None:
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x192:r=50:d=1", "-vf", "tinterlace=interleave_top,setfield=tff"]
    path = ffmpeg(*source, "-c:v", "libx264", "-flags", "+ildct+ilme", "interlaced.ts")
    assert read_frames(path, 4).info.num_frames == 25


def test_best_video_track_not_the_first(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in [(80, 48), (160, 96)]:
            stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition.default if width == 160 else 0
            streams.append(stream)
        for i in range(10):
            for stream in streams:
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    info = probe(path)
    assert (info.width, info.height) == (160, 96)


def test_header_that_claims_ten_hours(make_clip: Clip, numbers: Numbers) -> None:
    path = make_clip("claim.mp4", 2)
    data = bytearray(path.read_bytes())
    for box, scale_at, duration_at in [(b"mvhd", 16, 20), (b"mdhd", 16, 20)]:
        at = data.index(box)
        scale = struct.unpack_from(">I", data, at + scale_at)[0]
        struct.pack_into(">I", data, at + duration_at, 36_000 * scale)
    struct.pack_into(">I", data, data.index(b"tkhd") + 24, 36_000_000)
    path.write_bytes(data)
    frames = read_frames(path, 4)
    assert numbers(frames.pixels) == [0, 0, 1, 1]
    assert frames.times.tolist() == pytest.approx([0.0, 0.0, 0.1, 0.1])
    assert frames.info.num_frames == 2
    assert frames.info.duration < 1


def damage(path: Path, start: float, length: int) -> Path:
    data = bytearray(path.read_bytes())
    at = int(len(data) * start)
    data[at : at + length] = bytes(byte ^ 0x5A for byte in data[at : at + length])
    path.write_bytes(data)
    return path


def in_order(frames: VideoFrames) -> bool:
    return bool((frames.times.diff() >= 0).all())


def test_damage_in_the_middle(make_clip: Clip, numbers: Numbers) -> None:
    path = damage(make_clip("damaged.ts", 60, options={"g": "10"}), 0.4, 3000)
    frames = read_frames(path, 60)
    assert 40 <= frames.info.num_frames <= 60
    assert {0, 1, 2, 57, 58, 59} <= set(numbers(frames.pixels))  # what follows the damage is shown too
    assert in_order(frames)


def test_half_a_download(make_clip: Clip, numbers: Numbers) -> None:
    path = make_clip("half.mp4", 60, options={"g": "10"}, muxer_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = read_frames(path, 4)
    assert 5 < frames.info.num_frames < 60
    assert "damaged or missing" in frames.info.damaged
    assert numbers(frames.pixels) == [round(time * 10) for time in frames.times.tolist()]


@pytest.mark.parametrize("name", ["killed.mkv", "killed.ts", "killed.flv"])
def test_recorder_was_killed(name: str, make_clip: Clip, numbers: Numbers) -> None:
    path = make_clip(name, 60, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = read_frames(path, 4)
    assert 5 < frames.info.num_frames < 60
    assert numbers(frames.pixels) == [round(time * 10) for time in frames.times.tolist()]
