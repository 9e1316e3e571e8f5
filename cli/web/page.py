"""The layout of the page: inputs, outputs and their events."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from pca_protect.cli.web import templates
from pca_protect.cli.web.advanced import TIMED, advanced_inputs
from pca_protect.cli.web.command import command
from pca_protect.cli.web.edit_preview import local_editors
from pca_protect.cli.web.form import DESTINATION, DESTINATIONS, INPUTS, STRENGTH, STRENGTHS
from pca_protect.cli.web.form_handlers import FormHandlers
from pca_protect.cli.web.handlers import Handlers
from pca_protect.cli.web.state import AppState
from pca_protect.eval.editors.registry import SHOWN_EDITOR
from pca_protect.eval.styles import STYLES

TITLE = "Protect pictures against diffusion editing"
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_AT_ONCE: dict[str, Any] = {**_QUIET, "queue": False}
_JOB: dict[str, Any] = {**_QUIET, "concurrency_limit": None}


def build_page(state: AppState) -> gr.Blocks:
    """Builds the page. All sessions share it; their state is in `state`."""
    handlers, form_handlers = Handlers(state), FormHandlers(state)
    page: gr.Blocks = gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(3600, 86400))
    with page:
        gr.HTML(_HEADER + templates.notice([state.warning] if state.warning else []))
        announcement = gr.HTML(elem_id="announcement")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                files = gr.File(label="Pictures or a folder", file_count="multiple", elem_id="files", height=130)
                listed = gr.HTML(elem_id="listed")
                destination = gr.Dropdown(
                    [(one.label, name) for name, one in DESTINATIONS.items()],
                    value=DESTINATION,
                    label="Where will it go?",
                    filterable=False,
                    elem_id="destination",
                )
                strength = gr.Slider(
                    1,
                    len(STRENGTHS),
                    STRENGTH,
                    step=1,
                    label="Strength",
                    info=STRENGTHS[STRENGTH - 1].label,
                    buttons=[],
                    elem_id="strength",
                )
                with gr.Row(elem_id="actions"):
                    start = gr.Button("Protect", variant="primary", elem_id="protect")
                    stop = gr.Button("Cancel", interactive=False, elem_id="cancel")
                    try_it = gr.Button("Try it", elem_id="try")
                cost = gr.HTML(elem_id="cost")
                with gr.Group(visible=False, elem_id="download") as download_panel:
                    missing = gr.HTML(padding=True)
                    with gr.Row():
                        download = gr.Button("Download", elem_id="start-download")
                        stop_download = gr.Button("Cancel the download", interactive=False, elem_id="cancel-download")
                    download_status = gr.HTML(padding=True, elem_id="download-status")
                advanced = advanced_inputs(offline=state.offline)
                line = gr.Textbox(
                    command(advanced.defaults(offline=state.offline), [], offline=state.offline),
                    label="Equivalent command",
                    interactive=False,
                    lines=1,
                    max_lines=8,
                    buttons=["copy"],
                    elem_id="command",
                )
                delete = gr.Button("Delete my pictures and results", size="sm", elem_id="delete")
            with gr.Column(scale=3, min_width=300):
                job_status = gr.HTML(elem_id="job-status")
                results = gr.HTML(templates.runs([]), elem_id="results")
                with gr.Group(visible=False, elem_id="preview") as preview:
                    gr.HTML("<h2>Try an edit (demonstration)</h2>", padding=True)
                    with gr.Row():
                        which = gr.Dropdown([], label="Picture", elem_id="which", min_width=200)
                        editor = gr.Dropdown(
                            local_editors(), value=SHOWN_EDITOR, label="Editor", elem_id="editor", min_width=200
                        )
                    prompt = gr.Dropdown(
                        [style.prompt for style in STYLES.values() if style.prompt],
                        value=STYLES["snow"].prompt,
                        allow_custom_value=True,
                        label="Prompt",
                        elem_id="prompt",
                    )
                    with gr.Row():
                        edit = gr.Button("Compare edits", elem_id="edit")
                        stop_edit = gr.Button("Cancel", interactive=False, elem_id="cancel-edit")
                    edit_status = gr.HTML(elem_id="edit-status")
                    edits = gr.HTML(elem_id="edits")

        named: dict[str, Any] = {"destination": destination, "strength": strength, **advanced.named}
        form = [named[name] for name in INPUTS]
        inputs: list[Any] = [files, *form]
        run = [job_status, announcement, results, start, stop, preview, which]
        destination.input(None, [destination], [named["survive"], named["scales"]], js=_destination_script())
        strength.input(None, [strength], [named["mode"], named["max_visibility"]], js=_strength_script())
        # One event for all inputs: `always_last` then runs the handler on the final values.
        gr.on(
            [one.change for one in inputs],
            form_handlers.update_form,
            inputs,
            [line, download_panel, missing],
            trigger_mode="always_last",
            **_AT_ONCE,
        )
        gr.on(
            [one.change for one in [files, *(named[name] for name in TIMED)]],
            form_handlers.estimate_time,
            inputs,
            cost,
            trigger_mode="always_last",
            **_JOB,
        )
        # One at a time: pictures are decoded in memory.
        files.change(
            form_handlers.inspect_uploads, files, [listed, advanced.painted, job_status], concurrency_limit=1, **_QUIET
        )
        start.click(None, js=_SHOW_STATUS)
        start.click(handlers.protect, [*inputs, advanced.painted], run, **_JOB).then(
            form_handlers.estimate_time, inputs, cost, **_JOB
        )
        stop.click(handlers.cancel_protecting, None, None, **_AT_ONCE)
        try_it.click(
            handlers.try_it,
            None,
            [files, *(named[name] for name in ("preset", "vaes", "more_vaes", "scales"))],
            **_AT_ONCE,
        ).success(handlers.protect, [*inputs, advanced.painted], run, **_JOB).then(
            form_handlers.estimate_time, inputs, cost, **_JOB
        )
        edit_run = [edit_status, edits, edit, stop_edit]
        edit.click(handlers.edit, [which, editor, prompt], edit_run, **_JOB)
        stop_edit.click(handlers.cancel_editing, None, None, **_AT_ONCE)
        encoders = [named["vaes"], named["more_vaes"]]
        download_run = [download_status, download, stop_download, missing]
        download.click(handlers.download, encoders, download_run, **_JOB)
        stop_download.click(handlers.cancel_download, None, None, **_AT_ONCE)
        delete.click(handlers.delete_all, None, [files, *run], **_AT_ONCE)
        page.load(handlers.resume, None, [files, *form, editor, *run], **_JOB)
        page.load(handlers.resume_edit, None, edit_run, **_JOB)
        page.load(handlers.resume_download, encoders, download_run, **_JOB)
    page.has_launched = True  # else gradio does not check paths from the network on mounted pages
    return page


def _destination_script() -> str:
    table = json.dumps({name: [one.survive, one.scales] for name, one in DESTINATIONS.items()})
    return f"name => ({table})[name]"


def _strength_script() -> str:
    table = json.dumps([[one.mode, one.max_visibility] for one in STRENGTHS])
    return f"position => ({table})[position - 1]"


_SHOW_STATUS = "() => document.getElementById('job-status').scrollIntoView({ block: 'nearest' })"

_HEADER = f"""
<h1>{TITLE}</h1>
<p class="lead">Adds a small change to pictures in order to disturb edits by image editors such as Stable Diffusion. It does not
prevent edits, and strong compression or programs made for it remove the protection. Pictures stay on the machine that serves this
page.</p>
"""
