"""The page: what is asked, in which order, and what answers."""

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
    Wanted,
    encoders_elsewhere,
    encoders_here,
)
from pca_protect.cli.web.command import command
from pca_protect.cli.web.handlers import Handlers
from pca_protect.cli.web.proving import editors_here
from pca_protect.cli.web.service import Service
from pca_protect.eval.styles import STYLES

_PAINT = "rgba(230, 0, 122, 0.5)"

TITLE = "Protect pictures against diffusion editing"


def build_page(service: Service) -> gr.Blocks:
    """The page over a service; what visitors do is kept apart by visit."""
    handlers = Handlers(service)
    page: gr.Blocks = gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(3600, 86400))
    with page:
        gr.HTML(_HEADER + html.notice([service.warning] if service.warning else []))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(label="1. Your pictures", file_count="multiple", elem_id="files", height=160)
                listed = gr.HTML(elem_id="listed")
                mode = gr.Radio(AIMS, value=Wanted.mode, label="2. What shall edits do?", elem_id="aim")
                aim_note = gr.HTML(html.note(AIM_NOTES[Wanted.mode]))
                with gr.Group():
                    preset = gr.Radio(SPEEDS, value=Wanted.preset, label="3. How thorough?", elem_id="speed")
                    budget = gr.Slider(
                        1, 32, Wanted.budget_levels, step=1, label="Largest change, of 255 levels", elem_id="budget"
                    )
                cost = gr.HTML(elem_id="cost")
                vaes = gr.CheckboxGroup(
                    encoders_here(offline=service.offline),
                    value=["auto"],
                    label="4. Models to guard against",
                    info="Protection is aimed at editors that use one of these encoders.",
                    elem_id="models",
                )
                with gr.Accordion(
                    "Other models, to be downloaded", open=False, visible=not service.offline, elem_id="elsewhere"
                ):
                    more_vaes = gr.CheckboxGroup(
                        encoders_elsewhere(offline=service.offline),
                        label="Models",
                        show_label=False,
                        elem_id="more-models",
                    )
                place = gr.Radio(PLACES, value="", label="5. Where will it be posted?", elem_id="place")
                seen = gr.Radio(
                    SIZES,
                    value="",
                    label="6. How large will editors see it?",
                    info="Editors make a large picture smaller, and most of a fine change goes with that. Each size takes time.",
                    elem_id="seen",
                )
                with gr.Accordion("More", open=False, elem_id="more"):
                    part = gr.Radio(PARTS, value="", label="Which part shall be protected?", elem_id="part")
                    painted = gr.ImageMask(
                        label="Paint where it shall be protected",
                        type="numpy",
                        sources=(),
                        transforms=(),
                        brush=gr.Brush(colors=[_PAINT], default_color=_PAINT, color_mode="fixed", default_size=48),
                        layers=False,
                        visible=False,
                        elem_id="painted",
                    )
                    most_visible = gr.Slider(
                        0,
                        4,
                        0,
                        step=0.1,
                        label="Most that may be seen, in levels of brightness (0: no limit beside the largest change)",
                        elem_id="visible",
                    )
                    strip_gps = gr.Checkbox(False, label="Leave out where it was taken", elem_id="gps")
                    strip_metadata = gr.Checkbox(False, label="Leave out all it says about itself", elem_id="metadata")
                line = gr.Code(
                    command(Wanted(), []), language="shell", label="The same as a command", elem_id="command"
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
                            editors_here(), value="pocket-editor", label="Editor", elem_id="editor", min_width=200
                        )
                    prompt = gr.Dropdown(
                        [style.prompt for style in STYLES.values() if style.prompt],
                        value=STYLES["snow"].prompt,
                        allow_custom_value=True,
                        label="What the editor is told",
                        elem_id="prompt",
                    )
                    with gr.Row():
                        edit = gr.Button("Edit both", elem_id="edit")
                        stop_edit = gr.Button("Cancel", interactive=False, elem_id="cancel-edit")
                    edit_status = gr.HTML(elem_id="edit-status")
                    edits = gr.HTML(elem_id="edits")

        choices = [mode, preset, budget, vaes, more_vaes, place, seen, part, most_visible, strip_gps, strip_metadata]
        everything: list[Any] = [files, *choices]  # gradio gives components their events at run time
        mode.change(lambda name: html.note(AIM_NOTES[name]), mode, aim_note, show_progress="hidden", queue=False)
        # One event for all inputs, so that what was chosen last is answered last.
        gr.on(
            [one.change for one in everything],
            handlers.line,
            everything,
            line,
            show_progress="hidden",
            queue=False,
            trigger_mode="always_last",
        )
        gr.on(
            [one.change for one in everything if one not in (part, strip_gps, strip_metadata)],
            handlers.cost,
            everything,
            cost,
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="always_last",
        )
        # One at a time: pictures are unpacked to be looked at.
        files.change(handlers.look, files, [listed, painted], show_progress="hidden", concurrency_limit=1)
        part.change(lambda name: gr.update(visible=name == "paint"), part, painted, show_progress="hidden", queue=False)
        start.click(None, js=_SHOW_STATUS)
        start.click(
            handlers.protect,
            [*everything, painted],
            [job_status, results, start, stop, proof, which],
            show_progress="hidden",
            concurrency_limit=None,
        ).then(handlers.cost, everything, cost, show_progress="hidden", concurrency_limit=None)
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
        page.unload(handlers.forget)
    page.has_launched = True  # gradio checks paths that come from the network only then, and not for mounted pages
    return page


_SHOW_STATUS = "() => document.getElementById('job-status').scrollIntoView({ block: 'center' })"

_HEADER = f"""
<h1>{TITLE}</h1>
<p class="lead">A small change, computed so that image editors of the Stable Diffusion kind misread the picture. Everything
happens on the machine that this page comes from; nothing is sent anywhere else. It raises the cost of an edit and does not make
one impossible: published purifiers remove such changes, and strong compression does too.</p>
"""
