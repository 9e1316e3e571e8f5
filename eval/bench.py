"""One benchmark from its settings to its tables: pictures, log, resumption, failures.

A benchmark is a config (`benches/configs.py`), measurements by key, and rows made from the log alone, so that the tables of a
killed and a whole run are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pca_protect.device import resolve_device
from pca_protect.errors import ModelError, PictureError
from pca_protect.eval.benches.configs import BenchConfig
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
        folder: where results go, and where a rerun resumes from.
        on_progress: called with (what is being measured, units done, units in all).

    Attributes:
        device: resolved.
        pictures: path -> digest, of the pictures that can be read.

    Raises:
        UsageError: no folder of pictures, or none that can be read.
        DeviceError: the device is not there.
    """

    def __init__(self, name: str, config: BenchConfig, folder: Path, on_progress: OnProgress | None = None) -> None:
        self.device = resolve_device(config.device)
        self.pictures, self._failures = readable(Path(config.images), config.pictures)
        self._name = name
        self._config = config
        self._folder = folder
        self._report: OnProgress = on_progress or (lambda label, done, in_all: None)
        self._results: Results | None = None

    def open(self, **facts: object) -> Results:
        """The folder's log, with measurements of an earlier run.

        Args:
            facts: what decides the measurements besides the settings and the pictures, such as digests of weights.

        Raises:
            UsageError: see `Results`.
        """
        self._results = Results(
            self._folder,
            command=f"pca-protect bench {self._name}",
            config={
                **self._config.as_dict(),
                "pictures": {path.name: digest for path, digest in self.pictures.items()},
                **facts,
            },
            environment=environment(self.device),
        )
        return self._results

    def keep(self, pictures: Sequence[Path]) -> None:
        """Measure these pictures alone, in this order. For benchmarks that choose by content; before the log is opened."""
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
        """Measure every picture. One that fails is named in the table `failures` and left out.

        Args:
            label: what is being measured, for progress.
            measure: adds what is missing of a picture to the log.
            editor: of the row in `failures`.
            pictures: other ones than the benchmark's.

        Returns:
            The pictures that did not fail.
        """
        whole = []
        chosen = list(self.pictures) if pictures is None else pictures
        for done, path in enumerate(chosen):
            self._report(label, done, len(chosen))
            try:
                measure(path)
            except (ModelError, PictureError) as error:
                self._failures.append({"editor": editor, "picture": path.name, "reason": str(error)})
                continue
            whole.append(path)
        return whole

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
            keys: what there is to be measured of a picture.
            measure: (picture, missing keys) -> each missing key and its measurement, added to the log one by one.
            pictures: other ones than the benchmark's.
        """
        results = self._opened()

        def measure_missing(path: Path) -> None:
            missing = [key for key in keys if f"{path.name} | {key}" not in results]
            for key, entry in measure(path, missing) if missing else ():
                results.add({f"{path.name} | {key}": entry})

        whole = self.each_picture(label, measure_missing, pictures=pictures)
        return {key: {path.name: results[f"{path.name} | {key}"] for path in whole} for key in keys}

    def finish(self, tables: Mapping[str, Sequence[Row]]) -> Finished:
        """Write the tables, with `failures` if there are any."""
        named = {name: list(rows) for name, rows in tables.items()}
        if self._failures:
            named["failures"] = self._failures
        return Finished(named, self._opened().write_tables(named))

    def _opened(self) -> Results:
        assert self._results is not None, "open the log first"
        return self._results
