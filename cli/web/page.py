"""The layout of the page: inputs, outputs and their events."""

from __future__ import annotations

from typing import Any

import gradio as gr

from pca_protect.cli.web import html
from pca_protect.cli.web.choices import (
    AIM_NOTES,
    AIMS,
    PARTS,
    PLACES,
    SIZES,
    SPEEDS,
    Selection,
    local_encoders,
    remote_encoders,
)
from pca_protect.cli.web.command import command
from pca_protect.cli.web.handlers import Handlers
from pca_protect.cli.web.proving import local_editors
from pca_protect.cli.web.service import Service
from pca_protect.eval.styles import STYLES

_PAINT = "rgba(230, 0, 122, 0.5)"

TITLE = "Protect pictures against diffusion editing"


def build_page(service: Service) -> gr.Blocks:
    """Builds the page. All visits share it; their state is in the service, by visit."""
    handlers = Handlers(service)
    page: gr.Blocks = gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(3600, 86400))
    with page:
        gr.HTML(_HEADER + html.notice([service.warning] if service.warning else []))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(label="1. Your pictures", file_count="multiple", elem_id="files", height=160)
                listed = gr.HTML(elem_id="listed")
                mode = gr.Radio(AIMS, value=Selection.mode, label="2. Effect on edits", elem_id="aim")
                aim_note = gr.HTML(html.note(AIM_NOTES[Selection.mode]))
                with gr.Group():
                    preset = gr.Radio(SPEEDS, value=Selection.preset, label="3. Speed", elem_id="speed")
                    budget = gr.Slider(
                        1,
                        32,
                        Selection.budget_levels,
                        step=1,
                        label="Largest change, in levels of 255",
                        elem_id="budget",
                    )
                cost = gr.HTML(elem_id="cost")
                vaes = gr.CheckboxGroup(
                    local_encoders(offline=service.offline),
                    value=["auto"],
                    label="4. Encoders to protect against",
                    info="The protection targets editors that use one of these encoders.",
                    elem_id="models",
                )
                with gr.Accordion(
                    "Other encoders (download needed)", open=False, visible=not service.offline, elem_id="elsewhere"
                ):
                    more_vaes = gr.CheckboxGroup(
                        remote_encoders(offline=service.offline),
                        label="Other encoders",
                        show_label=False,
                        elem_id="more-models",
                    )
                survive = gr.Radio(PLACES, value="", label="5. Where will it be posted?", elem_id="place")
                scales = gr.Radio(
                    SIZES,
                    value="",
                    label="6. At which size will editors process it?",
                    info="Editors downscale large pictures, which removes most of a fine perturbation. Each size adds time.",
                    elem_id="seen",
                )
                with gr.Accordion("More", open=False, elem_id="more"):
                    region = gr.Radio(PARTS, value="", label="Part to protect", elem_id="part")
                    painted = gr.ImageMask(
                        label="Paint over the part to protect",
                        type="numpy",
                        sources=(),
                        transforms=(),
                        brush=gr.Brush(colors=[_PAINT], default_color=_PAINT, color_mode="fixed", default_size=48),
                        layers=False,
                        visible=False,
                        elem_id="painted",
                    )
                    max_visibility = gr.Slider(
                        0,
                        4,
                        0,
                        step=0.1,
                        label="Limit on visibility, in levels of brightness (0: none)",
                        elem_id="visible",
                    )
                    strip_gps = gr.Checkbox(False, label="Remove the place where it was taken", elem_id="gps")
                    strip_metadata = gr.Checkbox(False, label="Remove all metadata", elem_id="metadata")
                line = gr.Code(
                    command(Selection(), []), language="shell", label="Equivalent command", elem_id="command"
                )
                with gr.Row():
                    start = gr.Button("Protect", variant="primary", elem_id="protect")
                    stop = gr.Button("Cancel", interactive=False, elem_id="cancel")
            with gr.Column(scale=3, min_width=320):
                job_status = gr.HTML(elem_id="job-status")
                results = gr.HTML(elem_id="results")
                with gr.Group(visible=False, elem_id="proof") as proof:
                    gr.HTML("<h2>Does it work? Try an edit</h2>", padding=True)
                    with gr.Row():
                        which = gr.Dropdown([], label="Picture", elem_id="which", min_width=200)
                        editor = gr.Dropdown(
                            local_editors(), value="pocket-editor", label="Editor", elem_id="editor", min_width=200
                        )
                    prompt = gr.Dropdown(
                        [style.prompt for style in STYLES.values() if style.prompt],
                        value=STYLES["snow"].prompt,
                        allow_custom_value=True,
                        label="Prompt",
                        elem_id="prompt",
                    )
                    with gr.Row():
                        edit = gr.Button("Edit both", elem_id="edit")
                        stop_edit = gr.Button("Cancel", interactive=False, elem_id="cancel-edit")
                    edit_status = gr.HTML(elem_id="edit-status")
                    edits = gr.HTML(elem_id="edits")

        choices = [
            mode,
            preset,
            budget,
            vaes,
            more_vaes,
            survive,
            scales,
            region,
            max_visibility,
            strip_gps,
            strip_metadata,
        ]
        inputs: list[Any] = [files, *choices]  # Any: gradio adds event methods at run time
        mode.change(lambda name: html.note(AIM_NOTES[name]), mode, aim_note, show_progress="hidden", queue=False)
        # One event for all inputs: `always_last` then runs the handler on the final values.
        gr.on(
            [one.change for one in inputs],
            handlers.command_line,
            inputs,
            line,
            show_progress="hidden",
            queue=False,
            trigger_mode="always_last",
        )
        gr.on(
            [one.change for one in inputs if one not in (region, strip_gps, strip_metadata)],
            handlers.cost,
            inputs,
            cost,
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="always_last",
        )
        # One at a time: pictures are decoded in memory.
        files.change(handlers.list_uploads, files, [listed, painted], show_progress="hidden", concurrency_limit=1)
        region.change(
            lambda name: gr.update(visible=name == "paint"), region, painted, show_progress="hidden", queue=False
        )
        start.click(None, js=_SHOW_STATUS)
        start.click(
            handlers.protect,
            [*inputs, painted],
            [job_status, results, start, stop, proof, which],
            show_progress="hidden",
            concurrency_limit=None,
        ).then(handlers.cost, inputs, cost, show_progress="hidden", concurrency_limit=None)
        edit.click(
            handlers.edit,
            [which, editor, prompt],
            [edit_status, edits, edit, stop_edit],
            show_progress="hidden",
            concurrency_limit=None,
        )
        stop.click(handlers.stop_protecting, None, None, show_progress="hidden", queue=False)
        stop_edit.click(handlers.stop_editing, None, None, show_progress="hidden", queue=False)
        page.load(handlers.begin, None, [vaes, more_vaes, editor], show_progress="hidden", queue=False)
        page.unload(handlers.end)
    page.has_launched = True  # else gradio does not check paths from the network on mounted pages
    return page


_SHOW_STATUS = "() => document.getElementById('job-status').scrollIntoView({ block: 'center' })"

_HEADER = f"""
<h1>{TITLE}</h1>
<p class="lead">Adds a small perturbation that makes image editors based on Stable Diffusion misread the picture. All processing
runs on the machine that serves this page; pictures are sent nowhere else. Protection makes edits harder, not impossible:
published purifiers and strong compression remove it.</p>
"""
