"""Plans outputs in a bucket and finds pending pictures from listings alone, without reading pictures."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from pca_protect.batch.classify import digest_of
from pca_protect.batch.request import Existing
from pca_protect.cluster.records import ClusterEntry, Planned
from pca_protect.cluster.storage import Storage, Stored
from pca_protect.errors import UsageError
from pca_protect.io.formats import FORMATS
from pca_protect.io.plan import PROTECTED, TEST_ONLY

SUFFIXES = (".png", ".tiff")
"""Possible suffixes of an output. The picture's content determines which, once it is read."""

_HEIC = {".heic", ".heif", ".hif"}


@dataclass(frozen=True, slots=True)
class Task:
    """One picture of a cluster run, sent to a worker.

    Attributes:
        root: root of the input storage.
        stored: the picture in that storage.
        target: path of the output relative to its root, without the suffix.
        replace: permit replacing an output.
    """

    root: str
    stored: Stored
    target: str
    replace: bool = False

    @property
    def url(self) -> str:
        return f"{self.root}/{self.stored.place}"


@dataclass
class JobStatuses:
    """Attributes:
    to_do: pending pictures, ordered by name.
    finished: number of pictures that an earlier run finished, according to its records.
    existing: outputs kept because they exist.
    classified: targets of all other pictures. Plans of earlier runs are no longer needed for these.
    """

    to_do: list[Task] = field(default_factory=list)
    finished: int = 0
    existing: list[str] = field(default_factory=list)
    classified: set[str] = field(default_factory=set)

    def add_classified(self, other: JobStatuses) -> None:
        """Add the outputs of `other` that are finished or exist."""
        self.finished += other.finished
        self.existing += other.existing
        self.classified |= other.classified - {task.target for task in other.to_do}


@dataclass
class Inputs:
    """Attributes:
    tasks: all files that may be pictures according to their names.
    messages: omitted files, one sentence each.
    """

    tasks: list[Task] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def inputs_of(storages: Sequence[Storage], output: Storage, *, recursive: bool) -> Inputs:
    """List the inputs and pair each with its output path.

    Selects by name, since reading the header of every object would cost a request each. Accepts known image extensions, and
    names without an extension, whose content is checked by the worker. Skips names that begin with a dot and everything
    below the output root.

    Raises:
        UsageError: there is no picture, or two pictures have the same output.
    """
    inputs = Inputs()
    known = _known_suffixes()
    others = inside = 0
    for storage in storages:
        single = storage.single()
        root = storage.root if single is None else posixpath.dirname(storage.root)
        listed = storage.listed(recursive=recursive) if single is None else [single]
        for stored in sorted(listed, key=lambda stored: stored.place):
            name = posixpath.basename(stored.place)
            if any(part[0] == "." for part in stored.place.split("/")):
                continue
            if f"{root}/{stored.place}".startswith(f"{output.root}/"):
                inside += 1
            elif posixpath.splitext(name)[1].lower() not in known:
                others += 1
            else:
                target = f"{posixpath.splitext(stored.place)[0]}.{PROTECTED}"
                inputs.tasks.append(Task(root, stored, target))
    if others:
        inputs.messages.append(f"{others} file{'s were' if others > 1 else ' was'} ignored: no known image extension")
    if inside:
        inputs.messages.append("the output is inside an input and was left out")
    if not inputs.tasks:
        where = ", ".join(storage.root for storage in storages)
        raise UsageError(f"{where}: no picture to protect{f' ({inputs.messages[0]})' if inputs.messages else ''}")
    inputs.tasks = list(_without_collisions(inputs.tasks, output))
    return inputs


def renamed(tasks: Iterable[Task]) -> list[Task]:
    """The same tasks with test-only names of outputs."""
    return [Task(task.root, task.stored, f"{task.target.removesuffix(PROTECTED)}{TEST_ONLY}") for task in tasks]


