"""Reads pictures and options from request bodies, in memory only."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

OPTIONS = "options"
_LARGEST_OPTIONS = 64 * 1024


class _InMemoryParser(MultiPartParser):
    """Starlette's parser writes files over 1 MB to the disk. The body's size is limited already."""

    spool_max_size = sys.maxsize


@dataclass(frozen=True)
class Upload:
    """Attributes:
    files: bytes of the uploaded files by field name; a body that is no form is the field `picture`.
    options: JSON of the field `options`; None without one.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    options: str | None = None


async def read_upload(request: Request, *, fields: tuple[str, ...] = ("picture",)) -> Upload:
    """Read a body: the picture itself, or a form (`multipart/form-data`) with pictures and options.

    Args:
        fields: names of file fields; the first is required.

    Raises:
        HTTPException: the body is empty or compressed, the form is malformed, or has other fields than these.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed request bodies are not supported; send the file as it is")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        upload = await _read_form(request, fields)
    else:
        upload = Upload({fields[0]: await _read_all(request)})
    if not upload.files.get(fields[0]):
        raise HTTPException(400, f"no picture was sent; send it as the request body, or as the form field {fields[0]}")
    return upload


async def _read_all(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    return bytes(body)


async def _read_form(request: Request, fields: tuple[str, ...]) -> Upload:
    parser = _InMemoryParser(
        request.headers,
        request.stream(),
        max_files=len(fields),
        max_fields=1,
        max_part_size=_LARGEST_OPTIONS,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read ({error.message}); send multipart/form-data") from error
    files: dict[str, bytes] = {}
    options: str | None = None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name in fields and name not in files:
            files[name] = await value.read()
        elif isinstance(value, str) and name == OPTIONS:
            options = value
        else:
            expected = ", ".join((*fields, OPTIONS))
            raise HTTPException(
                400,
                f"the form field {name[:60]!r} is unknown, a duplicate, or not of the right kind; send {expected}, each once",
            )
    await form.close()
    return Upload(files, options)
