"""Parts of the OpenAPI description that the signatures of the routes do not give."""

from __future__ import annotations

from typing import Any

from pca_protect.cli.api.options import FORMATS
from pca_protect.cli.api.responses import RECORD_HEADER, CheckView, JobView, Problem

_FILE = {"type": "string", "format": "binary"}


def _body(form: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {"schema": {"type": "object", "properties": form, "required": ["picture"]}},
        },
    }


PROTECT_BODY = _body(
    {
        "picture": _FILE,
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "The options of the query as a JSON object.",
        },
    }
)
CHECK_BODY = _body({"picture": _FILE, "original": _FILE})

PICTURE_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The protected picture.",
        "content": {media_type: {"schema": _FILE} for _, media_type in FORMATS.values()},
        "headers": {
            RECORD_HEADER: {"description": "The main part of the record as JSON.", "schema": {"type": "string"}}
        },
    }
}

ACCEPTED: dict[str, Any] = {
    "model": JobView,
    "description": "The job, not finished yet, with `Prefer: respond-async`.",
    "headers": {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}},
}
CHECK_RESPONSE: dict[str, Any] = {"model": CheckView, "description": "The verdict of each encoder."}
NOT_FINISHED: dict[str, Any] = {"model": Problem, "description": "The job is not finished."}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "No picture, a malformed form, or an unknown host.",
        401: "The bearer token is missing or wrong.",
        404: "The job is unknown or has expired.",
        408: "The request body took too long.",
        413: "Too many bytes or pixels.",
        415: "Not a recognised image format.",
        422: "An invalid option, or a picture that cannot be read or protected.",
        429: "Too many requests are in progress; see Retry-After.",
        503: "The server is stopping, or its device has failed.",
        504: "The job took too long.",
    }.items()
}
