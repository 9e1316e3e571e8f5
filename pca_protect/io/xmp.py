"""Removes, resets and adds single XMP properties, and keeps the rest of the packet.

Names and namespaces: Adobe XMP specification parts 1 and 2; the data mining property and its values: IPTC Photo Metadata
Standard 2023.1, which takes them from PLUS (http://ns.useplus.org/ldf/xmp/1.0/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.dom import Node, minidom
from xml.parsers.expat import ExpatError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
XMP_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
NO_GENERATIVE_TRAINING = f"{_VOCABULARY}DMI-PROHIBITED-GENAIMLTRAINING"
_STRICTER = frozenset(
    f"{_VOCABULARY}DMI-PROHIBITED{rest}" for rest in ("", "-AIMLTRAINING", "-EXCEPTSEARCHENGINEINDEXING")
)
"""Values that forbid more than generative training; an existing one is kept."""

_XMP = "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PLACES = frozenset(
    {
        *((_PHOTOSHOP, name) for name in ("City", "State", "Country")),
        *((_IPTC_CORE, name) for name in ("Location", "CountryCode")),
        *((_IPTC_EXTENSION, name) for name in ("LocationCreated", "LocationShown")),
    }
)
_PREVIEWS = frozenset(
    {
        (_XMP, "Thumbnails"),
        ("http://ns.google.com/photos/1.0/image/", "Data"),  # the picture before a depth effect was applied
        ("http://ns.google.com/photos/1.0/depthmap/", "Data"),
    }
)
_LARGEST_PACKET = 16 * 2**20

_FRESH = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def upright(packet: bytes) -> bytes:
    """Set tiff:Orientation to 1, as attribute and as element. Accepts malformed XML."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[0-9]", rb"\g<1>1", packet)


def without_previews(packet: bytes) -> bytes:
    """Remove thumbnails and other copies of the unprotected picture that some programs store.

    Raises:
        ValueError: the packet seems to contain one and cannot be parsed.
    """
    if not re.search(rb"Thumbnails|GImage|GDepth|photos/1.0/image|photos/1.0/depthmap", packet):
        return packet
    return _without(packet, lambda name: name in _PREVIEWS)


_POSITION = re.compile(r"^gps|latitude|longitude|longtitude|altitude$", re.IGNORECASE)
"""Matches in any namespace: drone makers use their own, and some misspell longitude."""


def without_places(packet: bytes) -> bytes:
    """Remove GPS properties and place names.

    Raises:
        ValueError: the packet cannot be parsed.
    """
    return _without(packet, lambda name: name in _PLACES or bool(_POSITION.search(name[1])))


def with_notice(packet: bytes, text: str) -> bytes:
    """Set plus:DataMining to forbid generative training, and append `text` to xmpRights:UsageTerms.

    Raises:
        ValueError: the packet cannot be parsed.
    """
    document = _parsed(packet or _FRESH)
    if not document.getElementsByTagNameNS(RDF, "RDF"):
        document = _parsed(_FRESH)
    rdf = document.getElementsByTagNameNS(RDF, "RDF")[0]
    siblings = [node for node in _elements(rdf) if node.parentNode is rdf]
    terms, translations = _usage_terms(rdf)
    values = _values(rdf, PLUS, "DataMining")
    forbidden = next((value for value in values if value in _STRICTER), NO_GENERATIVE_TRAINING)
    _remove(rdf, lambda name: name in {(PLUS, "DataMining"), (XMP_RIGHTS, "UsageTerms")})
    for sibling in siblings:
        if _is_empty(sibling):
            rdf.removeChild(sibling)

    prefix = rdf.prefix or "rdf"
    description = document.createElementNS(RDF, f"{prefix}:Description")
    for name, value in ((prefix, RDF), ("plus", PLUS), ("xmpRights", XMP_RIGHTS)):
        description.setAttribute(f"xmlns:{name}", value)
    about = siblings[0].getAttributeNS(RDF, "about") if siblings else ""
    description.setAttribute(f"{prefix}:about", about)
    mining = document.createElementNS(PLUS, "plus:DataMining")
    mining.appendChild(document.createTextNode(forbidden))
    item = document.createElementNS(RDF, f"{prefix}:li")
    item.setAttribute("xml:lang", "x-default")
    item.appendChild(document.createTextNode(text if not terms or terms in text else f"{terms} {text}"))
    alternatives = document.createElementNS(RDF, f"{prefix}:Alt")
    alternatives.appendChild(item)
    for translation in translations:
        alternatives.appendChild(translation)
    usage = document.createElementNS(XMP_RIGHTS, "xmpRights:UsageTerms")
    usage.appendChild(alternatives)
    description.appendChild(mining)
    description.appendChild(usage)
    rdf.appendChild(description)
    return _serialised(document)


def _usage_terms(rdf: minidom.Element) -> tuple[str, list[minidom.Element]]:
    """The terms in the default language, and the items in other languages."""
    terms, translations = "", []
    for usage in rdf.getElementsByTagNameNS(XMP_RIGHTS, "UsageTerms"):
        for item in usage.getElementsByTagNameNS(RDF, "li"):
            if item.getAttribute("xml:lang") in ("", "x-default"):
                terms = terms or _text_of(item)
            else:
                translations.append(item)
    return terms, translations


def _values(rdf: minidom.Element, namespace: str, name: str) -> list[str]:
    """The values of a property, from elements and attributes."""
    attributes = [element.getAttributeNS(namespace, name) for element in _elements(rdf)]
    return [*attributes, *(_text_of(element) for element in rdf.getElementsByTagNameNS(namespace, name))]


def _text_of(element: minidom.Element) -> str:
    return "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text)).strip()


def _is_empty(description: minidom.Element) -> bool:
    attributes = [item for item in description.attributes.values() if item.prefix != "xmlns" and item.name != "xmlns"]
    return not list(_elements(description)) and all(item.localName == "about" for item in attributes)


def _without(packet: bytes, unwanted: Callable[[tuple[str, str]], bool]) -> bytes:
    """Remove matching properties; unchanged bytes if none match."""
    if not packet:
        return packet
    document = _parsed(packet)
    return _serialised(document) if _remove(document, unwanted) else packet


def _remove(root: minidom.Document | minidom.Element, unwanted: Callable[[tuple[str, str]], bool]) -> int:
    removed = 0
    for element in list(_elements(root)):
        for attribute in list(element.attributes.values()):
            if unwanted((attribute.namespaceURI or "", attribute.localName or "")):
                element.removeAttributeNode(attribute)
                removed += 1
        if unwanted((element.namespaceURI or "", element.localName or "")) and element.parentNode is not None:
            element.parentNode.removeChild(element)
            removed += 1
    return removed


def _elements(root: minidom.Document | minidom.Element) -> Iterator[minidom.Element]:
    yield from root.getElementsByTagNameNS("*", "*")


def _parsed(packet: bytes) -> minidom.Document:
    if len(packet) > _LARGEST_PACKET:
        raise ValueError("the XMP packet is too large")
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:  # entities may expand exponentially, and XMP uses none
        raise ValueError("the XMP packet declares entities")
    try:
        return minidom.parseString(packet.strip(b"\0 \t\r\n"))
    except (ExpatError, LookupError) as error:
        raise ValueError(f"the XMP packet is not well-formed XML ({error})") from error


def _serialised(document: minidom.Document) -> bytes:
    """Serialise without the XML declaration, which a packet must not have."""
    nodes = [node for node in document.childNodes if node.nodeType != Node.DOCUMENT_TYPE_NODE]
    return "\n".join(node.toxml() for node in nodes).encode()
