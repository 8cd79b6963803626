# cython: language_level=3, auto_pickle=False
"""The compiled hot path as Python sees it; _core.pyi says what each name means."""

import json
import os
import re
from datetime import datetime, timedelta, timezone
from functools import partial
from ipaddress import ip_network
from struct import Struct
from weakref import ref

cimport cython
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.errno cimport EINVAL, ENOMEM, errno
from libc.stdint cimport INT32_MAX, INT64_MAX, UINT16_MAX, UINT32_MAX
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from beast._fast.capi cimport *

include "wrap/status.pxi"
include "wrap/values.pxi"
include "wrap/keys.pxi"
include "wrap/instruments.pxi"
include "wrap/query.pxi"
include "wrap/miss.pxi"
include "wrap/sources.pxi"
include "wrap/engine.pxi"
include "wrap/usage.pxi"
include "wrap/tiers.pxi"
include "wrap/limits.pxi"
include "wrap/watch.pxi"
include "wrap/extract.pxi"
include "wrap/load.pxi"
