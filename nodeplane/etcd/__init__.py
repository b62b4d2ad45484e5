"""A client of etcd v3 over the JSON gateway that every etcd serves."""
