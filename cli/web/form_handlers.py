"""Handlers of changed inputs: the list of pictures, the equivalent command, the expected time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from pca_protect.cli import console
from pca_protect.cli.web import templates
from pca_protect.cli.web.command import command
from pca_protect.cli.web.form import EDITOR_SIZES, INPUTS, NOTICE, FormState, editor_sizes
from pca_protect.cli.web.model_download import missing_encoders
from pca_protect.cli.web.painting import canvas_of
from pca_protect.cli.web.sessions import COOKIE, Session
from pca_protect.cli.web.state import MEASURING, AppState
from pca_protect.errors import Cancelled, PcaProtectError, UsageError
from pca_protect.io.limits import MAX_PIXELS


def session_of(state: AppState, request: gr.Request) -> Session:
    """The session of a request.

    Raises:
        UsageError: it has expired, or the browser sent no cookie.
    """
    session = state.sessions.get(request.cookies.get(COOKIE))
    if session is None:
        raise UsageError("this page has expired, or the browser refuses cookies; reload the page")
    return session


def form_of(values: Sequence[Any], *, offline: bool) -> FormState:
    """The settings that the values of `INPUTS` stand for."""
    given = dict(zip(INPUTS, values, strict=True))
    names, preset, scales = (*given["vaes"], *given["more_vaes"]), str(given["preset"]), str(given["scales"])
    return FormState(
        mode=str(given["mode"]),
        preset=preset,
        budget_levels=int(given["budget"]),
        vaes=names,
        survive=str(given["survive"]),
        scales=editor_sizes(names, preset, offline=offline) if scales == EDITOR_SIZES else scales,
        region=str(given["region"]),
        max_visibility=float(given["max_visibility"]),
        rights_notice=NOTICE if given["notice"] else "",
        strip_gps=bool(given["strip_gps"]),
        strip_metadata=bool(given["strip_metadata"]),
        clear_hidden=bool(given["clear_hidden"]),
    )


class FormHandlers:
    """Handlers shared by all sessions. A method takes the values of its event's inputs and returns those of its outputs."""

    def __init__(self, state: AppState) -> None:
        self._state = state

    def update_form(self, request: gr.Request, files: list[str] | None, *values: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """The equivalent command, and the panel of the encoders to download. Remembers the inputs."""
        with suppress(UsageError):  # the others say it
            session = session_of(self._state, request)
            session.form = values
        form = form_of(values, offline=self._state.offline)
        names = []
        for upload in self._state.uploads.named(files):
            with suppress(PcaProtectError):
                if self._state.uploads.header(upload) is not None:
                    names.append(upload.name)
        pixels = self._state.limits.max_pixels
        line = command(
            form,
            names,
            device=self._state.device,
            offline=self._state.offline,
            max_megapixels=None if pixels == MAX_PIXELS else pixels / 1_000_000,
        )
        missing = missing_encoders(form.vaes, offline=self._state.offline)
        return line, gr.update(visible=bool(missing)), templates.missing_encoders(missing)

    async def estimate_time(
        self,
        request: gr.Request,
        files: list[str] | None,
        *values: Any,  # noqa: ANN401
    ) -> AsyncIterator[str]:
        """The expected time, measured first if necessary."""
        form = form_of(values, offline=self._state.offline)
        try:
            session = session_of(self._state, request)
            config = form.config(self._state.device)
            uploads = self._state.uploads.of(session.id, files)
        except UsageError as error:
            yield templates.errors([str(error)])
            return
        effort = f"{config.recipe.steps} steps; colours change by at most {form.budget_levels} of 255 levels"
        if not uploads:
            yield templates.note(f"{effort}. Drop a picture to see the expected time.")
            return
        pace = self._state.models.known_pace(config)
        if pace is None and self._state.queue.busy:
            yield templates.note(f"{effort}. The expected time cannot be measured while another job is running.")
            return
        if pace is None:
            yield templates.note(f"{effort}. Measuring the expected time …")
            try:
                job = self._state.submit(session, MEASURING, lambda job: self._state.models.measure_pace(job, config))
                pace = await asyncio.to_thread(job.result)
            except Cancelled:  # the visitor pressed Protect
                yield templates.note(f"{effort}.")
                return
            except PcaProtectError as error:
                yield templates.note(f"{effort}. Expected time: {error}.")
                return
        seconds, frames = 0.0, ""
        for upload in uploads:
            with suppress(PcaProtectError):  # `inspect_uploads` reports it
                header = self._state.uploads.header(upload)
                seconds += pace.seconds(header.width, header.height, config) if header else 0.0
                if header and header.frames > 1:
                    frames = "; each further frame or page takes as long again"
        yield templates.note(f"{effort}. About {console.duration(max(1.0, seconds))} on this machine{frames}.")

    def inspect_uploads(self, request: gr.Request, files: list[str] | None) -> tuple[str, Any, str]:
        """The list of uploaded pictures, the canvas for painting a mask, and no status."""
        canvas = None
        listed: list[templates.UploadSummary] = []
        failed: list[str] = []
        try:
            session = session_of(self._state, request)
            uploads = self._state.uploads.of(session.id, files)
        except UsageError as error:
            return templates.errors([str(error)]), gr.skip(), gr.skip()
        session.uploads = tuple(files or ())
        if not session.jobs or all(job.finished for job in session.jobs.values()):
            self._state.uploads.keep_only(session.id, files)
        for upload in uploads[: self._state.limits.max_pictures]:
            try:
                self._state.uploads.header(upload)  # refuses outputs
                picture = self._state.uploads.read(upload)
            except PcaProtectError as error:
                failed.append(str(error))
                continue
            if len(uploads) == 1:
                canvas = canvas_of(picture)
            listed.append(templates.UploadSummary.of(picture))
        try:
            self._state.limits.check_number(len(uploads))
        except UsageError as error:
            failed.append(str(error))
        running = any(not job.finished for job in session.jobs.values())
        return templates.uploads(listed, failed), gr.update(value=canvas), gr.skip() if running else ""
