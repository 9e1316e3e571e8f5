"""The routes of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pca_protect.cli.api.access import Access
from pca_protect.cli.api.failures import UNEXPECTED, failure_of
from pca_protect.cli.api.jobs import CANCELLED, Done, Failure, Job
from pca_protect.cli.api.metrics import MEDIA_TYPE
from pca_protect.cli.api.openapi import (
    ACCEPTED,
    CHECK_BODY,
    CHECK_RESPONSE,
    NOT_FINISHED,
    PICTURE_RESPONSE,
    PROTECT_BODY,
    RESPONSES,
)
from pca_protect.cli.api.options import CheckOptions, ProtectOptions, first_sentence, protect_request, sentence
from pca_protect.cli.api.responses import JobView, file_response, job_path, job_view
from pca_protect.cli.api.service import AnyWork, Service
from pca_protect.cli.api.uploads import Upload, read_upload
from pca_protect.cli.body_limit import BodyLimit
from pca_protect.config import ProtectConfig
from pca_protect.errors import PcaProtectError
from pca_protect.version import __version__

RECORD_HEADERS = ("X-PCA-Record", "Location", "Retry-After")
_GONE = "no job has this id, or its result has expired; send the picture again"
_DEFAULTS = {
    "Not Found": "there is no such path; /docs lists them",
    "Method Not Allowed": "this path does not accept this method; /docs lists those it accepts",
}
_CLIENT_CLOSED_REQUEST = 499
"""nginx's code; nobody reads it."""


def build_app(service: Service, *, token: str = "", hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> ASGIApp:
    """The ASGI application.

    Args:
        token, hosts, origins: see `Access`.
    """
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="pca_protect",
        version=__version__,
        summary="Protects pictures against diffusion editing.",
        swagger_ui_parameters={"validatorUrl": None},
    )
    _add_error_handlers(app)
    _add_protect(app, service)
    _add_check(app, service)
    _add_jobs(app, service)
    _add_operations(app, service)
    limits = service.limits
    app.add_middleware(BodyLimit, max_bytes=limits.max_bytes, seconds=limits.body_seconds)
    app.add_middleware(Access, token=token, hosts=hosts, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Prefer"],
            expose_headers=list(RECORD_HEADERS),
        )
    app.add_middleware(_CountRequests, service=service)
    return app


def _add_protect(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/protect",
        openapi_extra={"requestBody": PROTECT_BODY},
        responses={**RESPONSES, **PICTURE_RESPONSE, 202: ACCEPTED},
        response_model=None,
    )
    async def protect(
        request: Request,
        query: Annotated[ProtectOptions, Query()],
        accept: Annotated[
            str, Header(description="application/json: respond with the job as JSON, with a link to the picture.")
        ] = "",
        prefer: Annotated[
            str, Header(description="respond-async: respond with the job at once, before the work.")
        ] = "",
    ) -> Response:
        """Protect a picture. Options are in the query, or as JSON in the form field `options`."""
        with service.admitted():
            upload = await read_upload(request)
            options = _options(query, request, upload)
            wanted = protect_request(options, service.base, service.default, service.presets)
            job = await service.submit_protect(upload.files["picture"], wanted)
        del upload
        as_json = "application/json" in accept.lower()
        if "respond-async" in prefer.lower():
            service.store.add(job)
            headers = {"Location": job_path(job, request), "Preference-Applied": "respond-async"}
            return _view(job, request, service, status=202, headers=headers)
        if as_json:
            service.store.add(job)
        outcome = await _outcome(job, request)
        if isinstance(outcome, Failure):
            return _failed(outcome)
        return _view(job, request, service) if as_json else file_response(outcome)


