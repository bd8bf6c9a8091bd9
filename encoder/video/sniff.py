"""What a file is, told from its own bytes: which demuxer to force, whether it is a picture, or why it is neither.

Demuxers are never chosen by file name, and none is allowed that can name another file: a playlist dressed as a video
would make the decoder read any file of the server.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from encoder.video.info import VideoError

HEAD = 1 << 18
"""Bytes looked at: enough for a transport stream that starts in mid-packet, and for an icc profile in a JPEG."""

RARE_DEMUXERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,live_flv,asf,ogg,gif,apng,mxf,dv,mjpeg,mpjpeg,h264,hevc,vvc,av1,obu,ivf,m4v,mpegvideo,"
    "vc1,vc1test,dirac,avs,avs2,avs3,cavsvideo,yuv4mpegpipe,nut,nsv,nuv,rm,swf,wtv,gxf,dhav,bink,smk,flic,roq,film_cpk,pva,"
    "vivo,4xm,thp,rl2,dxa,smjpeg,ty,pmp,psxstr,ea,cine,jv,bfi,idcin,lvf,mv,xmv,"
    "mp3,flac,wav,w64,aac,ac3,eac3,aiff,caf,amr,au,ape,wv,tta,mpc,mpc8,dts,truehd,dsf,voc,oma"
)
"""What the library may recognise in a file without a signature listed below: formats that read one file alone."""

_VIDEO_SUFFIXES = set(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".qt",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
_MOV_BOXES = {
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
    b"styp",
    b"sidx",
    b"moof",
    b"uuid",
    b"emsg",
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"MiHE", b"MiHB"}

# A signature at the start of the file, and the demuxer to force.
_DEMUXERS = [
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"OggS", "ogg"),
    (b"GIF8", "gif"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf"),
    (b"\x1f\x07\x00", "dv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"DKIF", "ivf"),
    (b"YUV4MPEG2", "yuv4mpegpipe"),
    (b".RMF", "rm"),
    (b"nut/multimedia container\0", "nut"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
]
_PICTURES = [
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
]
_UNREADABLE_PICTURES = [
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
]
_OTHERS = [
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
]
_TEXTS = [
    (r"<!doctype html|<html|<head\b", "This is not a video but a web page (the download probably failed)."),
    (
        r"#extm3u|\[playlist\]|<asx\b|<smil\b|<\?wpl\b",
        "This is a playlist: it only names videos and holds none. {hint}",
    ),
    (
        r"ffconcat version|<mpd\b|<\?xml[^>]*>\s*<mpd\b|v=0\r?\n",
        "This is a script that only names videos and holds none. {hint}",
    ),
    (r"<svg\b|<\?xml[^>]*>.{0,500}<svg\b", "This is a drawing (SVG), not a video or photo."),
    (r"(https?|rtsp|file)://\S+\s*$", "This is only a link to a video. {hint}"),
]
_HINT = "Please choose the video file itself."


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to read a file: as a picture of that format, or as a video by that demuxer (None: let the library look)."""

    picture: str | None = None
    demuxer: str | None = None
    sounds: bool = False
    """The bytes start like a sound file, so "sound only" is a fact and not a guess about random bytes."""


