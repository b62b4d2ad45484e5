"""One packet followed through a whole lab: what it met, where it went, and why it was answered or not.

    target    what is asked for: URL or PROTO:HOST:PORT
    resolve   the name, as the pod resolves it                    (edge: a socket in the pod)
    mark      how this packet is told from all others
    watch     nft trace events and captured heads, everywhere      (edge: netlink, AF_PACKET)
    send      the packet, and what its sender learns               (edge: a socket in the pod)
    ask       routes, conntrack entries, links, rules' texts      (edge: netlink, nft)
    passage   events -> what happened to request and reply, place by place
    steps     -> the table          verdict -> the sentence        report -> rows

Only the edges touch the world; `run` brings them together.
"""
