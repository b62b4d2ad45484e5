"""What the elements of nf_tables take in the kernel.

The kernel says no such thing of a table. Elements are allocated one by one and charged to their writer
(GFP_KERNEL_ACCOUNT, net/netfilter/nf_tables_api.c nft_set_elem_init), so they are in the slab caches
`kmalloc-cg-*`. What these hold more after a load than before it is counted; other programs on the machine
disturb that by some ten kB. Not counted: the hash tables themselves, about 16 bytes for each element.
"""

from pathlib import Path


def element_memory_mb() -> float:
    """Return what is in use of the slab caches that elements come from, in MB."""
    total = 0
    # slabinfo(5): name, active objects, objects, bytes of an object.
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active, _, size, *_ = line.split()
        if name.startswith("kmalloc-cg-"):
            total += int(active) * int(size)
    return total / 1e6