def _add_check(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/check",
        openapi_extra={"requestBody": CHECK_BODY},
        responses={**RESPONSES, 200: CHECK_RESPONSE},
        response_model=None,
    )
    async def check(request: Request, query: Annotated[CheckOptions, Query()]) -> Response:
        """Measure how protected a picture is, with the server's encoders. With the original, the change itself is measured."""
        ProtectConfig(seed=query.seed)  # validates it
        with service.admitted():
            upload = await read_upload(request, fields=("picture", "original"))
            if upload.options is not None:
                raise HTTPException(400, "a check takes its options in the query; leave the form field `options` out")
            job = await service.submit_check(upload.files["picture"], upload.files.get("original"), seed=query.seed)
        del upload
        outcome = await _outcome(job, request)
        return _failed(outcome) if isinstance(outcome, Failure) else file_response(outcome)


def _add_jobs(app: FastAPI, service: Service) -> None:
    def found(job_id: str) -> Job[Any]:
        job = service.store.get(job_id)
        if job is None:
            raise HTTPException(404, _GONE)
        return job

    @app.get("/v1/jobs/{job_id}", responses=RESPONSES)
    async def job(job_id: str, request: Request) -> JobView:
        """The state of a job."""
        known = found(job_id)
        return job_view(known, request, position=service.queue.position(known))

    @app.get(
        "/v1/jobs/{job_id}/file", responses={**RESPONSES, **PICTURE_RESPONSE, 409: NOT_FINISHED}, response_model=None
    )
    async def file(job_id: str, request: Request) -> Response:
        """The protected picture of a finished job."""
        known = found(job_id)
        if not known.settled:
            raise HTTPException(409, "the job is not finished; wait until its state is done", {"Retry-After": "1"})
        outcome = known.outcome.result()
        return _failed(outcome) if isinstance(outcome, Failure) else file_response(outcome)

    @app.delete("/v1/jobs/{job_id}", status_code=204, responses=RESPONSES)
    async def cancel(job_id: str) -> None:
        """Cancel a job and delete its result."""
        found(job_id).settle(CANCELLED)
        service.store.remove(job_id)


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses={503: RESPONSES[503]})
    async def healthz() -> dict[str, str]:
        """Whether the server accepts requests; it listens only after its encoders are loaded."""
        if service.stopping:
            raise HTTPException(503, "the server is stopping; use another")
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(service.metrics.text(), media_type=MEDIA_TYPE)


def _options(query: ProtectOptions, request: Request, upload: Upload) -> ProtectOptions:
    """Raises:
    HTTPException: the JSON is invalid, or options are in two places.
    """
    if upload.options is None:
        return query
    if request.query_params:
        raise HTTPException(422, "options are both in the query and in the form; send them in one place")
    try:
        return ProtectOptions.model_validate_json(upload.options)
    except ValidationError as error:
        raise HTTPException(422, sentence(error, ProtectOptions)) from error


async def _outcome(job: Job[AnyWork], request: Request) -> Done | Failure:
    """Waits for a job. A client that disconnects cancels it."""
    finished = asyncio.wrap_future(job.outcome)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        waiting: set[asyncio.Future[Any]] = {finished, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            job.settle(Failure(_CLIENT_CLOSED_REQUEST, "the client has disconnected", "cancelled"))
        return await finished
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _view(
    job: Job[AnyWork], request: Request, service: Service, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    view = job_view(job, request, position=service.queue.position(job))
    return JSONResponse(view.model_dump(), status, headers)


def _failed(failure: Failure) -> Response:
    headers = {"Retry-After": "5"} if failure.status == 503 else None
    return JSONResponse({"detail": failure.detail}, failure.status, headers)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        known = CheckOptions if request.url.path.endswith("/check") else ProtectOptions
        return JSONResponse({"detail": first_sentence(error.errors(), list(known.model_fields))}, 422)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"detail": _DEFAULTS.get(error.detail, error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return _failed(UNEXPECTED)  # the server logs the error

    @app.exception_handler(PcaProtectError)
    async def refused(request: Request, error: PcaProtectError) -> Response:
        return _failed(failure_of(error))


class _CountRequests:
    """ASGI middleware that counts responses by route and status."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app, self._metrics = app, service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                self._metrics.count_request(getattr(route, "path", "other"), message["status"])
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)