def classify(
    tasks: Iterable[Task],
    *,
    output: Storage,
    there: Mapping[str, Stored],
    finished: Mapping[str, Sequence[ClusterEntry]],
    unfinished: Sequence[Planned],
    existing: Existing,
    config_digest: str,
    weights_digest: str | None,
) -> JobStatuses:
    """Classify every picture by the rules of the local engine.

    On disks, inputs and outputs are compared by SHA-256. Buckets would have to be downloaded for that; there, inputs are
    compared by size and ETag, and outputs by size.

    Args:
        there: existing objects below the output root, by path relative to it.
        finished, unfinished: see `Ledger`.
        existing: treatment of outputs that exist and are not finished.
        weights_digest: digest of this run's encoder; None accepts any encoder.

    Raises:
        UsageError: an output exists that this program did not write, or whose picture or settings have changed.
    """

    def is_same(entry: ClusterEntry | Planned) -> bool:
        return entry.config_sha256 == config_digest and weights_digest in (None, entry.weights_sha256)

    statuses = JobStatuses()
    foreign: list[str] = []
    changed: list[str] = []
    other_settings: list[str] = []
    ours = {place for plan in unfinished for place in plan.outputs}
    announced = {place for plan in unfinished if is_same(plan) for place in plan.outputs}
    for task in tasks:
        lines = [line for line in finished.get(task.url, ()) if _output_matches(line, there.get(line.output), output)]
        place = lines[-1].output if lines else _existing_place(task, there)
        if place and existing == "skip":
            statuses.existing.append(output.url(place))
            continue
        statuses.classified.add(task.target)
        if not place:
            statuses.to_do.append(task)
            continue
        of_input = [line for line in lines if _input_matches(line, task)]
        if any(is_same(line) for line in of_input):
            statuses.finished += 1
            continue
        statuses.to_do.append(Task(task.root, task.stored, task.target, replace=True))
        if existing == "overwrite" or (not lines and task.target in announced):
            continue
        if not lines and task.target not in ours:
            foreign.append(output.url(place))
        elif lines and not of_input:
            changed.append(task.url)
        else:
            other_settings.append(task.url)
    _refuse(foreign, changed, other_settings)
    return statuses


def _known_suffixes() -> set[str]:
    Image.init()
    return {"", *_HEIC, *(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)}


def _without_collisions(tasks: Iterable[Task], output: Storage) -> Iterator[Task]:
    seen: dict[str, Task] = {}
    for task in tasks:
        other = seen.setdefault(task.target, task)
        if other is task:
            yield task
        elif other.url != task.url:
            raise UsageError(
                f"{other.url} and {task.url} would both be written to {output.url(task.target)}; "
                "rename one of them, or protect them in separate runs with different `output`"
            )


def _existing_place(task: Task, there: Mapping[str, Stored]) -> str:
    return next((task.target + suffix for suffix in SUFFIXES if task.target + suffix in there), "")


def _output_matches(line: ClusterEntry, stored: Stored | None, output: Storage) -> bool:
    if stored is None or stored.size_bytes != line.output_bytes:
        return False
    return not output.is_local or digest_of(str(output.path(line.output))) == line.output_sha256


def _input_matches(line: ClusterEntry, task: Task) -> bool:
    if task.stored.etag:
        return (line.input_bytes, line.input_etag) == (task.stored.size_bytes, task.stored.etag)
    return digest_of(task.url) == line.input_sha256


def _refuse(foreign: list[str], changed: list[str], other_settings: list[str]) -> None:
    remedy = "add `existing=overwrite` to protect again or `existing=skip` to keep the output"
    if foreign:
        raise UsageError(
            f"{_abbreviated(foreign)}: exists already; add `existing=overwrite` or `existing=skip`, or choose another `output`"
        )
    if changed:
        raise UsageError(f"{_abbreviated(changed)}: changed since protection; {remedy}")
    if other_settings:
        raise UsageError(f"{_abbreviated(other_settings)}: protected with other settings before; {remedy}")


def _abbreviated(names: list[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
