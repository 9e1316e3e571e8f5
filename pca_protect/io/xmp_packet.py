"""Parses XMP packets of any Unicode encoding into a document, safely, and serialises them.

Format: Adobe XMP specification part 1, section 7, and part 3.
"""

from __future__ import annotations

import codecs
import re
from typing import NoReturn
from xml.dom import Node, minidom
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
FRESH = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
"""A packet without properties."""

_LARGEST_PACKET = 16 * 2**20
_DEEPEST = 100
"""Levels of elements. Real packets have about ten; `minidom` recurses once per level."""

_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not permit."""


def is_xml_text(text: str) -> bool:
    """Whether XML 1.0 permits every character."""
    return _FORBIDDEN.search(text) is None


def parsed(packet: bytes) -> minidom.Document:
    """Raises:
    ValueError: the packet is too large or nested too deeply, declares a document type, or is not well-formed.
    """
    if len(packet) > _LARGEST_PACKET:
        raise ValueError("the XMP packet is too large")
    text = _decoded(packet)
    try:
        _check(text)
        return minidom.parseString(text.encode())
    except expat.ExpatError as error:
        raise ValueError(f"the XMP packet is not well-formed XML ({error})") from error


def serialised(document: minidom.Document) -> bytes:
    """UTF-8 without an XML declaration, which a packet must not have."""
    nodes = [node for node in document.childNodes if node.nodeType != Node.DOCUMENT_TYPE_NODE]
    return "\n".join(node.toxml() for node in nodes).encode()


def _decoded(packet: bytes) -> str:
    """The text, decoded by its byte order mark or its first characters, without padding and XML declaration. Invalid bytes and
    characters become U+FFFD."""
    packet = packet.lstrip(b" \t\r\n")
    encoding = next((name for start, name in _ENCODINGS if packet.startswith(start)), "utf-8")
    text = packet.decode(encoding, "replace").strip("\ufeff\0 \t\r\n")
    return _FORBIDDEN.sub("\ufffd", re.sub(r"^<\?xml\s[^>]*\?>\s*", "", text))


def _check(text: str) -> None:
    """Refuse what `minidom` must not see: document types, whose entities may expand exponentially, and deep nesting."""
    parser = expat.ParserCreate()
    depth = 0

    def start(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("the XMP packet is nested too deeply")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> NoReturn:
        raise ValueError("the XMP packet declares a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(text.encode(), True)
