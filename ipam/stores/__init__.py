"""The stores: in a file (SQLite), in a cluster (etcd), in memory."""