@contextmanager
def open_regular(path: str) -> Iterator[int]:
    """A file descriptor of a regular, non-empty file; never blocks on a pipe or a device. Raises VideoError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise VideoError("The file does not exist (any more).") from error
    except PermissionError as error:
        raise VideoError("The file may not be read (no permission).") from error
    except OSError as error:  # a socket, a name too long, a loop of links
        raise VideoError("The file cannot be opened.") from error
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise VideoError("This is a folder, not a video file.")
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("This is a pipe or a device, not a video file.")
        if status.st_size == 0:
            raise VideoError("The file is empty.")
        yield fd
    finally:
        os.close(fd)


def recognise(fd: int, path: str) -> Kind:
    """Look at the first bytes. Raises VideoError, in the user's words, for what is certainly not a video or picture."""
    head = os.pread(fd, HEAD, 0)
    if not head.strip(b"\0"):
        raise VideoError("The file holds nothing but zeros (the download or copy probably failed).")
    if head[4:8] in _MOV_BOXES:
        return _isobmff(head, path)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] != b"AVI ":
        return _picture("WEBP", path, head) if head[8:12] == b"WEBP" else Kind(demuxer="wav", sounds=True)
    if head[:4] == b"RIFF":
        return Kind(demuxer="avi")
    if head.startswith(b"\x89PNG") and b"acTL" in head[: head.find(b"IDAT") if b"IDAT" in head else None]:
        return Kind(demuxer="apng")
    if head.startswith(b"\xff\xd8\xff") and is_jpeg_stream(os.pread(fd, 1 << 24, 0)):
        return Kind(demuxer="mjpeg")
    for signature, demuxer in _DEMUXERS:
        if head.startswith(signature):
            return Kind(demuxer=demuxer, sounds=demuxer in ("ogg", "flac", "mp3"))
    if is_transport_stream(head):
        return Kind(demuxer="mpegts")
    if head.startswith(b"--") and b"image/jpeg" in head[:300].lower():
        return Kind(demuxer="mpjpeg")
    for signature, name in _PICTURES:
        if head.startswith(signature):
            return _picture(name, path, head)
    for signature, name in _UNREADABLE_PICTURES:
        if head.startswith(signature):
            raise VideoError(f"This is a {name} picture, which cannot be read here. Please save it as JPEG or PNG.")
    for signature, name in _OTHERS:
        if head.startswith(signature):
            raise VideoError(f"This is {name}, not a video.")
    _refuse_text(head)
    sounds = (
        head[:4] in (b"FORM", b"caff", b".snd", b"MAC ", b"wvpk", b"#!AM") or head[:1] == b"\xff" and head[1] >= 0xE0
    )
    return Kind(sounds=sounds)


def named_like_a_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in _VIDEO_SUFFIXES


def is_transport_stream(head: bytes) -> bool:
    """Sync bytes every 188, 192 or 204 bytes, from wherever the recording was cut."""
    for stride in (188, 192, 204):
        needed = min(8, len(head) // stride)
        for offset in range(min(8 * stride, len(head))) if needed >= 2 else ():
            if all(head[i : i + 1] == b"\x47" for i in range(offset, offset + needed * stride - stride + 1, stride)):
                return True
    return False


def is_jpeg_stream(data: bytes) -> bool:
    """Whether a second JPEG follows the first, as in raw motion JPEG; multi-picture photos say so in an MPF segment."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        segment = data[at + 4 : at + 8]
        if segment == b"MPF\0":
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = data.find(b"\xff\xd9", at)
    return end >= 0 and data[end + 2 : end + 4096].lstrip(b"\0").startswith(b"\xff\xd8\xff")


def boxes(fd: int) -> list[bytes]:
    """Types of the top-level boxes of an mp4/mov file, as far as their sizes lead."""
    found: list[bytes] = []
    at, size = 0, os.fstat(fd).st_size
    while at + 8 <= size and len(found) < 1000:
        header = os.pread(fd, 16, at)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        found.append(name)
        if length < 8:  # 0: to the end of the file; less is damage
            break
        at += length
    return found


def _isobmff(head: bytes, path: str) -> Kind:
    if head[4:8] == b"ftyp":
        size = min(max(int.from_bytes(head[:4], "big"), 16), 256)
        brands = {head[i : i + 4] for i in range(8, size, 4) if i != 12}
        if brands & {b"avif", b"avis"}:
            return _picture("AVIF", path, head)
        if head[8:12] in _HEIC_BRANDS:
            raise VideoError("This is a HEIC picture, not a video, and cannot be read here. Please save it as JPEG.")
    return Kind(demuxer="mov")


def _picture(name: str, path: str, head: bytes) -> Kind:
    animated = name == "WEBP" and b"ANIM" in head[:64] or head[8:12] == b"avis"
    if named_like_a_video(path) and not animated:
        raise VideoError(
            f"This is a still picture ({name}), not a video, although its name ends in {os.path.splitext(path)[1]}. "
            "Rename it to ask about the picture."
        )
    return Kind(picture=name)


def _refuse_text(head: bytes) -> None:
    start = head[:8192]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = start.decode("utf-16", errors="replace")
    elif b"\0" in start or sum(byte < 9 or 13 < byte < 32 and byte != 27 for byte in start) > len(start) // 100:
        return
    else:
        text = start.decode("utf-8", errors="replace")
        if text.count("\ufffd") > len(text) // 10:
            return
    text = text.lstrip("\ufeff \t\r\n").lower()
    for pattern, message in _TEXTS:
        if re.match(pattern, text, re.DOTALL):
            raise VideoError(message.format(hint=_HINT))
    raise VideoError("This is a text file, not a video.")
