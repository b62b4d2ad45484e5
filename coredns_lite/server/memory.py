"""Memory after a large snapshot was read: what reading took is given back, what stays is out of the way.

Decoding leaves free pieces between the values that are kept. glibc gives whole free pages back when it is
asked (malloc_trim(3)), of 10,000 Services 3 MB. And the values live as long as the program: frozen, they cost
the garbage collector nothing each time that it looks for cycles, which stops the packet loops meanwhile.
"""

import ctypes
import gc

_libc = ctypes.CDLL(None)
# musl has none, and needs none: it gives pages back by itself.
_trim = getattr(_libc, "malloc_trim", None)


def settle(*, anew: bool = False) -> None:
    """Give free memory back, and take what is there for lasting.

    With `anew`, what was taken for lasting before is looked at again: some of it is gone.
    """
    if anew:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    if _trim is not None:
        _trim(0)
