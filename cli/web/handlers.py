"""Event handlers of the page."""

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
from pca_protect.cli.web.choices import Selection, local_encoders, remote_encoders
from pca_protect.cli.web.command import command
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.names import safe_name
from pca_protect.cli.web.protecting import ProtectRequest, Results, protect_all
from pca_protect.cli.web.proving import Proof, local_editors, prove_edits
from pca_protect.cli.web.service import EDITING, PROTECTING, Service
from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.image.tensors import Mask
from pca_protect.io.limits import MAX_PIXELS

Anything = TypeVar("Anything")
_POLL_SECONDS = 0.3
_CANVAS_PX = 1024
"""Longer side of the canvas for painting a mask."""
_PAINTED_ALPHA = 40
"""Alpha above which a pixel counts as painted; antialiased edges have less."""


class Handlers:
    """Handlers shared by all visits. A method takes the values of its event's inputs and returns those of its outputs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Registers a visit and updates the choices: models may have been downloaded since the page was built."""
        self._service.begin(_visit(request))
        offline = self._service.offline
        choices = local_encoders(offline=offline), remote_encoders(offline=offline), local_editors()
        return tuple(gr.update(choices=options) for options in choices)

    def end(self, request: gr.Request) -> None:
        """Ends a visit and removes its files."""
        self._service.end(_visit(request))

    def stop_protecting(self, request: gr.Request) -> None:
        self._service.cancel(_visit(request), PROTECTING)

    def stop_editing(self, request: gr.Request) -> None:
        self._service.cancel(_visit(request), EDITING)

    def command_line(self, files: list[str] | None, *chosen: object) -> str:
        """The equivalent command."""
        names = [safe_name(Path(path).name) for path in files or []]
        pixels = self._service.limits.max_pixels
        return command(
            _selection(*chosen),
            names,
            device=self._service.device,
            offline=self._service.offline,
            max_megapixels=None if pixels == MAX_PIXELS else pixels / 1_000_000,
        )

    async def cost(self, request: gr.Request, files: list[str] | None, *chosen: object) -> AsyncIterator[str]:
        """The expected time, measured first if necessary."""
        selection = _selection(*chosen)
        try:
            config = selection.config(self._service.device)
            uploads = self._service.uploads.of(_visit(request), files)
        except UsageError as error:
            yield html.errors([str(error)])
            return
        effort = f"{config.recipe.steps} steps, no channel changes by more than {selection.budget_levels} of 255 levels"
        if not uploads:
            yield html.note(f"{effort}. Drop a picture to see the expected time.")
            return
        pace = self._service.models.known_pace(config)
        if pace is None and self._service.queue.busy:
            yield html.note(f"{effort}. The expected time cannot be measured while another job is running.")
            return
        if pace is None:
            yield html.note(f"{effort}. Measuring the expected time …")
            try:
                job = self._service.queue.submit(lambda job: self._service.models.measure_pace(config))
                pace = await asyncio.to_thread(job.result)
            except PcaProtectError as error:
                yield html.note(f"{effort}. Expected time: {error}.")
                return
        seconds, frames = 0.0, ""
        for upload in uploads:
            with suppress(PcaProtectError):  # `list_uploads` reports it
                header = self._service.uploads.header(upload)
                seconds += pace.seconds(header.width, header.height, config) if header else 0.0
                if header and header.frames > 1:
                    frames = "; each further frame or page takes as long again"
        yield html.note(f"{effort}. About {console.duration(max(1.0, seconds))} on this machine{frames}.")

    def list_uploads(self, request: gr.Request, files: list[str] | None) -> tuple[str, Any]:
        """The list of uploaded pictures, and the canvas for painting a mask."""
        canvas = None
        listed: list[html.Listed] = []
        failed: list[str] = []
        try:
            uploads = self._service.uploads.of(_visit(request), files)
        except UsageError as error:
            return html.errors([str(error)]), gr.skip()
        for upload in uploads[: self._service.limits.max_pictures]:
            try:
                picture = self._service.uploads.read(upload)
            except PcaProtectError as error:
                failed.append(str(error))
                continue
            if len(uploads) == 1:
                thumbnail = Image.fromarray(picture.rgb)
                thumbnail.thumbnail((_CANVAS_PX, _CANVAS_PX))
                canvas = {"background": np.asarray(thumbnail), "layers": [], "composite": None}
            listed.append(html.Listed.of(picture))
        try:
            self._service.limits.check_number(len(uploads))
        except UsageError as error:
            failed.append(str(error))
        return html.pictures(listed, failed), gr.update(value=canvas)

    async def protect(self, request: gr.Request, files: list[str] | None, *rest: Any) -> AsyncIterator[tuple[Any, ...]]:  # noqa: ANN401
        """The progress, then the results or an error."""
        *chosen, painting = rest
        visit = _visit(request)
        enabled, disabled = gr.update(interactive=True), gr.update(interactive=False)
        hidden = gr.update(visible=False)
        unchanged = gr.skip()
        try:
            selection = _selection(*chosen)
            config = selection.config(self._service.device)
            uploads = self._service.uploads.of(visit, files)
            if not uploads:
                raise UsageError("no picture is chosen; drop one above")
            self._service.limits.check_number(len(uploads))
            mask = None
            if selection.region == "paint":
                mask = await asyncio.to_thread(_mask, self._service.uploads, uploads, painting)
            protect_request = ProtectRequest(uploads, config, selection.output_options, mask)
            job: Job[Results] = self._service.submit(
                visit,
                PROTECTING,
                lambda job: protect_all(
                    job,
                    visit,
                    protect_request,
                    uploads=self._service.uploads,
                    models=self._service.models,
                    downloads=self._service.downloads,
                ),
            )
        except PcaProtectError as error:
            yield html.errors([str(error)]), unchanged, enabled, disabled, unchanged, unchanged
            return
        self._service.downloads.clear(visit)
        self._service.results.pop(visit, None)
        async for shown in _watch(job):
            yield shown, "", disabled, enabled, hidden, unchanged
        try:
            results = job.result()
        except PcaProtectError as error:
            yield html.errors([str(error)]), "", enabled, disabled, hidden, unchanged
            return
        self._service.results[visit] = results
        names = [result.name for result in results.done]
        choices = gr.update(choices=names, value=names[0] if names else None)
        yield "", html.results(results), enabled, disabled, gr.update(visible=bool(names)), choices

    async def edit(self, request: gr.Request, name: str, editor: str, prompt: str) -> AsyncIterator[tuple[Any, ...]]:
        """The progress, then the edits side by side or an error."""
        visit = _visit(request)
        enabled, disabled = gr.update(interactive=True), gr.update(interactive=False)
        results = self._service.results.get(visit)
        try:
            chosen = next((result for result in results.done if result.name == name), None) if results else None
            if chosen is None or editor not in [name for _, name in local_editors()]:
                raise UsageError("choose a protected picture and an editor first")
            job: Job[Proof] = self._service.submit(
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
            yield html.errors([str(error)]), gr.skip(), enabled, disabled
            return
        async for shown in _watch(job):
            yield shown, "", disabled, enabled
        try:
            yield "", html.proof(job.result()), enabled, disabled
        except PcaProtectError as error:
            yield html.errors([str(error)]), "", enabled, disabled


def _selection(*chosen: Any) -> Selection:  # noqa: ANN401 - values of `choices` in `build_page`, in that order
    mode, preset, budget, vaes, more_vaes, survive, scales, region, max_visibility, strip_gps, strip_metadata = chosen
    return Selection(
        mode=str(mode),
        preset=str(preset),
        budget_levels=int(budget),
        vaes=(*vaes, *more_vaes),
        survive=str(survive),
        scales=str(scales),
        region=str(region),
        max_visibility=float(max_visibility),
        strip_gps=bool(strip_gps),
        strip_metadata=bool(strip_metadata),
    )


async def _watch(job: Job[Anything]) -> AsyncIterator[str]:
    """The progress of a job until it ends. Cancels the job if the visitor leaves."""
    last = ""
    try:
        while not job.finished:
            shown = html.progress(job.job_status)
            if shown != last:
                yield shown
                last = shown
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        if not job.finished:
            job.cancel()


def _mask(uploads: Uploads, chosen: Sequence[Upload], painting: Any) -> Mask:  # noqa: ANN401 - a dictionary of arrays
    """The painted mask at the size of the picture.

    Raises:
        PcaProtectError: there is more than one picture, it cannot be read, or nothing is painted.
    """
    if len(chosen) != 1:
        raise UsageError(
            f"{len(chosen)} pictures are chosen, but a painted mask fits only one; choose one, or another part"
        )
    picture = uploads.read(chosen[0])
    mask = np.zeros((picture.height, picture.width), dtype=bool)
    for layer in (painting or {}).get("layers") or []:
        if layer is not None:
            alpha = Image.fromarray(np.ascontiguousarray(layer[..., 3]))
            mask |= (
                np.asarray(alpha.resize((picture.width, picture.height), Image.Resampling.BILINEAR)) > _PAINTED_ALPHA
            )
    if not mask.any():
        raise UsageError("nothing is painted; paint over the part to protect, or choose another part")
    return mask


def _visit(request: gr.Request) -> str:
    """The id of the visit; empty for a request from outside the page."""
    return request.session_hash or ""
