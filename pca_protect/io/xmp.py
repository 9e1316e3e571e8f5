"""Removes, resets and adds single XMP properties, and keeps the rest of the packet.

Names and namespaces: Adobe XMP specification parts 1 and 2; the data mining property and its values: IPTC Photo Metadata
Standard 2023.1, which takes them from PLUS (http://ns.useplus.org/ldf/xmp/1.0/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.dom import minidom

from pca_protect.io.xmp_packet import FRESH, RDF, is_xml_text, parsed, serialised

PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
XMP_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
NO_GENERATIVE_TRAINING = f"{_VOCABULARY}DMI-PROHIBITED-GENAIMLTRAINING"
_STRICTER = frozenset(
    f"{_VOCABULARY}DMI-PROHIBITED{rest}" for rest in ("", "-AIMLTRAINING", "-EXCEPTSEARCHENGINEINDEXING")
)
"""Values that forbid more than generative training; an existing one is kept."""

_XMP = "http://ns.adobe.com/xap/1.0/"
_XMP_NOTE = "http://ns.adobe.com/xmp/note/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_GOOGLE = "http://ns.google.com/photos/1.0/"
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
        (f"{_GOOGLE}image/", "Data"),  # the picture before a depth effect was applied
        (f"{_GOOGLE}depthmap/", "Data"),
    }
)
_LEFT_OUT = frozenset(
    {
        (_XMP_NOTE, "HasExtendedXMP"),
        *((f"{_GOOGLE}camera/", f"{kind}{rest}") for kind in ("MotionPhoto", "MicroVideo") for rest in ("", "Version")),
        (f"{_GOOGLE}camera/", "MotionPhotoPresentationTimestampUs"),
        (f"{_GOOGLE}camera/", "MicroVideoOffset"),
        (f"{_GOOGLE}camera/", "MicroVideoPresentationTimestampUs"),
        (f"{_GOOGLE}container/", "Directory"),
    }
)
"""Properties that announce a video, a further picture or a second packet, which are not carried."""
_GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")


def orientation_of(packet: bytes) -> int:
    """The value of tiff:Orientation, 1 to 8; 1 if missing or unreadable."""
    try:
        values = _values(parsed(packet), _TIFF, "Orientation") if packet else []
    except ValueError:
        return 1
    return next((int(value) for value in values if value in set("12345678")), 1)


def cleaned(packet: bytes, *, extension: bytes = b"") -> bytes:
    """Set tiff:Orientation to 1, and remove copies of the unprotected picture and announcements of parts that are not carried.
    A packet without any of these is unchanged if it is UTF-8.

    Args:
        extension: the packet of extended XMP, whose properties are added.

    Raises:
        ValueError: the packet or its extension cannot be parsed.
    """
    if not packet:
        return b""
    document = parsed(packet)
    added = _joined(document, extension) if extension else 0
    removed = _remove(document, lambda name: name in _PREVIEWS or name in _LEFT_OUT or name[0] in _GAIN_MAPS)
    if added + removed + _set_upright(document) == 0 and _is_plain(packet):
        return packet
    return serialised(document)


def without_places(packet: bytes) -> bytes:
    """Remove GPS properties and place names.

    Raises:
        ValueError: the packet cannot be parsed.
    """
    if not packet:
        return packet
    document = parsed(packet)
    return serialised(document) if _remove(document, _is_place) else packet


_POSITION = re.compile(r"^gps|latitude|longitude|longtitude|altitude$", re.IGNORECASE)
"""Matches in any namespace: drone makers use their own, and some misspell longitude."""


def _is_place(name: tuple[str, str]) -> bool:
    return name in _PLACES or bool(_POSITION.search(name[1]))


def with_notice(packet: bytes, text: str) -> bytes:
    """Set plus:DataMining to forbid generative training, and append `text` to xmpRights:UsageTerms.

    Raises:
        ValueError: the packet cannot be parsed.
    """
    document = parsed(packet or FRESH)
    if not document.getElementsByTagNameNS(RDF, "RDF"):
        document = parsed(FRESH)
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
    return serialised(document)


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


def _values(root: minidom.Document | minidom.Element, namespace: str, name: str) -> list[str]:
    """The values of a property, from elements and attributes."""
    attributes = [element.getAttributeNS(namespace, name) for element in _elements(root)]
    return [*attributes, *(_text_of(element) for element in root.getElementsByTagNameNS(namespace, name))]


def _text_of(element: minidom.Element) -> str:
    return "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text)).strip()


def _is_empty(description: minidom.Element) -> bool:
    attributes = [item for item in description.attributes.values() if item.prefix != "xmlns" and item.name != "xmlns"]
    return not list(_elements(description)) and all(item.localName == "about" for item in attributes)


def _joined(document: minidom.Document, extension: bytes) -> int:
    """Add the descriptions of another packet; returns their number."""
    targets = document.getElementsByTagNameNS(RDF, "RDF")
    if not targets:
        raise ValueError("the XMP packet has no rdf:RDF")
    count = 0
    for source in parsed(extension).getElementsByTagNameNS(RDF, "RDF"):
        scope = {item.name: item.value for item in _declarations(source)}
        for child in list(source.childNodes):
            if isinstance(child, minidom.Element):
                for name, value in scope.items():
                    if not child.hasAttribute(name):
                        child.setAttribute(name, value)
                targets[0].appendChild(child)
                count += 1
    return count


def _declarations(element: minidom.Element) -> Iterator[minidom.Attr]:
    """The namespace declarations that an element inherits, outermost first."""
    parents: list[minidom.Element] = []
    node = element
    while isinstance(node, minidom.Element):
        parents.insert(0, node)
        node = node.parentNode  # type: ignore[assignment]
    for parent in parents:
        yield from (item for item in parent.attributes.values() if item.name.startswith("xmlns"))


def _set_upright(document: minidom.Document) -> int:
    """Set tiff:Orientation to 1; returns the number of changes."""
    changed = 0
    for element in _elements(document):
        for attribute in element.attributes.values():
            if (attribute.namespaceURI, attribute.localName) == (_TIFF, "Orientation") and attribute.value != "1":
                attribute.value = "1"
                changed += 1
        if (element.namespaceURI, element.localName) == (_TIFF, "Orientation") and _text_of(element) != "1":
            for child in list(element.childNodes):
                element.removeChild(child)
            element.appendChild(document.createTextNode("1"))
            changed += 1
    return changed


def _is_plain(packet: bytes) -> bool:
    """Whether a parsed packet is valid UTF-8 without an XML declaration, which a packet must not have."""
    try:
        text = packet.decode()
    except UnicodeDecodeError:
        return False
    return is_xml_text(text) and not text.lstrip("\ufeff \t\r\n").startswith("<?xml ")


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
