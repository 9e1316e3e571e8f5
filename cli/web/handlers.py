"""What answers on the page when something is chosen, dropped or pressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np
from PIL import Image

from pca_protect.cli import console
from pca_protect.cli.web import html
from pca_protect.cli.web.choices import Wanted, encoders_elsewhere, encoders_here
from pca_protect.cli.web.command import command
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.names import safe_name
from pca_protect.cli.web.protecting import Asked, Results, protect_all
from pca_protect.cli.web.proving import Proved, editors_here, prove_edits
from pca_protect.cli.web.service import EDITING, PROTECTING, Service
from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.image.tensors import Mask
from pca_protect.io.limits import MAX_PIXELS

Anything = TypeVar("Anything")
_LOOK_AGAIN_SECONDS = 0.3
_CANVAS_PX = 1024
"""Longer side of what is painted on."""
_PAINTED = 40
"""Alpha from which a pixel counts as painted; smoothed edges have less."""


class Handlers:
    """For every visitor of a page over one service. Methods take what the page's inputs hold, in their order there, and return
    what its outputs show."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Somebody has come; and what was downloaded since the page was built can be chosen."""
        self._service.begin(_visit(request))
        offline = self._service.offline
        choices = encoders_here(offline=offline), encoders_elsewhere(offline=offline), editors_here()
        return tuple(gr.update(choices=found) for found in choices)

    def forget(self, request: gr.Request) -> None:
        """Somebody has left."""
        self._service.forget(_visit(request))

    def stop_protecting(self, request: gr.Request) -> None:
        self._service.cancel(_visit(request), PROTECTING)

    def stop_editing(self, request: gr.Request) -> None:
        self._service.cancel(_visit(request), EDITING)

    def line(self, files: list[str] | None, *chosen: object) -> str:
        """The same as a command."""
        names = [safe_name(Path(path).name) for path in files or []]
        pixels = self._service.limits.most_pixels
        return command(
            _wanted(*chosen),
            names,
            device=self._service.device,
            offline=self._service.offline,
            max_megapixels=None if pixels == MAX_PIXELS else pixels / 1_000_000,
        )

    async def cost(self, request: gr.Request, files: list[str] | None, *chosen: object) -> AsyncIterator[str]:
        """What it will take, as soon as that is known."""
        wanted = _wanted(*chosen)
        try:
            config = wanted.config(self._service.device)
            uploads = self._service.uploads.of(_visit(request), files)
        except UsageError as error:
            yield html.errors([str(error)])
            return
        about = f"{config.recipe.steps} steps, no channel of a pixel changed by more than {wanted.budget_levels} of 255 levels"
        if not uploads:
            yield html.note(f"{about}. Drop a picture, and the time it takes is measured here.")
            return
        pace = self._service.models.known_pace(config)
        if pace is None and self._service.queue.busy:
            yield html.note(f"{about}. How long it takes is not known while another job is running.")
            return
        if pace is None:
            yield html.note(f"{about}. Measuring how long that takes …")
            try:
                job = self._service.queue.hand_in(lambda job: self._service.models.measure_pace(config))
                pace = await asyncio.to_thread(job.result)
            except PcaProtectError as error:
                yield html.note(f"{about}. How long it takes: {error}.")
                return
        seconds, frames = 0.0, ""
        for upload in uploads:
            with suppress(PcaProtectError):  # said where the pictures are listed
                header = self._service.uploads.header(upload)
                seconds += pace.seconds(header.width, header.height, config) if header else 0.0
                if header and header.frames > 1:
                    frames = ", and as long again for every further frame or page"
        yield html.note(f"{about}. About {console.duration(max(1.0, seconds))} on this machine{frames}.")

    def look(self, request: gr.Request, files: list[str] | None) -> tuple[str, Any]:
        """What came, and something to paint on."""
        canvas = None
        listed: list[html.Listed] = []
        failed: list[str] = []
        try:
            uploads = self._service.uploads.of(_visit(request), files)
        except UsageError as error:
            return html.errors([str(error)]), gr.skip()
        for upload in uploads[: self._service.limits.most_pictures]:
            try:
                picture = self._service.uploads.read(upload)
            except PcaProtectError as error:
                failed.append(str(error))
                continue
            if len(uploads) == 1:
                shown = Image.fromarray(picture.rgb)
                shown.thumbnail((_CANVAS_PX, _CANVAS_PX))
                canvas = {"background": np.asarray(shown), "layers": [], "composite": None}
            listed.append(html.Listed.of(picture))
        try:
            self._service.limits.check_number(len(uploads))
        except UsageError as error:
            failed.append(str(error))
        return html.pictures(listed, failed), gr.update(value=canvas)

    async def protect(self, request: gr.Request, files: list[str] | None, *rest: Any) -> AsyncIterator[tuple[Any, ...]]:  # noqa: ANN401
        """How far it is, then downloads and figures, or why not."""
        *chosen, painting = rest
        visit = _visit(request)
        go, halt = gr.update(interactive=True), gr.update(interactive=False)
        hidden = gr.update(visible=False)
        keep = gr.skip()
        try:
            wanted = _wanted(*chosen)
            config = wanted.config(self._service.device)
            uploads = self._service.uploads.of(visit, files)
            if not uploads:
                raise UsageError("no picture is chosen; drop one above")
            self._service.limits.check_number(len(uploads))
            mask = None
            if wanted.part == "paint":
                mask = await asyncio.to_thread(_mask, self._service.uploads, uploads, painting)
            asked = Asked(uploads, config, wanted.output_options, mask)
            job: Job[Results] = self._service.hand_in(
                visit,
                PROTECTING,
                lambda job: protect_all(
                    job,
                    visit,
                    asked,
                    uploads=self._service.uploads,
                    models=self._service.models,
                    downloads=self._service.downloads,
                ),
            )
        except PcaProtectError as error:
            yield html.errors([str(error)]), keep, go, halt, keep, keep
            return
        self._service.downloads.clear(visit)
        self._service.results.pop(visit, None)
        async for shown in _watch(job):
            yield shown, "", halt, go, hidden, keep
        try:
            found = job.result()
        except PcaProtectError as error:
            yield html.errors([str(error)]), "", go, halt, hidden, keep
            return
        self._service.results[visit] = found
        names = [one.name for one in found.done]
        choices = gr.update(choices=names, value=names[0] if names else None)
        yield "", html.results(found), go, halt, gr.update(visible=bool(names)), choices

    async def edit(self, request: gr.Request, name: str, editor: str, prompt: str) -> AsyncIterator[tuple[Any, ...]]:
        """How far it is, then the edits side by side, or why not."""
        visit = _visit(request)
        go, halt = gr.update(interactive=True), gr.update(interactive=False)
        results = self._service.results.get(visit)
        try:
            chosen = next((one for one in results.done if one.name == name), None) if results else None
            if chosen is None or editor not in [name for _, name in editors_here()]:
                raise UsageError("choose a protected picture and an editor first")
            job: Job[Proved] = self._service.hand_in(
                visit,
                EDITING,
                lambda job: prove_edits(
                    job,
                    visit,
                    chosen,
                    editor=editor,
                    prompt=prompt or "",
                    models=self._service.models,
                    downloads=self._service.downloads,
                ),
            )
        except PcaProtectError as error:
            yield html.errors([str(error)]), gr.skip(), go, halt
            return
        async for shown in _watch(job):
            yield shown, "", halt, go
        try:
            yield "", html.proof(job.result()), go, halt
        except PcaProtectError as error:
            yield html.errors([str(error)]), "", go, halt


