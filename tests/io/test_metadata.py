"""Metadata taken out of pictures and added to them."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import ExifTags, Image

from pca_protect.io import iptc
from pca_protect.io.metadata import with_notice, without_gps, without_metadata
from pca_protect.io.picture import Picture, Text
from pca_protect.io.read import decode_picture, from_pil
from pca_protect.io.write import encode_picture

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
PLUS = "{http://ns.useplus.org/ldf/xmp/1.0/}"
RIGHTS = "{http://ns.adobe.com/xap/1.0/rights/}"
FORBIDDEN = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-GENAIMLTRAINING"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Some Tool">
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <r:Description r:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:e="http://ns.adobe.com/exif/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:pl="http://ns.useplus.org/ldf/xmp/1.0/"
    xmlns:unknown="http://example.org/ns/" e:GPSLatitude="51,30N" e:Flash="1" photoshop:City="Leeds"
    pl:DataMining="http://ns.useplus.org/ldf/vocab/DMI-ALLOWED" unknown:keep="yes">
   <dc:rights><r:Alt><r:li xml:lang="x-default">© A. Person</r:li></r:Alt></dc:rights>
   <e:GPSLongitude>0,7W</e:GPSLongitude>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def record(dataset: int, value: bytes, number: int = 2) -> bytes:
    return bytes([0x1C, number, dataset]) + len(value).to_bytes(2, "big") + value


@pytest.fixture
def picture() -> Picture:
    exif = Image.Exif()
    exif[0x013B] = "A. Person"
    exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = "2024:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (51.0, 30.0, 0.0)})
    records = record(80, b"A. Person") + record(90, b"Leeds") + record(101, b"UK") + record(25, b"boats")
    text = (Text("Title", "Boats"), Text("exif:GPSLatitude", "51/1"))
    return replace(
        from_pil(smooth_picture(20, 12)),
        exif=exif.tobytes()[6:],
        xmp=PACKET,
        iptc=records,
        text=text,
        icc_profile=b"profile",
    )


def test_without_metadata_keeps_pixels_and_profile(picture: Picture):
    bare = without_metadata(picture)
    assert (bare.exif, bare.xmp, bare.iptc, bare.text) == (b"", b"", b"", ())
    assert bare.icc_profile == b"profile"
    assert bare.rgb is picture.rgb


def test_without_gps_removes_the_place_and_nothing_else(picture: Picture):
    elsewhere = without_gps(picture)
    exif = Image.Exif()
    exif.load(elsewhere.exif)
    assert ExifTags.IFD.GPSInfo not in exif
    assert exif[0x013B] == "A. Person"
    assert exif.get_ifd(ExifTags.IFD.Exif)[0x9003] == "2024:01:01 00:00:00"
    assert b"GPS" not in elsewhere.xmp
    assert b"Leeds" not in elsewhere.xmp
    for kept in (b'e:Flash="1"', "© A. Person".encode(), b'unknown:keep="yes"', b"DMI-ALLOWED", b"<?xpacket begin="):
        assert kept in elsewhere.xmp
    assert elsewhere.iptc == record(80, b"A. Person") + record(25, b"boats")
    assert elsewhere.text == (Text("Title", "Boats"),)
    assert elsewhere.icc_profile == b"profile"
    assert not elsewhere.read_warnings


def test_without_gps_leaves_what_has_none_as_it_is(picture: Picture):
    packet = (
        PACKET.replace(b"GPSLatitude", b"Lens")
        .replace(b"GPSLongitude", b"Model")
        .replace(b"photoshop:City", b"photoshop:Headline")
    )
    exif = Image.Exif()
    exif[0x013B] = "A. Person"
    same = without_gps(replace(picture, xmp=packet, exif=exif.tobytes()[6:]))
    assert same.xmp == packet
    assert same.exif == exif.tobytes()[6:]


@pytest.mark.parametrize("packet", [b"<no xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe\0"])
def test_a_packet_that_cannot_be_read_is_not_trusted(picture: Picture, packet: bytes):
    odd = replace(picture, xmp=packet)
    assert without_gps(odd).xmp == b""
    assert "may say where the picture was taken" in without_gps(odd).read_warnings[-1]
    noticed = with_notice(odd, "No.")
    assert FORBIDDEN.encode() in noticed.xmp
    assert "replaced by the notice" in noticed.read_warnings[-1]


def test_damaged_exif_is_left_out_with_a_note(picture: Picture):
    odd = without_gps(replace(picture, exif=b"Exif\0\0XX"))
    assert odd.exif == b""
    assert "EXIF" in odd.read_warnings[-1]


def properties(packet: bytes) -> tuple[str | None, str | None]:
    """The values of plus:DataMining and xmpRights:UsageTerms, each of which may be there once."""
    root = ElementTree.fromstring(packet.decode().strip("\ufeff"))
    mining = root.findall(f".//{PLUS}DataMining")
    attributes = [element for element in root.iter() if f"{PLUS}DataMining" in element.attrib]
    terms = root.findall(f".//{RIGHTS}UsageTerms/{RDF}Alt/{RDF}li")
    assert len(mining) + len(attributes) == len(terms) == 1
    assert terms[0].attrib == {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"}
    return mining[0].text, terms[0].text


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("packet", [b"", PACKET, b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'])
def test_the_notice_is_in_the_file(picture: Picture, format_name: str, packet: bytes):
    text = 'No <training> & no "editing", bitte — ©'
    noticed = with_notice(replace(picture, xmp=packet, icc_profile=b""), text)
    again = decode_picture(encode_picture(noticed, format_name, marker="{}"), "x")
    assert properties(again.xmp) == (FORBIDDEN, text)
    if packet == PACKET:
        for kept in ("© A. Person".encode(), b"51,30N", b'unknown:keep="yes"', b'x:xmptk="Some Tool"'):
            assert kept in again.xmp
        descriptions = ElementTree.fromstring(again.xmp.decode()).findall(f".//{RDF}Description")
        assert {one.attrib[f"{RDF}about"] for one in descriptions} == {"uuid:1"}  # all about the same picture
    assert not noticed.read_warnings


def test_a_second_notice_changes_nothing_and_own_terms_stay(picture: Picture):
    once = with_notice(picture, "No training.")
    assert with_notice(once, "No training.").xmp == once.xmp
    own = with_notice(replace(picture, xmp=b""), "Ask me first.")
    assert properties(with_notice(own, "No training.").xmp)[1] == "Ask me first. No training."


def test_what_is_stricter_and_other_languages_stay(picture: Picture):
    own = with_notice(replace(picture, xmp=b""), "Ask me first.").xmp
    own = own.replace(b"DMI-PROHIBITED-GENAIMLTRAINING", b"DMI-PROHIBITED")
    own = own.replace(b"</rdf:Alt>", b'<rdf:li xml:lang="de">Bitte fragen.</rdf:li></rdf:Alt>')
    again = with_notice(replace(picture, xmp=own), "No training.").xmp
    assert b"DMI-PROHIBITED<" in again
    assert b"Ask me first. No training." in again
    assert b'<rdf:li xml:lang="de">Bitte fragen.</rdf:li>' in again


def test_positions_go_whatever_the_namespace(picture: Picture):
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" drone-dji:GpsLatitude="+22.54"'
        b' drone-dji:GpsLongtitude="+113.9" drone-dji:RelativeAltitude="+30" drone-dji:GimbalYawDegree="+1"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    left = without_gps(replace(picture, xmp=packet)).xmp
    assert b"22.54" not in left
    assert b"113.9" not in left
    assert b"GimbalYawDegree" in left


def test_pixels_stay_in_all_of_them(picture: Picture):
    for changed in (without_metadata(picture), without_gps(picture), with_notice(picture, "No.")):
        assert np.array_equal(changed.rgb, picture.rgb)


def test_iptc_wrappings_undo_each_other():
    records = record(80, b"A. Person") + record(25, b"boat")
    assert iptc.from_photoshop(iptc.to_photoshop(records)) == records
    other = b"8BIM" + (0x040C).to_bytes(2, "big") + b"\x03abc" + (5).to_bytes(4, "big") + b"12345\0"
    assert iptc.from_photoshop(other + iptc.to_photoshop(records)) == records
    assert iptc.from_raw_profile(iptc.to_raw_profile("iptc", records)) == records
    assert iptc.from_raw_profile("\niptc\n 3\nzz\n") == b""
    assert iptc.from_photoshop(b"8BIM\x04\x04") == b""


def test_long_iptc_records_are_told_apart():
    long = bytes([0x1C, 2, 120, 0x80, 4]) + (40_000).to_bytes(4, "big") + bytes(40_000)
    assert iptc.without_location(long + record(90, b"Leeds")) == long
