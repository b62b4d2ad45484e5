"""DNS on the wire: names, records, queries from bytes, replies to bytes."""
