"""Memory: what is used and free, and the sentence where it does not suffice."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from ddmkit import DeviceError, memory
from ddmkit.memory import free, memory_guard, used

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CPU = torch.device("cpu")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def exhaust(advice: str | Callable[[], str]) -> None:
    """Ask torch for more memory than any address space has."""
    with memory_guard(CPU, advice):
        torch.empty(2**60, dtype=torch.uint8)


def available() -> int:
    (line,) = [one for one in Path("/proc/meminfo").read_text("ascii").splitlines() if one.startswith("MemAvailable:")]
    return 1024 * int(line.split()[1])


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a group's limits, with none in it; the process is in a group within that group."""
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    (tmp_path / "membership").write_text("0::/job/step\n", "ascii")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    folder = tmp_path / "job"
    (folder / "step").mkdir(parents=True)
    return folder


@on_linux
def test_what_is_used_grows_by_what_is_written_to() -> None:
    before = used(CPU)
    held = torch.ones(2**24)
    assert used(CPU) - before == pytest.approx(held.nbytes, rel=0.05)


@on_linux
def test_without_a_container_all_that_the_machine_has_available_is_free(group: Path) -> None:
    assert [path.name for path in group.iterdir()] == ["step"]
    assert free(CPU) == pytest.approx(available(), rel=0.1)


@on_linux
@pytest.mark.parametrize(("most", "expected"), [("3000000\n", 1_000_000), (f"{10**18}\n", None), ("max\n", None)])
def test_in_a_container_what_it_leaves_is_free_if_that_is_less(group: Path, most: str, expected: int | None) -> None:
    (group / "memory.max").write_text(most, "ascii")
    (group / "memory.current").write_text("2000000\n", "ascii")
    assert free(CPU) == pytest.approx(expected or available(), rel=0.1)


@on_linux
def test_the_tightest_of_the_groups_around_a_process_counts_and_files_it_has_read_do_not(group: Path) -> None:
    for folder, most, now, files in (
        (group, 9_000_000, 5_000_000, 4_500_000),
        (group / "step", 8_000_000, 7_000_000, 0),
    ):
        (folder / "memory.max").write_text(f"{most}\n", "ascii")
        (folder / "memory.current").write_text(f"{now}\n", "ascii")
        (folder / "memory.stat").write_text(f"anon 7\ninactive_file {files}\n", "ascii")
    assert free(CPU) == 1_000_000
    (group / "step" / "memory.max").write_text("max\n", "ascii")
    assert free(CPU) == 8_500_000


@on_linux
def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path, group: Path) -> None:
    (tmp_path / "membership").write_text("5:cpu:/other\n4:memory,pids:/job/step\n", "ascii")
    outer = tmp_path / "memory"
    outer.mkdir()
    (outer / "memory.limit_in_bytes").write_text("6000000\n", "ascii")
    (outer / "memory.usage_in_bytes").write_text("5000000\n", "ascii")
    (outer / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 2000000\n", "ascii")
    assert group.is_dir()
    assert free(CPU) == 3_000_000


def test_a_system_without_proc_says_neither(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / str(path).strip("/"))
    assert used(CPU) == 0
    assert free(CPU) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 12 kB\n", "ascii")
    assert free(CPU) is None


def test_memory_that_does_not_suffice_is_one_sentence_with_the_advice() -> None:
    with pytest.raises(DeviceError, match=r"^The memory of cpu does not suffice: lower patch\.sides\.$"):
        exhaust("lower patch.sides")


def test_advice_is_worked_out_only_once_it_is_needed() -> None:
    asked: list[int] = []

    def advice() -> str:
        asked.append(1)
        return "type less"

    with memory_guard(CPU, advice):
        pass
    assert not asked
    with pytest.raises(DeviceError, match="suffice: type less"), memory_guard(CPU, advice):
        raise torch.OutOfMemoryError
    assert asked == [1]


def test_what_the_attempt_held_is_free_again_when_advice_is_worked_out() -> None:
    held: list[weakref.ref[Tensor]] = []

    def attempt() -> None:
        volume = torch.ones(8)
        held.append(weakref.ref(volume))
        raise torch.OutOfMemoryError

    with (
        pytest.raises(DeviceError, match="suffice: none is held"),
        memory_guard(CPU, lambda: "none is held" if held[0]() is None else "it is still held"),
    ):
        attempt()


def test_where_there_is_no_memory_for_advice_the_planner_is_named() -> None:
    def advice() -> str:
        raise MemoryError

    with pytest.raises(DeviceError, match="suffice: ask ddmkit plan, with the same options, what would fit"):
        exhaust(advice)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape") as caught, memory_guard(CPU, "never said"):
        torch.ones(2).view(3)
    assert type(caught.value) is RuntimeError
