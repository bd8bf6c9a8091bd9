"""The clips that a newcomer tries first: the files of examples/, each with its small picture beside it."""

import base64
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True, kw_only=True)
class Example:
    path: Path
    title: str
    picture: str | None
    """Data URI of the JPEG beside the clip."""


def find_examples(folder: Path = FOLDER) -> list[Example]:
    """Every .mp4 of a folder, by name; an empty list when there is no such folder."""
    found = []
    for path in sorted(folder.glob("*.mp4")):
        picture = path.with_suffix(".jpg")
        uri = None
        if picture.is_file():
            uri = f"data:image/jpeg;base64,{base64.b64encode(picture.read_bytes()).decode('ascii')}"
        title = path.stem.replace("_", " ")
        found.append(Example(path=path, title=title[0].upper() + title[1:], picture=uri))
    return found
