"""XMP packets of any encoding: what is changed, what is refused, and output that parsers accept."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pca_protect.batch.output_options import OutputOptions
from pca_protect.errors import UsageError
from pca_protect.io import xmp

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def packet(properties: str, inside: str = "") -> str:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
        'xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        f'xmlns:exif="http://ns.adobe.com/exif/1.0/" {properties}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_packets_are_cleaned_whatever_their_encoding(encoding: str):
    text = packet(
        'tiff:Orientation="6" dc:rights="© José"',
        "<xmp:Thumbnails>/9j/4AAQ</xmp:Thumbnails><tiff:Orientation>6</tiff:Orientation>",
    )
    data = text.encode(encoding)
    assert xmp.orientation_of(data) == 6
    done = xmp.cleaned(data).decode()
    assert "/9j/" not in done
    assert 'tiff:Orientation="1"' in done
    assert ">1</tiff:Orientation>" in done
    assert "© José" in done
    ElementTree.fromstring(done)
    assert xmp.orientation_of(done.encode()) == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-16"?>'])
def test_the_place_goes_and_output_is_utf_8_without_declaration(encoding: str, declaration: str):
    data = (declaration + packet('exif:GPSLatitude="51,30N" dc:title="Boats"')).encode(encoding)
    for done in (xmp.cleaned(data), xmp.without_places(data)):
        ElementTree.fromstring(done.decode())
        assert b"<?xml" not in done
        assert b"Boats" in done
    assert b"51,30N" not in xmp.without_places(data)


def test_a_packet_without_anything_to_change_keeps_its_bytes():
    data = packet('dc:title="Boats  &#x41;"  ').encode()
    assert xmp.cleaned(data) == data


def test_what_is_left_out_is_not_announced():
    announced = (
        'hdrgm:Version="1.0" GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MicroVideoOffset="4096" '
        'xmpNote:HasExtendedXMP="G" dc:title="Boats"'
    )
    done = xmp.cleaned(packet(announced, "<Container:Directory><rdf:Seq/></Container:Directory>").encode()).decode()
    for gone in ('Version="1', "MotionPhoto=", "MicroVideoOffset", "HasExtendedXMP=", "Directory"):
        assert gone not in done
    assert "Boats" in done


def test_extended_xmp_is_joined_with_the_main_packet():
    extension = packet('dc:source="the extension" tiff:Orientation="3"').encode()
    done = xmp.cleaned(packet('dc:title="Boats" xmpNote:HasExtendedXMP="G"').encode(), extension=extension).decode()
    root = ElementTree.fromstring(done)
    assert len(root.findall(f".//{{{RDF}}}Description")) == 2
    assert "Boats" in done
    assert "the extension" in done
    assert 'tiff:Orientation="3"' not in done
    assert "HasExtendedXMP=" not in done


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ("<!DOCTYPE a><a/>", "document type"),
        ("<a>" * 101 + "</a>" * 101, "nested too deeply"),
        ("<a", "not well-formed"),
        ("<a>" * 200_000, "nested too deeply"),
    ],
)
def test_hostile_packets_are_refused(encoding: str, text: str, says: str):
    for function in (xmp.cleaned, xmp.without_places, lambda data: xmp.with_notice(data, "No.")):
        with pytest.raises(ValueError, match=says):
            function(text.encode(encoding))


def test_invalid_bytes_and_characters_are_replaced_and_the_rest_is_kept():
    data = packet('dc:title="Boats" dc:rights="a\x01b"').encode().replace(b"Boats", b"B\xffats")
    done = xmp.cleaned(data).decode()
    ElementTree.fromstring(done)
    assert "B\ufffdats" in done
    assert "a\ufffdb" in done


@pytest.mark.parametrize("text", ["\uffff", "\ufffe", "\x00", "two\nlines", "\ud800"])
def test_notices_that_no_parser_reads_are_refused(text: str):
    with pytest.raises(UsageError, match="has a character that metadata cannot store"):
        OutputOptions(rights_notice=text)
    OutputOptions(rights_notice="No training — ©")
