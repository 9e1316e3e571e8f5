"""The page: what is asked, in which order, and what happens when a button is pressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np
from PIL import Image

from pca_protect.cli import console
from pca_protect.cli.web import fragments
from pca_protect.cli.web.choices import AIM_NOTES, AIMS, PARTS, PLACES, SPEEDS, Wanted, models
from pca_protect.cli.web.command import command
from pca_protect.cli.web.desk import Job
from pca_protect.cli.web.names import safe_name
from pca_protect.cli.web.protecting import Asked, Results, protect_all
from pca_protect.cli.web.proving import Proved, editors_here, prove_edits
from pca_protect.cli.web.service import EDITING, PROTECTING, Service
from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.errors import PcaProtectError, UsageError
from pca_protect.eval.styles import STYLES
from pca_protect.io.limits import MAX_PIXELS
from pca_protect.perturb import Mask

Anything = TypeVar("Anything")
_LOOK_AGAIN_SECONDS = 0.3
_CANVAS_PX = 1024
"""Longer side of what is painted on."""
_PAINT = "rgba(230, 0, 122, 0.5)"
_PAINTED = 40
"""Alpha from which a pixel counts as painted; smoothed edges have less."""

TITLE = "Protect pictures against diffusion editing"


def build_page(service: Service) -> gr.Blocks:
    """The page over a service; what visitors do is kept apart by visit."""
    page: gr.Blocks = gr.Blocks(analytics_enabled=False, title=TITLE, delete_cache=(3600, 86400))
    with page:
        gr.HTML(_HEADER + fragments.notice([service.warning] if service.warning else []))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(label="1. Your pictures", file_count="multiple", elem_id="files", height=160)
                listed = gr.HTML(elem_id="listed")
                mode = gr.Radio(AIMS, value=Wanted.mode, label="2. What shall edits do?", elem_id="aim")
                aim_note = gr.HTML(_note(AIM_NOTES[Wanted.mode]))
                with gr.Group():
                    preset = gr.Radio(SPEEDS, value=Wanted.preset, label="3. How thorough?", elem_id="speed")
                    budget = gr.Slider(
                        1, 32, Wanted.budget_levels, step=1, label="Largest change, of 255 levels", elem_id="budget"
                    )
                cost = gr.HTML(elem_id="cost")
                vaes = gr.CheckboxGroup(
                    models(offline=service.offline),
                    value=["auto"],
                    label="4. Models to guard against",
                    info="Protection holds against editors that use one of these encoders.",
                    elem_id="models",
                )
                place = gr.Radio(PLACES, value="", label="5. Where will it be posted?", elem_id="place")
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
                standing = gr.HTML(elem_id="standing")
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
                    edit_standing = gr.HTML(elem_id="edit-standing")
                    edits = gr.HTML(elem_id="edits")

        choices = [mode, preset, budget, vaes, place, part, most_visible, strip_gps, strip_metadata]
        everything: list[Any] = [files, *choices]  # gradio gives components their events at run time
        mode.change(lambda name: _note(AIM_NOTES[name]), mode, aim_note, show_progress="hidden", queue=False)
        # One event for all inputs, so that what was chosen last is answered last.
        gr.on(
            [one.change for one in everything],
            _line(service),
            everything,
            line,
            show_progress="hidden",
            queue=False,
            trigger_mode="always_last",
        )
        gr.on(
            [one.change for one in everything if one not in (part, strip_gps, strip_metadata)],
            _cost(service),
            everything,
            cost,
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="always_last",
        )
        files.change(_look(service), files, [listed, painted], show_progress="hidden", concurrency_limit=4)
        part.change(lambda name: gr.update(visible=name == "paint"), part, painted, show_progress="hidden", queue=False)
        start.click(None, js=_SHOW_STANDING)
        start.click(
            _protect(service),
            [*everything, painted],
            [standing, results, start, stop, proof, which],
            show_progress="hidden",
            concurrency_limit=None,
        ).then(_cost(service), everything, cost, show_progress="hidden", concurrency_limit=None)
        edit.click(
            _edit(service),
            [which, editor, prompt],
            [edit_standing, edits, edit, stop_edit],
            show_progress="hidden",
            concurrency_limit=None,
        )
        for button, kind in ((stop, PROTECTING), (stop_edit, EDITING)):
            button.click(_cancel(service, kind), None, None, show_progress="hidden", queue=False)
        page.load(
            lambda: (gr.update(choices=models(offline=service.offline)), gr.update(choices=editors_here())),
            None,
            [vaes, editor],
            show_progress="hidden",
            queue=False,
        )  # what was downloaded meanwhile
        page.unload(_forget(service))
    page.has_launched = True  # gradio checks paths that come from the network only then, and not for mounted pages
    return page


_SHOW_STANDING = "() => document.getElementById('standing').scrollIntoView({ block: 'center' })"

_HEADER = f"""
<h1>{TITLE}</h1>
<p class="lead">A small change, computed so that image editors of the Stable Diffusion kind misread the picture. Everything
happens on the machine that this page comes from; nothing is sent anywhere else. It raises the cost of an edit and does not make
one impossible: published purifiers remove such changes, and strong compression does too.</p>
"""


def _note(sentence: str) -> str:
    return f'<p class="note">{sentence}</p>'


def _wanted(*chosen: Any) -> Wanted:  # noqa: ANN401 - what the page's inputs hold, in the order of `choices`
    mode, preset, budget, vaes, place, part, most_visible, strip_gps, strip_metadata = chosen
    return Wanted(
        mode=str(mode),
        preset=str(preset),
        budget_levels=int(budget),
        vaes=tuple(vaes),
        place=str(place),
        part=str(part),
        most_visible_levels=float(most_visible),
        strip_gps=bool(strip_gps),
        strip_metadata=bool(strip_metadata),
    )


def _line(service: Service) -> Callable[..., str]:
    def line(files: list[str] | None, *chosen: object) -> str:
        names = [safe_name(Path(path).name) for path in files or []]
        pixels = service.limits.most_pixels
        return command(
            _wanted(*chosen),
            names,
            device=service.device,
            offline=service.offline,
            max_megapixels=None if pixels == MAX_PIXELS else pixels / 1_000_000,
        )

    return line


def _cost(service: Service) -> Callable[..., AsyncIterator[str]]:
    async def cost(request: gr.Request, files: list[str] | None, *chosen: object) -> AsyncIterator[str]:
        """What it will take, as soon as that is known."""
        wanted = _wanted(*chosen)
        try:
            config = wanted.config(service.device)
            uploads = service.uploads.of(_visit(request), files)
        except UsageError as error:
            yield fragments.errors([str(error)])
            return
        about = f"{config.recipe.steps} steps, no channel of a pixel changed by more than {wanted.budget_levels} of 255 levels"
        if not uploads:
            yield _note(f"{about}. Drop a picture, and the time it takes is measured here.")
            return
        pace = service.models.known_pace(config)
        if pace is None and service.desk.busy:
            yield _note(f"{about}. How long it takes is not known while another job is running.")
            return
        if pace is None:
            yield _note(f"{about}. Measuring how long that takes …")
            try:
                job = service.desk.hand_in(lambda job: service.models.measure_pace(config))
                pace = await asyncio.to_thread(job.result)
            except PcaProtectError as error:
                yield _note(f"{about}. How long it takes: {error}.")
                return
        seconds = 0.0
        for upload in uploads:
            with suppress(PcaProtectError):  # said where the pictures are listed
                header = service.uploads.header(upload)
                seconds += pace.seconds(header.width, header.height, config) if header else 0.0
        yield _note(f"{about}. About {console.duration(max(1.0, seconds))} on this machine.")

    return cost


def _look(service: Service) -> Callable[..., tuple[str, Any]]:
    def look(request: gr.Request, files: list[str] | None) -> tuple[str, Any]:
        """What came, and something to paint on."""
        canvas = None
        listed: list[fragments.Listed] = []
        failed: list[str] = []
        try:
            uploads = service.uploads.of(_visit(request), files)
        except UsageError as error:
            return fragments.errors([str(error)]), gr.skip()
        for upload in uploads[: service.limits.most_pictures]:
            try:
                picture = service.uploads.read(upload)
            except PcaProtectError as error:
                failed.append(str(error))
                continue
            if len(uploads) == 1:
                shown = Image.fromarray(picture.rgb)
                shown.thumbnail((_CANVAS_PX, _CANVAS_PX))
                canvas = {"background": np.asarray(shown), "layers": [], "composite": None}
            listed.append(fragments.Listed.of(picture))
        if len(uploads) > service.limits.most_pictures:
            failed.append(
                f"{len(uploads)} pictures are more than the {service.limits.most_pictures} that are taken at once here; "
                "the command line takes folders"
            )
        return fragments.pictures(listed, failed), gr.update(value=canvas)

    return look


def _protect(service: Service) -> Callable[..., AsyncIterator[tuple[Any, ...]]]:
    async def protect(request: gr.Request, files: list[str] | None, *rest: Any) -> AsyncIterator[tuple[Any, ...]]:  # noqa: ANN401
        *chosen, painting = rest
        visit = _visit(request)
        go, halt = gr.update(interactive=True), gr.update(interactive=False)
        hidden = gr.update(visible=False)
        keep = gr.skip()
        try:
            wanted = _wanted(*chosen)
            config = wanted.config(service.device)
            uploads = service.uploads.of(visit, files)
            if not uploads:
                raise UsageError("no picture is chosen; drop one above")
            if len(uploads) > service.limits.most_pictures:
                raise UsageError(
                    f"{len(uploads)} pictures are more than the {service.limits.most_pictures} that are taken at once here; "
                    "the command line takes folders"
                )
            mask = None
            if wanted.part == "paint":
                mask = await asyncio.to_thread(_mask, service.uploads, uploads, painting)
            asked = Asked(uploads, config, wanted.delivery, mask)
            job: Job[Results] = service.hand_in(
                visit,
                PROTECTING,
                lambda job: protect_all(
                    job, visit, asked, uploads=service.uploads, models=service.models, shelf=service.shelf
                ),
            )
        except PcaProtectError as error:
            yield fragments.errors([str(error)]), keep, go, halt, keep, keep
            return
        service.shelf.clear(visit)
        service.results.pop(visit, None)
        async for shown in _watch(job):
            yield shown, "", halt, go, hidden, keep
        try:
            found = job.result()
        except PcaProtectError as error:
            yield fragments.errors([str(error)]), "", go, halt, hidden, keep
            return
        service.results[visit] = found
        names = [one.name for one in found.done]
        choices = gr.update(choices=names, value=names[0] if names else None)
        yield "", fragments.results(found), go, halt, gr.update(visible=bool(names)), choices

    return protect


def _edit(service: Service) -> Callable[..., AsyncIterator[tuple[Any, ...]]]:
    async def edit(request: gr.Request, name: str, editor: str, prompt: str) -> AsyncIterator[tuple[Any, ...]]:
        visit = _visit(request)
        go, halt = gr.update(interactive=True), gr.update(interactive=False)
        results = service.results.get(visit)
        try:
            chosen = next((one for one in results.done if one.name == name), None) if results else None
            if chosen is None or editor not in [name for _, name in editors_here()]:
                raise UsageError("choose a protected picture and an editor first")
            job: Job[Proved] = service.hand_in(
                visit,
                EDITING,
                lambda job: prove_edits(
                    job, visit, chosen, editor=editor, prompt=prompt or "", models=service.models, shelf=service.shelf
                ),
            )
        except PcaProtectError as error:
            yield fragments.errors([str(error)]), gr.skip(), go, halt
            return
        async for shown in _watch(job):
            yield shown, "", halt, go
        try:
            yield "", fragments.proof(job.result()), go, halt
        except PcaProtectError as error:
            yield fragments.errors([str(error)]), "", go, halt

    return edit


async def _watch(job: Job[Anything]) -> AsyncIterator[str]:
    """How far it is, until it is done. Whoever stops watching has left."""
    last = ""
    try:
        while not job.finished:
            shown = fragments.progress(job.standing)
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


def _cancel(service: Service, kind: str) -> Callable[[gr.Request], None]:
    def cancel(request: gr.Request) -> None:
        service.cancel(_visit(request), kind)

    return cancel


def _forget(service: Service) -> Callable[[gr.Request], None]:
    def forget(request: gr.Request) -> None:
        service.forget(_visit(request))

    return forget
