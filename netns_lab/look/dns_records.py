"""Records of DNS messages as scapy has them, in the words of zone files; imported late, as scapy is."""

from typing import Any

from scapy.layers.dns import dnsqtypes, dnstypes

from nodeplane.runtime.output import Row

# RFC 1035, 4.1.1.
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


def rcode_name(code: int) -> str:
    """Return the name of an answer's code."""
    return _RCODES[code] if code < len(_RCODES) else f"RCODE{code}"


def record_row(record: Any) -> Row:
    """Return a record as a row."""
    return {
        "name": _text(record.rrname).rstrip("."),
        "ttl": int(record.ttl),
        "type": str(dnstypes.get(record.type, record.type)),
        "data": _data(record),
    }


def describe_message(message: Any) -> str:
    """Return a message as one line: what is asked, and what is answered."""
    questions = ", ".join(
        f"{dnsqtypes.get(each.qtype, each.qtype)} {_text(each.qname).rstrip('.')}"
        for each in message.qd or ()
    )
    if not message.qr:
        return f"DNS query {message.id}: {questions}"
    answers = ", ".join(f"{row['type']} {row['data']}" for row in map(record_row, message.an or ()))
    return f"DNS answer {message.id}: {questions}: {answers or rcode_name(message.rcode)}"


def _data(record: Any) -> str:
    if hasattr(record, "target"):  # SRV (RFC 2782)
        return f"{record.priority} {record.weight} {record.port} {_text(record.target)}"
    data = getattr(record, "rdata", "")
    return " ".join(map(_text, data)) if isinstance(data, list) else _text(data)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
