"""Bounded walks over a user's folders, shared by the layouts: they go by names, and no file is opened.

A layout that finds its cases folder by folder is two functions, which names of cases a folder has files of, and which
files a case has there::

    survey(root, names, case)                                # the whole tree
    any(names(folder) for folder in glance(root))            # a quick look at its top
"""

from __future__ import annotations

import os
import stat
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ddmkit.dataset import MissingImagesError, Survey
from ddmkit.errors import DataError
from ddmkit.rules import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ddmkit.dataset import Case

_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
_OF_THE_SYSTEM = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "__MACOSX"})
"""Folders that systems put beside the data, often unreadable; no user means them."""
_FOLDER = "is a folder"
_GLANCED_FOLDERS, _GLANCED_ENTRIES, _GLANCED_CHILDREN = 256, 512, 32
"""How many folders a glance opens in all, how many entries it looks at and how many subfolders it goes into in each:
broad enough for a crowded top, deep enough for archives that wrap their cases in folders of their own."""


class Folder(NamedTuple):
    """What lies directly in one folder, hidden entries left out."""

    path: Path
    files: tuple[str, ...] = ()
    """The names of its files, sorted."""
    stems: Mapping[str, tuple[str, ...]] = {}
    """Whatever is named like an image, file or not: its full names by their stem ("a" of a.nii.gz, a.hdr and a.img)."""
    strange: Mapping[str, str] = {}
    """Of those the ones that are no files, and why: "is a pipe"."""
    wrong: Mapping[str, str] = {}
    """A sentence for each thing that may hold data but cannot be used, by its path from the root."""

    @property
    def name(self) -> str:
        """Its last name, also of "."; a link keeps its own."""
        return Path(os.path.abspath(self.path)).name  # noqa: PTH100 - resolve() would follow the link

    def image(self, stem: str) -> Path | None:
        """Return the NIfTI file with this stem (of a pair, the .hdr), if there is one.

        Raises:
            DataError: it is there twice, is no file, or is half of a pair.
        """
        named = self.stems.get(stem, ())
        # A folder of an image's name matters only where the image is missing.
        files = [name for name in named if self.strange.get(name) != _FOLDER] or named
        voxels = {name: _voxels_of(name, named) for name in files if name.lower().endswith(".hdr")}
        images = [name for name in files if name not in voxels.values()]
        if len(images) > 1:
            msg = f"The folder {self.path} holds both {images[0]} and {images[1]}: delete or move one of them."
            raise DataError(msg)
        if not images:
            return None
        self._check(images[0], voxels.get(images[0]))
        return self.path / images[0]

    def _check(self, image: str, voxels: str | None) -> None:
        for name in filter(None, (image, voxels)):
            if name in self.strange:
                msg = f"{self.path / name} {self.strange[name]}: put the image itself there, as a file."
                raise DataError(msg)
        if voxels is not None and voxels not in self.stems[image_stem(image)]:
            msg = f"{self.path / image} is a header without its voxels {voxels}: put them beside it."
            raise DataError(msg)
        if image.lower().endswith(".img"):
            msg = f"{self.path / image} holds voxels without their header {image[:-4]}.hdr: put it beside them."
            raise DataError(msg)


def image_stem(name: str) -> str:
    """Return a file's name without the ending of a NIfTI image in any case, or "" if it is not named like one."""
    small = name.lower()
    return next((name[: -len(ending)] for ending in _ENDINGS if small.endswith(ending)), "")


def survey(root: Path, names: Callable[[Folder], Iterable[str]], case: Callable[[Folder, str], Case]) -> Survey:
    """Return the cases under `root`, one folder after another.

    Args:
        root: where to begin.
        names: which cases have files in a folder.
        case: makes one of them of that folder; it raises DataError with what is wrong with it.

    Raises:
        DataError: `root` itself cannot be read.
    """
    collector, places = Collector(), dict[str, Path]()
    for folder in walk(root):
        collector.wrong.update(folder.wrong)
        for name in sorted(set(names(folder))):
            first = places.setdefault(name, folder.path)
            collector.take(name, partial(case, folder, name), partial(_twice, name, first, folder.path))
    return collector.survey()


class Collector:
    """Takes in cases one by one: those that are whole, those that lack images alone, and what is wrong with others.

    Args:
        wrong: what is known to be wrong before.
    """

    def __init__(self, wrong: Mapping[str, str] = MappingProxyType({})) -> None:
        self.wrong = dict(wrong)
        """By the name of a case, or by a path; of several sentences the first."""
        self._found: dict[str, Case] = {}
        self._partial: dict[str, Case] = {}

    def take(self, name: str, make: Callable[[], Case], twice: Callable[[Case, Case], str]) -> None:
        """Take in a case.

        Args:
            name: the case's.
            make: returns it, or raises DataError with what is wrong with it.
            twice: says that two whole cases, the first and this one, have that name.
        """
        self._partial.pop(name, None)  # one that is there twice is no case, whatever it lacks
        try:
            case = make()
        except DataError as error:
            if isinstance(error, MissingImagesError) and name not in self.wrong and name not in self._found:
                self._partial[name] = error.case
            self.wrong.setdefault(name, str(error))
            return
        if (first := self._found.setdefault(name, case)) is not case:
            self.wrong.setdefault(name, twice(first, case))

    def survey(self) -> Survey:
        """Return all of it; whole cases are sorted by name."""
        whole = [self._found[name] for name in sorted(self._found.keys() - self.wrong.keys())]
        return Survey(whole, self.wrong, self._partial)


