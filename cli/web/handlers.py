"""Handlers of the page's buttons and of its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from pca_protect.cli.web import templates
from pca_protect.cli.web.edit_preview import EditPreview, local_editors, preview_edits
from pca_protect.cli.web.form import EDITOR_SIZES, INPUTS, local_encoders, remote_encoders
from pca_protect.cli.web.form_handlers import form_of, session_of
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.model_download import missing_encoders
from pca_protect.cli.web.painting import painted_mask
from pca_protect.cli.web.protect_job import JobResult, ProtectRequest, protect_all
from pca_protect.cli.web.sessions import Session
from pca_protect.cli.web.state import DOWNLOADING, EDITING, MEASURING, PROTECTING, AppState
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.surrogates.registry import FALLBACK

Result = TypeVar("Result")
_POLL_SECONDS = 0.3
_SAMPLE = Path(__file__).parent / "sample.jpg"
_ON, _OFF = gr.update(interactive=True), gr.update(interactive=False)


class Handlers:
    """Handlers shared by all sessions. A method takes the values of its event's inputs and returns those of its outputs.

    The outputs of a run are status, announcement, results, the buttons Protect and Cancel, the group of the edit preview and
    its list of pictures.
    """

    def __init__(self, state: AppState) -> None:
        self._state = state

    async def resume(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """The encoders and editors of this moment, and what the session had before the page was loaded again: uploads, inputs,
        results and a running job."""
        session = session_of(self._state, request)
        offline = self._state.offline
        files = [path for path in session.uploads if Path(path).is_file()]
        saved = {} if session.form is None else dict(zip(INPUTS, session.form, strict=True))
        inputs: dict[str, Any] = dict.fromkeys(INPUTS, gr.skip()) | saved
        for name, options in (
            ("vaes", local_encoders(offline=offline)),
            ("more_vaes", remote_encoders(offline=offline)),
        ):
            kept = {"value": saved[name]} if saved else {}
            inputs[name] = gr.update(choices=options, **kept)
        restored = (files or gr.skip(), *inputs.values(), gr.update(choices=local_editors()))
        job = session.unfinished(PROTECTING)
        yield *restored, *self._finished(session, "", running=job is not None)
        if job is not None:
            unchanged = (gr.skip(),) * len(restored)
            async for outputs in self._run(session, job):
                yield *unchanged, *outputs

    async def protect(self, request: gr.Request, files: list[str] | None, *rest: Any) -> AsyncIterator[tuple[Any, ...]]:  # noqa: ANN401
        """The progress of a run, then its results or an error."""
        *values, painting = rest
        state = self._state
        session = None
        try:
            session = session_of(state, request)
            form = form_of(values, offline=state.offline)
            config = form.config(state.device)
            uploads = state.uploads.of(session.id, files)
            if not uploads:
                raise UsageError("no picture is chosen; drop one above")
            state.limits.check_number(len(uploads))
            mask = None
            if form.region == "paint":
                mask = await asyncio.to_thread(painted_mask, state.uploads, uploads, painting)
            title = f"{form.mode}, {form.preset}" + (
                f", visibility at most {form.max_visibility:g}" if form.max_visibility else ""
            )
            asked = ProtectRequest(uploads, config, form.output_options, mask, title)
            state.cancel(session, MEASURING)
            owner = session

            def work(job: Job[JobResult]) -> JobResult:
                result = protect_all(
                    job, owner.id, asked, uploads=state.uploads, models=state.models, files=state.files
                )
                return state.add_run(owner, result)

            job = state.submit(session, PROTECTING, work)
        except PcaProtectError as error:
            running = session is not None and session.unfinished(PROTECTING) is not None
            yield (
                templates.errors([str(error)]),
                *(gr.skip(),) * 2,
                *((_OFF, _ON) if running else (_ON, _OFF)),
                *(gr.skip(),) * 2,
            )
            return
        async for outputs in self._run(session, job):
            yield outputs

    def cancel_protecting(self, request: gr.Request) -> None:
        self._state.cancel(session_of(self._state, request), PROTECTING)

    def try_it(self, request: gr.Request) -> tuple[Any, ...]:
        """The built-in picture, and settings with which it is protected in seconds."""
        session_of(self._state, request)
        return [self._state.uploads.add(_SAMPLE)], "fast", [FALLBACK], [], EDITOR_SIZES

    def delete_all(self, request: gr.Request) -> tuple[Any, ...]:
        """Cancels the jobs of a session and removes its uploads and results."""
        session = session_of(self._state, request)
        for kind in session.jobs:
            self._state.cancel(session, kind)
        self._state.remove_runs(session)
        session.uploads = ()
        self._state.uploads.keep_only(session.id, ())
        return None, *self._finished(session, templates.note("Your pictures and results are deleted."))

    async def edit(self, request: gr.Request, token: str, editor: str, prompt: str) -> AsyncIterator[tuple[Any, ...]]:
        """The progress, then the edits side by side or an error."""
        state = self._state
        try:
            session = session_of(state, request)
            shown = (file for run in session.runs for file in run.done if file.file == token)
            chosen = next(shown, None)
            if chosen is None or editor not in [name for _, name in local_editors()]:
                raise UsageError("choose a protected picture and an editor first")
            target = chosen
            job: Job[EditPreview] = state.submit(
                session,
                EDITING,
                lambda job: preview_edits(
                    job, session.id, target, editor=editor, prompt=prompt or "", models=state.models, files=state.files
                ),
            )
        except PcaProtectError as error:
            yield templates.errors([str(error)]), gr.skip(), _ON, _OFF
            return
        async for outputs in self._run_edit(job):
            yield outputs

    async def resume_edit(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """The edits of the session, running or finished."""
        job: Job[EditPreview] | None = session_of(self._state, request).jobs.get(EDITING)
        yield (gr.skip(),) * 4  # gradio clears the outputs of a generator that yields nothing
        if job is not None:
            async for outputs in self._run_edit(job):
                yield outputs

    def cancel_editing(self, request: gr.Request) -> None:
        self._state.cancel(session_of(self._state, request), EDITING)

    async def download(
        self, request: gr.Request, vaes: list[str], more_vaes: list[str]
    ) -> AsyncIterator[tuple[Any, ...]]:
        """The progress of a download, then the encoders that are installed."""
        state = self._state
        names = (*vaes, *more_vaes)
        try:
            session = session_of(state, request)
            job: Job[None] = state.submit(
                session, DOWNLOADING, lambda job: state.models.download(job, names, ignore_errors=False)
            )
        except PcaProtectError as error:
            yield templates.errors([str(error)]), _ON, _OFF, gr.skip()
            return
        async for outputs in self._run_download(job, names):
            yield outputs

    async def resume_download(
        self, request: gr.Request, vaes: list[str], more_vaes: list[str]
    ) -> AsyncIterator[tuple[Any, ...]]:
        """The download of the session that is running."""
        job: Job[None] | None = session_of(self._state, request).unfinished(DOWNLOADING)
        yield (gr.skip(),) * 4
        if job is not None:
            async for outputs in self._run_download(job, (*vaes, *more_vaes)):
                yield outputs

    def cancel_download(self, request: gr.Request) -> None:
        self._state.cancel(session_of(self._state, request), DOWNLOADING)

    async def _run(self, session: Session, job: Job[JobResult]) -> AsyncIterator[tuple[Any, ...]]:
        """The outputs of a run until it ends."""
        async for status, announcement in _watch(job):
            yield status, announcement, gr.skip(), _OFF, _ON, gr.skip(), gr.skip()
        try:
            job.result()
            yield self._finished(session, "", announcement="Finished.")
        except PcaProtectError as error:
            yield self._finished(session, templates.errors([str(error)]))

    @staticmethod
    async def _run_edit(job: Job[EditPreview]) -> AsyncIterator[tuple[Any, ...]]:
        async for status, _ in _watch(job):
            yield status, "", _OFF, _ON
        try:
            yield "", templates.edit_preview(job.result()), _ON, _OFF
        except PcaProtectError as error:
            yield templates.errors([str(error)]), "", _ON, _OFF

    async def _run_download(self, job: Job[None], names: tuple[str, ...]) -> AsyncIterator[tuple[Any, ...]]:
        async for status, _ in _watch(job):
            yield status, _OFF, _ON, gr.skip()
        try:
            job.result()
            status = templates.note("Installed.")
        except PcaProtectError as error:
            status = templates.errors([str(error)])
        missing = missing_encoders(names, offline=self._state.offline)
        yield status, _ON, _OFF, templates.missing_encoders(missing)

    def _finished(
        self, session: Session, status: str, *, announcement: str = "", running: bool = False
    ) -> tuple[Any, ...]:
        """The outputs of a run with all results of a session."""
        pictures = [
            (f"{file.name} (run {number})" if len(session.runs) > 1 else file.name, file.file)
            for number, run in reversed(list(enumerate(session.runs, start=1)))
            for file in run.done
        ]
        buttons = (_OFF, _ON) if running else (_ON, _OFF)
        which = gr.update(choices=pictures, value=pictures[0][1] if pictures else None)
        return status, announcement, templates.runs(session.runs), *buttons, gr.update(visible=bool(pictures)), which


async def _watch(job: Job[Result]) -> AsyncIterator[tuple[str, str]]:
    """The progress of a job and its announcement until it ends. The job goes on if the connection breaks."""
    last = ""
    while not job.finished:
        status = job.status
        shown = templates.progress(status)
        if shown != last:
            yield shown, templates.announcement(status)
            last = shown
        await asyncio.sleep(_POLL_SECONDS)
