"""One benchmark from its settings to its tables: pictures, log, resumption, failures.

A benchmark is a config (`benches/configs.py`), measurements by key, and rows computed from the log alone. A resumed run
therefore writes the same tables as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pca_protect.device import resolve_device, resolve_precision
from pca_protect.errors import ModelError, PictureError
from pca_protect.eval.benches.configs import BenchConfig, EditsConfig
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import readable
from pca_protect.eval.results import Finished, Json, OnProgress, Results, Row

Measurement = tuple[str, Mapping[str, object]]
"""A key and plain values by name."""


class Bench:
    """One benchmark in one folder.

    Args:
        name: `NAME` of `pca-protect bench NAME`.
        config: its settings.
        folder: output folder; a rerun resumes from its log.
        on_progress: called with (label, units done, total units).
        timed: times are measured: a rerun on another machine is refused.
        pictures: path -> digest, replaces the folder of the config.

    Attributes:
        device: resolved.
        pictures: path -> digest, of the readable pictures.

    Raises:
        UsageError: the folder of pictures is missing or holds no readable picture.
        DeviceError: the device is unavailable.
    """

    def __init__(
        self,
        name: str,
        config: BenchConfig,
        folder: Path,
        on_progress: OnProgress | None = None,
        *,
        timed: bool = False,
        pictures: Mapping[Path, str] | None = None,
    ) -> None:
        self.device = resolve_device(config.device)
        self._failures: list[Row] = []
        if pictures is None:
            self.pictures, self._failures = readable(Path(config.images), config.pictures)
        else:
            self.pictures = dict(pictures)
        self._name = name
        self._config = config
        self._folder = folder
        self._timed = timed
        self._report: OnProgress = on_progress or (lambda label, done, in_all: None)
        self._results: Results | None = None

    def open(self, **facts: object) -> Results:
        """Open the folder's log, including the measurements of an earlier run.

        Args:
            facts: further values that determine the measurements, such as digests of weights.

        Raises:
            UsageError: see `Results`.
        """
        self._results = Results(
            self._folder,
            command=f"pca-protect bench {self._name}",
            config={
                **self._config.as_dict(),
                **self._precision(),
                "pictures": {path.name: digest for path, digest in self.pictures.items()},
                **facts,
            },
            environment={**self._config.of_the_machine(), **environment(self.device)},
            timed=self._timed,
        )
        return self._results

    def keep(self, pictures: Sequence[Path]) -> None:
        """Restrict the benchmark to these pictures, in this order. Call before `open`.

        For benchmarks that select pictures by content.
        """
        assert self._results is None
        self.pictures = {path: self.pictures[path] for path in pictures}

    def each_picture(
        self,
        label: str,
        measure: Callable[[Path], None],
        *,
        editor: str = "",
        pictures: Sequence[Path] | None = None,
    ) -> list[Path]:
        """Measure every picture. A failed picture gets a row in the table `failures` instead.

        Args:
            label: shown with the progress.
            measure: adds a picture's missing measurements to the log.
            editor: column `editor` of rows in `failures`.
            pictures: replaces the benchmark's pictures.

        Returns:
            The pictures that did not fail.
        """
        complete = []
        chosen = list(self.pictures) if pictures is None else pictures
        for done, path in enumerate(chosen):
            self._report(label, done, len(chosen))
            try:
                measure(path)
            except (ModelError, PictureError) as error:
                self._failures.append({"editor": editor, "picture": path.name, "reason": str(error)})
                continue
            complete.append(path)
        return complete

    def entries(
        self,
        label: str,
        keys: Sequence[str],
        measure: Callable[[Path, Sequence[str]], Iterable[Measurement]],
        *,
        pictures: Sequence[Path] | None = None,
    ) -> dict[str, dict[str, Json]]:
        """Measure the missing keys of every picture, and return all of them: key -> picture's name -> measurement.

        Args:
            keys: of the measurements of one picture.
            measure: (picture, missing keys) -> each missing key and its measurement, added to the log one by one.
            pictures: replaces the benchmark's pictures.
        """
        results = self._opened()

        def measure_missing(path: Path) -> None:
            missing = [key for key in keys if f"{path.name} | {key}" not in results]
            for key, entry in measure(path, missing) if missing else ():
                results.add({f"{path.name} | {key}": entry})

        complete = self.each_picture(label, measure_missing, pictures=pictures)
        return {key: {path.name: results[f"{path.name} | {key}"] for path in complete} for key in keys}

    def finish(self, tables: Mapping[str, Sequence[Row]]) -> Finished:
        """Write the tables, and the table `failures` if a picture failed."""
        named = {name: list(rows) for name, rows in tables.items()}
        if self._failures:
            named["failures"] = self._failures
        return Finished(named, self._opened().write_tables(named))

    def _precision(self) -> dict[str, str]:
        """The precision that the setting means on this device: another one gives other measurements."""
        if isinstance(self._config, EditsConfig):
            return {"precision": resolve_precision(self._config.precision, self.device)}
        return {"surrogate_precision": resolve_precision("auto", self.device)}

    def _opened(self) -> Results:
        assert self._results is not None, "open the log first"
        return self._results