def walk(root: Path) -> Iterator[Folder]:
    """Yield every folder from `root` down, the nearest first, in one order on every machine.

    Links are followed, after everything that is no link; no folder is yielded twice, however many links lead to it.

    Raises:
        DataError: `root` itself cannot be read.
    """
    return _visit(root, None, None)


def glance(root: Path) -> Iterator[Folder]:
    """Yield the folders next to `root`, a bounded part of each: at most 256 folders and 512 entries in each.

    Nothing is raised: a root that cannot be read yields nothing.
    """
    with suppress(DataError):
        yield from islice(_visit(root, _GLANCED_ENTRIES, _GLANCED_CHILDREN), _GLANCED_FOLDERS)


def _visit(root: Path, entries: int | None, children: int | None) -> Iterator[Folder]:
    if not _is_utf8(os.path.abspath(root)):  # noqa: PTH100 - resolve() would follow links
        msg = f"The path {shown(root)} is not UTF-8: rename its folders, or give another path to them."
        raise DataError(msg)
    seen: set[tuple[int, int]] = set()
    ahead, linked = deque([root]), deque[Path]()
    while ahead or linked:
        path = (ahead or linked).popleft()
        try:
            status = path.stat()
            if (place := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(place)
            listed = _list(path, entries)
        except OSError as error:
            if path is root:
                msg = f"Cannot read the folder {path}: {error.strerror}; give a folder of cases that you may read."
                raise DataError(msg) from error
            yield Folder(path, wrong={str(path.relative_to(root)): _unreadable(path, error)})
            continue
        folder, real, links = _sorted_out(root, path, listed)
        ahead += real[:children]
        linked += links[:children]
        yield folder


def _list(path: Path, limit: int | None) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        visible = (entry for entry in entries if entry.name[0] != "." and entry.name not in _OF_THE_SYSTEM)
        return sorted(islice(visible, limit), key=lambda entry: entry.name)


def _sorted_out(root: Path, path: Path, entries: list[os.DirEntry[str]]) -> tuple[Folder, list[Path], list[Path]]:
    """Return a folder, its subfolders, and those of them that are links."""
    files: list[str] = []
    real: list[Path] = []
    links: list[Path] = []
    stems: dict[str, tuple[str, ...]] = {}
    strange: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for entry in entries:
        name, what, stem = entry.name, _what(entry), image_stem(entry.name)
        if not _is_utf8(name):
            if stem or what == _FOLDER:
                wrong[shown((path / name).relative_to(root))] = _unspeakable(path / name)
            continue
        if not what:
            files.append(name)
        elif what == _FOLDER:
            (links if entry.is_symlink() else real).append(path / name)
        if stem:
            stems[stem] = (*stems.get(stem, ()), name)
            if what:
                strange[name] = what
    return Folder(path, tuple(files), stems, strange, wrong), real, links


def _what(entry: os.DirEntry[str]) -> str:
    """Say what an entry is, if it is no file."""
    try:
        if entry.is_file():
            return ""
        if entry.is_dir():
            return _FOLDER
        mode = entry.stat().st_mode
    except OSError as error:
        return f"leads nowhere ({error.strerror})"
    return "is a pipe" if stat.S_ISFIFO(mode) else "is a socket" if stat.S_ISSOCK(mode) else "is a device"


def _is_utf8(name: str) -> bool:
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps a byte that is not UTF-8 as a lone surrogate
        return False
    return True


def _voxels_of(header: str, beside: Iterable[str]) -> str:
    """Return the name of the voxels that belong to a header, of those beside it whatever its case."""
    stem, ending = os.path.splitext(header)  # noqa: PTH122 - a name, not a path
    usual = stem + (".IMG" if ending.isupper() else ".img")
    there = [name for name in beside if name.lower().endswith(".img")]
    return usual if usual in there or not there else there[0]


def _unreadable(path: Path, error: OSError) -> str:
    return f"Cannot read the folder {path}: {error.strerror}; make it readable, or move it out of the data."


def _unspeakable(path: Path) -> str:
    return f"The name of {shown(path)} is not UTF-8: rename it, or move it out of the data."


def _twice(name: str, one: Path, other: Path, *_: Case) -> str:
    return (
        f"Two folders hold a case {name}: {one} and {other}; rename or move one, or give a folder that holds only one "
        "of them."
    )