def _wanted(*chosen: Any) -> Wanted:  # noqa: ANN401 - what the page's inputs hold, in the order of `choices`
    mode, preset, budget, vaes, more_vaes, place, seen, part, most_visible, strip_gps, strip_metadata = chosen
    return Wanted(
        mode=str(mode),
        preset=str(preset),
        budget_levels=int(budget),
        vaes=(*vaes, *more_vaes),
        place=str(place),
        seen=str(seen),
        part=str(part),
        most_visible_levels=float(most_visible),
        strip_gps=bool(strip_gps),
        strip_metadata=bool(strip_metadata),
    )


async def _watch(job: Job[Anything]) -> AsyncIterator[str]:
    """How far it is, until it is done. Whoever stops watching has left."""
    last = ""
    try:
        while not job.finished:
            shown = html.progress(job.job_status)
            if shown != last:
                yield shown
                last = shown
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    finally:
        if not job.finished:
            job.cancel()


def _mask(uploads: Uploads, chosen: Sequence[Upload], painting: Any) -> Mask:  # noqa: ANN401 - a dictionary of arrays
    """Where was painted, at the size of the picture.

    Raises:
        PcaProtectError: there is more than one picture, it cannot be read, or nothing was painted.
    """
    if len(chosen) != 1:
        raise UsageError(f"{len(chosen)} pictures are chosen, and painting is for one; choose one, or another part")
    picture = uploads.read(chosen[0])
    free = np.zeros((picture.height, picture.width), dtype=bool)
    for layer in (painting or {}).get("layers") or []:
        if layer is not None:
            alpha = Image.fromarray(np.ascontiguousarray(layer[..., 3]))
            free |= np.asarray(alpha.resize((picture.width, picture.height), Image.Resampling.BILINEAR)) > _PAINTED
    if not free.any():
        raise UsageError("nothing is painted; paint where the picture shall be protected, or choose another part")
    return free


def _visit(request: gr.Request) -> str:
    """Whose request this is; empty for what is no page."""
    return request.session_hash or ""
