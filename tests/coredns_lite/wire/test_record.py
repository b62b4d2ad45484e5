"""The record types' numbers."""

from coredns_lite.wire.record import RecordType


def test_types_are_ianas() -> None:
    import dns.rdatatype

    assert {rtype.name: int(rtype) for rtype in RecordType} == {
        rtype.name: int(dns.rdatatype.from_text(rtype.name)) for rtype in RecordType
    }
