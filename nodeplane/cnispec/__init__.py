"""The envelope of a CNI plugin, spec 1.1.0: environment and stdin in, result or error JSON out.

Decides what is a valid call and how an answer looks; what a command does is its plugin's business. The
results themselves are in `nodeplane.cniresult`. On the path of every pod start: imports stay few.
"""

from nodeplane.cnispec.answer import (
    Command,
    answer_call,
    render_defect,
    render_versions,
    run_plugin,
    serve,
    tell,
)
from nodeplane.cnispec.config import PLACE, decode_config
from nodeplane.cnispec.error import CniError, ErrorCode, cni_error, render_error
from nodeplane.cnispec.request import (
    CURRENT_VERSION,
    SUPPORTED_VERSIONS,
    Request,
    answer_version,
    decode_args,
    decode_request,
)

__all__ = [
    "CURRENT_VERSION",
    "PLACE",
    "SUPPORTED_VERSIONS",
    "CniError",
    "Command",
    "ErrorCode",
    "Request",
    "answer_call",
    "answer_version",
    "cni_error",
    "decode_args",
    "decode_config",
    "decode_request",
    "render_defect",
    "render_error",
    "render_versions",
    "run_plugin",
    "serve",
    "tell",
]
